"""``reload``: other handlers for all sockets of a server, or for one, while they are open and while handlers run."""

import gc
import weakref
from collections.abc import Callable
from time import perf_counter
from typing import Any

import gevent
import gevent.event
import pytest

import greensock
from greensock.testing import Dial, Recorder, Serve, wait_until


def answering(answer: bytes) -> dict[str, Callable[..., object]]:
    return {"data": lambda socket, data: socket.write(answer)}


def test_reload_replaces_the_handlers_of_all_live_and_future_sockets(serve: Serve, dial: Dial) -> None:
    server = serve(answering(b"old"))
    live = [dial(server) for _ in range(3)]
    for peer in live:
        peer.send(b"?")
        assert peer.read_exactly(3) == b"old"
    server.reload(answering(b"new"))
    for peer in [*live, dial(server)]:
        peer.send(b"?")
        assert peer.read_exactly(3) == b"new"


def test_the_handlers_may_be_given_by_name(serve: Serve, dial: Dial) -> None:
    server = serve(answering(b"old"))
    server.reload(handlers=answering(b"new"))
    peer = dial(server)
    peer.send(b"?")
    assert peer.read_exactly(3) == b"new"


def test_reload_takes_every_form_of_handlers(serve: Serve, dial: Dial) -> None:
    class Class(greensock.Handlers[Any]):
        def data(self, socket: greensock.Socket[Any], data: bytes) -> None:
            socket.write(b"new")

    server = serve(answering(b"old"))
    for handlers in (Class, Class(), answering(b"new")):
        server.reload(handlers)
        peer = dial(server)
        peer.send(b"?")
        assert peer.read_exactly(3) == b"new"
        server.reload(answering(b"old"))


def test_events_that_the_new_handlers_do_not_name_are_gone(serve: Serve, dial: Dial) -> None:
    old, new = Recorder(), Recorder()
    server = serve(old.handlers)
    peer = dial(server)
    peer.send(b"hello")
    old.wait_for("data")
    server.reload({"close": new.handlers["close"]})
    peer.send(b"unheard")
    peer.close()
    new.wait_for("close")
    assert old.events == ["open", "data"]
    assert new.events == ["close"]


def test_an_error_handler_that_is_gone_handles_no_more_errors(serve: Serve, dial: Dial) -> None:
    def fails(socket: Any, data: bytes) -> None:
        raise ValueError("on purpose")

    kept = Recorder(data=fails, error=lambda socket, error: socket.write(b"kept"))
    server = serve(kept.handlers)
    peer = dial(server)
    peer.send(b"hello")
    assert peer.read_exactly(4) == b"kept"
    server.reload({"data": fails})
    peer.send(b"hello")
    assert peer.is_reset()


def test_sockets_without_new_events_still_read_the_end(serve: Serve, dial: Dial) -> None:
    server = serve(answering(b"old"))
    peer = dial(server)
    peer.send(b"?")
    assert peer.read_exactly(3) == b"old"
    server.reload({"open": print})
    peer.finish()
    assert peer.read_to_end() == b""
    wait_until(lambda: server.connections == 0)


@pytest.mark.parametrize("bad", [{"dta": print}, {"data": 5}, {}, None, 5, {"data": print, "opn": print}])
def test_what_listen_would_not_accept_is_refused_and_the_old_handlers_stay(
    serve: Serve, dial: Dial, bad: object
) -> None:
    recorder = Recorder(data=lambda socket, data: socket.write(b"old"))
    server = serve(recorder.handlers)
    peer = dial(server)
    (accepted,) = recorder.wait_for("open")
    with pytest.raises(TypeError):
        server.reload(bad)
    with pytest.raises(TypeError):
        accepted.reload(bad)
    peer.send(b"?")
    assert peer.read_exactly(3) == b"old"
    peer.close()
    recorder.wait_for("close")
    assert recorder.events == ["open", "data", "end", "close"]


def test_a_handlers_class_that_cannot_be_made_changes_nothing(serve: Serve, dial: Dial) -> None:
    class Broken(greensock.Handlers[Any]):
        def __init__(self) -> None:
            raise LookupError("on purpose")

    server = serve(answering(b"old"))
    with pytest.raises(LookupError):
        server.reload(Broken)
    peer = dial(server)
    peer.send(b"?")
    assert peer.read_exactly(3) == b"old"


def test_a_handler_that_is_running_finishes_as_it_was(serve: Serve, dial: Dial) -> None:
    gate = gevent.event.Event()

    class Old:
        answer = b"old"

        def data(self, socket: Any, data: bytes) -> None:
            socket.write(b"begun ")
            gate.wait()
            socket.write(self.answer)

    server = serve(Old())
    peer = dial(server)
    peer.send(b"?")
    assert peer.read_exactly(6) == b"begun "
    server.reload(answering(b"new"))
    peer.send(b"?")
    gate.set()
    assert peer.read_exactly(6) == b"oldnew"


def test_a_handler_may_reload_its_own_server(serve: Serve, dial: Dial) -> None:
    def first(socket: Any, data: bytes) -> None:
        socket.server.reload(answering(b"second"))
        socket.write(b"first")

    peer = dial(serve({"data": first}))
    assert [peer.exchange(b"?????"), peer.exchange(b"??????")] == [b"first", b"second"]


def test_the_close_of_a_killed_handler_is_told_to_the_new_ones(serve: Serve, dial: Dial) -> None:
    old, new = Recorder(data=lambda socket, data: gevent.event.Event().wait()), Recorder()
    server = serve(old.handlers)
    dial(server).send(b"hello")
    old.wait_for("data")
    server.reload(new.handlers)
    server.stop(0)
    assert new.events == ["close"]
    assert old.events == ["open", "data"]


def test_a_socket_with_handlers_of_its_own_no_longer_follows_the_server(serve: Serve, dial: Dial) -> None:
    recorder = Recorder(data=lambda socket, data: socket.write(b"old"))
    server = serve(recorder.handlers)
    own, other = dial(server), dial(server)
    recorder.wait_for("open", 2)
    (accepted,) = [socket for socket in server.sockets if socket.remote_address == own.address]
    accepted.reload(answering(b"own"))
    server.reload(answering(b"new"))
    own.send(b"?")
    other.send(b"?")
    assert own.read_exactly(3) == b"own"
    assert other.read_exactly(3) == b"new"


def test_reload_takes_the_same_time_however_many_sockets_there_are(serve: Serve, dial: Dial) -> None:
    def fastest(server: greensock.Server) -> float:
        times = []
        for _ in range(50):
            before = perf_counter()
            server.reload(answers)
            times.append(perf_counter() - before)
        return min(times)

    answers = answering(b"new")
    empty, full = serve(answers), serve(answers)
    for _ in range(500):
        dial(full)
    wait_until(lambda: full.connections == 500)
    assert fastest(full) < 5 * fastest(empty)


def test_the_old_handlers_are_let_go(serve: Serve, dial: Dial) -> None:
    class Old(greensock.Handlers[Any]):
        def data(self, socket: greensock.Socket[Any], data: bytes) -> None:
            socket.write(b"old")

    handlers = Old()
    gone = weakref.ref(handlers)
    server = serve(handlers)
    del handlers
    peer = dial(server)
    peer.send(b"?")
    assert peer.read_exactly(3) == b"old"
    server.reload(answering(b"new"))
    peer.send(b"?")
    assert peer.read_exactly(3) == b"new"
    gc.collect()
    assert gone() is None


def test_reload_of_a_stopped_server_counts_when_it_starts_again(serve: Serve, dial: Dial) -> None:
    server = serve(answering(b"old"))
    server.stop(0)
    server.reload(answering(b"new"))
    server.start()
    peer = dial(server)
    peer.send(b"?")
    assert peer.read_exactly(3) == b"new"

"""Events: which come, in what order, in which greenlet and context, and that none runs beside another."""

import contextvars
import itertools
from collections.abc import Callable
from typing import Any

import gevent
import gevent.local
import pytest
from gevent.event import Event
from greenlet import getcurrent

from connections import AnySocket, attempt, narrow_listener, open_narrow, stream, turns, wait_for_kernel
from greensock import SocketState
from greensock.testing import Dial, Peer, Recorder, Serve, wait_until
from program import Launch
from tls_peer import credentials

#: The events that a server's socket can have without TLS and framing, each in its time.
ALL = ["open", "data", "drain", "timeout", "stopping", "end", "close"]


def cause_all(recorder: Recorder, serve: Serve, dial: Dial) -> AnySocket:
    """Have every event of :data:`ALL` happen to one socket, each as soon as the one before has begun."""
    server = serve(recorder.handlers, narrow_listener(), allow_half_open=True)
    peer = dial(server, receive_buffer=4096)
    peer.send(b"?")
    socket: AnySocket
    (socket, _) = recorder.wait_for("data")
    socket.write(bytes(500_000))
    peer.read_exactly(500_000)
    recorder.wait_for("drain")
    socket.idle_timeout = 0.05
    recorder.wait_for("timeout")
    peer.finish()
    recorder.wait_for("end")
    server.stop(close_active=True)
    recorder.wait_for("close")
    return socket


def keep(socket: AnySocket) -> None:
    """What a ``timeout`` handler does so that the socket stays."""
    socket.idle_timeout = None


# -- order -----------------------------------------------------------------------------------------------------


def test_every_event_comes_once_and_in_its_order(serve: Serve, dial: Dial) -> None:
    recorder = Recorder(timeout=keep)
    socket = cause_all(recorder, serve, dial)
    assert recorder.events == ["open", "data", "drain", "timeout", "end", "stopping", "close"]
    assert {entry[1] for entry in recorder.log} == {socket}


def test_open_comes_first_also_when_everything_else_is_there_already(serve: Serve, dial: Dial) -> None:
    recorder = Recorder(open=lambda socket: gevent.sleep(0.1))
    peer = dial(serve(recorder.handlers))
    peer.send(stream(100_000))
    peer.finish()
    recorder.wait_for("close")
    assert recorder.received == stream(100_000)
    events = [event for event, _ in itertools.groupby(recorder.events)]
    assert events == ["open", "data", "end", "close"]


def test_a_connection_that_is_reset_before_it_is_accepted_opens_and_closes(serve: Serve, dial: Dial) -> None:
    recorder = Recorder()
    server = serve(recorder.handlers)
    dial(server).reset()
    recorder.wait_for("close")
    assert recorder.events == ["open", "close"]


@pytest.mark.parametrize("end", ["garbage", "finish", "reset", "stop"])
def test_a_connection_that_ends_in_its_handshake_has_no_event_at_all(end: str, serve: Serve, dial: Dial) -> None:
    recorder = Recorder()
    server = serve(recorder.handlers, tls=credentials())
    peer = dial(server)
    wait_until(lambda: server._shared.handshaking)
    if end == "garbage":
        peer.send(b"GET / HTTP/1.0\r\n\r\n")
    elif end == "stop":
        server.stop(0)
    else:
        getattr(peer, end)()
    wait_until(lambda: not server._shared.alive)
    assert recorder.events == []
    stats = server.stats()
    assert (stats.accepted, stats.refused, stats.closed, stats.handshake_failures) == (0, 1, 0, 1)


@pytest.mark.parametrize("end", ["finish", "reset", "close"])
def test_close_comes_once_and_last(end: str, serve: Serve, dial: Dial) -> None:
    recorder = Recorder()
    server = serve(recorder.handlers)
    peer = dial(server)
    peer.send(b"?")
    recorder.wait_for("data")
    getattr(peer, end)()
    socket, *_ = recorder.wait_for("close")
    socket.terminate()
    socket.close()
    turns(20)
    assert recorder.events.count("close") == 1
    assert recorder.events[-1] == "close"


def test_data_arrives_whole_however_it_is_cut(serve: Serve, dial: Dial) -> None:
    recorder = Recorder()
    peer = dial(serve(recorder.handlers))
    sizes = [1, 479, 480, 478, 1, 120_000, 120_001, 5, 1_000_000, 1]
    position = 0
    for size in sizes:
        peer.send(stream(size, position))
        position += size
        wait_until(lambda: len(recorder.received) == position)  # noqa: B023 - it is called at once
    assert recorder.received == stream(position)
    assert all(entry[2] for entry in recorder.log if entry[0] == "data"), "never empty"
    assert {type(entry[2]) for entry in recorder.log if entry[0] == "data"} == {bytes}


def test_handlers_are_optional(serve: Serve, dial: Dial) -> None:
    closed = Event()
    server = serve({"close": lambda socket, error: closed.set()}, idle_timeout=5)
    peer = dial(server)
    peer.send(stream(300_000))
    peer.finish()
    assert peer.read_to_end() == b""
    assert closed.wait(5)
    assert server.stats().bytes_read == 300_000


# -- one at a time -----------------------------------------------------------------------------------------------


class Nesting:
    """A behaviour that blocks, and notices when another handler of its socket runs meanwhile."""

    def __init__(self) -> None:
        self.running: set[AnySocket] = set()
        self.nested = 0
        self.most = 0

    def __call__(self, socket: AnySocket, *_: object) -> None:
        self.nested += socket in self.running
        self.running.add(socket)
        self.most = max(self.most, len(self.running))
        gevent.sleep(0.01)
        self.running.discard(socket)


def test_handlers_of_one_socket_do_not_overlap_and_those_of_others_do(serve: Serve, dial: Dial) -> None:
    nesting = Nesting()
    recorder = Recorder(open=nesting, data=nesting, end=nesting, close=nesting)
    server = serve(recorder.handlers)
    peers = [dial(server) for _ in range(20)]
    for round_ in range(3):
        for peer in peers:
            peer.send(b"%d" % round_)
        gevent.sleep(0)
    for peer in peers:
        peer.finish()
    recorder.wait_for("close", 20)
    assert nesting.nested == 0
    assert nesting.most > 10
    for socket in recorder.sockets:
        events = [event for event, _ in itertools.groupby(recorder.of(socket))]
        assert events == ["open", "data", "end", "close"]


@pytest.mark.parametrize("event", ALL)
def test_while_a_handler_blocks_nothing_else_is_delivered_to_its_socket(event: str, serve: Serve, dial: Dial) -> None:
    def block(socket: AnySocket, *_: object) -> None:
        if event == "timeout":
            keep(socket)
        go_on.wait()
        recorder.log.append(("done", socket))

    go_on = Event()
    recorder = Recorder(**{"timeout": keep, event: block})
    causing = gevent.spawn(cause_all, recorder, serve, dial)
    recorder.wait_for(event)
    gevent.sleep(0.1)
    assert recorder.events[-1] == event
    go_on.set()
    causing.get(timeout=10)
    recorder.wait_for("done")
    assert recorder.events[recorder.events.index(event) + 1] == "done"


def block_until(go_on: Event) -> Callable[..., None]:
    def handle(socket: AnySocket, *_: object) -> None:
        go_on.wait()

    return handle


def make_drain_and_stopping_due(recorder: Recorder, serve: Serve, dial: Dial) -> tuple[AnySocket, Peer]:
    """While its ``data`` handler blocks."""
    socket, peer = open_narrow(serve, dial, recorder)
    peer.send(b"?")
    recorder.wait_for("data")
    assert not socket.write(bytes(500_000))
    socket.server.stop(close_active=True)
    peer.read_exactly(500_000)
    wait_until(lambda: not socket.buffered)
    turns()
    assert recorder.events == ["open", "data"]
    return socket, peer


def test_what_came_due_while_a_handler_ran_comes_after_it_in_its_order(serve: Serve, dial: Dial) -> None:
    go_on = Event()
    recorder = Recorder(data=block_until(go_on))
    _, peer = make_drain_and_stopping_due(recorder, serve, dial)
    go_on.set()
    recorder.wait_for("stopping")
    peer.close()
    recorder.wait_for("close")
    assert recorder.events == ["open", "data", "drain", "stopping", "close"]


@pytest.mark.parametrize("end", ["terminate", "peer resets"])
def test_of_what_is_due_when_the_connection_ends_only_close_comes(end: str, serve: Serve, dial: Dial) -> None:
    go_on = Event()
    recorder = Recorder(data=block_until(go_on))
    socket, peer = make_drain_and_stopping_due(recorder, serve, dial)
    if end == "terminate":
        socket.terminate()
    else:
        socket.pause()
        peer.reset()
        wait_for_kernel(socket, reset=True)
        socket.write(b"?")
        wait_until(lambda: socket.closed)
    go_on.set()
    recorder.wait_for("close")
    turns()
    assert recorder.events == ["open", "data", "close"]


def test_a_handler_may_block_in_every_event_of_many_sockets(serve: Serve, dial: Dial) -> None:
    """Each goes its own way, whatever the others wait for."""
    gates = {event: Event() for event in ("open", "data", "end", "close")}
    recorder = Recorder(**{event: block_until(gate) for event, gate in gates.items()})
    server = serve(recorder.handlers)
    for _ in range(5):
        peer = dial(server)
        peer.send(b"?")
        peer.finish()
    for event, gate in gates.items():
        recorder.wait_for(event, 5)
        turns()
        assert recorder.events[-5:] == [event] * 5
        gate.set()
    wait_until(lambda: not server._shared.alive)
    assert len(recorder.events) == 20


# -- where they run ------------------------------------------------------------------------------------------------


def test_handlers_run_in_greenlets_and_never_in_the_hub(serve: Serve, dial: Dial) -> None:
    def note(event: str) -> Callable[..., None]:
        def handle(socket: AnySocket, *_: object) -> None:
            where[event] = getcurrent()
            gevent.sleep(0)  # which the hub could not do
            if event == "timeout":
                keep(socket)

        return handle

    where: dict[str, Any] = {}
    recorder = Recorder(**{event: note(event) for event in ALL})
    cause_all(recorder, serve, dial)
    wait_until(lambda: set(where) == set(ALL))
    assert gevent.get_hub() not in where.values()
    assert getcurrent() not in where.values()
    where.clear()


number: contextvars.ContextVar[int] = contextvars.ContextVar("number", default=0)


class Local(gevent.local.local):
    number = 0


local = Local()


def _next_of_context() -> int:
    number.set(number.get() + 1)
    return number.get()


def _next_of_local() -> int:
    local.number += 1
    return local.number


@pytest.mark.parametrize("blocks", [False, True])
@pytest.mark.parametrize("next_number", [_next_of_context, _next_of_local], ids=["contextvars", "gevent.local"])
def test_what_is_set_in_one_event_is_seen_in_the_next_and_by_no_other_socket(
    next_number: Callable[[], int], blocks: bool, serve: Serve, dial: Dial
) -> None:
    def count(socket: AnySocket, *_: object) -> None:
        seen.setdefault(socket, []).append(next_number())
        if blocks:
            gevent.sleep(0)

    seen: dict[AnySocket, list[int]] = {}
    recorder = Recorder(open=count, data=count, end=count, close=count)
    server = serve(recorder.handlers)
    peers = [dial(server) for _ in range(10)]
    for round_ in range(1, 4):
        for peer in peers:
            peer.send(b".")
        recorder.wait_for("data", 10 * round_)
    for peer in peers:
        peer.finish()
    recorder.wait_for("close", 10)
    wait_until(lambda: all(len(numbers) == 6 for numbers in seen.values()))
    assert list(seen.values()) == [[1, 2, 3, 4, 5, 6]] * 10
    assert number.get() == local.number == 0


def test_so_is_what_is_set_in_a_patched_threading_local(launch: Launch) -> None:
    program = launch(
        """
        from gevent import monkey
        monkey.patch_all()
        import threading, gevent, greensock
        from greensock.testing import Peer

        local = threading.local()
        seen = {}

        def count(socket, *_):
            local.number = getattr(local, "number", 0) + 1
            seen.setdefault(socket, []).append(local.number)

        server = greensock.listen(("127.0.0.1", 0), dict.fromkeys(("open", "data", "end", "close"), count))
        peers = [Peer(server.address) for _ in range(5)]
        for _ in range(2):
            for peer in peers:
                peer.send(b".")
            gevent.sleep(0.05)
        for peer in peers:
            peer.close()
        gevent.sleep(0.1)
        print(sorted(seen.values()), flush=True)
        server.stop(1)
        """
    )
    assert program.line() == str([[1, 2, 3, 4, 5]] * 5)
    assert program.finish()[0] == 0


# -- the last event ------------------------------------------------------------------------------------


@pytest.mark.parametrize("cause", ["terminate", "peer resets", "server stops"])
def test_close_waits_for_the_running_handler(cause: str, serve: Serve, dial: Dial) -> None:
    def answer(socket: AnySocket, data: bytes) -> None:
        go_on.wait()
        writing.append(attempt(socket.write, b"too late"))
        recorder.log.append(("done", socket))

    go_on = Event()
    writing: list[BaseException | None] = []
    recorder = Recorder(data=answer)
    server = serve(recorder.handlers)
    peer: Peer = dial(server)
    peer.send(b"?")
    socket, _ = recorder.wait_for("data")
    if cause == "peer resets":
        peer.reset()
    elif cause == "terminate":
        socket.terminate()
    else:
        server.stop(close_active=True)
    gevent.sleep(0.05)
    assert recorder.events == ["open", "data"]
    assert (socket.state is SocketState.CLOSED) == (cause == "terminate")
    go_on.set()
    if cause == "server stops":
        assert peer.read_to_end() == b"too late"
        peer.close()
    recorder.wait_for("close")
    assert [event for event in recorder.events if event != "stopping"] == ["open", "data", "done", "close"]
    assert (writing[0] is None) == (cause != "terminate")

"""The end of a socket: resets and who learns of them when, and that nothing of it is left."""

import gc
import weakref
from collections.abc import Callable

import gevent
import pytest
from gevent.event import Event

from connections import (
    AnySocket,
    Pair,
    attempt,
    fill_kernel,
    narrow_listener,
    reset_after,
    stream,
    turns,
    wait_for_kernel,
)
from greensock import CloseReason, SocketClosed
from greensock.testing import Dial, Peer, Recorder, Serve, wait_until
from greensock.wire import SMALL_READ

# -- resets ----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("size", [1, SMALL_READ, SMALL_READ + 1, 100_000])
@pytest.mark.parametrize("before", [b"", b"small"], ids=["nothing", "something"])
def test_bytes_that_arrived_before_a_reset_are_delivered_first(
    size: int, before: bytes, serve: Serve, dial: Dial
) -> None:
    def wait(socket: AnySocket, data: bytes = b"") -> None:
        if data in (b"", b"small"):
            held.set()
            go_on.wait()

    held, go_on = Event(), Event()
    recorder = Recorder(data=wait) if before else Recorder(open=wait)
    peer = dial(serve(recorder.handlers))
    if before:
        peer.send(before)
    held.wait()
    reset_after(peer, stream(size))
    go_on.set()
    socket, error = recorder.wait_for("close")
    assert recorder.received == before + stream(size)
    assert isinstance(error, ConnectionResetError)
    assert socket.close_reason is CloseReason.RESET
    assert set(recorder.events[1:-1]) == {"data"}, "and no `end`"


@pytest.mark.parametrize("size", [0, 1, SMALL_READ, 100_000])
def test_also_when_a_write_was_the_first_to_notice(size: int, serve: Serve, dial: Dial) -> None:
    def answer(socket: AnySocket, data: bytes) -> None:
        if data == b"?":
            held.set()
            go_on.wait()
            socket.write(b"lost")
            raised.append(attempt(socket.flush))

    held, go_on = Event(), Event()
    raised: list[BaseException | None] = []
    recorder = Recorder(data=answer)
    peer = dial(serve(recorder.handlers))
    peer.send(b"?")
    held.wait()
    reset_after(peer, stream(size))
    go_on.set()
    socket, error = recorder.wait_for("close")
    assert isinstance(raised[0], SocketClosed)
    assert recorder.received == b"?" + stream(size)
    assert isinstance(error, ConnectionResetError)
    assert raised[0].__cause__ is error
    assert (socket.close_reason, socket.unsent) == ("reset", 4)
    assert set(recorder.events[1:-1]) == {"data"}


def test_what_is_delivered_after_a_failed_write_cannot_be_answered(serve: Serve, dial: Dial) -> None:
    def answer(socket: AnySocket, data: bytes) -> None:
        if data == b"?":
            held.set()
            go_on.wait()
            socket.write(b"lost")
        else:
            raised.append(attempt(socket.write, b"more"))

    held, go_on = Event(), Event()
    raised: list[BaseException | None] = []
    recorder = Recorder(data=answer)
    peer = dial(serve(recorder.handlers))
    peer.send(b"?")
    held.wait()
    reset_after(peer, b"tail")
    go_on.set()
    socket, _ = recorder.wait_for("close")
    assert isinstance(raised[0], SocketClosed)
    assert socket.unsent == 4, "what was refused was not accepted"


def test_a_reset_while_nothing_happens_closes(pair: Pair) -> None:
    _, peer, recorder = pair
    peer.reset()
    _, error = recorder.wait_for("close")
    assert isinstance(error, ConnectionResetError)
    assert recorder.events == ["open", "close"]


def test_a_reset_during_a_handler_waits_for_it(serve: Serve, dial: Dial) -> None:
    go_on = Event()
    recorder = Recorder(data=lambda socket, data: go_on.wait())
    peer = dial(serve(recorder.handlers))
    peer.send(b"?")
    socket, _ = recorder.wait_for("data")
    peer.reset()
    wait_for_kernel(socket, reset=True)
    turns()
    assert recorder.events == ["open", "data"]
    go_on.set()
    recorder.wait_for("close")


# -- resets of sockets that are not read ---------------------------------------------------------------------


def test_a_paused_socket_learns_of_a_reset_when_it_resumes(pair: Pair) -> None:
    socket, peer, recorder = pair
    socket.pause()
    reset_after(peer, b"tail")
    wait_for_kernel(socket, reset=True)
    gevent.sleep(0.1)
    assert recorder.events == ["open"]
    socket.resume()
    _, error = recorder.wait_for("close")
    assert recorder.received == b"tail"
    assert isinstance(error, ConnectionResetError)


def test_a_paused_socket_learns_of_a_reset_when_it_writes(pair: Pair) -> None:
    socket, peer, recorder = pair
    socket.pause()
    peer.reset()
    wait_for_kernel(socket, reset=True)
    assert recorder.events == ["open"]
    socket.write(b"anybody?")
    _, error = recorder.wait_for("close")
    assert isinstance(error, ConnectionResetError)
    assert socket.unsent == 8


def test_a_paused_socket_learns_of_a_reset_when_it_times_out(pair: Pair) -> None:
    socket, peer, recorder = pair
    socket.pause()
    peer.reset()
    wait_for_kernel(socket, reset=True)
    socket.idle_timeout = 0.1
    recorder.wait_for("close")
    assert recorder.events == ["open", "timeout", "close"]


def test_a_paused_socket_learns_of_a_fin_when_it_resumes(pair: Pair) -> None:
    socket, peer, recorder = pair
    socket.pause()
    peer.send(b"tail")
    peer.finish()
    wait_for_kernel(socket)
    gevent.sleep(0.1)
    assert recorder.events == ["open"]
    socket.resume()
    recorder.wait_for("close")
    assert recorder.events == ["open", "data", "end", "close"]


def test_a_socket_over_its_mark_learns_of_a_reset_and_delivers_what_came_before(serve: Serve, dial: Dial) -> None:
    recorder = Recorder()
    peer = dial(serve(recorder.handlers, narrow_listener()), receive_buffer=4096)
    (socket,) = recorder.wait_for("open")
    fill_kernel(socket)
    peer.send(b"tail")
    wait_for_kernel(socket)
    turns()
    assert recorder.events == ["open"], "it is not read"
    peer.reset()
    _, error = recorder.wait_for("close")
    assert recorder.received == b"tail"
    assert isinstance(error, ConnectionResetError)
    assert socket.bytes_written + socket.unsent == 1_000_000


def test_a_socket_over_its_mark_learns_of_a_fin_when_it_is_read_again(serve: Serve, dial: Dial) -> None:
    recorder = Recorder()
    peer = dial(serve(recorder.handlers, narrow_listener()), receive_buffer=4096)
    (socket,) = recorder.wait_for("open")
    fill_kernel(socket)
    peer.send(b"tail")
    peer.finish()
    wait_for_kernel(socket)
    turns()
    assert recorder.events == ["open"]
    assert peer.read_to_end() == stream(1_000_000)
    recorder.wait_for("close")
    assert [event for event in recorder.events if event != "drain"] == ["open", "data", "end", "close"]


def test_one_that_pauses_because_its_peer_is_gone_learns_of_it(serve: Serve, dial: Dial) -> None:
    """The usual way to hold up a peer, when False means that there is no peer any more."""

    def answer(socket: AnySocket, data: bytes) -> None:
        peer.reset()
        wait_for_kernel(socket, reset=True)
        if not socket.write(bytes(100_000)):
            socket.pause()

    recorder = Recorder(data=answer, drain=lambda socket: socket.resume())
    peer = dial(serve(recorder.handlers))
    peer.send(b"?")
    _, error = recorder.wait_for("close")
    assert isinstance(error, ConnectionResetError)
    assert recorder.events == ["open", "data", "close"]


def test_one_that_pauses_at_the_last_bytes_before_a_reset_learns_of_it(serve: Serve, dial: Dial) -> None:
    def answer(socket: AnySocket, data: bytes) -> None:
        if data == b"small":
            held.set()
            go_on.wait()
        else:
            socket.pause()

    held, go_on = Event(), Event()
    recorder = Recorder(data=answer)
    peer = dial(serve(recorder.handlers, idle_timeout=0.2))
    peer.send(b"small")
    held.wait()
    reset_after(peer, stream(SMALL_READ))
    go_on.set()
    recorder.wait_for("close")
    assert recorder.received == b"small" + stream(SMALL_READ)


# -- what is left --------------------------------------------------------------------------------------------


@pytest.mark.parametrize("end", ["end", "reset", "reset seen by a write", "handler error", "terminate"])
def test_a_closed_socket_is_freed_without_the_garbage_collector(
    end: str, serve: Serve, dial: Dial, caplog: pytest.LogCaptureFixture
) -> None:
    def act(socket: AnySocket, data: bytes) -> None:
        seen.append(weakref.ref(socket))
        if end == "terminate":
            socket.terminate()
        elif end == "handler error":
            raise LookupError
        elif end == "reset seen by a write":
            peer.reset()
            wait_for_kernel(socket, reset=True)
            socket.write(b"lost")
        else:
            peer.reset() if end == "reset" else peer.finish()

    caplog.set_level("CRITICAL", "greensock")  # a line that pytest keeps would keep the traceback
    seen: list[weakref.ref[AnySocket]] = []
    closed = Event()
    server = serve({"data": act, "close": lambda socket, error: closed.set()})
    peer = dial(server)
    gc.collect()
    gc.disable()
    try:
        peer.send(b"?")
        assert closed.wait(5)
        wait_until(lambda: seen[0]() is None, timeout=2)
    finally:
        gc.enable()


def test_the_count_of_buffered_bytes_goes_back_to_nothing(serve: Serve, dial: Dial) -> None:
    recorder = Recorder()
    server = serve(recorder.handlers, narrow_listener(), max_buffered=1_500_000)
    ends: list[Callable[[AnySocket, Peer], object]] = [
        lambda socket, peer: peer.read_exactly(1_000_000),
        lambda socket, peer: peer.reset(),
        lambda socket, peer: socket.terminate(),
        lambda socket, peer: (socket.write(bytes(1_000_000)), socket.write(b"one too many")),
    ]
    for end in ends:
        peer = dial(server, receive_buffer=4096)
        wait_until(lambda: server.connections == 1)
        (socket,) = server.sockets
        fill_kernel(socket)
        assert server.stats().buffered == socket.buffered > 0
        end(socket, peer)
        wait_until(lambda: server.stats().buffered == 0)
        socket.terminate()
        wait_until(lambda: server.connections == 0)
    assert server.stats().buffered == 0
    assert server.stats().buffered_peak > 1_500_000

"""Writing that waits: ``flush`` and ``sendall``, how they end, and that they lose nothing."""

from collections.abc import Callable
from pathlib import Path
from time import monotonic

import gevent
import pytest
from gevent.event import Event

from connections import AnySocket, Pair, attempt, fill_kernel, open_full, stream, turns
from greensock import SlowConsumer, SocketClosed
from greensock.testing import Dial, Recorder, Serve, wait_until

#: Ways to wait until (nearly) everything is sent.
WAITS: dict[str, Callable[[AnySocket], object]] = {
    "flush": lambda socket: socket.flush(),
    "sendall": lambda socket: socket.sendall(b"."),
}


@pytest.fixture
def full(serve: Serve, dial: Dial, tmp_path: Path) -> Pair:
    """An open socket with 1,000,000 bytes for a peer that does not read: over its mark, and the kernel full."""
    return open_full(serve, dial, tmp_path)


def test_flush_waits_until_the_kernel_has_everything(full: Pair) -> None:
    socket, peer, _ = full
    flushing = gevent.spawn(socket.flush)
    while not flushing.ready():
        assert socket.buffered > 0
        peer.read(65_536)
        turns()
    flushing.get()
    assert socket.buffered == 0
    assert socket.bytes_written == 1_000_000


def test_sendall_waits_only_while_the_queue_is_over_its_high_water_mark(full: Pair) -> None:
    socket, peer, _ = full
    sending = gevent.spawn(socket.sendall, stream(100_000, 1_000_000))
    turns()
    rest = []
    while not sending.ready():
        assert socket.buffered > 65_536
        rest.append(peer.read(10_000))
        turns()
    sending.get()
    assert socket.buffered <= 65_536
    socket.end()
    assert b"".join(rest) + peer.read_to_end() == stream(1_100_000)


def test_flush_and_sendall_return_at_once_when_there_is_room(serve: Serve, dial: Dial) -> None:
    recorder = Recorder()
    peer = dial(serve(recorder.handlers))
    (socket,) = recorder.wait_for("open")
    with gevent.Timeout(1):
        socket.flush()
        socket.sendall(b"a")
        socket.write(b"b")
        socket.flush()
        assert socket.buffered == 0
        assert peer.read_exactly(2) == b"ab"


def test_flush_sends_what_a_handler_has_written_so_far(serve: Serve, dial: Dial) -> None:
    go_on = Event()

    def answer(socket: AnySocket, data: bytes) -> None:
        socket.write(b"1")
        socket.flush()
        buffered.append(socket.buffered)
        socket.write(b"2")
        go_on.wait()

    buffered: list[int] = []
    recorder = Recorder(data=answer)
    peer = dial(serve(recorder.handlers))
    peer.send(b"?")
    assert peer.read_exactly(2) == b"12"
    assert buffered == [0]
    go_on.set()


def test_a_flush_that_is_not_in_time_loses_nothing(full: Pair) -> None:
    socket, peer, _ = full
    queued = socket.buffered
    began = monotonic()
    with pytest.raises(TimeoutError, match=f"{queued} bytes"):
        socket.flush(timeout=0.2)
    assert 0.2 <= monotonic() - began < 1
    with pytest.raises(TimeoutError):
        socket.flush(timeout=0)
    assert socket.buffered == queued
    socket.end()
    assert peer.read_to_end() == stream(1_000_000)


@pytest.mark.parametrize("wait", WAITS)
def test_a_timeout_from_outside_loses_nothing(wait: str, full: Pair) -> None:
    socket, peer, _ = full
    with pytest.raises(gevent.Timeout), gevent.Timeout(0.1):
        WAITS[wait](socket)
    accepted = socket.bytes_written + socket.buffered
    socket.end()
    assert peer.read_to_end() == (stream(1_000_000) + b".")[:accepted]
    assert accepted >= 1_000_000


def test_many_may_wait_at_once(full: Pair) -> None:
    socket, peer, _ = full
    waiting = [gevent.spawn(wait, socket) for wait in WAITS.values() for _ in range(3)]
    turns()
    assert not any(greenlet.ready() for greenlet in waiting)
    peer.read_exactly(1_000_003)
    gevent.joinall(waiting, raise_error=True, timeout=2)
    assert all(greenlet.successful() for greenlet in waiting)
    assert socket.buffered == 0


def test_each_waits_for_its_own_limit(serve: Serve, dial: Dial, tmp_path: Path) -> None:
    socket, peer, _ = open_full(serve, dial, tmp_path, high_water_mark=500_000)
    flushing, sending = gevent.spawn(socket.flush), gevent.spawn(socket.sendall, b".")
    while not sending.ready():
        peer.read(20_000)
        turns()
    assert not flushing.ready()
    assert 0 < socket.buffered <= 500_000
    socket.end()
    peer.read_to_end()
    flushing.get(timeout=2)


def test_a_flush_that_gave_up_is_not_in_the_way_of_the_next(full: Pair) -> None:
    socket, peer, _ = full
    for _ in range(3):
        with pytest.raises(TimeoutError, match=r"\d+ bytes are still queued after 0\.01 s"):
            socket.flush(timeout=0.01)
    assert not socket._waiters
    flushing = gevent.spawn(socket.flush)
    peer.read_exactly(1_000_000)
    flushing.get(timeout=2)


@pytest.mark.parametrize("wait", WAITS)
@pytest.mark.parametrize("end", ["reset", "close", "terminate"])
def test_waiting_ends_with_the_connection(wait: str, end: str, full: Pair) -> None:
    socket, peer, recorder = full
    waiting = gevent.spawn(attempt, WAITS[wait], socket)
    turns()
    assert not waiting.ready()
    {"reset": peer.reset, "close": peer.close, "terminate": socket.terminate}[end]()
    error = waiting.get(timeout=2)
    recorder.wait_for("close")
    assert isinstance(error, SocketClosed)
    assert isinstance(error.__cause__, OSError) == (end != "terminate")
    assert socket.unsent == 1_000_000 + (wait == "sendall") - socket.bytes_written


@pytest.mark.parametrize("wait", WAITS)
def test_waiting_goes_on_while_the_socket_closes_gracefully(wait: str, full: Pair) -> None:
    socket, peer, recorder = full
    waiting = gevent.spawn(WAITS[wait], socket)
    turns()
    socket.close()
    turns()
    assert not waiting.ready()
    received = peer.read_to_end()
    peer.close()
    waiting.get(timeout=2)
    recorder.wait_for("close")
    assert len(received) == 1_000_000 + (wait == "sendall")
    assert socket.unsent == 0


def test_flush_after_everything_was_delivered_is_content(serve: Serve, dial: Dial) -> None:
    recorder = Recorder()
    peer = dial(serve(recorder.handlers))
    (socket,) = recorder.wait_for("open")
    socket.end(b"all")
    socket.flush()
    assert peer.read_to_end() == b"all"
    socket.flush()
    socket.flush()
    peer.send(b"alive")
    recorder.wait_for("data")
    peer.finish()
    assert recorder.wait_for("close") == (socket, None)
    socket.flush()
    assert socket.unsent == 0


@pytest.mark.parametrize("end", ["reset", "terminate"])
def test_flush_after_bytes_were_lost_raises(end: str, full: Pair) -> None:
    socket, peer, recorder = full
    {"reset": peer.reset, "terminate": socket.terminate}[end]()
    recorder.wait_for("close")
    with pytest.raises(SocketClosed):
        socket.flush()


def test_flush_that_finds_the_connection_dead_raises(serve: Serve, dial: Dial) -> None:
    def answer(socket: AnySocket, data: bytes) -> None:
        peer.reset()
        socket.write(b"for nobody")
        try:
            socket.flush()
        except SocketClosed as error:
            caught.append(error)

    caught: list[SocketClosed] = []
    recorder = Recorder(data=answer)
    peer = dial(serve(recorder.handlers))
    peer.send(b"?")
    (socket, error) = recorder.wait_for("close")
    assert isinstance(caught[0].__cause__, ConnectionError)
    assert error is caught[0].__cause__
    assert socket.unsent == 10


def test_sendall_that_finds_the_connection_dead_raises(serve: Serve, dial: Dial) -> None:
    def answer(socket: AnySocket, data: bytes) -> None:
        peer.reset()
        try:
            socket.sendall(bytes(100_000))
        except SocketClosed as error:
            caught.append(error)

    caught: list[SocketClosed] = []
    recorder = Recorder(data=answer)
    peer = dial(serve(recorder.handlers))
    peer.send(b"?")
    (socket, _) = recorder.wait_for("close")
    assert isinstance(caught[0].__cause__, ConnectionError)
    assert socket.unsent == 100_000


def test_sendall_to_a_slow_consumer_raises(serve: Serve, dial: Dial, tmp_path: Path) -> None:
    recorder = Recorder()
    dial(serve(recorder.handlers, f"unix:{tmp_path}/s", max_buffered=100_000))
    (socket,) = recorder.wait_for("open")
    fill_kernel(socket)
    with pytest.raises(SocketClosed):
        socket.sendall(b"one too many")
    _, error = recorder.wait_for("close")
    assert isinstance(error, SlowConsumer)


def test_a_killed_waiter_leaves_the_others_alone(full: Pair) -> None:
    socket, peer, _ = full
    killed, kept = gevent.spawn(socket.flush), gevent.spawn(socket.flush)
    turns()
    killed.kill()
    peer.read_exactly(1_000_000)
    kept.get(timeout=2)
    wait_until(lambda: socket.buffered == 0)

"""From the queue to the kernel: what follows from what was sent, from what was not, and from a kernel that fails."""

from pathlib import Path
from time import monotonic

import gevent
import pytest
from gevent.event import Event

from connections import (
    AnySocket,
    attempt,
    open_full,
    open_narrow,
    stream,
    turns,
    wait_until_steady,
)
from greensock import CloseReason, SocketClosed
from greensock.testing import Dial, Peer, Recorder, Serve

Pair = tuple[AnySocket, Peer, Recorder]


@pytest.fixture
def full(serve: Serve, dial: Dial, tmp_path: Path) -> Pair:
    """An open socket, a peer that does not read, and what happens: its kernel is full, and its queue below its mark."""
    return open_full(serve, dial, tmp_path, high_water_mark=2_000_000, low_water_mark=500_000)


# -- drain ---------------------------------------------------------------------------------------------


def test_each_false_is_followed_by_one_drain_at_the_low_water_mark(full: Pair) -> None:
    socket, peer, recorder = full
    for crossing in (1, 2):
        assert not socket.write(bytes(3_000_000 - socket.buffered))
        assert not socket.write(b"and more")
        turns()
        assert recorder.events.count("drain") == crossing - 1
        while "drain" not in recorder.events[crossing:]:
            peer.read(65_536)
            turns()
            drained = recorder.events.count("drain") == crossing
            assert drained == (socket.buffered <= 500_000)
        while socket.buffered > 400_000:
            peer.read(65_536)
            turns()
        assert recorder.events == ["open"] + ["drain"] * crossing


def test_no_drain_without_a_false(full: Pair) -> None:
    socket, peer, recorder = full
    assert socket.write(bytes(2_000_000 - socket.buffered))
    peer.read_exactly(socket.bytes_written + socket.buffered)
    turns()
    assert recorder.events == ["open"]


def test_a_false_that_no_drain_can_follow_is_followed_by_close(full: Pair) -> None:
    socket, peer, recorder = full
    assert not socket.write(bytes(2_000_000))
    peer.reset()
    recorder.wait_for("close")
    turns()
    assert recorder.events == ["open", "close"]


def test_drain_waits_for_the_handler_that_runs(serve: Serve, dial: Dial, tmp_path: Path) -> None:
    go_on = Event()

    def answer(socket: AnySocket, data: bytes) -> None:
        assert not socket.write(bytes(1_000_000))
        go_on.wait()
        recorder.log.append(("data is done", socket))

    recorder = Recorder(data=answer)
    peer = dial(serve(recorder.handlers, f"unix:{tmp_path}/s"))
    peer.send(b"?")
    peer.read_exactly(1_000_000)
    turns()
    assert recorder.events == ["open", "data"]
    go_on.set()
    recorder.wait_for("drain")
    assert recorder.events == ["open", "data", "data is done", "drain"]


# -- totals --------------------------------------------------------------------------------------------


def test_what_was_accepted_is_written_or_buffered_or_unsent(full: Pair) -> None:
    socket, peer, recorder = full
    accepted = 1_000_000
    assert socket.bytes_written + socket.buffered == accepted
    assert socket.unsent == 0
    socket.write(b"12345")
    assert socket.bytes_written + socket.buffered == accepted + 5
    peer.read_exactly(500_000)
    turns()
    assert socket.bytes_written + socket.buffered == accepted + 5
    assert socket.buffered
    socket.terminate()
    assert socket.buffered == 0
    assert socket.unsent > 0
    assert socket.bytes_written + socket.unsent == accepted + 5
    recorder.wait_for("close")
    assert socket.bytes_written + socket.unsent == accepted + 5


# -- write_timeout -------------------------------------------------------------------------------------


def test_write_timeout_ends_a_connection_that_takes_nothing(serve: Serve, dial: Dial) -> None:
    recorder = Recorder()
    socket, peer = open_narrow(serve, dial, recorder, write_timeout=0.3)
    socket.write(stream(1_000_000))
    left = wait_until_steady(socket)
    began = monotonic()
    _, error = recorder.wait_for("close")
    assert monotonic() - began < 1.3
    assert isinstance(error, TimeoutError)
    assert str(left) in str(error)
    assert recorder.events == ["open", "close"], "no `timeout`"
    assert socket.close_reason is CloseReason.TIMEOUT
    assert socket.unsent == left
    assert socket.server.stats().timeouts == 1
    assert peer.is_reset()


def test_write_timeout_is_never_early(serve: Serve, dial: Dial, tmp_path: Path) -> None:
    recorder = Recorder()
    server = serve(recorder.handlers, f"unix:{tmp_path}/s", write_timeout=0.3)
    dial(server)
    (socket,) = recorder.wait_for("open")
    gevent.sleep(0.2)  # time in which nothing was queued does not count
    began = monotonic()
    socket.write(bytes(1_000_000))
    recorder.wait_for("close")
    assert 0.3 <= monotonic() - began < 1.3


def test_write_timeout_wakes_whoever_waits(serve: Serve, dial: Dial) -> None:
    recorder = Recorder()
    socket, _ = open_narrow(serve, dial, recorder, write_timeout=0.2)
    socket.write(bytes(1_000_000))
    error = attempt(socket.flush)
    assert isinstance(error, SocketClosed)
    assert isinstance(error.__cause__, TimeoutError)


def test_a_slow_peer_is_no_reason_for_the_write_timeout(serve: Serve, dial: Dial, tmp_path: Path) -> None:
    recorder = Recorder()
    server = serve(recorder.handlers, f"unix:{tmp_path}/s", write_timeout=0.4)
    peer = dial(server)
    (socket,) = recorder.wait_for("open")
    socket.write(stream(2_000_000))
    received = []
    began = monotonic()
    while socket.buffered:
        received.append(peer.read_exactly(200_000))
        gevent.sleep(0.1)
    assert monotonic() - began > 0.6
    socket.end()
    assert b"".join(received) + peer.read_to_end() == stream(2_000_000)


def test_without_a_write_timeout_a_stalled_peer_is_waited_for(serve: Serve, dial: Dial) -> None:
    recorder = Recorder()
    socket, peer = open_narrow(serve, dial, recorder, write_timeout=None)
    socket.write(stream(1_000_000))
    with pytest.raises(TimeoutError):
        socket.flush(timeout=0.7)
    assert peer.read_exactly(1_000_000) == stream(1_000_000)
    assert recorder.events == ["open", "drain"]

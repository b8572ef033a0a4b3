"""From the queue to the kernel: what follows from what was sent, from what was not, and from a kernel that fails."""

import signal
from collections.abc import Callable
from pathlib import Path
from time import monotonic
from typing import Any

import gevent
import pytest
from gevent.event import Event

from connections import (
    AnySocket,
    Pair,
    Sends,
    attempt,
    few_turns,
    open_full,
    open_narrow,
    stream,
    turns,
    wait_until_steady,
)
from greensock import CloseReason, SocketClosed, SocketState
from greensock.testing import Dial, Recorder, Serve, wait_until
from greensock.wire import Plain


@pytest.fixture
def full(serve: Serve, dial: Dial, tmp_path: Path) -> Pair:
    """An open socket, a peer that does not read, and what happens: its kernel is full, and its queue below its mark."""
    return open_full(serve, dial, tmp_path, high_water_mark=2_000_000, low_water_mark=500_000)


# -- what is sent, and when ----------------------------------------------------------------------------


def test_what_is_too_much_to_copy_is_one_system_call_all_the_same(serve: Serve, dial: Dial, sends: Sends) -> None:
    parts = [stream(50_000, start) for start in range(0, 150_000, 50_000)]
    peer = dial(serve({"data": lambda socket, data: socket.writelines(parts)}))
    peer.send(b"?")
    assert peer.read_exactly(150_000) == stream(150_000)
    assert sends == [150_000]


def test_a_kernel_that_is_full_is_left_alone_until_it_has_room(full: Pair, sends: Sends) -> None:
    socket, peer, _ = full
    left = socket.buffered
    with few_turns():
        turns()
    assert (socket.buffered, sends) == (left, [])
    assert peer.read_exactly(1_000_000) == stream(1_000_000)
    assert sum(sends) == left
    assert 0 not in sends, "nor is it asked again when it has taken a part"


def test_a_queue_that_has_emptied_costs_no_turns(serve: Serve, dial: Dial) -> None:
    socket, peer = open_narrow(serve, dial, Recorder())
    socket.write(stream(300_000))
    assert peer.read_exactly(300_000) == stream(300_000)
    wait_until(lambda: not socket.buffered)
    with few_turns():
        turns()


def test_small_writes_behind_a_full_kernel_go_together(full: Pair, sends: Sends) -> None:
    socket, peer, _ = full
    asked = len(sends)
    for position in range(1_000_000, 1_010_000, 10):
        socket.write(stream(10, position))
        if not position % 1000:
            turns(1)
    assert len(sends) == asked, "nobody asks a kernel that is known to be full"
    socket.end()
    assert peer.read_to_end() == stream(1_010_000)
    assert len(sends) < asked + 100


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


def test_a_socket_that_has_ended_is_told_as_well(full: Pair) -> None:
    socket, peer, recorder = full
    assert not socket.write(stream(2_000_000, 1_000_000))
    socket.end()
    assert peer.read_to_end() == stream(3_000_000)
    recorder.wait_for("drain")
    peer.finish()
    recorder.wait_for("close")
    assert recorder.events == ["open", "drain", "close"]


def test_one_that_closes_is_not(full: Pair) -> None:
    socket, peer, recorder = full
    assert not socket.write(stream(2_000_000, 1_000_000))
    socket.close()
    assert peer.read_to_end() == stream(3_000_000)
    peer.close()
    recorder.wait_for("close")
    assert recorder.events == ["open", "close"]


def test_without_a_drain_handler_it_is_counted_all_the_same(serve: Serve, dial: Dial) -> None:
    opened: list[AnySocket] = []
    server = serve({"open": opened.append}, high_water_mark=1000)
    peer = dial(server)
    wait_until(lambda: opened)
    for times in (1, 2):
        assert not opened[0].write(bytes(20_000_000))
        peer.read_exactly(20_000_000)
        wait_until(lambda: server.stats().drains == times)  # noqa: B023 - it is called at once


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


def test_a_socket_that_closes_has_the_close_timeout_instead(serve: Serve, dial: Dial) -> None:
    recorder = Recorder()
    socket, peer = open_narrow(serve, dial, recorder, write_timeout=0.2, close_timeout=None)
    socket.write(stream(1_000_000))
    socket.close()
    with pytest.raises(AssertionError):
        recorder.wait_for("close", timeout=0.7)
    assert peer.read_to_end() == stream(1_000_000)
    peer.close()
    recorder.wait_for("close")
    assert (socket.close_reason, socket.unsent) == ("local", 0)


# -- the end -------------------------------------------------------------------------------------------


def test_fin_comes_right_behind_the_last_byte(serve: Serve, dial: Dial, tmp_path: Path) -> None:
    socket, peer, _ = open_full(serve, dial, tmp_path)
    socket.end()
    assert peer.read_exactly(999_999) == stream(999_999)
    assert peer.read_to_end() == stream(1, 999_999)
    assert socket.state is SocketState.ENDED


def test_a_socket_whose_peer_has_ended_closes_with_its_last_byte(serve: Serve, dial: Dial, tmp_path: Path) -> None:
    options = {"high_water_mark": 2_000_000, "allow_half_open": True, "close_timeout": None}
    socket, peer, recorder = open_full(serve, dial, tmp_path, **options)
    socket.end()
    peer.finish()
    turns()
    assert socket.state is SocketState.ENDED
    assert peer.read_to_end() == stream(1_000_000)
    recorder.wait_for("close")
    assert (socket.close_reason, socket.unsent) == ("local", 0)


@pytest.mark.parametrize("state", ["paused", "closing", "half-open"])
def test_a_kernel_that_fails_closes_at_once_what_is_not_read(
    state: str, serve: Serve, dial: Dial, tmp_path: Path
) -> None:
    socket, peer, recorder = open_full(serve, dial, tmp_path, allow_half_open=True, close_timeout=None)
    if state == "paused":
        socket.pause()
    elif state == "closing":
        socket.close()
    else:
        peer.read_exactly(1_000_000)
        peer.finish()
        recorder.wait_for("end")
        socket.write(bytes(1_000_000))
    peer.close()
    _, error = recorder.wait_for("close")
    assert socket.unsent > 0
    assert (error is None) == (state == "closing")
    assert socket.close_reason is (CloseReason.LOCAL if state == "closing" else CloseReason.RESET)


@pytest.mark.parametrize("way", ["write", "write_many"])
def test_a_signal_in_a_flush_ends_the_connection_for_nobody_knows_what_was_sent(
    way: str, serve: Serve, dial: Dial, monkeypatch: pytest.MonkeyPatch
) -> None:
    def interrupted(wire: Plain, data: Any) -> int:
        sent: int = send(wire, data)
        signal.raise_signal(signal.SIGINT)
        return sent

    send: Callable[..., int] = getattr(Plain, way)
    parts = [b"one"] if way == "write" else [stream(50_000)] * 3
    recorder = Recorder()
    peer = dial(serve(recorder.handlers, high_water_mark=1_000_000))
    (socket,) = recorder.wait_for("open")
    socket.writelines(parts)
    monkeypatch.setattr(Plain, way, interrupted)
    with pytest.raises(KeyboardInterrupt):
        socket.flush()
    monkeypatch.undo()
    _, error = recorder.wait_for("close")
    assert isinstance(error, KeyboardInterrupt)
    assert (socket.close_reason, socket.bytes_written) == (CloseReason.HANDLER_ERROR, 0)
    assert socket.unsent == len(b"".join(parts)), "it may have been sent, and is not sent again"
    assert peer.is_reset()

"""The idle clock: never early, at most a second late, and what starts it anew."""

import time
from collections.abc import Callable
from itertools import pairwise
from pathlib import Path
from time import monotonic
from typing import Any

import gevent
import pytest

from connections import AnySocket, fill_kernel, stream, turns
from greensock import CloseReason, SocketState
from greensock.testing import Dial, Peer, Recorder, Serve, wait_until

IDLE = 0.4

#: Ways to send from a greenlet that runs no handler of the socket. Each sends at once, or at the end of the turn.
SENDS: dict[str, Callable[[AnySocket], object]] = {
    "write": lambda socket: socket.write(b"."),
    "writelines": lambda socket: socket.writelines([b".", b"."]),
    "sendall": lambda socket: socket.sendall(b"."),
    "write-over-the-mark": lambda socket: socket.write(bytes(100_000)),
    "cork": lambda socket: _corked(socket),
    "flush": lambda socket: _flushed(socket),
}


def _corked(socket: AnySocket) -> None:
    with socket.cork():
        socket.write(b".")


def _flushed(socket: AnySocket) -> None:
    socket.write(b".")
    socket.flush()


class Clock:
    """When the events of one connection came, in seconds since its ``open``."""

    def __init__(self, **behaviour: Callable[..., object]) -> None:
        self.times: dict[str, list[float]] = {}
        self.began = 0.0
        self.recorder = Recorder(
            **{
                event: self._timed(event, behaviour.get(event))
                for event in ("open", "data", "drain", "timeout", "close")
            }
        )

    def _timed(self, event: str, behaviour: Callable[..., object] | None) -> Callable[..., None]:
        def handle(*arguments: Any) -> None:
            if event == "open":
                self.began = monotonic()
            self.times.setdefault(event, []).append(monotonic() - self.began)
            if behaviour is not None:
                behaviour(*arguments)

        return handle


def test_it_is_never_early_and_at_most_a_second_late(serve: Serve, dial: Dial) -> None:
    clocks = {seconds: Clock() for seconds in (0.05, 0.2, 0.35, 0.5)}
    for seconds, clock in clocks.items():
        dial(serve(clock.recorder.handlers, idle_timeout=seconds))
    for seconds, clock in clocks.items():
        clock.recorder.wait_for("timeout")
        assert seconds <= clock.times["timeout"][0] <= seconds + 1


def test_the_socket_closes_after_it(serve: Serve, dial: Dial) -> None:
    recorder = Recorder(open=lambda socket: socket.write(b"hello"))
    peer = dial(serve(recorder.handlers, idle_timeout=0.1))
    assert peer.read_to_end() == b"hello", "gracefully"
    peer.close()
    socket, error = recorder.wait_for("close")
    assert recorder.events == ["open", "timeout", "close"]
    assert (error, socket.close_reason) == (None, CloseReason.TIMEOUT)
    assert socket.server.stats().timeouts == 1


def test_without_a_handler_it_closes_all_the_same(serve: Serve, dial: Dial) -> None:
    peer = dial(serve({"data": lambda socket, data: None}, idle_timeout=0.1))
    assert peer.read_to_end() == b""


def test_what_is_received_starts_it_anew(serve: Serve, dial: Dial) -> None:
    clock = Clock()
    peer = dial(serve(clock.recorder.handlers, idle_timeout=IDLE))
    clock.recorder.wait_for("open")
    for _ in range(6):
        gevent.sleep(0.1)
        peer.send(b".")
    clock.recorder.wait_for("timeout")
    assert clock.times["timeout"][0] >= clock.times["data"][-1] + IDLE
    assert len(clock.times["data"]) == 6


def test_it_is_reset_also_where_nobody_handles_data(serve: Serve, dial: Dial) -> None:
    recorder = Recorder()
    del recorder.handlers["data"]
    peer = dial(serve(recorder.handlers, idle_timeout=IDLE))
    recorder.wait_for("open")
    for _ in range(6):
        gevent.sleep(0.1)
        peer.send(b".")
    assert recorder.events == ["open"]
    recorder.wait_for("timeout")


def test_what_is_sent_starts_it_anew(serve: Serve, dial: Dial) -> None:
    clocks = {way: Clock() for way in SENDS}
    peers = [dial(serve(clock.recorder.handlers, idle_timeout=IDLE)) for clock in clocks.values()]
    reading = [gevent.spawn(peer.read_to_end) for peer in peers]
    sockets = {way: clock.recorder.wait_for("open")[0] for way, clock in clocks.items()}
    for _ in range(6):
        gevent.sleep(0.1)
        for way, socket in sockets.items():
            SENDS[way](socket)
    turns()
    sent = {way: monotonic() - clock.began for way, clock in clocks.items()}
    for way, clock in clocks.items():
        clock.recorder.wait_for("timeout")
        assert clock.times["timeout"][0] >= sent[way] + IDLE - 0.05, way
    gevent.joinall(reading, raise_error=True)


def test_what_a_slow_peer_takes_starts_it_anew(serve: Serve, dial: Dial, tmp_path: Path) -> None:
    clock = Clock()
    peer = dial(serve(clock.recorder.handlers, f"unix:{tmp_path}/s", idle_timeout=IDLE))
    (socket,) = clock.recorder.wait_for("open")
    socket.write(stream(2_000_000))
    while socket.buffered:
        peer.read_exactly(200_000)
        gevent.sleep(0.1)
    assert monotonic() - clock.began > 2 * IDLE
    assert "timeout" not in clock.times
    clock.recorder.wait_for("timeout")
    assert clock.times["timeout"][0] >= clock.times["drain"][0]


def test_what_is_only_queued_does_not_start_it_anew(serve: Serve, dial: Dial, tmp_path: Path) -> None:
    clock = Clock()
    dial(serve(clock.recorder.handlers, f"unix:{tmp_path}/s", idle_timeout=0.5, close_timeout=0.1))
    (socket,) = clock.recorder.wait_for("open")
    fill_kernel(socket)
    stalled = monotonic() - clock.began
    while socket.state is SocketState.OPEN:
        assert monotonic() - clock.began < 5
        socket.write(b".")
        gevent.sleep(0.05)
    assert clock.times["timeout"][0] <= stalled + 1.5


def test_it_stands_still_while_a_handler_runs(serve: Serve, dial: Dial) -> None:
    def answer(socket: AnySocket, data: bytes) -> None:
        gevent.sleep(0.7)
        returned.append(monotonic() - clock.began)

    returned: list[float] = []
    clock = Clock(data=answer)
    peer = dial(serve(clock.recorder.handlers, idle_timeout=IDLE))
    peer.send(b"?")
    clock.recorder.wait_for("timeout")
    assert returned, "the handler has returned"
    assert clock.times["timeout"][0] >= returned[0] + IDLE


def test_what_has_arrived_in_time_counts_also_when_the_loop_was_held_up(serve: Serve, dial: Dial) -> None:
    recorder = Recorder()
    peer = dial(serve(recorder.handlers, idle_timeout=IDLE))
    recorder.wait_for("open")
    peer.send(b"in time")
    time.sleep(2 * IDLE)  # on purpose: the clock of the loop, and every greenlet with it
    recorder.wait_for("data")
    turns(20)
    assert recorder.events == ["open", "data"]


# -- what keeps the socket -----------------------------------------------------------------------------------


def test_a_byte_sent_in_the_timeout_handler_keeps_the_socket(serve: Serve, dial: Dial) -> None:
    clock = Clock(timeout=lambda socket: socket.write(b"ping"))
    peer = dial(serve(clock.recorder.handlers, idle_timeout=0.15))
    assert peer.read_exactly(12) == b"ping" * 3
    assert clock.recorder.events == ["open", *["timeout"] * 3]
    times = [0.0, *clock.times["timeout"]]
    assert all(later - earlier >= 0.15 for earlier, later in pairwise(times))


@pytest.mark.parametrize("blocks", ["before", "after"])
def test_so_does_one_that_a_handler_sends_which_blocks(blocks: str, serve: Serve, dial: Dial) -> None:
    def answer(socket: AnySocket) -> None:
        if blocks == "before":
            turns()
        socket.write(b"ping")
        if blocks == "after":
            turns()

    recorder = Recorder(timeout=answer)
    peer = dial(serve(recorder.handlers, idle_timeout=0.1))
    assert peer.read_exactly(8) == b"ping" * 2
    assert set(recorder.events[1:]) == {"timeout"}


@pytest.mark.parametrize("seconds", [0.1, 0.5, None])
def test_setting_the_clock_in_the_timeout_handler_keeps_the_socket(
    seconds: float | None, serve: Serve, dial: Dial
) -> None:
    recorder = Recorder(timeout=lambda socket: setattr(socket, "idle_timeout", seconds))
    dial(serve(recorder.handlers, idle_timeout=0.1))
    (socket,) = recorder.wait_for("timeout")
    turns(20)
    assert socket.state is SocketState.OPEN
    assert socket.idle_timeout == seconds
    if seconds is not None:
        recorder.wait_for("timeout", 2)


def test_a_handler_that_only_blocks_does_not_keep_the_socket(serve: Serve, dial: Dial) -> None:
    recorder = Recorder(timeout=lambda socket: gevent.sleep(0.2))
    peer = dial(serve(recorder.handlers, idle_timeout=0.1))
    assert peer.read_to_end() == b""
    assert recorder.events[:2] == ["open", "timeout"]
    assert recorder.events.count("timeout") == 1


def test_a_byte_that_the_kernel_does_not_take_does_not_keep_the_socket(
    serve: Serve, dial: Dial, tmp_path: Path
) -> None:
    recorder = Recorder(timeout=lambda socket: socket.write(b"ping"))
    dial(serve(recorder.handlers, f"unix:{tmp_path}/s", idle_timeout=0.5, close_timeout=0.1))
    (socket,) = recorder.wait_for("open")
    socket.write(bytes(1_000_000))
    recorder.wait_for("close")
    assert socket.close_reason is CloseReason.TIMEOUT
    assert recorder.events.count("timeout") == 1


# -- setting it ----------------------------------------------------------------------------------------------


def test_setting_it_starts_it_anew(serve: Serve, dial: Dial) -> None:
    clock = Clock()
    dial(serve(clock.recorder.handlers, idle_timeout=IDLE))
    (socket,) = clock.recorder.wait_for("open")
    for _ in range(4):
        gevent.sleep(0.1)
        socket.idle_timeout = IDLE
    set_at = monotonic() - clock.began
    clock.recorder.wait_for("timeout")
    assert clock.times["timeout"][0] >= set_at + IDLE - 0.05


def test_a_socket_may_have_a_clock_of_its_own(serve: Serve, dial: Dial) -> None:
    recorder = Recorder()
    server = serve(recorder.handlers)
    dial(server)
    dial(server)
    recorder.wait_for("open", 2)
    one, other = recorder.sockets
    assert one.idle_timeout is None
    one.idle_timeout = 0.1
    assert one.idle_timeout == 0.1
    assert recorder.wait_for("timeout") == (one,)
    assert other.idle_timeout is None
    assert other.state is SocketState.OPEN


def test_none_stops_it(serve: Serve, dial: Dial) -> None:
    recorder = Recorder()
    dial(serve(recorder.handlers, idle_timeout=0.1))
    (socket,) = recorder.wait_for("open")
    assert socket.idle_timeout == 0.1
    socket.idle_timeout = None
    with pytest.raises(AssertionError):
        recorder.wait_for("timeout", timeout=0.5)
    assert socket.state is SocketState.OPEN


@pytest.mark.parametrize("value", [0, -1, "1", True, float("nan"), float("inf"), [1]])
def test_what_is_no_time_is_refused(value: Any, serve: Serve, dial: Dial) -> None:
    recorder = Recorder()
    dial(serve(recorder.handlers, idle_timeout=5))
    (socket,) = recorder.wait_for("open")
    with pytest.raises(ValueError, match="idle_timeout"):
        socket.idle_timeout = value
    assert socket.idle_timeout == 5


def test_setting_it_on_a_closed_socket_is_harmless(serve: Serve, dial: Dial) -> None:
    recorder = Recorder()
    peer = dial(serve(recorder.handlers, idle_timeout=5))
    peer.close()
    (socket, _) = recorder.wait_for("close")
    socket.idle_timeout = 0.05
    with pytest.raises(AssertionError):
        recorder.wait_for("timeout", timeout=0.2)


# -- in other states -----------------------------------------------------------------------------------------


def _pause(socket: AnySocket, peer: Peer) -> None:
    socket.pause()
    peer.send(b"not delivered")


def _choke(socket: AnySocket, peer: Peer) -> None:
    fill_kernel(socket)


@pytest.mark.parametrize(
    "state",
    [_pause, _choke, lambda socket, peer: socket.end(), lambda socket, peer: peer.finish()],
    ids=["paused", "over-its-mark", "ended", "the-peer-has-ended"],
)
def test_it_goes_on_while_the_socket_is(
    state: Callable[[AnySocket, Peer], None], serve: Serve, dial: Dial, tmp_path: Path
) -> None:
    recorder = Recorder()
    server = serve(recorder.handlers, f"unix:{tmp_path}/s", idle_timeout=0.4, close_timeout=0.1, allow_half_open=True)
    peer = dial(server)
    (socket,) = recorder.wait_for("open")
    state(socket, peer)
    recorder.wait_for("timeout", timeout=1.4)
    recorder.wait_for("close")
    assert "data" not in recorder.events


def test_a_socket_that_closes_has_no_timeout(serve: Serve, dial: Dial) -> None:
    recorder = Recorder()
    peer = dial(serve(recorder.handlers, idle_timeout=0.1))
    (socket,) = recorder.wait_for("open")
    socket.close()
    with pytest.raises(AssertionError):
        recorder.wait_for("timeout", timeout=0.4)
    peer.finish()
    recorder.wait_for("close")
    wait_until(lambda: recorder.events == ["open", "close"])


def test_a_timeout_handler_that_raises_ends_the_connection_for_that_reason(serve: Serve, dial: Dial) -> None:
    def fail(socket: AnySocket) -> None:
        raise LookupError

    recorder = Recorder(timeout=fail)
    dial(serve(recorder.handlers, idle_timeout=0.1))
    socket, error = recorder.wait_for("close")
    assert isinstance(error, LookupError)
    assert socket.close_reason is CloseReason.HANDLER_ERROR

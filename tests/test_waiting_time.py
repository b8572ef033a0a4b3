"""How long blocking style waits: the deadlines of its reads, which lose nothing, and the idle clock."""

import random
from collections.abc import Callable
from time import monotonic

import gevent
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from connections import AnySocket, ByHand, MakeByHand, turns
from greensock import CloseReason, IncompleteRead, SocketClosed, SocketState
from greensock.testing import PATIENCE, Dial, Recorder, Serve, wait_until


@pytest.fixture
def pair(by_hand: MakeByHand) -> ByHand:
    return by_hand()


def test_a_timeout_loses_nothing(pair: ByHand) -> None:
    pair.says(b"abc")
    reads: list[Callable[[], object]] = [
        lambda: pair.socket.read_exactly(4, timeout=0.02),
        lambda: pair.socket.read_until(b"\n", timeout=0.02),
        lambda: next(pair.socket.lines(timeout=0.02)),
    ]
    for read in reads:
        with pytest.raises(TimeoutError, match=r"no more input came in 0\.02 s"):
            read()
    assert pair.socket.recv() == b"abc"
    with pytest.raises(TimeoutError):
        pair.socket.recv(timeout=0.02)
    assert pair.socket.state is SocketState.OPEN


def test_a_timeout_of_zero_takes_what_is_there(pair: ByHand) -> None:
    with pytest.raises(TimeoutError):
        pair.socket.recv(timeout=0)
    pair.says(b"x")
    assert pair.socket.recv(timeout=0) == b"x"
    pair.says(b"y")
    assert pair.socket.recv(timeout=0) == b"y"
    with pytest.raises(TimeoutError):
        pair.socket.recv(timeout=0)


def test_a_later_deadline_holds_although_an_earlier_one_was_set(pair: ByHand) -> None:
    pair.says(b"x")
    assert pair.socket.recv(timeout=0.03) == b"x"
    reading = gevent.spawn(pair.socket.recv, timeout=PATIENCE)
    gevent.sleep(0.06)
    assert not reading.ready()
    pair.says(b"y")
    assert reading.get(timeout=PATIENCE) == b"y"
    with pytest.raises(TimeoutError):
        pair.socket.recv(timeout=0.01)


def test_a_timed_read_does_not_keep_the_loop(pair: ByHand) -> None:
    pair.says(b"x")
    assert pair.socket.recv(timeout=1000) == b"x"
    pair.socket._reader.stop()
    assert gevent.wait(timeout=PATIENCE) is True


def test_kills_and_timeouts_from_outside_lose_nothing(pair: ByHand) -> None:
    pair.says(b"abc")
    reading = gevent.spawn(pair.socket.read_exactly, 6)
    turns()
    reading.kill()
    with pytest.raises(gevent.Timeout), gevent.Timeout(0.01):
        pair.socket.read_exactly(6)
    pair.says(b"def")
    assert pair.socket.read_exactly(6) == b"abcdef"


@given(data=st.data())
@settings(max_examples=40, suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow])
def test_deadlines_at_random_lose_nothing(data: st.DataObject, by_hand: MakeByHand) -> None:
    pair = by_hand()
    sent = bytes(data.draw(st.lists(st.sampled_from(b"ab\n"), min_size=1, max_size=60))) + b"\n"
    cuts = data.draw(st.lists(st.integers(1, 7), min_size=1, max_size=30))
    rng = random.Random(data.draw(st.integers(0, 1000)))

    def send() -> None:
        position = 0
        for size in [*cuts, len(sent)]:
            pair.says(sent[position : position + size])
            position += size
            gevent.sleep(rng.choice([0, 0.0005, 0.002]))
        pair.ends()

    def read() -> bytes:
        timeout = rng.choice([0, 0.0001, 0.001])
        match rng.randrange(4):
            case 0:
                return socket.recv(rng.randint(1, 5), timeout=timeout)
            case 1:
                return socket.read_exactly(rng.randint(1, 3), timeout=timeout)
            case 2:
                return socket.read_until(b"\n", timeout=timeout)
            case _:
                with gevent.Timeout(timeout or 0.0001, TimeoutError):
                    return socket.recv(4)

    socket = pair.socket
    sending = gevent.spawn(send)
    received = b""
    while len(received) < len(sent):
        try:
            received += read()
        except TimeoutError:
            pass
        except IncompleteRead as error:
            received += error.partial
    sending.get()
    assert received == sent
    assert socket.recv() == b""


def test_a_deadline_is_that_of_the_whole_call(pair: ByHand) -> None:
    def dribble() -> None:
        while not pair.socket.closed:
            pair.says(b".")
            gevent.sleep(0.01)

    dribbling = gevent.spawn(dribble)
    began = monotonic()
    with pytest.raises(TimeoutError, match=r"no more input came in 0\.1 s"):
        pair.socket.read_exactly(1000, timeout=0.1)
    assert 0.1 <= monotonic() - began < 2
    dribbling.kill()
    assert pair.socket.recv().strip(b".") == b""


def test_a_deadline_is_never_early(pair: ByHand) -> None:
    for timeout in (0.05, 0.01, 0.03):
        began = monotonic()
        with pytest.raises(TimeoutError):
            pair.socket.recv(timeout=timeout)
        assert monotonic() - began >= timeout


@pytest.mark.parametrize("end", ["input", "kill"])
def test_a_deadline_is_over_with_its_read(end: str, pair: ByHand) -> None:
    reading = gevent.spawn(pair.socket.recv, timeout=0.05)
    gevent.sleep(0)  # it waits; more turns may take as long on a busy machine
    if end == "kill":
        reading.kill()
    else:
        pair.says(b"in time")
        assert reading.get(timeout=PATIENCE) == b"in time"
    reading = gevent.spawn(pair.socket.recv)
    gevent.sleep(0.1)
    assert not reading.ready()
    pair.says(b"x")
    assert reading.get(timeout=PATIENCE) == b"x"


def test_one_timer_serves_many_reads_and_goes_with_the_socket(pair: ByHand) -> None:
    def timer() -> object:
        assert pair.socket._input is not None and pair.socket._input.clock is not None
        return pair.socket._input.clock.timer

    def read(timeout: float) -> object:
        gevent.spawn(pair.says, b"x")
        assert pair.socket.recv(timeout=timeout) == b"x"
        return timer()

    pair.says(b"x")
    assert pair.socket.recv(timeout=0.01) == b"x"
    assert pair.socket._input is not None
    assert pair.socket._input.clock is None, "nothing was waited for"
    first = read(100.0)
    assert first is not None
    assert read(100.0) is read(200.0) is first
    shorter = read(50.0)
    assert shorter is not first
    assert read(100.0) is shorter
    pair.socket.close()
    pair.peer.close()
    wait_until(lambda: pair.socket.closed)
    assert timer() is None


# -- the idle clock ------------------------------------------------------------------------------------


def test_the_idle_clock_runs_while_a_read_waits(by_hand: MakeByHand) -> None:
    pair = by_hand(idle_timeout=0.1)
    gevent.sleep(0.3)
    assert pair.socket.state is SocketState.OPEN, "nobody was waiting"
    with pytest.raises(SocketClosed, match=r"the socket is clos.* \(timeout\)"):
        pair.socket.recv(timeout=PATIENCE)
    assert pair.socket.close_reason is CloseReason.TIMEOUT


def test_the_idle_clock_goes_on_where_a_timed_read_stopped_it(by_hand: MakeByHand) -> None:
    pair = by_hand(idle_timeout=0.2)
    with pytest.raises(SocketClosed):
        for _ in range(100):
            try:
                pair.socket.recv(timeout=0.05)
            except TimeoutError:
                pass
    assert pair.socket.close_reason is CloseReason.TIMEOUT


def test_input_restarts_the_idle_clock(by_hand: MakeByHand) -> None:
    pair = by_hand(idle_timeout=0.3)
    for _ in range(5):
        gevent.spawn_later(0.1, pair.says, b"x")
        assert pair.socket.recv() == b"x"
    assert pair.socket.state is SocketState.OPEN


def test_it_stands_still_while_it_does_something_else(serve: Serve, dial: Dial) -> None:
    def handle(socket: AnySocket) -> None:
        gevent.sleep(0.3)
        socket.write("done")

    recorder = Recorder(handle=handle)
    assert dial(serve(recorder.handlers, idle_timeout=0.05)).read_to_end() == b"done"
    assert "timeout" not in recorder.events


def test_what_others_send_restarts_it(by_hand: MakeByHand) -> None:
    pair = by_hand(idle_timeout=0.3)
    reading = gevent.spawn(pair.socket.recv)
    for _ in range(5):
        gevent.sleep(0.1)
        pair.socket.write("still here")
    assert not reading.ready()
    assert pair.socket.state is SocketState.OPEN
    pair.says(b"x")
    assert reading.get(timeout=PATIENCE) == b"x"


def test_it_is_never_early_whatever_the_waits_are_cut_into(by_hand: MakeByHand) -> None:
    pair = by_hand(idle_timeout=0.2)
    waited = 0.0
    while pair.socket.state is SocketState.OPEN:  # it is closed only when the peer has ended, too
        began = monotonic()
        try:
            pair.socket.recv(timeout=0.03)
        except (TimeoutError, SocketClosed):
            waited += monotonic() - began
        gevent.sleep(0.02)  # in which nobody waits
        assert waited < 2
    assert waited >= 0.2

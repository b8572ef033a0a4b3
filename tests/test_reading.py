"""Blocking style: what a client without handlers reads, and how each way of reading ends."""

import random
import socket as sockets
import threading
from collections.abc import Callable, Iterator
from typing import Any

import gevent
import gevent.socket
import pytest
from gevent.exceptions import BlockingSwitchOutError
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

import greensock
from connections import AnySocket, attempt, stream, turns
from greensock import CloseReason, FrameTooLarge, IncompleteRead, SocketClosed, SocketState
from greensock.framing import LengthPrefixed, Lines
from greensock.testing import wait_until

PATIENCE = 10.0


class Pair:
    """A client without handlers, and the peer that it is connected to."""

    def __init__(self, **options: Any) -> None:
        ours, theirs = sockets.socketpair()
        self.peer = gevent.socket.socket(theirs.family, theirs.type, 0, theirs.detach())
        self.peer.settimeout(PATIENCE)
        self.socket: AnySocket = greensock.connect(f"fd://{ours.detach()}", **options)

    def says(self, data: bytes) -> None:
        self.peer.sendall(data)

    def ends(self) -> None:
        self.peer.shutdown(sockets.SHUT_WR)

    def close(self) -> None:
        self.socket.terminate()
        self.peer.close()


@pytest.fixture
def make(no_leaks: None) -> Iterator[Callable[..., Pair]]:
    pairs: list[Pair] = []

    def make(**options: Any) -> Pair:
        pairs.append(Pair(**options))
        return pairs[-1]

    yield make
    for pair in pairs:
        pair.close()


@pytest.fixture
def pair(make: Callable[..., Pair]) -> Pair:
    return make()


def reset(pair: Pair, after: bytes = b"") -> None:
    """Have the peer of a unix pair leave with unread input, which is a reset for the other end (unix(7))."""
    pair.socket.write("unread")
    pair.socket.flush()
    pair.says(after)
    pair.peer.close()


# -- bytes -----------------------------------------------------------------------------------------------


def test_recv_gives_what_there_is(pair: Pair) -> None:
    pair.says(b"hello")
    assert pair.socket.recv() == b"hello"
    pair.says(b"hello")
    assert pair.socket.recv(2) == b"he"
    assert pair.socket.recv(0) == b""
    assert pair.socket.recv(100) == b"llo"
    pair.ends()
    assert pair.socket.recv() == pair.socket.recv() == b""
    assert pair.socket.close_reason is CloseReason.EOF
    assert pair.socket.state is SocketState.OPEN, "this side may still write"
    assert pair.socket.write("bye")
    pair.socket.close()
    assert pair.peer.recv(10) == b"bye"


def test_it_waits(pair: Pair) -> None:
    reading = gevent.spawn(pair.socket.recv)
    turns()
    assert not reading.ready()
    pair.says(b"x")
    assert reading.get(timeout=PATIENCE) == b"x"


def test_large_input_comes_whole(pair: Pair) -> None:
    sent = stream(3_000_000)
    sending = gevent.spawn(pair.says, sent)
    assert pair.socket.read_exactly(len(sent)) == sent
    sending.get()
    assert pair.socket.bytes_read == len(sent)


def test_chunks(pair: Pair) -> None:
    sent = stream(500_000)

    def send() -> None:
        pair.says(sent)
        pair.ends()

    sending = gevent.spawn(send)
    chunks = list(pair.socket)
    sending.get()
    assert b"".join(chunks) == sent and max(map(len, chunks)) <= 65536


def test_read_exactly(pair: Pair) -> None:
    pair.says(b"abcdef")
    assert [pair.socket.read_exactly(n) for n in (1, 0, 3)] == [b"a", b"", b"bcd"]
    pair.ends()
    with pytest.raises(IncompleteRead, match="ended after 2 bytes, before 3 bytes") as failure:
        pair.socket.read_exactly(3)
    assert failure.value.partial == b"ef"
    assert pair.socket.close_reason is CloseReason.PROTOCOL
    assert pair.socket.recv() == b""


def test_read_exactly_at_a_clean_end(pair: Pair) -> None:
    pair.ends()
    with pytest.raises(IncompleteRead) as failure:
        pair.socket.read_exactly(3)
    assert failure.value.partial == b""
    assert pair.socket.close_reason is CloseReason.EOF


def test_read_until(pair: Pair) -> None:
    pair.says(b"one\r\ntwo\r")
    assert pair.socket.read_until(b"\r\n") == b"one\r\n"
    gevent.spawn(pair.says, b"\nthree")
    assert pair.socket.read_until(b"\r\n") == b"two\r\n"
    pair.ends()
    with pytest.raises(IncompleteRead) as failure:
        pair.socket.read_until(b"\r\n")
    assert failure.value.partial == b"three"


def test_read_until_too_much(pair: Pair) -> None:
    pair.says(b"12345\n123456")
    assert pair.socket.read_until(b"\n", 5) == b"12345\n"
    with pytest.raises(FrameTooLarge, match="more than 5 bytes"):
        pair.socket.read_until(b"\n", 5)
    assert pair.socket.recv() == b"123456", "it can still be read otherwise"


def test_lines(pair: Pair) -> None:
    pair.says(b"one\ntwo\r\n\nthree\rfour\n")
    pair.ends()
    assert list(pair.socket.lines()) == [b"one", b"two", b"", b"three\rfour"]
    assert pair.socket.close_reason is CloseReason.EOF


def test_lines_end_inside_a_line(pair: Pair) -> None:
    pair.says(b"one\ntwo")
    pair.ends()
    lines = pair.socket.lines()
    assert next(lines) == b"one"
    with pytest.raises(IncompleteRead) as failure:
        next(lines)
    assert failure.value.partial == b"two"
    assert pair.socket.close_reason is CloseReason.PROTOCOL


def test_lines_too_long_come_after_those_before(pair: Pair) -> None:
    pair.says(b"1\n12345\n123456\n")
    lines = pair.socket.lines(5)
    assert [next(lines), next(lines)] == [b"1", b"12345"]
    with pytest.raises(FrameTooLarge):
        next(lines)


def test_a_long_line_is_refused_before_it_has_come(pair: Pair) -> None:
    pair.says(bytes(1001))
    with pytest.raises(FrameTooLarge):
        next(pair.socket.lines(1000))


def test_ways_of_reading_mix(pair: Pair) -> None:
    """A header in lines, and a body by its length."""
    pair.says(b"POST /\r\nContent-Length: 4\r\n\r\nbodyGET /\r\n")
    header = []
    for line in pair.socket.lines():
        if not line:
            break
        header.append(line)
    assert header == [b"POST /", b"Content-Length: 4"]
    assert pair.socket.read_exactly(4) == b"body"
    assert pair.socket.read_until(b"\r\n") == b"GET /\r\n"


# -- messages --------------------------------------------------------------------------------------------


def test_messages(make: Callable[..., Pair]) -> None:
    pair = make(framing=LengthPrefixed(1))
    pair.says(b"\x03one\x03two\x05th")
    assert pair.socket.read_message() == b"one"
    gevent.spawn(pair.says, b"ree\x04four")
    messages = pair.socket.messages()
    assert [next(messages) for _ in range(3)] == [b"two", b"three", b"four"]
    pair.ends()
    assert list(messages) == []
    with pytest.raises(EOFError, match="the peer has ended") as failure:
        pair.socket.read_message()
    assert not isinstance(failure.value, IncompleteRead)
    assert pair.socket.close_reason is CloseReason.EOF


def test_messages_end_inside_one(make: Callable[..., Pair]) -> None:
    pair = make(framing=LengthPrefixed(1))
    pair.says(b"\x03one\x03t")
    pair.ends()
    messages = pair.socket.messages()
    assert next(messages) == b"one"
    with pytest.raises(IncompleteRead) as failure:
        next(messages)
    assert failure.value.partial == b"\x03t"
    assert pair.socket.close_reason is CloseReason.PROTOCOL


def test_what_is_no_message_comes_after_those_before(make: Callable[..., Pair]) -> None:
    pair = make(framing=Lines(max_size=3))
    pair.says(b"one\ntwo\nthree\n")
    assert [pair.socket.read_message(), pair.socket.read_message()] == [b"one", b"two"]
    for _ in range(2):
        with pytest.raises(FrameTooLarge):
            pair.socket.read_message()
    assert pair.socket.close_reason is CloseReason.PROTOCOL


def test_bytes_can_be_read_before_messages_but_not_after(make: Callable[..., Pair]) -> None:
    pair = make(framing=Lines())
    pair.says(b"HELLO one\ntwo\n")
    assert pair.socket.read_exactly(6) == b"HELLO "
    assert pair.socket.read_message() == b"one"
    with pytest.raises(RuntimeError, match="use read_message"):
        pair.socket.recv()
    assert pair.socket.read_message() == b"two"


def test_messages_need_a_framing(pair: Pair) -> None:
    for read in (pair.socket.read_message, pair.socket.messages):
        with pytest.raises(TypeError, match="option framing="):
            read()


# -- time ------------------------------------------------------------------------------------------------


def test_a_timeout_loses_nothing(pair: Pair) -> None:
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


def test_a_timeout_of_zero_takes_what_is_there(pair: Pair) -> None:
    with pytest.raises(TimeoutError):
        pair.socket.recv(timeout=0)
    pair.says(b"x")
    assert pair.socket.recv(timeout=0) == b"x"
    pair.says(b"y")
    assert pair.socket.recv(timeout=0) == b"y"
    with pytest.raises(TimeoutError):
        pair.socket.recv(timeout=0)


def test_iterators_can_be_asked_again_after_a_timeout(make: Callable[..., Pair]) -> None:
    pair = make(framing=Lines())
    for iterator in (pair.socket.lines(timeout=0.01), pair.socket.messages(timeout=0.01)):
        pair.says(b"on")
        with pytest.raises(TimeoutError):
            next(iterator)
        pair.says(b"e\n")
        assert next(iterator) == b"one"


def test_a_later_deadline_holds_although_an_earlier_one_was_set(pair: Pair) -> None:
    pair.says(b"x")
    assert pair.socket.recv(timeout=0.03) == b"x"
    reading = gevent.spawn(pair.socket.recv, timeout=PATIENCE)
    gevent.sleep(0.06)
    assert not reading.ready()
    pair.says(b"y")
    assert reading.get(timeout=PATIENCE) == b"y"
    with pytest.raises(TimeoutError):
        pair.socket.recv(timeout=0.01)


def test_a_timed_read_does_not_keep_the_loop(pair: Pair) -> None:
    pair.says(b"x")
    assert pair.socket.recv(timeout=1000) == b"x"
    pair.socket._reader.stop()
    assert gevent.wait(timeout=PATIENCE) is True


@pytest.mark.parametrize("timeout", [-1, float("nan"), float("inf")])
def test_a_timeout_that_cannot_be(timeout: float, pair: Pair) -> None:
    with pytest.raises(ValueError, match="timeout must be a number of seconds"):
        pair.socket.recv(timeout=timeout)
    with pytest.raises(ValueError, match="timeout must be a number of seconds"):
        pair.socket.lines(timeout=timeout)


def test_kills_and_timeouts_from_outside_lose_nothing(pair: Pair) -> None:
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
def test_deadlines_at_random_lose_nothing(data: st.DataObject, make: Callable[..., Pair]) -> None:
    pair = make()
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


# -- who may read ----------------------------------------------------------------------------------------


def test_one_greenlet_at_a_time(pair: Pair) -> None:
    reading = gevent.spawn(pair.socket.recv)
    turns()
    for read in (pair.socket.recv, pair.socket.lines, lambda: pair.socket.read_exactly(0), pair.socket.__iter__):
        with pytest.raises(RuntimeError, match="another greenlet reads this socket"):
            read()
    pair.says(b"x")
    assert reading.get() == b"x"
    pair.says(b"y")
    assert pair.socket.recv() == b"y"


def test_a_socket_with_handlers_is_not_read(no_leaks: None) -> None:
    server = greensock.listen(("127.0.0.1", 0), {"data": print})
    client = greensock.connect(server.address, {"data": print}, framing=Lines())
    for read in (client.recv, client.lines, client.__iter__, client.read_message, client.messages):
        with pytest.raises(RuntimeError, match="has handlers"):
            read()
    client.close()
    server.stop(PATIENCE, close_active=True)


def test_another_thread_may_not_read(pair: Pair) -> None:
    raised: list[BaseException | None] = []
    thread = threading.Thread(target=lambda: raised.append(attempt(pair.socket.recv)))
    thread.start()
    wait_until(lambda: raised)
    thread.join()
    assert isinstance(raised[0], RuntimeError) and "another thread" in str(raised[0])


def test_the_hub_may_not_read(pair: Pair) -> None:
    raised: list[BaseException | None] = []
    gevent.get_hub().loop.run_callback(lambda: raised.append(attempt(pair.socket.recv)))
    wait_until(lambda: raised)
    assert isinstance(raised[0], BlockingSwitchOutError)
    pair.says(b"x")
    assert pair.socket.recv() == b"x"


def test_a_switch_by_mistake_is_not_taken_for_input(pair: Pair) -> None:
    reading = gevent.spawn(pair.socket.recv)
    turns()
    gevent.get_hub().loop.run_callback(reading.switch)
    turns()
    assert not reading.ready()
    pair.says(b"x")
    assert reading.get(timeout=PATIENCE) == b"x"


@pytest.mark.parametrize(
    ("call", "error"),
    [
        (lambda socket: socket.recv(-1), ValueError),
        (lambda socket: socket.read_exactly(-1), ValueError),
        (lambda socket: socket.read_until(b""), ValueError),
        (lambda socket: socket.read_until("x"), TypeError),
        (lambda socket: socket.read_until(b"x", -1), ValueError),
        (lambda socket: socket.lines(1.5), TypeError),
        (lambda socket: socket.lines(-1), ValueError),
        (lambda socket: socket.recv(timeout="1"), TypeError),
        (lambda socket: socket.recv(timeout=True), TypeError),
    ],
)
def test_bad_arguments(call: Callable[[AnySocket], object], error: type[Exception], pair: Pair) -> None:
    with pytest.raises(error):
        call(pair.socket)


# -- what is written meanwhile ---------------------------------------------------------------------------


def test_what_was_written_is_sent_before_a_wait(pair: Pair) -> None:
    def answer() -> None:
        assert pair.peer.recv(10) == b"question"
        pair.says(b"answer")

    gevent.spawn(answer)
    pair.socket.write("question")
    assert pair.socket.recv(timeout=PATIENCE) == b"answer"


def test_writes_between_two_reads_are_one_send(pair: Pair) -> None:
    def answer() -> None:
        pair.socket.recv()
        for part in ("a", "b", "c"):
            pair.socket.write(part)
        pair.socket.recv()

    answering = gevent.spawn(answer)
    turns()
    pair.says(b"x")
    assert pair.peer.recv(10) == b"abc"
    pair.says(b"x")
    answering.get()


def test_what_was_written_is_sent_when_the_reader_blocks_elsewhere(pair: Pair) -> None:
    def answer() -> None:
        pair.socket.recv()
        pair.socket.write("before")
        gevent.sleep(0.05)
        pair.socket.write("after")

    answering = gevent.spawn(answer)
    turns()
    pair.says(b"x")
    assert pair.peer.recv(20) == b"before"
    assert pair.peer.recv(20) == b"after"
    answering.get()


def test_input_that_nobody_waits_for_does_not_turn_the_loop(pair: Pair) -> None:
    pair.says(b"x")
    assert pair.socket.recv() == b"x"
    pair.says(b"y")
    turns()
    assert not pair.socket._reader.active
    assert pair.socket.recv() == b"y"


def test_the_watcher_is_not_touched_between_messages(pair: Pair) -> None:
    pair.says(b"x")
    pair.socket.recv()
    started = pair.socket._reader.active
    for _ in range(5):
        gevent.spawn(pair.says, b"x")
        assert pair.socket.recv() == b"x"
        assert pair.socket._reader.active is started is True


# -- the end ---------------------------------------------------------------------------------------------


@pytest.mark.parametrize("close", ["close", "terminate"])
def test_closing_wakes_who_waits(close: str, pair: Pair) -> None:
    reading = gevent.spawn(attempt, pair.socket.recv)
    turns()
    getattr(pair.socket, close)()
    assert isinstance(reading.get(timeout=PATIENCE), SocketClosed)
    reads: list[Callable[[], object]] = [
        pair.socket.recv,
        lambda: pair.socket.read_exactly(1),
        lambda: next(pair.socket.lines()),
    ]
    for read in reads:
        with pytest.raises(SocketClosed):
            read()


def test_a_reset_comes_after_what_had_arrived(pair: Pair) -> None:
    reset(pair, b"last words")
    assert pair.socket.recv() == b"last words"
    with pytest.raises(SocketClosed) as failure:
        pair.socket.recv()
    assert isinstance(failure.value.__cause__, ConnectionResetError)
    assert pair.socket.close_reason is CloseReason.RESET and pair.socket.closed
    with pytest.raises(SocketClosed):
        pair.socket.recv()


@pytest.mark.parametrize("framed", [False, True])
def test_a_reset_that_a_write_met_comes_after_what_had_arrived(framed: bool, make: Callable[..., Pair]) -> None:
    pair = make(framing=Lines() if framed else None)
    reset(pair, b"last\nwords\n")
    pair.socket.write("x")
    assert isinstance(attempt(pair.socket.flush), SocketClosed)
    assert pair.socket.closed
    read = pair.socket.messages() if framed else pair.socket.lines()
    assert [next(read), next(read)] == [b"last", b"words"]
    with pytest.raises(SocketClosed):
        next(read)


def test_a_reset_that_a_write_meets_wakes_who_waits(serve: Any) -> None:
    accepted: list[AnySocket] = []
    server = serve({"open": accepted.append})
    client = greensock.connect(server.address)
    wait_until(lambda: accepted)
    reading = gevent.spawn(attempt, client.recv)
    turns()
    accepted[0].terminate()
    error = reading.get(timeout=PATIENCE)
    assert isinstance(error, SocketClosed) and isinstance(error.__cause__, ConnectionResetError)


def test_the_end_after_our_own_end_closes(pair: Pair) -> None:
    pair.socket.end("bye")
    assert pair.peer.recv(10) == b"bye"
    pair.ends()
    assert pair.socket.recv() == b""
    assert pair.socket.closed and pair.socket.close_reason is CloseReason.LOCAL
    assert pair.socket.recv() == b""


def test_half_open_is_not_the_end(make: Callable[..., Pair]) -> None:
    pair = make(allow_half_open=True)
    pair.ends()
    assert pair.socket.recv() == b""
    assert pair.socket.close_reason is None
    pair.socket.close()
    assert pair.socket.close_reason is CloseReason.LOCAL


def test_close_waits_for_the_queue(pair: Pair) -> None:
    sent = stream(2_000_000)

    def read() -> bytes:
        gevent.sleep(0.05)
        parts = []
        while part := pair.peer.recv(100_000):
            parts.append(part)
        return b"".join(parts)

    reading = gevent.spawn(read)
    with pair.socket:
        pair.socket.write(sent)
        assert pair.socket.buffered
    assert pair.socket.buffered == 0
    assert reading.get() == sent


def test_close_waits_no_longer_than_its_timeout(make: Callable[..., Pair]) -> None:
    pair = make(close_timeout=0.1)
    pair.socket.write(stream(2_000_000))
    with gevent.Timeout(PATIENCE):
        pair.socket.close()
    wait_until(lambda: pair.socket.closed)
    assert pair.socket.unsent > 0


def test_a_drain_ends_the_input_after_what_had_come(pair: Pair) -> None:
    pair.says(b"one\ntwo\nhal")
    lines = pair.socket.lines()
    assert next(lines) == b"one"
    reading = gevent.spawn(lambda: list(lines))
    turns()
    owner = next(owner for owner in pair.socket._engine.owners if owner._shared is pair.socket._shared)
    owner.stop(close_active=True)
    assert reading.get(timeout=PATIENCE) == [b"two"]
    assert pair.socket.close_reason is CloseReason.STOPPED


# -- the idle clock --------------------------------------------------------------------------------------


def test_the_idle_clock_runs_while_a_read_waits(make: Callable[..., Pair]) -> None:
    pair = make(idle_timeout=0.1)
    gevent.sleep(0.3)
    assert pair.socket.state is SocketState.OPEN, "nobody was waiting"
    with pytest.raises(SocketClosed):
        pair.socket.recv(timeout=PATIENCE)
    assert pair.socket.close_reason is CloseReason.TIMEOUT


def test_the_idle_clock_goes_on_where_a_timed_read_stopped_it(make: Callable[..., Pair]) -> None:
    pair = make(idle_timeout=0.2)
    with pytest.raises(SocketClosed):
        for _ in range(100):
            try:
                pair.socket.recv(timeout=0.05)
            except TimeoutError:
                pass
    assert pair.socket.close_reason is CloseReason.TIMEOUT


def test_input_restarts_the_idle_clock(make: Callable[..., Pair]) -> None:
    pair = make(idle_timeout=0.3)
    for _ in range(5):
        gevent.spawn_later(0.1, pair.says, b"x")
        assert pair.socket.recv() == b"x"
    assert pair.socket.state is SocketState.OPEN

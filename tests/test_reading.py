"""Blocking style: what a client without handlers reads, and what each way of reading makes of the end.

How it waits is in ``test_waiting``, what ends a wait in ``test_waiting_end`` and ``test_waiting_time``, and what is
given then in ``test_pulling_end``.
"""

import threading
from collections.abc import Callable

import gevent
import gevent.socket
import pytest

import greensock
from connections import AnySocket, ByHand, MakeByHand, attempt, stream, turns
from greensock import CloseReason, FrameTooLarge, IncompleteRead, SocketState
from greensock.framing import Lines
from greensock.testing import PATIENCE, wait_until


@pytest.fixture
def pair(by_hand: MakeByHand) -> ByHand:
    return by_hand()


# -- bytes -----------------------------------------------------------------------------------------------


def test_recv_gives_what_there_is(pair: ByHand) -> None:
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


def test_chunks(pair: ByHand) -> None:
    sent = stream(500_000)

    def send() -> None:
        pair.says(sent)
        pair.ends()

    sending = gevent.spawn(send)
    chunks = list(pair.socket)
    sending.get()
    assert b"".join(chunks) == sent and max(map(len, chunks)) <= 65536


def test_read_exactly(pair: ByHand) -> None:
    pair.says(b"abcdef")
    assert [pair.socket.read_exactly(n) for n in (1, 0, 3)] == [b"a", b"", b"bcd"]
    pair.ends()
    with pytest.raises(IncompleteRead, match="ended after 2 bytes, before 3 bytes") as failure:
        pair.socket.read_exactly(3)
    assert failure.value.partial == b"ef"
    assert pair.socket.close_reason is CloseReason.PROTOCOL
    assert pair.socket.recv() == b""


def test_read_exactly_at_a_clean_end(pair: ByHand) -> None:
    pair.ends()
    with pytest.raises(IncompleteRead) as failure:
        pair.socket.read_exactly(3)
    assert failure.value.partial == b""
    assert pair.socket.close_reason is CloseReason.EOF


def test_read_until(pair: ByHand) -> None:
    pair.says(b"one\r\ntwo\r")
    assert pair.socket.read_until(b"\r\n") == b"one\r\n"
    gevent.spawn(pair.says, b"\nthree")
    assert pair.socket.read_until(b"\r\n") == b"two\r\n"
    pair.ends()
    with pytest.raises(IncompleteRead) as failure:
        pair.socket.read_until(b"\r\n")
    assert failure.value.partial == b"three"


def test_read_until_too_much(pair: ByHand) -> None:
    pair.says(b"12345\n123456")
    assert pair.socket.read_until(b"\n", 5) == b"12345\n"
    with pytest.raises(FrameTooLarge, match="more than 5 bytes"):
        pair.socket.read_until(b"\n", 5)
    assert pair.socket.recv() == b"123456", "it can still be read otherwise"


def test_lines(pair: ByHand) -> None:
    pair.says(b"one\ntwo\r\n\nthree\rfour\n")
    pair.ends()
    assert list(pair.socket.lines()) == [b"one", b"two", b"", b"three\rfour"]
    assert pair.socket.close_reason is CloseReason.EOF


def test_lines_end_inside_a_line(pair: ByHand) -> None:
    pair.says(b"one\ntwo")
    pair.ends()
    lines = pair.socket.lines()
    assert next(lines) == b"one"
    with pytest.raises(IncompleteRead) as failure:
        next(lines)
    assert failure.value.partial == b"two"
    assert pair.socket.close_reason is CloseReason.PROTOCOL


def test_lines_too_long_come_after_those_before(pair: ByHand) -> None:
    pair.says(b"1\n12345\n123456\n")
    lines = pair.socket.lines(5)
    assert [next(lines), next(lines)] == [b"1", b"12345"]
    with pytest.raises(FrameTooLarge):
        next(lines)


def test_a_long_line_is_refused_before_it_has_come(pair: ByHand) -> None:
    pair.says(bytes(1001))
    with pytest.raises(FrameTooLarge):
        next(pair.socket.lines(1000))


def test_ways_of_reading_mix(pair: ByHand) -> None:
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


# -- time ------------------------------------------------------------------------------------------------


def test_iterators_can_be_asked_again_after_a_timeout(by_hand: MakeByHand) -> None:
    pair = by_hand(framing=Lines())
    for iterator in (pair.socket.lines(timeout=0.01), pair.socket.messages(timeout=0.01)):
        pair.says(b"on")
        with pytest.raises(TimeoutError):
            next(iterator)
        pair.says(b"e\n")
        assert next(iterator) == b"one"


@pytest.mark.parametrize("timeout", [-1, float("nan"), float("inf")])
def test_a_timeout_that_cannot_be(timeout: float, pair: ByHand) -> None:
    with pytest.raises(ValueError, match="timeout must be a number of seconds"):
        pair.socket.recv(timeout=timeout)
    with pytest.raises(ValueError, match="timeout must be a number of seconds"):
        pair.socket.lines(timeout=timeout)


# -- who may read ----------------------------------------------------------------------------------------


def test_one_greenlet_at_a_time(pair: ByHand) -> None:
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


def test_another_thread_may_not_read(pair: ByHand) -> None:
    raised: list[BaseException | None] = []
    thread = threading.Thread(target=lambda: raised.append(attempt(pair.socket.recv)))
    thread.start()
    wait_until(lambda: raised)
    thread.join()
    assert isinstance(raised[0], RuntimeError) and "another thread" in str(raised[0])


@pytest.mark.parametrize(
    ("call", "error"),
    [
        (lambda socket: socket.recv(-1), ValueError),
        (lambda socket: socket.read_exactly(-1), ValueError),
        (lambda socket: socket.read_until(b""), ValueError),
        *((lambda socket, n=n: socket.recv(n), TypeError) for n in ("3", 3.5, None)),
        *((lambda socket, n=n: socket.read_exactly(n), TypeError) for n in ("3", 3.5, None)),
        (lambda socket: socket.read_until("x"), TypeError),
        (lambda socket: socket.read_until(b"x", -1), ValueError),
        (lambda socket: socket.lines(1.5), TypeError),
        (lambda socket: socket.lines(-1), ValueError),
        (lambda socket: socket.recv(timeout="1"), TypeError),
        (lambda socket: socket.recv(timeout=True), TypeError),
    ],
)
def test_bad_arguments(call: Callable[[AnySocket], object], error: type[Exception], pair: ByHand) -> None:
    with pytest.raises(error):
        call(pair.socket)

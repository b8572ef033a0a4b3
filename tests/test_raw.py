"""What sockets of the standard library do besides, here beside a real one: peek, end their input, be given away."""

import os
import socket as sockets
from collections.abc import Callable

import gevent
import pytest

import greensock
from connections import AnySocket, ByHand, Gate, MakeByHand, StdlibPair, attempt, few_turns, turns
from greensock import CloseReason, SocketClosed, SocketState, raw
from greensock.testing import PATIENCE, Dial, Recorder, Serve, wait_until
from tls_peer import credentials, trust


@pytest.fixture
def pair(by_hand: MakeByHand) -> ByHand:
    return by_hand()


# -- beside a real socket -------------------------------------------------------------------------------


def test_recv_can_peek(both: StdlibPair) -> None:
    both.later(both.peer.sendall, b"abcdef")
    assert both.sock.recv(3, sockets.MSG_PEEK) == b"abc"
    assert both.sock.recv(100, sockets.MSG_PEEK) == b"abcdef"
    assert both.sock.recv(2) == b"ab"
    assert both.sock.recv(100, sockets.MSG_PEEK) == b"cdef"
    assert both.sock.recv(100) == b"cdef"
    both.peer.shutdown(sockets.SHUT_WR)
    assert both.sock.recv(100, sockets.MSG_PEEK) == both.sock.recv(100) == both.sock.recv(1, sockets.MSG_PEEK) == b""


def test_ending_the_reading_side_leaves_the_writing_one(both: StdlibPair) -> None:
    both.sock.shutdown(sockets.SHUT_RD)
    assert both.sock.recv(10) == b""
    both.sock.sendall(b"still")
    assert both.peer.recv(10) == b"still"


@pytest.mark.parametrize("timeout", [None, 5.0, 0.0])
def test_a_descriptor_can_be_taken_over(both: StdlibPair, timeout: float | None) -> None:
    both.peer.sendall(b"unread")
    both.sock.settimeout(timeout)
    both.sock.sendall(b"sent before, ")
    before = both.sock.fileno()
    descriptor = both.sock.detach()
    assert descriptor == before and both.sock.fileno() == -1
    assert os.get_blocking(descriptor) is (timeout is None and both.kind == "socket.socket")
    both.sock.close()
    with sockets.socket(fileno=descriptor) as taken:
        taken.settimeout(10)
        assert taken.recv(10) == b"unread"
        taken.sendall(b"and after")
    assert both.read_all() == b"sent before, and after"


def test_peeking_at_less_than_nothing(both: StdlibPair) -> None:
    both.peer.sendall(b"abc")
    both.wait_for_input()
    with pytest.raises(ValueError):
        both.sock.recv(-1, sockets.MSG_PEEK)
    assert both.sock.recv(0, sockets.MSG_PEEK) == b""
    assert both.sock.recv(10) == b"abc"


def test_what_came_before_a_reset_can_be_looked_at_and_then_the_reset(both: StdlibPair) -> None:
    both.peer.sendall(b"last words")
    both.reset()
    assert both.sock.recv(4, sockets.MSG_PEEK) == b"last"
    assert both.sock.recv(100, sockets.MSG_PEEK) == both.sock.recv(100) == b"last words"
    with pytest.raises(ConnectionResetError):
        both.sock.recv(100, sockets.MSG_PEEK)


# -- peek ------------------------------------------------------------------------------------------------


def test_it_waits_and_takes_nothing(pair: ByHand) -> None:
    looking = gevent.spawn(raw.peek, pair.socket, 3, None)
    with few_turns():
        turns()
    assert not looking.ready()
    pair.says(b"abcdef")
    assert looking.get(timeout=PATIENCE) == b"abc"
    assert pair.socket.bytes_read == 0
    assert pair.socket.read_exactly(6) == b"abcdef"
    assert pair.socket.bytes_read == 6


def test_it_sees_what_was_received_and_not_read_yet(pair: ByHand) -> None:
    pair.says(b"one\ntwo")
    assert next(pair.socket.lines()) == b"one"
    assert raw.peek(pair.socket, 100, None) == b"two"
    assert raw.peek(pair.socket, 1, None) == b"t"
    assert raw.peek(pair.socket, 0, None) == b""
    with pytest.raises(ValueError, match="cannot read -1 bytes"):
        raw.peek(pair.socket, -1, None)
    assert pair.socket.recv() == b"two"


@pytest.mark.parametrize("timeout", [0, 0.02])
def test_it_waits_no_longer_than_it_may(timeout: float, pair: ByHand) -> None:
    with pytest.raises(TimeoutError):
        raw.peek(pair.socket, 3, timeout)
    pair.says(b"abc")
    assert raw.peek(pair.socket, 3, timeout) == b"abc"
    assert pair.socket.recv() == b"abc"


def test_what_was_written_is_sent_before_it_waits(pair: ByHand) -> None:
    def look() -> bytes:
        assert pair.socket.recv() == b"go"
        pair.socket.write("question")
        return raw.peek(pair.socket, 10, PATIENCE)

    looking = gevent.spawn(look)
    turns()
    pair.says(b"go")
    assert pair.peer.recv(10) == b"question"
    pair.says(b"answer")
    assert looking.get(timeout=PATIENCE) == b"answer"


def test_what_is_corked_is_not_sent_before_it_waits(pair: ByHand) -> None:
    with pair.socket.cork():
        pair.socket.write("held")
        with pytest.raises(TimeoutError):
            raw.peek(pair.socket, 10, 0.02)
        assert pair.socket.bytes_written == 0
    assert pair.peer.recv(10) == b"held"


def test_at_the_end_it_sees_nothing(pair: ByHand) -> None:
    looking = gevent.spawn(raw.peek, pair.socket, 3, None)
    turns()
    pair.ends()
    assert looking.get(timeout=PATIENCE) == raw.peek(pair.socket, 3, None) == b""
    assert pair.socket.recv() == raw.peek(pair.socket, 3, None) == b""
    assert pair.socket.close_reason is CloseReason.EOF


def test_it_sees_what_came_before_a_reset_that_a_write_has_met(pair: ByHand) -> None:
    pair.resets(b"last words")
    pair.socket.write("x")
    assert isinstance(attempt(pair.socket.flush), SocketClosed)
    assert raw.peek(pair.socket, 4, None) == b"last"
    assert raw.peek(pair.socket, 100, None) == pair.socket.recv() == b"last words"
    with pytest.raises(SocketClosed) as caught:
        raw.peek(pair.socket, 100, None)
    assert isinstance(caught.value.__cause__, ConnectionError)


@pytest.mark.parametrize("close", ["close", "terminate"])
def test_a_close_wakes_who_looks(close: str, pair: ByHand) -> None:
    looking = gevent.spawn(attempt, raw.peek, pair.socket, 3, None)
    turns()
    getattr(pair.socket, close)()
    assert isinstance(looking.get(timeout=PATIENCE), SocketClosed)


def test_who_looks_is_a_reader(pair: ByHand) -> None:
    looking = gevent.spawn(raw.peek, pair.socket, 3, None)
    turns()
    uses: list[Callable[[], object]] = [pair.socket.recv, lambda: raw.peek(pair.socket, 3, None)]
    for use in uses:
        with pytest.raises(RuntimeError, match="another greenlet reads this socket"):
            use()
    pair.says(b"abc")
    assert looking.get(timeout=PATIENCE) == b"abc"


def test_nothing_can_be_seen_of_what_is_encrypted(serve: Serve) -> None:
    server = serve({"data": lambda socket, data: socket.write(data)}, tls=credentials())
    with greensock.connect(server.address, tls=trust()) as client:
        client.write(b"echo")
        with pytest.raises(ValueError, match="MSG_PEEK is not for encrypted sockets"):
            raw.peek(client, 4, PATIENCE)
        with pytest.raises(ValueError, match="MSG_PEEK is not for encrypted sockets"):
            client.as_stdlib().recv(4, sockets.MSG_PEEK)
        assert client.read_exactly(4) == b"echo"


# -- end_input -------------------------------------------------------------------------------------------


def test_who_waits_is_at_the_end_and_what_comes_later_stays_where_it_is(pair: ByHand) -> None:
    reading = gevent.spawn(pair.socket.recv)
    turns()
    raw.end_input(pair.socket)
    assert reading.get(timeout=PATIENCE) == b""
    pair.says(b"too late")
    with few_turns():
        turns()
    raw.end_input(pair.socket)
    assert pair.socket.recv() == b""
    assert pair.socket.bytes_read == 0
    assert pair.socket.write("this side goes on")
    assert pair.peer.recv(100) == b"this side goes on"


def test_what_had_come_is_still_read(pair: ByHand) -> None:
    pair.says(b"one\ntwo")
    assert next(pair.socket.lines()) == b"one"
    raw.end_input(pair.socket)
    assert [pair.socket.recv(), pair.socket.recv()] == [b"two", b""]


def test_a_socket_that_has_ended_is_closed_by_it(pair: ByHand) -> None:
    pair.socket.end("bye")
    assert pair.peer.recv(10) == b"bye"
    assert pair.socket.state is SocketState.ENDED
    raw.end_input(pair.socket)
    assert pair.socket.closed and pair.socket.close_reason is CloseReason.LOCAL


def test_a_closed_socket_has_no_input_to_end(pair: ByHand) -> None:
    pair.socket.terminate()
    raw.end_input(pair.socket)
    with pytest.raises(SocketClosed):
        pair.socket.recv()


# -- give_away -------------------------------------------------------------------------------------------


def test_the_descriptor_is_the_callers_and_the_connection_goes_on(pair: ByHand) -> None:
    pair.says(b"unread")
    number = pair.socket.fileno()
    with sockets.socket(fileno=raw.give_away(pair.socket)) as taken:
        assert taken.fileno() == number
        assert pair.socket.closed and pair.socket.fileno() == -1
        assert (pair.socket.close_reason, pair.socket.unsent) == (CloseReason.LOCAL, 0)
        assert taken.recv(10) == b"unread"
        taken.sendall(b"still there")
        assert pair.peer.recv(20) == b"still there"
        with pytest.raises(SocketClosed):
            pair.socket.write("x")
    assert pair.peer.recv(20) == b""


def test_who_waited_for_input_is_told(pair: ByHand) -> None:
    reading = gevent.spawn(attempt, pair.socket.recv)
    turns()
    with sockets.socket(fileno=raw.give_away(pair.socket)):
        assert isinstance(reading.get(timeout=PATIENCE), SocketClosed)


def test_its_server_forgets_it(serve: Serve, dial: Dial) -> None:
    gate = Gate()
    taken: list[int] = []

    def handle(socket: AnySocket) -> None:
        assert socket.recv() == b"take it"
        taken.append(raw.give_away(socket))
        gate.wait()

    recorder = Recorder(handle=handle)
    server = serve(recorder.handlers, ("0.0.0.0", 0), idle_timeout=0.5)
    peer = dial(server)
    here, there = peer.socket.getpeername(), peer.address
    peer.send(b"take it")
    wait_until(lambda: gate.inside)
    assert server.connections == 0
    gate.open()
    socket, error = recorder.wait_for("close")
    assert (error, socket.close_reason) == (None, CloseReason.LOCAL)
    assert socket.local_address == here and socket.remote_address == there
    server.stop(0)
    with sockets.socket(fileno=taken[0]) as own:
        own.sendall(b"not stopped")
        assert peer.read_exactly(11) == b"not stopped"
    assert peer.read_to_end() == b""
    assert server.stats().bytes_read == 7

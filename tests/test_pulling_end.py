"""What blocking style is given when no more input comes: by the peer, by this side, by a drain."""

from collections.abc import Callable
from typing import Any

import gevent
import pytest
from gevent.event import Event

import greensock
from connections import AnySocket, ByHand, Gate, MakeByHand, attempt, reset_after, stream, turns
from greensock import CloseReason, IncompleteRead, SocketClosed, SocketState
from greensock.framing import Lines
from greensock.testing import PATIENCE, Dial, Peer, Recorder, Serve, wait_until
from greensock.wire import SMALL_READ


@pytest.fixture
def pair(by_hand: MakeByHand) -> ByHand:
    return by_hand()


# -- of the peer and of this side ----------------------------------------------------------------------


def test_a_reset_comes_after_what_had_arrived(pair: ByHand) -> None:
    pair.resets(b"last words")
    assert pair.socket.recv() == b"last words"
    with pytest.raises(SocketClosed) as failure:
        pair.socket.recv()
    assert isinstance(failure.value.__cause__, ConnectionResetError)
    assert pair.socket.close_reason is CloseReason.RESET and pair.socket.closed
    with pytest.raises(SocketClosed):
        pair.socket.recv()


@pytest.mark.parametrize("framed", [False, True])
def test_a_reset_that_a_write_met_comes_after_what_had_arrived(framed: bool, by_hand: MakeByHand) -> None:
    pair = by_hand(framing=Lines() if framed else None)
    pair.resets(b"last\nwords\n")
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


@pytest.mark.parametrize("timeout", [None, PATIENCE])
def test_a_reset_that_is_met_by_what_a_read_sends_comes_after_what_had_arrived(
    timeout: float | None, pair: ByHand
) -> None:
    pair.says(b"x")
    assert pair.socket.recv(timeout=timeout) == b"x"
    pair.resets(b"last words")
    pair.socket.write("lost")
    assert pair.socket.recv(timeout=timeout) == b"last words"
    with pytest.raises(SocketClosed) as failure:
        pair.socket.recv(timeout=timeout)
    assert isinstance(failure.value.__cause__, ConnectionError)
    assert (pair.socket.close_reason, pair.socket.unsent) == (CloseReason.RESET, 4)


def test_a_reset_right_behind_a_full_small_read_comes_after_it(pair: ByHand) -> None:
    """The read that looks for more of the same is the one that is told, and told once."""
    pair.says(b"small")
    assert pair.socket.recv() == b"small"
    pair.resets(stream(SMALL_READ))
    assert pair.socket.recv() == stream(SMALL_READ)
    for _ in range(2):
        with pytest.raises(SocketClosed) as failure:
            pair.socket.recv()
        assert isinstance(failure.value.__cause__, ConnectionResetError)


@pytest.mark.parametrize("close", ["close", "terminate"])
@pytest.mark.parametrize("framed", [False, True])
def test_what_had_come_is_not_given_after_this_side_has_closed(framed: bool, close: str, by_hand: MakeByHand) -> None:
    pair = by_hand(framing=Lines() if framed else None)
    pair.says(b"one\ntwo\nthree\nfo")
    lines = pair.socket.messages() if framed else pair.socket.lines()
    assert next(lines) == b"one"
    getattr(pair.socket, close)()
    for _ in range(2):
        with pytest.raises(SocketClosed):
            next(lines)
    read = pair.socket.read_message if framed else pair.socket.recv
    with pytest.raises(SocketClosed):
        read()
    assert pair.socket.close_reason is CloseReason.LOCAL


def test_what_had_come_before_the_peer_reset_is_given_after_a_close(pair: ByHand) -> None:
    pair.resets(b"one\ntwo\n")
    lines = pair.socket.lines()
    assert next(lines) == b"one"
    pair.socket.write("x")
    assert isinstance(attempt(pair.socket.flush), SocketClosed)
    pair.socket.close()
    pair.socket.terminate()
    assert next(lines) == b"two"
    with pytest.raises(SocketClosed):
        next(lines)


def test_the_end_after_our_own_end_closes(pair: ByHand) -> None:
    pair.socket.end("bye")
    assert pair.peer.recv(10) == b"bye"
    pair.ends()
    assert pair.socket.recv() == b""
    assert pair.socket.closed and pair.socket.close_reason is CloseReason.LOCAL
    assert pair.socket.recv() == b""


def test_half_open_is_not_the_end(by_hand: MakeByHand) -> None:
    pair = by_hand(allow_half_open=True)
    pair.ends()
    assert pair.socket.recv() == b""
    assert pair.socket.close_reason is None
    pair.socket.close()
    assert pair.socket.close_reason is CloseReason.LOCAL


# -- a drain -------------------------------------------------------------------------------------------


def test_a_drain_ends_the_input_after_what_had_come(pair: ByHand) -> None:
    pair.says(b"one\ntwo\nhal")
    lines = pair.socket.lines()
    assert next(lines) == b"one"
    reading = gevent.spawn(lambda: list(lines))
    turns()
    owner = next(owner for owner in pair.socket._engine.owners if owner._shared is pair.socket._shared)
    owner.stop(close_active=True)
    assert reading.get(timeout=PATIENCE) == [b"two"]
    assert pair.socket.close_reason is CloseReason.STOPPED


def test_draining_ends_the_input_after_the_whole_messages(serve: Serve, dial: Dial) -> None:
    gate = Event()

    def handle(socket: AnySocket) -> None:
        for line in socket.lines():
            socket.write(line.upper() + b"\n")
            gate.wait()
        socket.write("bye\n")

    recorder = Recorder(handle=handle)
    server = serve(recorder.handlers)
    peer = dial(server)
    peer.send(b"one\ntwo\nthr")
    recorder.wait_for("handle")
    turns()
    peer.send(b"ee\nfour\nfi")  # which the kernel has: nobody reads
    turns()
    server.stop(close_active=True)
    gate.set()
    assert peer.read_to_end() == b"ONE\nTWO\nTHREE\nFOUR\nbye\n"
    peer.close()
    socket, error = recorder.wait_for("close")
    assert error is None and socket.close_reason is CloseReason.STOPPED
    assert recorder.events == ["open", "handle", "stopping", "close"]


@pytest.mark.parametrize(
    ("read", "half", "answer"),
    [
        (lambda socket: socket.recv(), b"", b""),
        (lambda socket: list(socket), b"", []),
        (lambda socket: list(socket.lines()), b"half", []),
        (lambda socket: list(socket.messages()), b"half", []),
        (lambda socket: socket.read_message(), b"half", EOFError),
        (lambda socket: socket.read_exactly(5), b"half", IncompleteRead),
        (lambda socket: socket.read_until(b"\n"), b"half", IncompleteRead),
    ],
)
def test_reads_that_wait_answer_as_at_a_clean_end(
    read: Callable[[AnySocket], Any], half: bytes, answer: Any, serve: Serve, dial: Dial
) -> None:
    answers: list[Any] = []

    def handle(socket: AnySocket) -> None:
        try:
            answers.append(read(socket))
        except EOFError as error:
            answers.append(type(error))
            assert getattr(error, "partial", b"") == b""

    server = serve(handle, framing=Lines())
    peer = dial(server)
    wait_until(lambda: server.connections)
    if half:
        peer.send(half)
        wait_until(lambda: server.stats().bytes_read)
    server.stop(close_active=True)
    assert peer.read_to_end() == b""
    assert answers == [answer]


def test_a_peer_that_goes_on_sending_does_not_hold_up_a_drain(serve: Serve) -> None:
    recorder = Recorder(handle=lambda socket: [len(chunk) for chunk in socket])
    server = serve(recorder.handlers)
    with Peer(server.address) as peer:
        flooding = gevent.spawn(lambda: attempt(peer.send, bytes(1 << 30)))
        wait_until(lambda: server.stats().bytes_read > 1_000_000)
        with gevent.Timeout(PATIENCE):
            server.stop(close_active=True)
            wait_until(lambda: all(socket.state is not SocketState.OPEN for socket in server.sockets))
        server.stop(0)
        flooding.kill()


def test_after_a_drain_every_read_is_at_the_end(pair: ByHand) -> None:
    owner = next(owner for owner in pair.socket._engine.owners if owner._shared is pair.socket._shared)
    owner.stop(close_active=True)
    wait_until(lambda: pair.socket.close_reason)
    assert [pair.socket.recv(), *pair.socket, *pair.socket.lines(), pair.socket.recv()] == [b"", b""]
    assert pair.socket.close_reason is CloseReason.STOPPED


def test_while_it_drains_no_more_is_given_than_was_asked_for(serve: Serve, dial: Dial) -> None:
    gate = Gate()
    chunks: list[bytes] = []

    def handle(socket: AnySocket) -> None:
        gate.wait()
        while chunk := socket.recv(3):
            chunks.append(chunk)

    server = serve(handle)
    peer = dial(server)
    peer.send(b"abcdefgh")
    wait_until(lambda: gate.inside)
    server.stop(close_active=True)
    gate.open()
    assert peer.read_to_end() == b""
    assert chunks == [b"abc", b"def", b"gh"]
    assert server.stats().bytes_read == 8


def test_a_reset_while_it_drains_comes_after_what_had_arrived(serve: Serve, dial: Dial) -> None:
    gate = Gate()
    outcome: list[object] = []

    def handle(socket: AnySocket) -> None:
        gate.wait()
        outcome.append(socket.recv())
        outcome.append(attempt(socket.recv))

    recorder = Recorder(handle=handle)
    server = serve(recorder.handlers)
    peer = dial(server)
    wait_until(lambda: gate.inside)
    server.stop(close_active=True)
    reset_after(peer, b"last words")
    gate.open()
    socket, error = recorder.wait_for("close")
    assert outcome[0] == b"last words"
    assert isinstance(outcome[1], SocketClosed) and isinstance(outcome[1].__cause__, ConnectionResetError)
    assert isinstance(error, ConnectionResetError) and socket.close_reason is CloseReason.RESET

"""How a wait of blocking style ends when no more input is wanted: by this side, by a fork."""

from collections.abc import Callable

import gevent
import pytest

from connections import ByHand, MakeByHand, attempt, stream, turns
from greensock import SocketClosed, SocketState
from greensock.testing import PATIENCE, wait_until
from program import Launch


@pytest.fixture
def pair(by_hand: MakeByHand) -> ByHand:
    return by_hand()


# -- of this side ----------------------------------------------------------------------------------------


@pytest.mark.parametrize("close", ["close", "terminate"])
def test_closing_wakes_who_waits(close: str, pair: ByHand) -> None:
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


# -- close() -------------------------------------------------------------------------------------------


def test_close_waits_for_the_queue(pair: ByHand) -> None:
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


def test_close_waits_no_longer_than_its_timeout(by_hand: MakeByHand) -> None:
    pair = by_hand(close_timeout=0.1)
    pair.socket.write(stream(2_000_000))
    with gevent.Timeout(PATIENCE):
        pair.socket.close()
    wait_until(lambda: pair.socket.closed)
    assert pair.socket.unsent > 0


def test_a_close_that_waits_ends_with_the_connection(pair: ByHand) -> None:
    pair.socket.write(stream(2_000_000))
    closing = gevent.spawn(attempt, pair.socket.close)
    turns()
    assert not closing.ready()
    assert pair.socket.state is SocketState.CLOSING
    pair.peer.close()
    assert closing.get(timeout=PATIENCE) is None
    assert pair.socket.closed and pair.socket.unsent > 0


def test_a_second_close_does_not_wait(pair: ByHand) -> None:
    pair.socket.write(stream(2_000_000))
    closing = gevent.spawn(pair.socket.close)
    turns()
    with gevent.Timeout(PATIENCE):
        pair.socket.close()
    assert not closing.ready()
    received = 0
    while received < 2_000_000:
        received += len(pair.peer.recv(100_000))
    closing.get(timeout=PATIENCE)
    assert pair.socket.unsent == 0


def test_a_close_in_the_hub_does_not_wait(pair: ByHand) -> None:
    pair.socket.write(stream(2_000_000))
    raised: list[BaseException | None] = []
    gevent.get_hub().loop.run_callback(lambda: raised.append(attempt(pair.socket.close)))
    wait_until(lambda: raised)
    assert raised == [None]
    assert pair.socket.state is SocketState.CLOSING and pair.socket.buffered


def test_a_close_with_nothing_queued_does_not_wait_for_the_peer(pair: ByHand) -> None:
    pair.socket.write("bye")
    with gevent.Timeout(PATIENCE / 2):
        pair.socket.close()
    assert pair.socket.state is SocketState.CLOSING
    assert pair.peer.recv(10) == b"bye"
    pair.peer.close()
    wait_until(lambda: pair.socket.closed)


# -- a fork --------------------------------------------------------------------------------------------


def test_a_session_that_forks_ends_quietly_in_the_child(launch: Launch) -> None:
    program = launch(
        """
        import os, sys, gevent, greensock
        from greensock.testing import Peer

        def handle(socket):
            for line in socket.lines():
                if line == b"fork":
                    child = os.fork()
                    if child == 0:
                        try:
                            socket.recv()
                        except greensock.SocketClosed:
                            os._exit(7)
                        os._exit(1)
                    socket.write(b"%d\\n" % os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]))
                else:
                    socket.write(line + b"\\n")

        server = greensock.listen(("127.0.0.1", 0), handle)
        one, other = Peer(server.address), Peer(server.address)
        print(one.exchange(b"x\\n"), other.exchange(b"y\\n"))
        one.send(b"fork\\n")
        print(one.read_exactly(2), one.exchange(b"x\\n"), other.exchange(b"y\\n"))
        server.stop(0)
        """
    )
    assert program.finish() == (0, "b'x\\n' b'y\\n'\nb'7\\n' b'x\\n' b'y\\n'\n", "")

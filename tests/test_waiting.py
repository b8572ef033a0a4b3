"""How blocking style waits: when it is woken, what goes out before, and what its watcher does."""

import socket as sockets

import gevent
import pytest
from gevent.exceptions import BlockingSwitchOutError

import greensock
from connections import AnySocket, ByHand, MakeByHand, attempt, few_turns, turns, wait_until_steady
from greensock import CloseReason, SocketClosed
from greensock.testing import PATIENCE, Serve, wait_until


@pytest.fixture
def pair(by_hand: MakeByHand) -> ByHand:
    return by_hand()


def test_it_waits(pair: ByHand) -> None:
    reading = gevent.spawn(pair.socket.recv)
    turns()
    assert not reading.ready()
    pair.says(b"x")
    assert reading.get(timeout=PATIENCE) == b"x"


def test_the_hub_may_not_read(pair: ByHand) -> None:
    raised: list[BaseException | None] = []
    gevent.get_hub().loop.run_callback(lambda: raised.append(attempt(pair.socket.recv)))
    wait_until(lambda: raised)
    assert isinstance(raised[0], BlockingSwitchOutError)
    pair.says(b"x")
    assert pair.socket.recv() == b"x"


def test_a_switch_by_mistake_is_not_taken_for_input(pair: ByHand) -> None:
    reading = gevent.spawn(pair.socket.recv)
    turns()
    gevent.get_hub().loop.run_callback(reading.switch)
    turns()
    assert not reading.ready()
    pair.says(b"x")
    assert reading.get(timeout=PATIENCE) == b"x"


@pytest.mark.parametrize("stop", ["pause", "resume"])
def test_pause_and_resume_are_without_effect(stop: str, pair: ByHand) -> None:
    getattr(pair.socket, stop)()
    pair.says(b"x")
    assert pair.socket.recv(timeout=PATIENCE) == b"x"
    reading = gevent.spawn(pair.socket.recv)
    turns()
    getattr(pair.socket, stop)()
    pair.says(b"y")
    assert reading.get(timeout=PATIENCE) == b"y"


def test_to_pause_from_another_thread_is_a_runtime_error(pair: ByHand) -> None:
    def attempt() -> str:
        with pytest.raises(RuntimeError) as caught:
            pair.socket.pause()
        return str(caught.value)

    assert "call_from_thread" in gevent.get_hub().threadpool.apply(attempt)


# -- what is written meanwhile -------------------------------------------------------------------------


def test_what_was_written_is_sent_before_a_wait(pair: ByHand) -> None:
    def answer() -> None:
        assert pair.peer.recv(10) == b"question"
        pair.says(b"answer")

    gevent.spawn(answer)
    pair.socket.write("question")
    assert pair.socket.recv(timeout=PATIENCE) == b"answer"


def test_writes_between_two_reads_are_one_send(pair: ByHand) -> None:
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


def test_what_was_written_is_sent_when_the_reader_blocks_elsewhere(pair: ByHand) -> None:
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


def test_a_cork_holds_back_what_was_written_before_a_wait(pair: ByHand) -> None:
    def read() -> None:
        with pair.socket.cork():
            pair.socket.write("held")
            pair.socket.recv()
            assert pair.socket.bytes_written == 0
            pair.socket.write(" back")
            pair.socket.recv(timeout=PATIENCE)
            assert pair.socket.bytes_written == 0

    reading = gevent.spawn(read)
    for _ in range(2):
        turns()
        assert not reading.ready()
        pair.says(b"x")
    reading.get(timeout=PATIENCE)
    assert pair.peer.recv(20) == b"held back"


def test_what_others_write_while_it_waits_is_sent(pair: ByHand) -> None:
    reading = gevent.spawn(pair.socket.recv)
    turns()
    pair.socket.write("by another")
    assert pair.peer.recv(20) == b"by another"
    assert not reading.ready()
    pair.says(b"x")
    assert reading.get(timeout=PATIENCE) == b"x"


# -- the watcher ---------------------------------------------------------------------------------------


def test_input_that_nobody_waits_for_does_not_turn_the_loop(pair: ByHand) -> None:
    pair.says(b"x")
    assert pair.socket.recv() == b"x"
    pair.says(b"y")
    turns()
    assert not pair.socket._reader.active
    assert pair.socket.recv() == b"y"


def test_the_watcher_is_not_touched_between_messages(pair: ByHand) -> None:
    pair.says(b"x")
    pair.socket.recv()
    started = pair.socket._reader.active
    for _ in range(5):
        gevent.spawn(pair.says, b"x")
        assert pair.socket.recv() == b"x"
        assert pair.socket._reader.active is started is True


def test_a_reader_that_waits_costs_no_turns(pair: ByHand) -> None:
    reading = gevent.spawn(pair.socket.recv, timeout=PATIENCE)
    with few_turns():
        turns()
    pair.says(b"x")
    assert reading.get(timeout=PATIENCE) == b"x"
    pair.says(b"y")
    with few_turns():
        turns()
    assert pair.socket.recv() == b"y"


# -- room in the queue ---------------------------------------------------------------------------------


@pytest.fixture
def unread(serve: Serve) -> tuple[AnySocket, AnySocket]:
    """A client without handlers whose peer does not read for now, and that peer."""
    accepted: list[AnySocket] = []
    server = serve({"open": accepted.append})
    client = greensock.connect(server.address, max_buffered=100_000)
    client._wire.setsockopt(sockets.SOL_SOCKET, sockets.SO_SNDBUF, 4096)  # else it takes 100,000 bytes at any time
    wait_until(lambda: accepted)
    accepted[0].pause()
    return client, accepted[0]


def write_much(socket: AnySocket) -> None:
    for _ in range(1000):
        socket.write(bytes(10_000))


def test_a_client_without_handlers_waits_too(unread: tuple[AnySocket, AnySocket]) -> None:
    client, peer = unread
    writing = gevent.spawn(write_much, client)
    assert 100_000 < wait_until_steady(client) <= 110_000
    assert not writing.ready()
    peer.resume()
    writing.get(timeout=PATIENCE)
    client.terminate()


def test_but_not_who_broadcasts_to_it(unread: tuple[AnySocket, AnySocket]) -> None:
    client, _ = unread
    raised: list[BaseException | None] = []
    writing = gevent.spawn(lambda: raised.append(attempt(write_much, client)))
    assert wait_until_steady(client) > 100_000
    assert greensock.Group([client]).write("x") == 0
    assert client.close_reason is CloseReason.SLOW_CONSUMER
    writing.get(timeout=PATIENCE)
    assert isinstance(raised[0], SocketClosed)


def test_nor_the_hub(unread: tuple[AnySocket, AnySocket]) -> None:
    client, _ = unread
    assert not client.write(bytes(3_000_000))
    assert wait_until_steady(client) > 100_000
    raised: list[BaseException | None] = []
    gevent.get_hub().loop.run_callback(lambda: raised.append(attempt(client.write, b"x")))
    wait_until(lambda: raised)
    assert raised == [None]
    assert client.close_reason is CloseReason.SLOW_CONSUMER

"""How blocking style gets its input: whole, once for each time that there is some, and no more than its share."""

from pathlib import Path

import gevent
import pytest
from gevent.event import Event

from connections import AnySocket, ByHand, MakeByHand, few_turns, reset_after, stream, turns, wait_for_kernel
from greensock.testing import Dial, Peer, Recorder, Serve, wait_until
from greensock.wire import SMALL_READ
from tls_peer import SecurePeer, credentials, stuff, unstuff


@pytest.fixture
def pair(by_hand: MakeByHand) -> ByHand:
    return by_hand()


def test_large_input_comes_whole(pair: ByHand) -> None:
    sent = stream(3_000_000)
    sending = gevent.spawn(pair.says, sent)
    assert pair.socket.read_exactly(len(sent)) == sent
    sending.get()
    assert pair.socket.bytes_read == len(sent)


def test_what_has_come_already_is_given_without_a_turn(pair: ByHand) -> None:
    others: list[int] = []
    pair.says(b"x")
    gevent.spawn(others.append, 1)
    assert pair.socket.recv() == b"x"
    assert not others


def test_what_came_together_is_given_together_however_much_it_was_before(pair: ByHand) -> None:
    for size in (10, SMALL_READ, SMALL_READ + 1, 10, 100_000, 1, SMALL_READ - 1, SMALL_READ * 2, 1, 1):
        pair.says(stream(size))
        assert pair.socket.recv(200_000) == stream(size)


def test_each_read_that_gave_something_is_a_message(serve: Serve, dial: Dial) -> None:
    def handle(socket: AnySocket) -> None:
        for chunk in socket:
            socket.write(chunk)

    server = serve(handle)
    peer = dial(server)
    for word in (b"a", b"two", b"word"):
        assert peer.exchange(word) == word
    peer.finish()
    assert peer.read_to_end() == b""
    stats = server.stats()
    assert (stats.messages_read, stats.bytes_read) == (3, 8)


def test_what_comes_with_a_reset_is_counted(serve: Serve, dial: Dial) -> None:
    def handle(socket: AnySocket) -> None:
        socket.recv()  # little, after which the next read is a small one
        go_on.wait()
        received.append(socket.recv())

    go_on = Event()
    received: list[bytes] = []
    recorder = Recorder(handle=handle)
    server = serve(recorder.handlers)
    peer = dial(server)
    peer.send(b"x")
    (socket,) = recorder.wait_for("handle")
    wait_until(lambda: socket.bytes_read == 1)
    reset_after(peer, stream(SMALL_READ))
    wait_for_kernel(socket, reset=True)
    go_on.set()
    recorder.wait_for("close")
    assert received == [stream(SMALL_READ)]
    assert server.stats().bytes_read == socket.bytes_read == 1 + SMALL_READ


def test_a_peer_that_floods_gets_no_more_turns_than_others(serve: Serve, dial: Dial) -> None:
    order: list[str] = []

    def handle(socket: AnySocket) -> None:
        name = socket.recv().decode()
        for _ in socket:
            order.append(name)

    server = serve(handle)
    peers = {name: dial(server) for name in ("before", "flood", "behind")}
    for name, peer in peers.items():
        peer.send(name.encode())
    wait_until(lambda: server.stats().messages_read == 3)
    turns()
    for name, peer in peers.items():
        peer.send(bytes(300_000) if name == "flood" else b"x")
    wait_until(lambda: server.stats().bytes_read == 300_019)
    assert order.count("flood") > 3
    assert sorted(order[:3]) == ["before", "behind", "flood"]


@pytest.mark.parametrize("comes", ["a record", "a part of one"])
def test_words_of_tls_for_which_there_was_no_room_go_out_without_an_answer(
    comes: str, serve: Serve, tmp_path: Path
) -> None:
    received: list[bytes] = []
    server = serve(received.extend, f"unix:{tmp_path}/s", tls=credentials())
    with SecurePeer(server.address) as peer:
        peer.send(b"x")
        wait_until(lambda: server.stats().bytes_read)
        peer.feed()  # session tickets
        (socket,) = server.sockets
        stuffed = stuff(socket)
        socket._wire._say(b"words")  # type: ignore[attr-defined]
        record = peer.encrypt(b"more")
        peer.send_raw(record if comes == "a record" else record[:-1])
        wait_until(lambda: socket._writer is not None and socket._writer.active)
        unstuff(peer, stuffed)
        assert Peer.read_exactly(peer, 5) == b"words"
        with few_turns():
            turns()
        if comes != "a record":
            peer.send_raw(record[-1:])
        wait_until(lambda: server.stats().bytes_read == 5)
        peer.finish()
    wait_until(lambda: received)
    assert b"".join(received) == b"xmore"

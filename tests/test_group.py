"""Rooms: who is in, who hears, and who has left."""

import gc
import threading
import weakref
from typing import Any

import gevent
import pytest

import greensock
from connections import AnySocket, fill_kernel, narrow_listener
from greensock import Group, Server
from greensock.testing import Dial, Peer, Recorder, Serve, wait_until


@pytest.fixture
def recorder() -> Recorder:
    return Recorder()


@pytest.fixture
def server(serve: Serve, recorder: Recorder) -> Server:
    return serve(recorder.handlers)


def members(count: int, server: Server, dial: Dial, recorder: Recorder) -> tuple[list[Peer], list[AnySocket]]:
    peers = [dial(server) for _ in range(count)]
    recorder.wait_for("open", count)
    by_address = {socket.remote_address: socket for socket in recorder.sockets}
    return peers, [by_address[peer.address] for peer in peers]


def test_everybody_hears_what_is_written(server: Server, dial: Dial, recorder: Recorder) -> None:
    peers, sockets = members(3, server, dial, recorder)
    group = Group(sockets[:2])
    assert group.write("hé") == 2
    assert [peer.read_exactly(3) for peer in peers[:2]] == ["hé".encode()] * 2
    group.add(sockets[2])
    assert group.write(b"all") == 3
    assert [peer.read_exactly(3) for peer in peers] == [b"all"] * 3


def test_it_is_a_set(server: Server, dial: Dial, recorder: Recorder) -> None:
    _, (one, two) = members(2, server, dial, recorder)
    group = Group([one])
    group.add(one)
    assert len(group) == 1 and one in group and two not in group and "one" not in group
    group.discard(two)
    group.add(two)
    assert set(group) == {one, two}
    for socket in group:  # changes while it is iterated
        group.discard(socket)
    assert len(group) == 0 and group.write("x") == 0
    assert repr(group) == "<Group of 0 sockets>"
    group.add(one)
    assert set(group) == {one}


def test_what_was_discarded_while_iterating_is_not_seen(server: Server, dial: Dial, recorder: Recorder) -> None:
    _, sockets = members(3, server, dial, recorder)
    group = Group(sockets)
    seen = []
    for socket in group:
        seen.append(socket)
        for other in sockets:
            group.discard(other)
    assert len(seen) == 1


@pytest.mark.parametrize("how", ["close", "terminate"])
def test_a_member_leaves_as_soon_as_it_closes(how: str, server: Server, dial: Dial, recorder: Recorder) -> None:
    _, sockets = members(2, server, dial, recorder)
    group, other = Group(sockets), Group(sockets)
    getattr(sockets[0], how)()
    assert set(group) == set(other) == {sockets[1]}
    assert group.write("x") == 1
    group.add(sockets[0])
    assert sockets[0] not in group, "who closes cannot come in"


@pytest.mark.parametrize("how", ["close", "reset"])
def test_a_member_leaves_when_its_peer_does(how: str, server: Server, dial: Dial, recorder: Recorder) -> None:
    peers, sockets = members(2, server, dial, recorder)
    group = Group(sockets)
    getattr(peers[0], how)()
    wait_until(lambda: len(group) == 1)
    assert group.write("x") == 1


def test_one_that_has_ended_is_in_and_takes_nothing(serve: Serve, dial: Dial, recorder: Recorder) -> None:
    _, (socket,) = members(1, serve(recorder.handlers, allow_half_open=True), dial, recorder)
    group = Group([socket])
    socket.end()
    assert group.write("x") == 0 and socket in group


def test_it_holds_no_closed_socket_and_is_held_by_none(server: Server, dial: Dial, recorder: Recorder) -> None:
    peers, sockets = members(2, server, dial, recorder)
    group = Group(sockets)
    dropped = weakref.ref(Group(sockets))
    gc.collect()
    assert dropped() is None, "its members do not keep it"
    ended = weakref.ref(sockets[0])
    peers[0].close()
    recorder.wait_for("close")
    del sockets
    recorder.log.clear()
    wait_until(lambda: gc.collect() is not None and ended() is None)
    assert len(group) == 1


def test_exclude(server: Server, dial: Dial, recorder: Recorder) -> None:
    peers, (one, two, three) = members(3, server, dial, recorder)
    group = Group([one, two, three])
    assert group.write("a", exclude=one) == 2
    assert group.write("b", exclude=[one, two]) == 1
    assert group.write("c", exclude=Group([two, three])) == 1
    assert group.write("d", exclude=(socket for socket in (one, two, three))) == 0
    assert peers[0].read_exactly(1) == b"c"
    assert peers[1].read_exactly(1) == b"a"
    assert peers[2].read_exactly(2) == b"ab"


def test_who_has_too_much_queued_is_skipped(serve: Serve, recorder: Recorder) -> None:
    server = serve(recorder.handlers, narrow_listener())
    with Peer(server.address, receive_buffer=4096) as slow, Peer(server.address) as quick:
        recorder.wait_for("open", 2)
        by_address = {socket.remote_address: socket for socket in recorder.sockets}
        stalled = by_address[slow.address]
        left = fill_kernel(stalled)
        group = Group(recorder.sockets)
        assert group.write("new", skip_over=left - 1) == 1
        assert stalled.buffered == left
        assert quick.read_exactly(3) == b"new"
        assert group.write("new", skip_over=left) == 2
        assert stalled.buffered == left + 3


@pytest.mark.parametrize("slow_consumer", ["close", "raise"])
def test_who_does_not_read_never_raises_into_the_writer(slow_consumer: str, serve: Serve, recorder: Recorder) -> None:
    server = serve(recorder.handlers, narrow_listener(), slow_consumer=slow_consumer, max_buffered=100_000)
    with Peer(server.address, receive_buffer=4096) as slow, Peer(server.address) as quick:
        recorder.wait_for("open", 2)
        stalled = next(socket for socket in recorder.sockets if socket.remote_address == slow.address)
        fill_kernel(stalled)
        group = Group(recorder.sockets)
        assert group.write("new") == 1
        assert quick.read_exactly(3) == b"new"
        assert (stalled in group) is (slow_consumer == "raise")
        assert stalled.closed is (slow_consumer == "close")
        assert server.stats().slow_consumers == 1


def test_several_broadcasts_of_one_turn_are_one_send(serve: Serve, dial: Dial) -> None:
    group = Group()

    def data(socket: AnySocket, data: bytes) -> None:
        for letter in "abc":
            assert group.write(letter) == 2

    server = serve({"open": group.add, "data": data})
    peers = [dial(server), dial(server)]
    wait_until(lambda: len(group) == 2)
    peers[0].send(b"go")
    assert [peer.read() for peer in peers] == [b"abc", b"abc"]
    assert server.stats().messages_written == 6


def test_what_each_member_was_written_before_comes_before(server: Server, dial: Dial, recorder: Recorder) -> None:
    peers, sockets = members(2, server, dial, recorder)
    sockets[0].write("first ")
    Group(sockets).write("second")
    sockets[0].write(" third")
    assert peers[0].read_exactly(18) == b"first second third"
    assert peers[1].read_exactly(6) == b"second"


def test_a_cork_of_a_member_holds_its_part_back(server: Server, dial: Dial, recorder: Recorder) -> None:
    peers, sockets = members(2, server, dial, recorder)
    with sockets[0].cork():
        assert Group(sockets).write("a") == 2
        assert peers[1].read_exactly(1) == b"a"
        assert sockets[0].buffered == 1
    assert peers[0].read_exactly(1) == b"a"


def test_a_large_broadcast_is_backpressure_as_any_write(server: Server, dial: Dial, recorder: Recorder) -> None:
    peers, sockets = members(2, server, dial, recorder)
    big = bytes(20_000_000)
    assert Group(sockets).write(bytearray(big)) == 2
    reading = [gevent.spawn(peer.read_exactly, len(big)) for peer in peers]
    assert [greenlet.get() for greenlet in reading] == [big, big]
    assert server.stats().drains == 2


@pytest.mark.parametrize("data", [None, 5, ["a"]])
def test_what_is_no_bytes_is_a_type_error_and_goes_to_nobody(
    data: Any, server: Server, dial: Dial, recorder: Recorder
) -> None:
    _, sockets = members(2, server, dial, recorder)
    with pytest.raises(TypeError, match="bytes-like or str expected"):
        Group(sockets).write(data)
    assert [socket.buffered for socket in sockets] == [0, 0]


@pytest.mark.parametrize("member", [None, "socket", object()])
def test_only_sockets_are_members(member: Any) -> None:
    with pytest.raises(TypeError, match="sockets"):
        Group([member])


def test_another_thread_may_not_write(server: Server, dial: Dial, recorder: Recorder) -> None:
    _, sockets = members(1, server, dial, recorder)
    group = Group(sockets)
    raised: list[RuntimeError] = []

    def write() -> None:
        try:
            group.write("x")
        except RuntimeError as error:
            raised.append(error)

    thread = threading.Thread(target=write)
    thread.start()
    thread.join()
    assert "another thread" in str(raised[0]) and sockets[0].buffered == 0


def test_clients_may_be_members(serve: Serve) -> None:
    recorder = Recorder()
    server = serve(recorder.handlers)
    with greensock.connect(server.address) as client:
        assert Group([client]).write("hello") == 1
        recorder.wait_for("data")
    assert recorder.received == b"hello"

"""The bytes of ``socket.as_stdlib()`` beside those of a real ``socket.socket``: in, out, and how long it may take."""

import array
import errno
import io
import os
import select
import socket as sockets
import struct
import threading
from collections.abc import Callable
from contextlib import ExitStack, closing
from pathlib import Path
from typing import Any

import gevent
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from connections import BOTH, AnySocket, ByHand, MakeByHand, StdlibPair, attempt, stream, turns
from greensock import SocketClosed
from greensock.stdlib_stream import failure
from greensock.testing import PATIENCE, Dial, Serve, wait_until


@pytest.fixture
def pair(both: StdlibPair) -> StdlibPair:
    return both


# -- reading -------------------------------------------------------------------------------------------


def test_recv_gives_what_is_there_up_to_its_size(pair: StdlibPair) -> None:
    pair.peer.sendall(b"abcdef")
    assert pair.sock.recv(0) == b""
    assert pair.sock.recv(4) == b"abcd"
    assert pair.sock.recv(4) == b"ef"


def test_recv_waits_for_something(pair: StdlibPair) -> None:
    pair.later(pair.peer.sendall, b"late")
    assert pair.sock.recv(100) == b"late"


def test_recv_gives_nothing_at_the_end_as_often_as_it_is_asked(pair: StdlibPair) -> None:
    pair.peer.sendall(b"last")
    pair.peer.shutdown(sockets.SHUT_WR)
    assert [pair.sock.recv(100) for _ in range(3)] == [b"last", b"", b""]


def test_recv_of_less_than_nothing(pair: StdlibPair) -> None:
    with pytest.raises(ValueError):
        pair.sock.recv(-1)


def test_recv_can_wait_for_all(pair: StdlibPair) -> None:
    pair.peer.sendall(b"ab")
    pair.later(pair.peer.sendall, b"cdef")
    assert pair.sock.recv(5, sockets.MSG_WAITALL) == b"abcde"
    pair.peer.shutdown(sockets.SHUT_WR)
    assert pair.sock.recv(5, sockets.MSG_WAITALL) == b"f"
    assert pair.sock.recv(5, sockets.MSG_WAITALL) == b""


def test_recv_can_refuse_to_wait(pair: StdlibPair) -> None:
    with pytest.raises(BlockingIOError):
        pair.sock.recv(5, sockets.MSG_DONTWAIT)
    with pytest.raises(BlockingIOError):
        pair.sock.recv(5, sockets.MSG_DONTWAIT | sockets.MSG_PEEK)
    pair.peer.sendall(b"ab")
    pair.sock.recv(1, sockets.MSG_PEEK)
    assert pair.sock.recv(5, sockets.MSG_DONTWAIT) == b"ab"


@pytest.mark.parametrize("make", [bytearray, lambda n: memoryview(bytearray(n)), lambda n: array.array("B", bytes(n))])
def test_recv_into_a_buffer(pair: StdlibPair, make: Callable[[int], Any]) -> None:
    buffer = make(8)
    pair.peer.sendall(b"abcdefghij")
    assert pair.sock.recv_into(buffer, 3) == 3
    assert bytes(buffer) == b"abc" + bytes(5)
    assert pair.sock.recv_into(buffer, 0) == 7
    assert bytes(buffer) == b"defghij" + bytes(1)


def test_recv_into_larger_items(pair: StdlibPair) -> None:
    buffer = array.array("i", [0, 0])
    pair.peer.sendall(struct.pack("i", 258))
    assert pair.sock.recv_into(buffer) == 4
    assert buffer[0] == 258


def test_recv_into_what_cannot_take_it_loses_nothing(pair: StdlibPair) -> None:
    pair.peer.sendall(b"abc")
    with pytest.raises(TypeError):
        pair.sock.recv_into(b"constant")
    with pytest.raises(ValueError):
        pair.sock.recv_into(bytearray(2), 3)
    with pytest.raises(ValueError):
        pair.sock.recv_into(bytearray(2), -1)
    with pytest.raises(TypeError):
        pair.sock.recv_into(5)
    assert pair.sock.recv(10) == b"abc"


def test_recvfrom_a_stream_has_no_address(pair: StdlibPair) -> None:
    pair.peer.sendall(b"abcd")
    buffer = bytearray(2)
    assert pair.sock.recvfrom(2) == (b"ab", None)
    assert pair.sock.recvfrom_into(buffer) == (2, None)
    assert buffer == b"cd"


def test_what_came_before_a_reset_is_read_and_then_the_reset(pair: StdlibPair) -> None:
    pair.peer.sendall(b"last words")
    pair.reset()
    assert pair.sock.recv(100) == b"last words"
    with pytest.raises(ConnectionResetError) as caught:
        pair.sock.recv(100)
    assert caught.value.errno == errno.ECONNRESET


def test_a_buffer_without_room_is_not_filled(pair: StdlibPair) -> None:
    assert pair.sock.recv_into(bytearray(0)) == 0
    assert pair.sock.recv_into(bytearray(0), 0) == 0
    pair.peer.sendall(b"abc")
    assert pair.sock.recv(10) == b"abc"


def test_flags_are_those_of_every_way_to_receive(pair: StdlibPair) -> None:
    pair.peer.sendall(b"abc")
    buffer = bytearray(2)
    assert pair.sock.recv_into(buffer, 2, sockets.MSG_PEEK) == 2
    assert pair.sock.recvfrom(2, sockets.MSG_PEEK) == (b"ab", None)
    assert pair.sock.recvfrom_into(buffer, 1, sockets.MSG_PEEK) == (1, None)
    assert buffer == b"ab"
    assert pair.sock.recv(10) == b"abc"
    with pytest.raises(BlockingIOError):
        pair.sock.recvfrom(2, sockets.MSG_DONTWAIT)
    with pytest.raises(BlockingIOError):
        pair.sock.recvfrom_into(buffer, 0, sockets.MSG_DONTWAIT)


def test_waiting_for_all_without_blocking_gives_what_is_there(pair: StdlibPair) -> None:
    pair.sock.setblocking(False)
    with pytest.raises(BlockingIOError):
        pair.sock.recv(5, sockets.MSG_WAITALL)
    pair.peer.sendall(b"ab")
    pair.wait_for_input()
    assert pair.sock.recv(5, sockets.MSG_WAITALL) == b"ab"


READS = st.lists(
    st.one_of(
        st.tuples(st.just("send"), st.integers(1, 2000)),
        st.tuples(st.just("recv"), st.integers(0, 2500)),
        st.tuples(st.just("peek"), st.integers(0, 2500)),
        st.tuples(st.just("into"), st.integers(0, 2500)),
        st.tuples(st.just("end"), st.just(0)),
    ),
    max_size=20,
)


@given(steps=READS)
@settings(max_examples=40)
def test_whatever_is_read_without_waiting_both_give_the_same(steps: list[tuple[str, int]]) -> None:
    def read(sock: Any, step: str, size: int) -> bytes | None:
        try:
            if step == "into":
                buffer = bytearray(size)
                return bytes(buffer[: sock.recv_into(buffer)])
            return bytes(sock.recv(size, sockets.MSG_PEEK if step == "peek" else 0))
        except BlockingIOError:
            return None

    with ExitStack() as stack:
        pairs = [stack.enter_context(closing(StdlibPair(kind))) for kind in BOTH]
        for pair in pairs:
            pair.sock.setblocking(False)
        sent, unread, ended = 0, 0, False
        for step, size in steps:
            if step == "send" and not ended:
                for pair in pairs:
                    pair.peer.sendall(stream(size, sent))
                sent, unread = sent + size, unread + size
            elif step == "end" and not ended:
                ended = True
                for pair in pairs:
                    pair.peer.shutdown(sockets.SHUT_WR)
            elif step not in ("send", "end"):
                for pair in pairs:
                    pair.wait_for_all(unread, ended=ended)
                real, ours = (read(pair.sock, step, size) for pair in pairs)
                assert real == ours
                unread -= 0 if step == "peek" else len(real or b"")


# -- timeouts ------------------------------------------------------------------------------------------


def test_timeouts_are_numbers_of_seconds_or_none(pair: StdlibPair) -> None:
    sock = pair.sock
    assert sock.gettimeout() is sock.timeout is None and sock.getblocking()
    for seconds, kept in ((1, 1.0), (0.5, 0.5), (0, 0.0), (None, None), (True, 1.0)):
        sock.settimeout(seconds)
        assert sock.gettimeout() == sock.timeout == kept
        assert sock.getblocking() is (kept != 0)
    sock.setblocking(False)
    assert sock.gettimeout() == 0.0 and not sock.getblocking()
    sock.setblocking(True)
    assert sock.gettimeout() is None
    for bad in (-1, -0.1, float("nan")):
        with pytest.raises(ValueError):
            sock.settimeout(bad)
    wrong: Any
    for wrong in ("one", [], b""):
        with pytest.raises((TypeError, ValueError)):
            sock.settimeout(wrong)
    assert sock.gettimeout() is None


@pytest.mark.parametrize("kind", BOTH)
def test_the_default_timeout_is_the_one_of_the_program(kind: str, no_leaks: None) -> None:
    sockets.setdefaulttimeout(12.5)
    try:
        with closing(StdlibPair(kind)) as pair:
            assert pair.sock.gettimeout() == 12.5
    finally:
        sockets.setdefaulttimeout(None)


@pytest.mark.parametrize(
    "read",
    [
        lambda sock: sock.recv(10),
        lambda sock: sock.recv_into(bytearray(10)),
        lambda sock: sock.recv(10, sockets.MSG_PEEK),
    ],
)
def test_reading_times_out_and_loses_nothing(pair: StdlibPair, read: Callable[[Any], object]) -> None:
    pair.sock.settimeout(0.01)
    with pytest.raises(TimeoutError, match=r"^timed out$") as caught:
        read(pair.sock)
    assert caught.value.errno is None
    pair.peer.sendall(b"late")
    pair.sock.settimeout(10)
    assert pair.sock.recv(10) == b"late"


def test_without_blocking_nothing_is_waited_for(pair: StdlibPair) -> None:
    pair.sock.setblocking(False)
    with pytest.raises(BlockingIOError) as caught:
        pair.sock.recv(10)
    assert caught.value.errno == errno.EAGAIN
    with pytest.raises(BlockingIOError):
        pair.sock.recv_into(bytearray(10))
    pair.peer.sendall(b"abc")
    assert select.select([pair.sock], [], [], 10)[0] == [pair.sock]
    assert pair.sock.recv(10) == b"abc"


def test_what_times_out_or_breaks_is_known_for_the_networks_fault(ours: StdlibPair) -> None:
    """So that a handler that lets it out is not blamed."""
    ours.sock.settimeout(0.01)
    calls: list[Callable[[], object]] = [
        lambda: ours.sock.recv(1),
        lambda: ours.sock.recv(1, sockets.MSG_PEEK),
        lambda: ours.sock.recv(1, sockets.MSG_WAITALL),
        lambda: ours.sock.send(bytes(50_000_000)),
    ]
    for call in calls:
        with pytest.raises(TimeoutError, match=r"^timed out$") as caught:
            call()
        assert ours.below._is_own_failure(caught.value)


def test_who_waits_for_all_and_gives_up_loses_nothing(ours: StdlibPair) -> None:
    ours.peer.sendall(b"ab")
    ours.sock.settimeout(0.02)
    with pytest.raises(TimeoutError):
        ours.sock.recv(5, sockets.MSG_WAITALL)
    assert ours.sock.recv(5, sockets.MSG_PEEK) == b"ab"
    ours.peer.sendall(b"cde")
    assert ours.sock.recv(5, sockets.MSG_WAITALL) == b"abcde"


# -- writing -------------------------------------------------------------------------------------------


@pytest.mark.parametrize("call", ["send", "sendall"])
@pytest.mark.parametrize("data", [b"abc", bytearray(b"abc"), memoryview(b"abc"), array.array("h", [1, 2])])
def test_what_was_sent_is_with_the_kernel_when_the_call_returns(pair: StdlibPair, call: str, data: Any) -> None:
    expected = bytes(memoryview(data).cast("B"))
    assert getattr(pair.sock, call)(data) == (None if call == "sendall" else len(expected))
    assert pair.peer.recv(100, sockets.MSG_DONTWAIT) == expected  # this thread's loop had no turn


def test_nothing_can_be_sent_as_well(pair: StdlibPair) -> None:
    assert pair.sock.send(b"") == 0
    pair.sock.sendall(b"")
    pair.sock.sendall(memoryview(b""))
    pair.sock.sendall(b"x")
    assert pair.peer.recv(10) == b"x"


@pytest.mark.parametrize("call", ["send", "sendall"])
@pytest.mark.parametrize("data", ["text", 5, None, [b"list"]])
def test_only_bytes_are_sent(pair: StdlibPair, call: str, data: Any) -> None:
    with pytest.raises(TypeError):
        getattr(pair.sock, call)(data)
    pair.sock.sendall(b"x")
    assert pair.peer.recv(10) == b"x"


def test_a_buffer_may_be_reused_when_the_call_has_returned(pair: StdlibPair) -> None:
    pair.later(pair.read_all)
    buffer = bytearray(b"a" * 1_000_000)
    pair.sock.sendall(buffer)
    buffer.clear()  # which a buffer that is still looked at refuses
    pair.sock.shutdown(sockets.SHUT_WR)


def test_sendall_sends_more_than_the_kernel_takes(pair: StdlibPair) -> None:
    received: list[bytes] = []
    pair.later(lambda: received.append(pair.read_all()))
    data = os.urandom(1 << 16) * 160  # 10 MiB
    pair.sock.sendall(data)
    pair.sock.shutdown(sockets.SHUT_WR)
    wait_until(lambda: received, what="the end at the peer")
    assert received[0] == data


def test_sendmsg_and_sendto(pair: StdlibPair) -> None:
    assert pair.sock.sendmsg([b"ab", bytearray(b"cd"), memoryview(b"ef")]) == 6
    assert pair.peer.recv(100) == b"abcdef"
    assert pair.sock.send(b"ab", sockets.MSG_NOSIGNAL) == 2
    assert pair.peer.recv(100) == b"ab"


def test_the_address_that_a_stream_is_sent_to_is_ignored(pair: StdlibPair) -> None:
    address = pair.sock.getpeername()
    assert pair.sock.sendto(b"ab", address) == 2
    assert pair.sock.sendto(b"cd", sockets.MSG_NOSIGNAL, address) == 2
    assert pair.sock.sendmsg([b"ef"], [], sockets.MSG_NOSIGNAL) == 2
    assert pair.sock.sendall(b"gh", sockets.MSG_NOSIGNAL) is None
    assert pair.peer.recv(100) == b"abcdefgh"


def test_sending_can_refuse_to_wait(pair: StdlibPair) -> None:
    accepted = 0
    with pytest.raises(BlockingIOError) as caught:
        while accepted < 100 << 20:
            accepted += pair.sock.send(b"x" * (1 << 20), sockets.MSG_DONTWAIT)
    assert caught.value.errno == errno.EAGAIN
    assert 0 < accepted < 100 << 20


def test_sending_times_out_when_the_peer_does_not_read(pair: StdlibPair) -> None:
    pair.sock.settimeout(0.02)
    with pytest.raises(TimeoutError, match=r"^timed out$"):
        for _ in range(100):
            pair.sock.sendall(b"x" * (1 << 20))


def test_without_blocking_the_kernel_is_filled_and_no_more(pair: StdlibPair) -> None:
    pair.sock.setblocking(False)
    accepted = 0
    with pytest.raises(BlockingIOError) as caught:
        while accepted < 100 << 20:
            accepted += pair.sock.send(b"x" * (1 << 20))
    assert caught.value.errno == errno.EAGAIN
    assert 0 < accepted < 100 << 20
    received: list[bytes] = []
    pair.later(lambda: received.append(pair.read_all()))
    pair.sock.shutdown(sockets.SHUT_WR)
    wait_until(lambda: received, what="the end at the peer")
    assert len(received[0]) == accepted


def test_sendall_without_blocking_is_told_that_the_kernel_is_full(pair: StdlibPair) -> None:
    pair.sock.setblocking(False)
    pair.sock.sendall(b"small")
    with pytest.raises(BlockingIOError):
        for _ in range(100):
            pair.sock.sendall(b"x" * (1 << 20))


@pytest.mark.parametrize("timeout", [None, 5.0, 0.0])
def test_a_peer_that_has_reset_is_a_broken_pipe(pair: StdlibPair, timeout: float | None) -> None:
    pair.sock.settimeout(timeout)
    pair.reset()
    with pytest.raises((BrokenPipeError, ConnectionResetError)):
        pair.sock.sendall(b"into the void")
    with pytest.raises((BrokenPipeError, ConnectionResetError)):
        pair.sock.sendall(b"again")


def test_a_file_is_sent_from_where_it_is_told(pair: StdlibPair, tmp_path: Path) -> None:
    path = tmp_path / "file"
    path.write_bytes(b"0123456789")
    with path.open("rb") as file:
        assert pair.sock.sendfile(file, 2, 5) == 5
        assert file.tell() == 7
        assert pair.sock.sendfile(file, 8) == 2
        assert file.tell() == 10
        with pytest.raises(ValueError):
            pair.sock.sendfile(file, 0, 0)
        with pytest.raises(TypeError):
            pair.sock.sendfile(file, 0, "1")
        pair.sock.settimeout(0)
        with pytest.raises(ValueError):
            pair.sock.sendfile(file)
    with path.open() as text, pytest.raises(ValueError):
        pair.sock.sendfile(text)
    pair.sock.settimeout(10)
    assert pair.sock.sendfile(io.BytesIO(b"memory"), 3) == 3
    pair.sock.shutdown(sockets.SHUT_WR)
    assert pair.read_all() == b"2345689ory"


def test_a_large_file_is_sent_in_pieces_up_to_a_count_or_its_end(pair: StdlibPair, tmp_path: Path) -> None:
    path = tmp_path / "file"
    path.write_bytes(stream(300_000))
    received: list[bytes] = []
    pair.later(lambda: received.append(pair.read_all()))
    with path.open("rb") as file:
        assert pair.sock.sendfile(file, 10, 150_000) == 150_000
        assert file.tell() == 150_010
        assert pair.sock.sendfile(file, 150_010, 1_000_000) == 149_990
        assert pair.sock.sendfile(file, 300_000) == 0
    pair.sock.shutdown(sockets.SHUT_WR)
    wait_until(lambda: received, what="the end at the peer")
    assert received[0] == stream(299_990, 10)


def test_only_bytes_of_a_file_are_sent(pair: StdlibPair, tmp_path: Path) -> None:
    path = tmp_path / "file"
    path.write_bytes(b"text")
    with path.open() as text, pytest.raises(ValueError, match="binary mode"):
        pair.sock.sendfile(text)
    with path.open("rb") as file, pytest.raises(ValueError, match="count must be a positive integer"):
        pair.sock.sendfile(file, 0, -1)
    pair.sock.shutdown(sockets.SHUT_WR)
    assert pair.read_all() == b""


def test_a_file_is_sent_from_its_beginning_also_when_some_of_it_was_read(pair: StdlibPair, tmp_path: Path) -> None:
    path = tmp_path / "file"
    path.write_bytes(b"0123456789")
    with path.open("rb") as file:
        assert file.read(3) == b"012"
        assert pair.sock.sendfile(file) == 10
        assert file.tell() == 10
    memory = io.BytesIO(b"abcdef")
    assert memory.read(3) == b"abc"
    assert pair.sock.sendfile(memory) == 3, "what is no regular file goes on where it is"
    pair.sock.shutdown(sockets.SHUT_WR)
    assert pair.read_all() == b"0123456789def"


@pytest.mark.parametrize("data", [b"", b"x"])
@pytest.mark.parametrize("call", ["send", "sendall"])
def test_what_has_ended_takes_nothing_not_even_nothing(pair: StdlibPair, call: str, data: bytes) -> None:
    pair.sock.shutdown(sockets.SHUT_WR)
    with pytest.raises(BrokenPipeError):
        getattr(pair.sock, call)(data)
    pair.sock.close()
    with pytest.raises(OSError) as caught:
        getattr(pair.sock, call)(data)
    assert caught.value.errno == errno.EBADF


# -- ours alone ----------------------------------------------------------------------------------------


def test_while_it_waits_others_run(ours: StdlibPair) -> None:
    gevent.spawn(ours.peer.sendall, b"from a greenlet")
    assert ours.sock.recv(100) == b"from a greenlet"


def test_what_it_sends_is_counted(ours: StdlibPair) -> None:
    ours.peer.sendall(b"abc")
    ours.sock.recv(10)
    ours.sock.sendall(b"12345")
    ours.sock.send(b"67")
    assert (ours.below.bytes_read, ours.below.bytes_written) == (3, 7)


def test_no_more_than_the_high_water_mark_is_left_behind(ours: StdlibPair) -> None:
    ours.sock.settimeout(0.01)
    with pytest.raises(TimeoutError):
        while True:
            ours.sock.sendall(b"x" * 50_000)
            assert ours.below.buffered <= 65536


def test_others_writes_are_sent_before(ours: StdlibPair) -> None:
    ours.below.write(b"one, ")
    with ours.below.cork():
        ours.below.write(b"two, ")
        ours.sock.sendall(b"three")
        assert ours.peer.recv(100, sockets.MSG_DONTWAIT) == b"one, two, three"


def test_what_the_network_did_is_known_for_it(ours: StdlibPair) -> None:
    """So that a handler that lets it out is not blamed."""
    ours.reset()
    with pytest.raises(ConnectionResetError) as caught:
        ours.sock.recv(1)
    assert ours.below._is_own_failure(caught.value)
    with pytest.raises(OSError) as again:
        ours.sock.send(b"x")
    assert ours.below._is_own_failure(again.value)


def test_another_thread_is_refused(ours: StdlibPair) -> None:
    errors: list[BaseException] = []

    def use() -> None:
        for call in (lambda: ours.sock.recv(1), lambda: ours.sock.send(b"x"), ours.sock.close):
            try:
                call()
            except RuntimeError as error:
                errors.append(error)

    thread = threading.Thread(target=use)
    thread.start()
    thread.join()
    assert len(errors) == 3 and all("another thread" in str(error) for error in errors)


def test_a_socket_with_handlers_is_not_read(serve: Any, dial: Any) -> None:
    sockets_seen: list[Any] = []
    server = serve({"open": sockets_seen.append})
    dial(server)
    wait_until(lambda: sockets_seen)
    with pytest.raises(RuntimeError, match="has handlers"):
        sockets_seen[0].as_stdlib().recv(1)


def test_flags_that_mean_something_else_are_refused(ours: StdlibPair) -> None:
    calls: list[Callable[[], object]] = [
        lambda: ours.sock.recv(1, sockets.MSG_OOB),
        lambda: ours.sock.send(b"x", sockets.MSG_OOB),
        lambda: ours.sock.sendmsg([b"x"], [(1, 1, b"")]),
    ]
    for call in calls:
        with pytest.raises(OSError) as caught:
            call()
        assert caught.value.errno == errno.EOPNOTSUPP


def test_what_is_refused_is_named(ours: StdlibPair) -> None:
    with pytest.raises(OSError, match=rf"recv\(\) flags {sockets.MSG_OOB:#x} are not supported here"):
        ours.sock.recv(1, sockets.MSG_OOB)
    with pytest.raises(OSError, match=rf"send\(\) flags {sockets.MSG_OOB:#x} are not supported here"):
        ours.sock.sendall(b"x", sockets.MSG_OOB)
    calls: list[tuple[Any, ...]] = [([b"x"], [(1, 1, b"")]), ([b"x"], [], 0, ours.sock.getpeername())]
    for arguments in calls:
        with pytest.raises(OSError, match="neither ancillary data nor an address") as caught:
            ours.sock.sendmsg(*arguments)
        assert caught.value.errno == errno.EOPNOTSUPP
    assert ours.nothing_came()


def test_each_send_is_a_message(serve: Serve, dial: Dial) -> None:
    def handle(socket: AnySocket) -> None:
        sock = socket.as_stdlib()
        assert sock.recv(10) == b"?"
        sock.sendall(b"one")
        sock.send(b"two")
        sock.sendmsg([b"th", b"ree"])

    server = serve(handle)
    peer = dial(server)
    peer.send(b"?")
    assert peer.read_to_end() == b"onetwothree"
    stats = server.stats()
    assert (stats.messages_read, stats.messages_written, stats.bytes_written) == (1, 3, 11)


@pytest.mark.parametrize(("mark", "taken"), [(0, 1), (3, 3), (1000, 4)])
def test_without_blocking_no_more_is_taken_at_a_time_than_may_be_left_behind(
    mark: int, taken: int, by_hand: MakeByHand
) -> None:
    pair = by_hand(high_water_mark=mark)
    sock = pair.socket.as_stdlib()
    sock.setblocking(False)
    assert sock.send(b"abcd") == taken
    sock.sendall(b"efgh")
    assert pair.peer.recv(10) == b"abcd"[:taken] + b"efgh"


@pytest.fixture
def queued(by_hand: MakeByHand) -> tuple[ByHand, Any]:
    """A socket to which others have written 1,000,000 bytes that its peer does not read, and its other clothes."""
    pair = by_hand()
    pair.socket.write(stream(1_000_000))
    turns()
    assert pair.socket.buffered > 65_536
    return pair, pair.socket.as_stdlib()


Queued = tuple[ByHand, Any]


def read_exactly(pair: ByHand, size: int) -> bytes:
    parts = bytearray()
    while len(parts) < size:
        parts += pair.peer.recv(size - len(parts))
    return bytes(parts)


@pytest.mark.parametrize("timeout", [0.0, 0.02])
def test_what_others_have_queued_is_not_overtaken(timeout: float, queued: Queued) -> None:
    pair, sock = queued
    sock.settimeout(timeout)
    for call in (sock.send, sock.sendall):
        with pytest.raises(TimeoutError if timeout else BlockingIOError):
            call(b"refused")
    assert pair.socket.bytes_written + pair.socket.buffered == 1_000_000, "nothing of it was taken"
    sock.settimeout(PATIENCE)
    sending = gevent.spawn(sock.sendall, stream(500_000, 1_000_000))
    assert read_exactly(pair, 1_400_000) == stream(1_400_000)
    sending.get(timeout=PATIENCE)
    assert read_exactly(pair, 100_000) == stream(100_000, 1_400_000)


@pytest.mark.parametrize("ending", ["end", "close", "terminate"])
def test_who_waits_for_room_sends_nothing_after_somebody_else_ended_the_socket(ending: str, queued: Queued) -> None:
    pair, sock = queued
    sending = gevent.spawn(attempt, sock.sendall, b"too late")
    turns()
    assert not sending.ready()
    gevent.spawn(getattr(pair.socket, ending))
    turns()
    received = bytearray()
    while part := pair.peer.recv(100_000):
        received += part
    error = sending.get(timeout=PATIENCE)
    assert isinstance(error, BrokenPipeError)
    assert received == stream(len(received))
    assert pair.socket.bytes_written + pair.socket.unsent == 1_000_000
    assert not pair.socket._is_own_failure(error), "this side did it"


@pytest.mark.parametrize("cause", [ConnectionResetError(errno.ECONNRESET, "reset"), TimeoutError("took too long")])
def test_what_ended_the_connection_is_what_the_standard_library_would_raise(cause: OSError) -> None:
    error = SocketClosed(errno.EPIPE, "the connection is over")
    error.__cause__, error.socket = cause, object()
    told = failure(error)
    assert type(told) is type(cause) and told.args == cause.args and told is not cause
    assert getattr(told, "socket", None) is error.socket


@pytest.mark.parametrize(("otherwise", "kind"), [(errno.EPIPE, BrokenPipeError), (errno.EBADF, OSError)])
def test_what_this_side_has_ended_is_a_number_of_its_own(otherwise: int, kind: type[OSError]) -> None:
    told = failure(SocketClosed(errno.EPIPE, "the socket has ended"), otherwise)
    assert type(told) is kind and told.errno == otherwise
    assert str(told) == f"[Errno {otherwise}] {os.strerror(otherwise)}"
    assert getattr(told, "socket", "missing") is None

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
from contextlib import closing
from pathlib import Path
from typing import Any

import gevent
import pytest

from connections import BOTH, StdlibPair
from greensock.testing import wait_until


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


# -- timeouts ------------------------------------------------------------------------------------------


def test_timeouts_are_numbers_of_seconds_or_none(pair: StdlibPair) -> None:
    sock = pair.sock
    assert sock.gettimeout() is sock.timeout is None and sock.getblocking()
    for given, kept in ((1, 1.0), (0.5, 0.5), (0, 0.0), (None, None), (True, 1.0)):
        sock.settimeout(given)
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


def test_a_peer_that_has_reset_is_a_broken_pipe(pair: StdlibPair) -> None:
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

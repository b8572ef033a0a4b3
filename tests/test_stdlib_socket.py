"""``socket.as_stdlib()`` beside a real ``socket.socket``: the same tests for both, with a peer in the same clothes."""

import array
import errno
import io
import os
import select
import socket as sockets
import struct
import threading
from collections.abc import Callable, Iterator
from contextlib import closing
from pathlib import Path
from typing import Any, Final

import gevent
import pytest

import greensock
from greensock.testing import wait_until

BOTH: Final = ["socket.socket", "as_stdlib"]


class Pair:
    """A connected socket of the kind under test, and its peer, which is a blocking socket of the standard library."""

    def __init__(self, kind: str, family: int = sockets.AF_INET) -> None:
        self.kind = kind
        address: Any = ("127.0.0.1", 0) if family == sockets.AF_INET else ("::1", 0)
        with closing(sockets.socket(family)) as listener:
            listener.bind(address)
            listener.listen()
            self.below: Any = None
            self.sock: Any
            if kind == "as_stdlib":
                self.below = greensock.connect(listener.getsockname())
                self.sock = self.below.as_stdlib()
            else:
                self.sock = sockets.create_connection(listener.getsockname()[:2])
            self.peer, _ = listener.accept()
        self.peer.settimeout(10)
        self.threads: list[threading.Thread] = []

    def later(self, function: Callable[..., object], *arguments: object) -> None:
        """Call it in a thread, when the caller probably waits; whether he does makes no difference to him."""
        self.threads.append(threading.Timer(0.01, function, arguments))
        self.threads[-1].start()

    def read_all(self) -> bytes:
        """What the peer gets until the end."""
        parts = []
        while part := self.peer.recv(1 << 20):
            parts.append(part)
        return b"".join(parts)

    def nothing_came(self) -> bool:
        """Whether there is nothing at the peer now."""
        return select.select([self.peer], [], [], 0)[0] == []

    def reset(self) -> None:
        """The peer resets the connection, and this side's kernel knows it."""
        self.peer.setsockopt(sockets.SOL_SOCKET, sockets.SO_LINGER, struct.pack("ii", 1, 0))
        self.peer.close()
        poll = select.poll()
        poll.register(self.sock.fileno(), 0)
        assert poll.poll(10_000)

    def close(self) -> None:
        for thread in self.threads:
            thread.join()
        self.peer.close()
        self.sock.close()
        if self.below is not None:
            self.below.terminate()


@pytest.fixture(params=BOTH)
def pair(request: pytest.FixtureRequest, no_leaks: None) -> Iterator[Pair]:
    with closing(Pair(request.param)) as pair:
        yield pair


@pytest.fixture
def ours(no_leaks: None) -> Iterator[Pair]:
    with closing(Pair("as_stdlib")) as pair:
        yield pair


# -- reading -----------------------------------------------------------------------------------------------


def test_recv_gives_what_is_there_up_to_its_size(pair: Pair) -> None:
    pair.peer.sendall(b"abcdef")
    assert pair.sock.recv(0) == b""
    assert pair.sock.recv(4) == b"abcd"
    assert pair.sock.recv(4) == b"ef"


def test_recv_waits_for_something(pair: Pair) -> None:
    pair.later(pair.peer.sendall, b"late")
    assert pair.sock.recv(100) == b"late"


def test_recv_gives_nothing_at_the_end_as_often_as_it_is_asked(pair: Pair) -> None:
    pair.peer.sendall(b"last")
    pair.peer.shutdown(sockets.SHUT_WR)
    assert [pair.sock.recv(100) for _ in range(3)] == [b"last", b"", b""]


def test_recv_of_less_than_nothing(pair: Pair) -> None:
    with pytest.raises(ValueError):
        pair.sock.recv(-1)


def test_recv_can_peek(pair: Pair) -> None:
    pair.later(pair.peer.sendall, b"abcdef")
    assert pair.sock.recv(3, sockets.MSG_PEEK) == b"abc"
    assert pair.sock.recv(100, sockets.MSG_PEEK) == b"abcdef"
    assert pair.sock.recv(2) == b"ab"
    assert pair.sock.recv(100, sockets.MSG_PEEK) == b"cdef"
    assert pair.sock.recv(100) == b"cdef"
    pair.peer.shutdown(sockets.SHUT_WR)
    assert pair.sock.recv(100, sockets.MSG_PEEK) == pair.sock.recv(100) == pair.sock.recv(1, sockets.MSG_PEEK) == b""


def test_recv_can_wait_for_all(pair: Pair) -> None:
    pair.peer.sendall(b"ab")
    pair.later(pair.peer.sendall, b"cdef")
    assert pair.sock.recv(5, sockets.MSG_WAITALL) == b"abcde"
    pair.peer.shutdown(sockets.SHUT_WR)
    assert pair.sock.recv(5, sockets.MSG_WAITALL) == b"f"
    assert pair.sock.recv(5, sockets.MSG_WAITALL) == b""


def test_recv_can_refuse_to_wait(pair: Pair) -> None:
    with pytest.raises(BlockingIOError):
        pair.sock.recv(5, sockets.MSG_DONTWAIT)
    with pytest.raises(BlockingIOError):
        pair.sock.recv(5, sockets.MSG_DONTWAIT | sockets.MSG_PEEK)
    pair.peer.sendall(b"ab")
    pair.sock.recv(1, sockets.MSG_PEEK)
    assert pair.sock.recv(5, sockets.MSG_DONTWAIT) == b"ab"


@pytest.mark.parametrize("make", [bytearray, lambda n: memoryview(bytearray(n)), lambda n: array.array("B", bytes(n))])
def test_recv_into_a_buffer(pair: Pair, make: Callable[[int], Any]) -> None:
    buffer = make(8)
    pair.peer.sendall(b"abcdefghij")
    assert pair.sock.recv_into(buffer, 3) == 3
    assert bytes(buffer) == b"abc" + bytes(5)
    assert pair.sock.recv_into(buffer, 0) == 7
    assert bytes(buffer) == b"defghij" + bytes(1)


def test_recv_into_larger_items(pair: Pair) -> None:
    buffer = array.array("i", [0, 0])
    pair.peer.sendall(struct.pack("i", 258))
    assert pair.sock.recv_into(buffer) == 4
    assert buffer[0] == 258


def test_recv_into_what_cannot_take_it_loses_nothing(pair: Pair) -> None:
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


def test_recvfrom_a_stream_has_no_address(pair: Pair) -> None:
    pair.peer.sendall(b"abcd")
    buffer = bytearray(2)
    assert pair.sock.recvfrom(2) == (b"ab", None)
    assert pair.sock.recvfrom_into(buffer) == (2, None)
    assert buffer == b"cd"


def test_what_came_before_a_reset_is_read_and_then_the_reset(pair: Pair) -> None:
    pair.peer.sendall(b"last words")
    pair.reset()
    assert pair.sock.recv(100) == b"last words"
    with pytest.raises(ConnectionResetError) as caught:
        pair.sock.recv(100)
    assert caught.value.errno == errno.ECONNRESET


# -- timeouts ----------------------------------------------------------------------------------------------


def test_timeouts_are_numbers_of_seconds_or_none(pair: Pair) -> None:
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
        with closing(Pair(kind)) as pair:
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
def test_reading_times_out_and_loses_nothing(pair: Pair, read: Callable[[Any], object]) -> None:
    pair.sock.settimeout(0.01)
    with pytest.raises(TimeoutError, match=r"^timed out$") as caught:
        read(pair.sock)
    assert caught.value.errno is None
    pair.peer.sendall(b"late")
    pair.sock.settimeout(10)
    assert pair.sock.recv(10) == b"late"


def test_without_blocking_nothing_is_waited_for(pair: Pair) -> None:
    pair.sock.setblocking(False)
    with pytest.raises(BlockingIOError) as caught:
        pair.sock.recv(10)
    assert caught.value.errno == errno.EAGAIN
    with pytest.raises(BlockingIOError):
        pair.sock.recv_into(bytearray(10))
    pair.peer.sendall(b"abc")
    assert select.select([pair.sock], [], [], 10)[0] == [pair.sock]
    assert pair.sock.recv(10) == b"abc"


# -- writing -----------------------------------------------------------------------------------------------


@pytest.mark.parametrize("call", ["send", "sendall"])
@pytest.mark.parametrize("data", [b"abc", bytearray(b"abc"), memoryview(b"abc"), array.array("h", [1, 2])])
def test_what_was_sent_is_with_the_kernel_when_the_call_returns(pair: Pair, call: str, data: Any) -> None:
    expected = bytes(memoryview(data).cast("B"))
    assert getattr(pair.sock, call)(data) == (None if call == "sendall" else len(expected))
    assert pair.peer.recv(100, sockets.MSG_DONTWAIT) == expected  # this thread's loop had no turn


def test_nothing_can_be_sent_as_well(pair: Pair) -> None:
    assert pair.sock.send(b"") == 0
    pair.sock.sendall(b"")
    pair.sock.sendall(memoryview(b""))
    pair.sock.sendall(b"x")
    assert pair.peer.recv(10) == b"x"


@pytest.mark.parametrize("call", ["send", "sendall"])
@pytest.mark.parametrize("data", ["text", 5, None, [b"list"]])
def test_only_bytes_are_sent(pair: Pair, call: str, data: Any) -> None:
    with pytest.raises(TypeError):
        getattr(pair.sock, call)(data)
    pair.sock.sendall(b"x")
    assert pair.peer.recv(10) == b"x"


def test_a_buffer_may_be_reused_when_the_call_has_returned(pair: Pair) -> None:
    pair.later(pair.read_all)
    buffer = bytearray(b"a" * 1_000_000)
    pair.sock.sendall(buffer)
    buffer.clear()  # which a buffer that is still looked at refuses
    pair.sock.shutdown(sockets.SHUT_WR)


def test_sendall_sends_more_than_the_kernel_takes(pair: Pair) -> None:
    received: list[bytes] = []
    pair.later(lambda: received.append(pair.read_all()))
    data = os.urandom(1 << 16) * 160  # 10 MiB
    pair.sock.sendall(data)
    pair.sock.shutdown(sockets.SHUT_WR)
    wait_until(lambda: received, what="the end at the peer")
    assert received[0] == data


def test_sendmsg_and_sendto(pair: Pair) -> None:
    assert pair.sock.sendmsg([b"ab", bytearray(b"cd"), memoryview(b"ef")]) == 6
    assert pair.peer.recv(100) == b"abcdef"
    assert pair.sock.send(b"ab", sockets.MSG_NOSIGNAL) == 2
    assert pair.peer.recv(100) == b"ab"


def test_sending_times_out_when_the_peer_does_not_read(pair: Pair) -> None:
    pair.sock.settimeout(0.02)
    with pytest.raises(TimeoutError, match=r"^timed out$"):
        for _ in range(100):
            pair.sock.sendall(b"x" * (1 << 20))


def test_without_blocking_the_kernel_is_filled_and_no_more(pair: Pair) -> None:
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


def test_sendall_without_blocking_is_told_that_the_kernel_is_full(pair: Pair) -> None:
    pair.sock.setblocking(False)
    pair.sock.sendall(b"small")
    with pytest.raises(BlockingIOError):
        for _ in range(100):
            pair.sock.sendall(b"x" * (1 << 20))


def test_a_peer_that_has_reset_is_a_broken_pipe(pair: Pair) -> None:
    pair.reset()
    with pytest.raises((BrokenPipeError, ConnectionResetError)):
        pair.sock.sendall(b"into the void")
    with pytest.raises((BrokenPipeError, ConnectionResetError)):
        pair.sock.sendall(b"again")


def test_a_file_is_sent_from_where_it_is_told(pair: Pair, tmp_path: Path) -> None:
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


# -- files -------------------------------------------------------------------------------------------------


def test_a_file_reads_lines_and_bytes(pair: Pair) -> None:
    pair.peer.sendall(b"one\r\ntwo\nthree")
    pair.peer.shutdown(sockets.SHUT_WR)
    with pair.sock.makefile("rb") as file:
        assert isinstance(file, io.BufferedReader)
        assert file.readline() == b"one\r\n"
        assert file.read(2) == b"tw"
        assert list(file) == [b"o\n", b"three"]
        assert file.read() == b""


def test_a_file_reads_text(pair: Pair) -> None:
    pair.peer.sendall("eins\r\nzwölf\n".encode("latin-1"))
    pair.peer.shutdown(sockets.SHUT_WR)
    with pair.sock.makefile(encoding="latin-1") as file:
        assert isinstance(file, io.TextIOWrapper) and file.mode == "r"
        assert file.readlines() == ["eins\n", "zwölf\n"]


def test_newlines_are_as_one_says(pair: Pair) -> None:
    pair.peer.sendall(b"a\r\nb\n")
    pair.peer.shutdown(sockets.SHUT_WR)
    with pair.sock.makefile("r", newline="") as file:
        assert file.readlines() == ["a\r\n", "b\n"]
    with pair.sock.makefile("w", newline="\r\n", encoding="ascii", errors="replace") as file:
        file.write("ä\n")
    assert pair.peer.recv(10) == b"?\r\n"


def test_a_file_writes_when_it_is_flushed_full_or_closed(pair: Pair) -> None:
    with pair.sock.makefile("wb", 8) as file:
        assert isinstance(file, io.BufferedWriter)
        file.write(b"abc")
        assert pair.nothing_came()
        file.flush()
        assert pair.peer.recv(10) == b"abc"
        file.write(b"0123456789")
        assert pair.peer.recv(100)[:2] == b"01"
        file.write(b"end")
    assert pair.peer.recv(100).endswith(b"end")


def test_a_file_of_both_ways(pair: Pair) -> None:
    pair.peer.sendall(b"question\n")
    with pair.sock.makefile("rwb") as file:
        assert isinstance(file, io.BufferedRWPair)
        assert file.readline() == b"question\n"
        file.write(b"answer\n")
        file.flush()
    assert pair.peer.recv(100) == b"answer\n"


def test_unbuffered_files_are_bare(pair: Pair) -> None:
    pair.peer.sendall(b"abc")
    with pair.sock.makefile("rwb", 0) as file:
        assert isinstance(file, sockets.SocketIO)
        assert file.readable() and file.writable() and not file.seekable()
        assert file.fileno() == file.name == pair.sock.fileno()
        assert file.read(2) == b"ab"
        assert file.write(b"xyz") == 3
        assert pair.peer.recv(10, sockets.MSG_DONTWAIT) == b"xyz"
    assert file.closed
    for mode in ("a", "r+", "x", "rbt"):
        with pytest.raises(ValueError):
            pair.sock.makefile(mode)
    with pytest.raises(ValueError):
        pair.sock.makefile("r", 0)


def test_a_file_that_timed_out_is_of_no_more_use(pair: Pair) -> None:
    pair.sock.settimeout(0.01)
    with pair.sock.makefile("rb") as file:
        with pytest.raises(TimeoutError):
            file.readline()
        with pytest.raises(OSError, match="cannot read from timed out object"):
            file.readline()


def test_a_file_without_blocking_gives_none(pair: Pair) -> None:
    pair.sock.setblocking(False)
    with pair.sock.makefile("rb", 0) as file:
        assert file.read(5) is None


def test_the_connection_lives_as_long_as_its_files(pair: Pair) -> None:
    reader, writer = pair.sock.makefile("rb"), pair.sock.makefile("wb")
    pair.sock.close()
    assert pair.sock.fileno() >= 0
    pair.peer.sendall(b"still\n")
    assert reader.readline() == b"still\n"
    writer.write(b"there")
    writer.flush()
    assert pair.peer.recv(10) == b"there"
    reader.close()
    assert pair.sock.fileno() >= 0
    writer.close()
    assert pair.sock.fileno() == -1
    assert pair.peer.recv(10) == b""


def test_files_that_are_closed_first_do_not_close_the_connection(pair: Pair) -> None:
    pair.sock.makefile("rb").close()
    with pair.sock.makefile("wb") as file:
        file.write(b"one")
    pair.sock.sendall(b"two")
    pair.sock.close()
    assert pair.read_all() == b"onetwo"


def test_a_file_may_be_closed_twice(pair: Pair) -> None:
    first, second = pair.sock.makefile("rb"), pair.sock.makefile("rb")
    first.close()
    first.close()
    pair.sock.close()
    assert pair.sock.fileno() >= 0
    second.close()
    assert pair.sock.fileno() == -1


# -- the end -----------------------------------------------------------------------------------------------


def test_a_closed_socket_is_of_no_use(pair: Pair) -> None:
    pair.sock.sendall(b"bye")
    pair.sock.close()
    pair.sock.close()
    uses: list[Callable[[], object]] = [
        lambda: pair.sock.recv(1),
        lambda: pair.sock.recv_into(bytearray(1)),
        lambda: pair.sock.send(b"x"),
        lambda: pair.sock.sendall(b"x"),
        lambda: pair.sock.shutdown(sockets.SHUT_WR),
        lambda: pair.sock.getsockopt(sockets.SOL_SOCKET, sockets.SO_TYPE),
        lambda: pair.sock.setsockopt(sockets.SOL_SOCKET, sockets.SO_KEEPALIVE, 1),
        lambda: pair.sock.getpeername(),
        lambda: pair.sock.getsockname(),
        lambda: pair.sock.makefile("rb").read(1),
    ]
    for use in uses:
        with pytest.raises(OSError) as caught:
            use()
        assert caught.value.errno == errno.EBADF
    assert pair.sock.fileno() == pair.sock.detach() == -1
    assert "[closed]" in repr(pair.sock)
    assert pair.read_all() == b"bye"


def test_with_closes(pair: Pair) -> None:
    with pair.sock as entered:
        assert entered is pair.sock
        entered.sendall(b"bye")
    assert pair.sock.fileno() == -1
    assert pair.read_all() == b"bye"
    with pair.sock:
        pass


def test_ending_the_writing_side_leaves_the_reading_one(pair: Pair) -> None:
    pair.sock.sendall(b"question")
    pair.sock.shutdown(sockets.SHUT_WR)
    assert pair.read_all() == b"question"
    pair.peer.sendall(b"answer")
    assert pair.sock.recv(10) == b"answer"
    with pytest.raises(BrokenPipeError):
        pair.sock.sendall(b"more")
    pair.sock.shutdown(sockets.SHUT_WR)


def test_ending_the_reading_side_leaves_the_writing_one(pair: Pair) -> None:
    pair.sock.shutdown(sockets.SHUT_RD)
    assert pair.sock.recv(10) == b""
    pair.sock.sendall(b"still")
    assert pair.peer.recv(10) == b"still"


def test_ending_both(pair: Pair) -> None:
    pair.sock.shutdown(sockets.SHUT_RDWR)
    assert pair.read_all() == b""
    assert pair.sock.recv(10) == b""
    with pytest.raises(BrokenPipeError):
        pair.sock.send(b"x")
    pair.sock.close()


def test_ending_what_is_no_direction(pair: Pair) -> None:
    with pytest.raises(OSError) as caught:
        pair.sock.shutdown(7)
    assert caught.value.errno == errno.EINVAL


@pytest.mark.parametrize("timeout", [None, 5.0, 0.0])
def test_a_descriptor_can_be_taken_over(pair: Pair, timeout: float | None) -> None:
    pair.peer.sendall(b"unread")
    pair.sock.settimeout(timeout)
    pair.sock.sendall(b"sent before, ")
    before = pair.sock.fileno()
    descriptor = pair.sock.detach()
    assert descriptor == before and pair.sock.fileno() == -1
    assert os.get_blocking(descriptor) is (timeout is None and pair.kind == "socket.socket")
    pair.sock.close()
    with sockets.socket(fileno=descriptor) as taken:
        taken.settimeout(10)
        assert taken.recv(10) == b"unread"
        taken.sendall(b"and after")
    assert pair.read_all() == b"sent before, and after"


# -- settings ----------------------------------------------------------------------------------------------


@pytest.mark.parametrize("kind", BOTH)
@pytest.mark.parametrize("family", [sockets.AF_INET, sockets.AF_INET6])
def test_it_knows_who_and_what_it_is(kind: str, family: int, no_leaks: None) -> None:
    with closing(Pair(kind, family)) as pair:
        sock = pair.sock
        assert sock.family is sockets.AddressFamily(family)
        assert sock.type is sockets.SocketKind.SOCK_STREAM
        assert sock.proto in (0, sockets.IPPROTO_TCP)
        assert sock.getsockname() == pair.peer.getpeername()
        assert sock.getpeername() == pair.peer.getsockname()
        assert os.fstat(sock.fileno())
        assert isinstance(sock, sockets.socket)


def test_options_are_those_of_the_kernel(pair: Pair) -> None:
    for value in (1, 0):
        pair.sock.setsockopt(sockets.IPPROTO_TCP, sockets.TCP_NODELAY, value)
        assert bool(pair.sock.getsockopt(sockets.IPPROTO_TCP, sockets.TCP_NODELAY)) is bool(value)
    assert pair.sock.getsockopt(sockets.SOL_SOCKET, sockets.SO_TYPE) == sockets.SOCK_STREAM
    pair.sock.setsockopt(sockets.SOL_SOCKET, sockets.SO_LINGER, struct.pack("ii", 0, 0))
    assert pair.sock.getsockopt(sockets.SOL_SOCKET, sockets.SO_LINGER, 8) == struct.pack("ii", 0, 0)
    with pytest.raises(OSError):
        pair.sock.getsockopt(sockets.SOL_SOCKET, 54321)


def test_programs_do_not_inherit_it_unless_they_are_to(pair: Pair) -> None:
    assert not pair.sock.get_inheritable()
    pair.sock.set_inheritable(True)
    assert pair.sock.get_inheritable()
    pair.sock.set_inheritable(False)
    assert not pair.sock.get_inheritable()


# -- ours alone --------------------------------------------------------------------------------------------


def test_while_it_waits_others_run(ours: Pair) -> None:
    gevent.spawn(ours.peer.sendall, b"from a greenlet")
    assert ours.sock.recv(100) == b"from a greenlet"


def test_one_timeout_for_one_file_of_many(ours: Pair) -> None:
    """Each object has its own, as after dup()."""
    other = ours.below.as_stdlib()
    ours.sock.settimeout(0.01)
    assert other.gettimeout() is None
    with pytest.raises(TimeoutError):
        ours.sock.recv(1)


def test_what_it_sends_is_counted(ours: Pair) -> None:
    ours.peer.sendall(b"abc")
    ours.sock.recv(10)
    ours.sock.sendall(b"12345")
    ours.sock.send(b"67")
    assert (ours.below.bytes_read, ours.below.bytes_written) == (3, 7)


def test_no_more_than_the_high_water_mark_is_left_behind(ours: Pair) -> None:
    ours.sock.settimeout(0.01)
    with pytest.raises(TimeoutError):
        while True:
            ours.sock.sendall(b"x" * 50_000)
            assert ours.below.buffered <= 65536


def test_others_writes_are_sent_before(ours: Pair) -> None:
    ours.below.write(b"one, ")
    with ours.below.cork():
        ours.below.write(b"two, ")
        ours.sock.sendall(b"three")
        assert ours.peer.recv(100, sockets.MSG_DONTWAIT) == b"one, two, three"


def test_what_the_network_did_is_known_for_it(ours: Pair) -> None:
    """So that a handler that lets it out is not blamed."""
    ours.reset()
    with pytest.raises(ConnectionResetError) as caught:
        ours.sock.recv(1)
    assert ours.below._is_own_failure(caught.value)
    with pytest.raises(OSError) as again:
        ours.sock.send(b"x")
    assert ours.below._is_own_failure(again.value)


def test_another_thread_is_refused(ours: Pair) -> None:
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


def test_another_thread_may_close_the_last_file(ours: Pair) -> None:
    """As its garbage collection does with one that was forgotten."""
    file = ours.sock.makefile("rb")
    ours.sock.close()
    thread = threading.Thread(target=file.close)
    thread.start()
    thread.join()
    wait_until(lambda: ours.below.state is not greensock.SocketState.OPEN)
    assert ours.peer.recv(1) == b""


def test_when_the_connection_is_closed_below_files_are_of_no_use(ours: Pair) -> None:
    file = ours.sock.makefile("rb")
    ours.below.terminate()
    with pytest.raises(OSError) as caught:
        file.read(1)
    assert caught.value.errno == errno.EBADF
    assert ours.sock.fileno() == -1
    file.close()
    ours.sock.close()


def test_a_socket_with_handlers_is_not_read(serve: Any, dial: Any) -> None:
    sockets_seen: list[Any] = []
    server = serve({"open": sockets_seen.append})
    dial(server)
    wait_until(lambda: sockets_seen)
    with pytest.raises(RuntimeError, match="has handlers"):
        sockets_seen[0].as_stdlib().recv(1)


def test_flags_that_mean_something_else_are_refused(ours: Pair) -> None:
    calls: list[Callable[[], object]] = [
        lambda: ours.sock.recv(1, sockets.MSG_OOB),
        lambda: ours.sock.send(b"x", sockets.MSG_OOB),
        lambda: ours.sock.sendmsg([b"x"], [(1, 1, b"")]),
    ]
    for call in calls:
        with pytest.raises(OSError) as caught:
            call()
        assert caught.value.errno == errno.EOPNOTSUPP

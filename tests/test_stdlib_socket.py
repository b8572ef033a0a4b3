"""``socket.as_stdlib()`` beside a real ``socket.socket``: its files, its end and its settings.

The same tests for both, with a peer in the same clothes. Reading and writing are in ``test_stdlib_stream``.
"""

import errno
import io
import os
import socket as sockets
import struct
import threading
from collections.abc import Callable
from contextlib import closing

import pytest

import greensock
from connections import BOTH, StdlibPair
from greensock.testing import wait_until


@pytest.fixture
def pair(both: StdlibPair) -> StdlibPair:
    return both


# -- files -------------------------------------------------------------------------------------------------


def test_a_file_reads_lines_and_bytes(pair: StdlibPair) -> None:
    pair.peer.sendall(b"one\r\ntwo\nthree")
    pair.peer.shutdown(sockets.SHUT_WR)
    with pair.sock.makefile("rb") as file:
        assert isinstance(file, io.BufferedReader)
        assert file.readline() == b"one\r\n"
        assert file.read(2) == b"tw"
        assert list(file) == [b"o\n", b"three"]
        assert file.read() == b""


def test_a_file_reads_text(pair: StdlibPair) -> None:
    pair.peer.sendall("eins\r\nzwölf\n".encode("latin-1"))
    pair.peer.shutdown(sockets.SHUT_WR)
    with pair.sock.makefile(encoding="latin-1") as file:
        assert isinstance(file, io.TextIOWrapper) and file.mode == "r"
        assert file.readlines() == ["eins\n", "zwölf\n"]


def test_newlines_are_as_one_says(pair: StdlibPair) -> None:
    pair.peer.sendall(b"a\r\nb\n")
    pair.peer.shutdown(sockets.SHUT_WR)
    with pair.sock.makefile("r", newline="") as file:
        assert file.readlines() == ["a\r\n", "b\n"]
    with pair.sock.makefile("w", newline="\r\n", encoding="ascii", errors="replace") as file:
        file.write("ä\n")
    assert pair.peer.recv(10) == b"?\r\n"


def test_a_file_writes_when_it_is_flushed_full_or_closed(pair: StdlibPair) -> None:
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


def test_a_file_of_both_ways(pair: StdlibPair) -> None:
    pair.peer.sendall(b"question\n")
    with pair.sock.makefile("rwb") as file:
        assert isinstance(file, io.BufferedRWPair)
        assert file.readline() == b"question\n"
        file.write(b"answer\n")
        file.flush()
    assert pair.peer.recv(100) == b"answer\n"


def test_unbuffered_files_are_bare(pair: StdlibPair) -> None:
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


def test_a_file_that_timed_out_is_of_no_more_use(pair: StdlibPair) -> None:
    pair.sock.settimeout(0.01)
    with pair.sock.makefile("rb") as file:
        with pytest.raises(TimeoutError):
            file.readline()
        with pytest.raises(OSError, match="cannot read from timed out object"):
            file.readline()


def test_a_file_without_blocking_gives_none(pair: StdlibPair) -> None:
    pair.sock.setblocking(False)
    with pair.sock.makefile("rb", 0) as file:
        assert file.read(5) is None


def test_the_connection_lives_as_long_as_its_files(pair: StdlibPair) -> None:
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


def test_files_that_are_closed_first_do_not_close_the_connection(pair: StdlibPair) -> None:
    pair.sock.makefile("rb").close()
    with pair.sock.makefile("wb") as file:
        file.write(b"one")
    pair.sock.sendall(b"two")
    pair.sock.close()
    assert pair.read_all() == b"onetwo"


def test_a_file_may_be_closed_twice(pair: StdlibPair) -> None:
    first, second = pair.sock.makefile("rb"), pair.sock.makefile("rb")
    first.close()
    first.close()
    pair.sock.close()
    assert pair.sock.fileno() >= 0
    second.close()
    assert pair.sock.fileno() == -1


# -- the end -----------------------------------------------------------------------------------------------


def test_a_closed_socket_is_of_no_use(pair: StdlibPair) -> None:
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


def test_with_closes(pair: StdlibPair) -> None:
    with pair.sock as entered:
        assert entered is pair.sock
        entered.sendall(b"bye")
    assert pair.sock.fileno() == -1
    assert pair.read_all() == b"bye"
    with pair.sock:
        pass


def test_ending_the_writing_side_leaves_the_reading_one(pair: StdlibPair) -> None:
    pair.sock.sendall(b"question")
    pair.sock.shutdown(sockets.SHUT_WR)
    assert pair.read_all() == b"question"
    pair.peer.sendall(b"answer")
    assert pair.sock.recv(10) == b"answer"
    with pytest.raises(BrokenPipeError):
        pair.sock.sendall(b"more")
    pair.sock.shutdown(sockets.SHUT_WR)


def test_ending_both(pair: StdlibPair) -> None:
    pair.sock.shutdown(sockets.SHUT_RDWR)
    assert pair.read_all() == b""
    assert pair.sock.recv(10) == b""
    with pytest.raises(BrokenPipeError):
        pair.sock.send(b"x")
    pair.sock.close()


def test_ending_what_is_no_direction(pair: StdlibPair) -> None:
    with pytest.raises(OSError) as caught:
        pair.sock.shutdown(7)
    assert caught.value.errno == errno.EINVAL


# -- settings ----------------------------------------------------------------------------------------------


@pytest.mark.parametrize("kind", BOTH)
@pytest.mark.parametrize("family", [sockets.AF_INET, sockets.AF_INET6])
def test_it_knows_who_and_what_it_is(kind: str, family: int, no_leaks: None) -> None:
    with closing(StdlibPair(kind, family)) as pair:
        sock = pair.sock
        assert sock.family is sockets.AddressFamily(family)
        assert sock.type is sockets.SocketKind.SOCK_STREAM
        assert sock.proto in (0, sockets.IPPROTO_TCP)
        assert sock.getsockname() == pair.peer.getpeername()
        assert sock.getpeername() == pair.peer.getsockname()
        assert os.fstat(sock.fileno())
        assert isinstance(sock, sockets.socket)


def test_options_are_those_of_the_kernel(pair: StdlibPair) -> None:
    for value in (1, 0):
        pair.sock.setsockopt(sockets.IPPROTO_TCP, sockets.TCP_NODELAY, value)
        assert bool(pair.sock.getsockopt(sockets.IPPROTO_TCP, sockets.TCP_NODELAY)) is bool(value)
    assert pair.sock.getsockopt(sockets.SOL_SOCKET, sockets.SO_TYPE) == sockets.SOCK_STREAM
    pair.sock.setsockopt(sockets.SOL_SOCKET, sockets.SO_LINGER, struct.pack("ii", 0, 0))
    assert pair.sock.getsockopt(sockets.SOL_SOCKET, sockets.SO_LINGER, 8) == struct.pack("ii", 0, 0)
    with pytest.raises(OSError):
        pair.sock.getsockopt(sockets.SOL_SOCKET, 54321)


def test_programs_do_not_inherit_it_unless_they_are_to(pair: StdlibPair) -> None:
    assert not pair.sock.get_inheritable()
    pair.sock.set_inheritable(True)
    assert pair.sock.get_inheritable()
    pair.sock.set_inheritable(False)
    assert not pair.sock.get_inheritable()


# -- ours alone --------------------------------------------------------------------------------------------


def test_one_timeout_for_one_file_of_many(ours: StdlibPair) -> None:
    """Each object has its own, as after dup()."""
    other = ours.below.as_stdlib()
    ours.sock.settimeout(0.01)
    assert other.gettimeout() is None
    with pytest.raises(TimeoutError):
        ours.sock.recv(1)


def test_another_thread_may_close_the_last_file(ours: StdlibPair) -> None:
    """As its garbage collection does with one that was forgotten."""
    file = ours.sock.makefile("rb")
    ours.sock.close()
    thread = threading.Thread(target=file.close)
    thread.start()
    thread.join()
    wait_until(lambda: ours.below.state is not greensock.SocketState.OPEN)
    assert ours.peer.recv(1) == b""


def test_when_the_connection_is_closed_below_files_are_of_no_use(ours: StdlibPair) -> None:
    file = ours.sock.makefile("rb")
    ours.below.terminate()
    with pytest.raises(OSError) as caught:
        file.read(1)
    assert caught.value.errno == errno.EBADF
    assert ours.sock.fileno() == -1
    file.close()
    ours.sock.close()

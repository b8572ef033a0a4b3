"""What sockets of the standard library do besides, here beside a real one: peek, end their input, be given away."""

import os
import socket as sockets

import pytest

from connections import StdlibPair


@pytest.fixture
def pair(both: StdlibPair) -> StdlibPair:
    return both


def test_recv_can_peek(pair: StdlibPair) -> None:
    pair.later(pair.peer.sendall, b"abcdef")
    assert pair.sock.recv(3, sockets.MSG_PEEK) == b"abc"
    assert pair.sock.recv(100, sockets.MSG_PEEK) == b"abcdef"
    assert pair.sock.recv(2) == b"ab"
    assert pair.sock.recv(100, sockets.MSG_PEEK) == b"cdef"
    assert pair.sock.recv(100) == b"cdef"
    pair.peer.shutdown(sockets.SHUT_WR)
    assert pair.sock.recv(100, sockets.MSG_PEEK) == pair.sock.recv(100) == pair.sock.recv(1, sockets.MSG_PEEK) == b""


def test_ending_the_reading_side_leaves_the_writing_one(pair: StdlibPair) -> None:
    pair.sock.shutdown(sockets.SHUT_RD)
    assert pair.sock.recv(10) == b""
    pair.sock.sendall(b"still")
    assert pair.peer.recv(10) == b"still"


@pytest.mark.parametrize("timeout", [None, 5.0, 0.0])
def test_a_descriptor_can_be_taken_over(pair: StdlibPair, timeout: float | None) -> None:
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

"""What tests of one connection have in common: bytes that show their place, and kernels that are full."""

import random
import select
import socket as sockets
from collections.abc import Callable
from typing import Any

import gevent
import gevent.socket

import greensock
from greensock.testing import wait_until

AnySocket = greensock.Socket[Any]

_PATTERN = random.Random(7).randbytes(1_000_003)


def stream(size: int, start: int = 0) -> bytes:
    """*size* bytes of one endless stream, from *start* on: lost, doubled or swapped bytes make another one."""
    parts = []
    while size > 0:
        part = _PATTERN[start % len(_PATTERN) :][:size]
        parts.append(part)
        start += len(part)
        size -= len(part)
    return b"".join(parts)


def narrow_listener() -> Any:
    """A listener on a free port whose connections have a small send buffer (socket(7); it is inherited).

    With a peer that has a small receive buffer, little fits into the kernel, and that it is full shows early.
    """
    listener = gevent.socket.socket(sockets.AF_INET, sockets.SOCK_STREAM)
    listener.setsockopt(sockets.SOL_SOCKET, sockets.SO_SNDBUF, 4096)
    listener.bind(("127.0.0.1", 0))
    return listener


def wait_until_steady(socket: AnySocket) -> int:
    """Block until the kernel takes no more of what is queued, and return how much that is."""
    before = -1
    while before != socket.buffered:
        before = socket.buffered
        gevent.sleep(0.1)  # above the 40 ms of a delayed acknowledgement
    return before


def fill_kernel(socket: AnySocket, size: int = 1_000_000) -> int:
    """Write *size* bytes, more than the kernel takes for a peer that does not read; returns how many are left over."""
    socket.write(stream(size))
    left = wait_until_steady(socket)
    assert 0 < left < size, "the kernel should have taken some and not all"
    return left


def attempt(function: Callable[..., object], *args: object) -> BaseException | None:
    """Call *function* and return what it raised: a greenlet that raises would be reported by the hub."""
    try:
        function(*args)
    except BaseException as error:
        return error
    return None


def turns(count: int = 5) -> None:
    """Let the loop turn *count* times: time enough for everything that is due at once."""
    for _ in range(count):
        gevent.sleep(0.0005)  # 0 would come back before the loop has looked for events


def wait_for_kernel(socket: AnySocket, *, reset: bool = False) -> None:
    """Block until the kernel has input for *socket*, or with *reset* until it knows that the peer has reset.

    Asks poll(2), which takes nothing away: neither bytes nor the error that comes only once.
    """
    asked = select.poll()
    asked.register(socket.fileno(), select.POLLIN)
    wanted = select.POLLERR | select.POLLHUP if reset else select.POLLIN
    wait_until(lambda: any(events & wanted for _, events in asked.poll(0)), what="news of the peer in the kernel")

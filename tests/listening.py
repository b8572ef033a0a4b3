"""Listeners for the tests of what is below the engine: opened, accepted from, and all closed again."""

import _socket
import contextlib
import os
import select
import socket
import sys
from collections.abc import Callable, Iterator
from typing import Any

import pytest

from greensock import listeners, net
from greensock.address import parse

linux = pytest.mark.skipif(sys.platform != "linux", reason="as Linux has it")


def _has_ipv6() -> bool:
    try:
        with socket.socket(socket.AF_INET6) as probe:
            probe.bind(("::1", 0))
    except OSError:
        return False
    return True


ipv6 = pytest.mark.skipif(not _has_ipv6(), reason="no IPv6 here")

Open = Callable[..., _socket.socket]


def descriptors() -> set[str]:
    with os.scandir("/proc/self/fd" if sys.platform == "linux" else "/dev/fd") as entries:
        return {entry.name for entry in entries}


@pytest.fixture(autouse=True)
def no_descriptor_left() -> Iterator[None]:
    net.resolve("localhost", 0)  # makes gevent's hub and its resolver, which keep theirs
    before = descriptors()
    yield
    assert descriptors() == before


@pytest.fixture
def listen() -> Iterator[Open]:
    """Open a listener that is closed after the test."""
    with contextlib.ExitStack() as stack:

        def listen(address: object, **options: Any) -> _socket.socket:
            given = {"backlog": 10, "reuse_port": False, "ipv6_only": False, **options}
            return stack.enter_context(contextlib.closing(listeners.open_listener(parse(address), **given)))

        yield listen


def accept(listener: _socket.socket) -> _socket.socket:
    """What the raw socket can accept now; BlockingIOError if that is nothing."""
    fd, _ = listener._accept()  # type: ignore[attr-defined]
    return _socket.socket(fileno=fd)


@contextlib.contextmanager
def accepted(listener: _socket.socket) -> Iterator[tuple[socket.socket, _socket.socket]]:
    """A client of *listener*, and the raw socket that was accepted for it."""
    with socket.socket(listener.family) as client:
        client.connect(listener.getsockname())
        assert select.select([listener], [], [], 5)[0]
        with contextlib.closing(accept(listener)) as peer:
            yield client, peer

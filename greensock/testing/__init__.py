"""Testing what speaks TCP: a pytest plugin, and the parts that it is made of.

Load it in ``conftest.py``::

    pytest_plugins = ["greensock.testing"]

It brings the fixtures :func:`serve` and :func:`dial`, and after each test it proves that no greenlet, descriptor,
watcher or hub error is left. :class:`Recorder` notes the events of sockets in order, :class:`Peer` is a client that
misbehaves on request, and :func:`wait_until` waits for a condition without sleeping.
"""

from collections.abc import Iterator
from typing import Any, Protocol

import pytest

from ..server import Server, listen
from .leaks import Leaks
from .peer import Peer
from .recorder import Recorder
from .waiting import PATIENCE, wait_until

__all__ = [
    "PATIENCE",
    "Dial",
    "Leaks",
    "Peer",
    "Recorder",
    "Serve",
    "dial",
    "no_leaks",
    "pytest_configure",
    "serve",
    "wait_until",
]


class Serve(Protocol):
    """Type of the :func:`serve` fixture."""

    def __call__(self, handlers: object, address: object = ..., **options: Any) -> Server: ...


class Dial(Protocol):
    """Type of the :func:`dial` fixture."""

    def __call__(self, server: Server, *, receive_buffer: int | None = None) -> Peer: ...


def pytest_configure(config: pytest.Config) -> None:
    """Declare the marker."""
    config.addinivalue_line("markers", "leaks: this test leaves something behind on purpose and is not checked for it")


@pytest.fixture(autouse=True)
def no_leaks(request: pytest.FixtureRequest) -> Iterator[None]:
    """Prove after each test that nothing is left of it."""
    if request.node.get_closest_marker("leaks"):
        yield
        return
    leaks = Leaks()
    with leaks.listening_for_hub_errors():
        yield
        leaks.check()


@pytest.fixture
def serve(no_leaks: None) -> Iterator[Serve]:
    """A function like :func:`greensock.listen`, on a free port of 127.0.0.1; its servers end with the test."""
    servers: list[Server] = []

    def start(handlers: object, address: object = ("127.0.0.1", 0), **options: Any) -> Server:
        server = listen(address, handlers, **options)
        servers.append(server)
        return server

    yield start
    for server in servers:
        server.stop(0)


@pytest.fixture
def dial(no_leaks: None) -> Iterator[Dial]:
    """A function that connects a :class:`Peer` to a server; its peers are closed with the test."""
    peers: list[Peer] = []

    def connect(server: Server, *, receive_buffer: int | None = None) -> Peer:
        peer = Peer(server.address, receive_buffer=receive_buffer)
        peers.append(peer)
        return peer

    yield connect
    for peer in peers:
        peer.close()

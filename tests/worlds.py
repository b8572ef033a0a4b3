"""Legacy servers, ours and the originals: what tests of both have in common, and where they run.

The originals run in threads of the operating system, ours in greenlets, and once more in such threads.
"""

import http.server
import queue
import socketserver
import threading
from collections.abc import Callable, Iterator
from typing import Any, Final

import gevent
import gevent.event
import gevent.monkey
import gevent.queue
import gevent.ssl
import pytest

from greensock import legacy
from greensock.testing import Peer, wait_until

LOOPBACK: Final = ("127.0.0.1", 0)

#: These tests are also run in a program that is monkey-patched, where threads are greenlets.
native_threads = pytest.mark.skipif(gevent.monkey.is_module_patched("threading"), reason="there are no threads")


class World:
    """Where servers live: whose they are, and what runs beside what."""

    def __init__(self, name: str) -> None:
        self.name = name
        self.ours = name != "socketserver"
        self.native = name != "legacy"  # threads of the operating system
        self.module: Any = legacy if self.ours else socketserver
        self.Event: Any = threading.Event if self.native else gevent.event.Event
        self.Queue: Any = queue.Queue if self.native else gevent.queue.Queue
        self.servers: list[Any] = []
        self.running: list[Any] = []
        self.events: list[Any] = []

    def event(self) -> Any:
        """An event that handlers wait for; set at the end of the test at the latest."""
        self.events.append(self.Event())
        return self.events[-1]

    def spawn(self, function: Callable[..., object], *arguments: object) -> "Running":
        running = Running(self.native, function, arguments)
        self.running.append(running)
        return running

    def serve(self, server: Any, poll_interval: float = 0.02) -> "Running":
        """Have it serve, beside the test."""
        self.keep(server)
        return self.spawn(server.serve_forever, poll_interval)

    def keep(self, server: Any) -> Any:
        self.servers.append(server)
        return server

    def make(self, kind: str, handler: Any, address: Any = LOOPBACK, **members: Any) -> Any:
        """An instance of a subclass of that kind of server."""
        return type("Server", (getattr(self.module, kind),), members)(address, handler)

    def http_server(self, handler: Any) -> Any:
        """One of ``http.server`` for many requests at a time."""
        bases = (legacy.ThreadingTCPServer, http.server.HTTPServer) if self.ours else (http.server.ThreadingHTTPServer,)
        return type("Server", bases, {"daemon_threads": True})(LOOPBACK, handler)

    def end(self) -> None:
        for event in self.events:
            event.set()
        for server in self.servers:
            if any(not running.is_over for running in self.running):
                self.spawn(server.shutdown).join()
            server.server_close()
        for running in self.running:
            running.join()


class Running:
    """A call that runs beside the test, in a thread or a greenlet."""

    def __init__(self, native: bool, function: Callable[..., object], arguments: tuple[object, ...]) -> None:
        self.error: BaseException | None = None
        self.is_over = False

        def run() -> None:
            try:
                function(*arguments)
            except BaseException as error:
                self.error = error
            self.is_over = True

        if native:
            threading.Thread(target=run, daemon=True).start()
        else:
            gevent.spawn(run)

    def join(self) -> None:
        wait_until(lambda: self.is_over, what="the end of what runs beside")


@pytest.fixture(params=["socketserver", "legacy"])
def world(request: pytest.FixtureRequest, no_leaks: None) -> Iterator[World]:
    world = World(request.param)
    yield world
    world.end()


@pytest.fixture(params=["socketserver", "legacy", "legacy in a thread"])
def every_world(request: pytest.FixtureRequest, no_leaks: None) -> Iterator[World]:
    world = World(request.param)
    yield world
    world.end()


@pytest.fixture
def ours(no_leaks: None) -> Iterator[World]:
    world = World("legacy")
    yield world
    world.end()


class Echo(socketserver.StreamRequestHandler):
    """Lines go back, in capitals."""

    def handle(self) -> None:
        for line in self.rfile:
            self.wfile.write(line.upper())


def ask(server: Any, text: bytes = b"hello\n") -> bytes:
    with Peer(server.server_address) as peer:
        peer.send(text)
        peer.finish()
        return peer.read_to_end()

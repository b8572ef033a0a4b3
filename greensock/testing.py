"""Testing what speaks TCP: a pytest plugin, and the parts that it is made of.

Load it in ``conftest.py``::

    pytest_plugins = ["greensock.testing"]

It brings the fixtures :func:`serve` and :func:`dial`, and after each test it proves that no greenlet, descriptor,
watcher or hub error is left. :class:`Recorder` notes the events of sockets in order, :class:`Peer` is a client that
misbehaves on request, and :func:`wait_until` waits for a condition without sleeping.
"""

import gc
import os
import socket as sockets
import struct
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from time import monotonic
from typing import Any, Final, Protocol, Self

import gevent
import gevent.socket
import pytest
from gevent.event import Event
from greenlet import greenlet

from .engine import Engine
from .handlers import EVENTS, NOT_IN_SESSIONS
from .server import Server, listen

#: Seconds after which a wait for something that should happen at once has failed. It is never waited out otherwise.
PATIENCE: Final = 10.0


# -- waiting ---------------------------------------------------------------------------------------------


def wait_until(condition: Callable[[], object], timeout: float = PATIENCE, what: str = "") -> None:
    """Block this greenlet until *condition* is true; it is asked after every turn of the loop.

    Raises:
        AssertionError: not in *timeout* seconds; the message has *what*, or the condition's name.
    """
    if condition():
        return
    turned = Event()
    loop = gevent.get_hub().loop
    watchers = [loop.check(), loop.timer(0.02, 0.02)]  # the timer is for what other threads do
    for watcher in watchers:
        watcher.start(turned.set)
    try:
        with gevent.Timeout(timeout, AssertionError(f"never came true: {what or condition.__qualname__}")):
            while not condition():
                turned.clear()
                turned.wait()
    finally:
        for watcher in watchers:
            watcher.stop()
            watcher.close()


# -- events ----------------------------------------------------------------------------------------------


class Recorder:
    """Notes events in order, and does what it is told in them.

    Args:
        behaviour: what to do in an event, after it was noted: a function with the event's arguments. An event
            ``error`` is handled only if it is among them, since a handler for it changes what happens. With ``handle``
            connections are sessions.

    Give :attr:`handlers` to ``listen``::

        recorder = Recorder(data=lambda socket, data: socket.write(data))
        server = serve(recorder.handlers)
    """

    def __init__(self, **behaviour: Callable[..., object]) -> None:
        unknown = behaviour.keys() - {*EVENTS, "handle"}
        if unknown:
            raise TypeError(f"unknown events: {', '.join(sorted(unknown))}")
        #: all that happened: ``(event, socket, *arguments)``
        self.log: list[tuple[Any, ...]] = []
        self._behaviour = behaviour
        events = [event for event in EVENTS if "handle" not in behaviour or event not in NOT_IN_SESSIONS]
        wanted = [event for event in (*events, "handle") if event in behaviour or event not in ("error", "handle")]
        self.handlers = {event: self._handler(event) for event in wanted}

    def _handler(self, event: str) -> Callable[..., None]:
        def handle(socket: Any, *arguments: Any) -> None:
            self.log.append((event, socket, *arguments))
            behaviour = self._behaviour.get(event)
            if behaviour is not None:
                behaviour(socket, *arguments)

        return handle

    @property
    def events(self) -> list[str]:
        """The names of the events so far."""
        return [entry[0] for entry in self.log]

    @property
    def received(self) -> bytes:
        """The bytes of all ``data`` events so far."""
        return b"".join(entry[2] for entry in self.log if entry[0] == "data")

    @property
    def sockets(self) -> list[Any]:
        """The sockets in the order in which they opened."""
        return [entry[1] for entry in self.log if entry[0] == "open"]

    def of(self, socket: Any) -> list[str]:
        """The names of one socket's events so far."""
        return [entry[0] for entry in self.log if entry[1] is socket]

    def wait_for(self, event: str, count: int = 1, timeout: float = PATIENCE) -> tuple[Any, ...]:
        """Block until *event* has come *count* times in all; returns ``(socket, *arguments)`` of that one."""
        wait_until(lambda: self.events.count(event) >= count, timeout, f"{count} x {event!r} in {self.events}")
        return [entry[1:] for entry in self.log if entry[0] == event][count - 1]


# -- peers -----------------------------------------------------------------------------------------------


class Peer:
    """A client that does exactly what it is told, for better or worse. Blocks its greenlet, never the hub.

    Args:
        address: of the server.
        receive_buffer: bytes of SO_RCVBUF (socket(7); the kernel doubles it). A small one makes a peer that does not
            read stall its server early, which then sees short writes.

    Resource handling: one descriptor, until :meth:`close`, :meth:`reset`, or the end of a ``with`` block.
    """

    def __init__(self, address: Any, *, receive_buffer: int | None = None) -> None:
        family = sockets.AF_UNIX if isinstance(address, str) else sockets.AF_INET6 if len(address) == 4 else None
        self.socket = gevent.socket.socket(family or sockets.AF_INET, sockets.SOCK_STREAM)
        try:
            if receive_buffer is not None:
                self.socket.setsockopt(sockets.SOL_SOCKET, sockets.SO_RCVBUF, receive_buffer)
            if family != sockets.AF_UNIX:
                self.socket.setsockopt(sockets.IPPROTO_TCP, sockets.TCP_NODELAY, 1)
            self.socket.settimeout(PATIENCE)
            self.socket.connect(address)
        except BaseException:
            self.socket.close()
            raise

    @property
    def address(self) -> Any:
        """This side's address, which is the server's ``remote_address``."""
        return self.socket.getsockname()

    def send(self, data: bytes) -> None:
        """Send all of *data*."""
        self.socket.sendall(data)

    def send_bytewise(self, data: bytes) -> None:
        """Send *data* one byte at a time, each in a segment of its own, letting the loop turn in between."""
        for index in range(len(data)):
            self.socket.sendall(data[index : index + 1])
            gevent.sleep(0.0001)  # the loop looks for events; idle() would wait for as long as others are busy
            gevent.sleep(0)  # and serves them

    def read(self, size: int = 65536) -> bytes:
        """What is there, at most *size* bytes, after waiting for some; ``b""`` at the end."""
        return self.socket.recv(size)

    def read_exactly(self, size: int) -> bytes:
        """*size* bytes.

        Raises:
            EOFError: the server ended before.
        """
        parts: list[bytes] = []
        while size:
            part = self.socket.recv(min(size, 1 << 20))
            if not part:
                raise EOFError(f"{size} bytes are missing after {len(b''.join(parts))}")
            parts.append(part)
            size -= len(part)
        return b"".join(parts)

    def read_to_end(self) -> bytes:
        """All bytes until the server's FIN."""
        parts = []
        while part := self.socket.recv(1 << 20):
            parts.append(part)
        return b"".join(parts)

    def exchange(self, data: bytes) -> bytes:
        """Send *data* and read as many bytes back."""
        self.send(data)
        return self.read_exactly(len(data))

    def finish(self) -> None:
        """Send FIN; reading goes on."""
        self.socket.shutdown(sockets.SHUT_WR)

    def reset(self) -> None:
        """Reset the connection (RST) and close."""
        self.socket.setsockopt(sockets.SOL_SOCKET, sockets.SO_LINGER, struct.pack("ii", 1, 0))
        self.socket.close()

    def close(self) -> None:
        """Close; what was not read makes the kernel reset the connection."""
        self.socket.close()

    def is_reset(self) -> bool:
        """Read to the end and tell whether that was a reset."""
        try:
            self.read_to_end()
        except ConnectionResetError:
            return True
        return False

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *exception: object) -> None:
        self.close()


# -- leaks -----------------------------------------------------------------------------------------------


class Leaks:
    """What is there now that was not there when this was made.

    Made before a test, asked after it. Parked runners and their engine are not counted: they are there to stay.
    """

    def __init__(self) -> None:
        self._hub = gevent.get_hub()
        self._engine = Engine.of_this_hub()
        self._hub_errors: list[str] = []
        self._report: Any = self._hub.print_exception
        self._descriptors = _descriptors()
        self._watchers = self._hub.loop.activecnt
        self._greenlets = {id(g): g for g in self._live_greenlets()}

    @contextmanager
    def listening_for_hub_errors(self) -> Iterator[None]:
        """Note what gevent would only print: exceptions of greenlets and callbacks that nobody caught."""

        def note(context: Any, kind: Any, value: Any, traceback: Any) -> None:
            self._hub_errors.append(f"hub error in {context!r}: {kind.__name__}: {value}")
            self._report(context, kind, value, traceback)

        setattr(self._hub, "print_exception", note)  # noqa: B010 - it is a method, which mypy protects
        try:
            yield
        finally:
            setattr(self._hub, "print_exception", self._report)  # noqa: B010

    def find(self) -> list[str]:
        """One line for each leak; empty when all is clean."""
        engine = self._engine
        found = list(self._hub_errors)
        own = self._hub.loop.fileno()  # libev makes another one when it finds in it what was closed (ev_epoll.c)
        new = [(fd, to) for fd, to in _descriptors().items() if self._descriptors.get(fd) != to and fd != own]
        found += [f"descriptor {fd} -> {to}" for fd, to in new]
        found += [f"greenlet {g!r}" for g in self._live_greenlets() if id(g) not in self._greenlets]
        found += [f"blocked handler of {socket!r}" for socket in engine.blocked]
        found += [f"clock of {socket!r}" for socket in engine.clocks.watched]
        extra = self._hub.loop.activecnt - self._watchers
        if extra > 0:
            found.append(f"{extra} active watchers")
        return found

    def check(self, timeout: float = 2.0) -> None:
        """Fail unless everything is gone within *timeout* seconds.

        Raises:
            AssertionError: with one line for each leak.
        """
        deadline = monotonic() + timeout
        found = self.find()
        while found and monotonic() < deadline:
            gevent.sleep(0.005)  # not wait_until: its own watchers would be found
            gc.collect()
            found = self.find()
        assert not found, "left behind:\n" + "\n".join(found)

    def _live_greenlets(self) -> list[greenlet]:
        """Those of this thread: gevent's resolver keeps threads with greenlets of their own."""
        parked = {id(g) for g in self._engine.runners.parked}
        main = _root(self._hub)
        own = {id(self._hub), id(gevent.getcurrent()), id(main)}
        return [
            g
            for g in gc.get_objects()
            if isinstance(g, greenlet) and g and id(g) not in parked and id(g) not in own and _root(g) is main
        ]


def _root(branch: greenlet) -> greenlet:
    """The first greenlet of the thread of *branch*."""
    while branch.parent is not None:
        branch = branch.parent
    return branch


def _descriptors() -> dict[int, str]:
    found = {}
    for name in os.listdir("/proc/self/fd"):
        with suppress(OSError):  # the one that listdir itself had open
            found[int(name)] = os.readlink(f"/proc/self/fd/{name}")
    return found


# -- the plugin ------------------------------------------------------------------------------------------


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

"""Peers that misbehave cost nobody else anything, and leave nothing behind.

That nothing is left, neither descriptor nor greenlet nor watcher, is proved after each test.
"""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from time import monotonic

import gevent
import pytest
from gevent.event import Event

from connections import AnySocket, attempt, narrow_listener, stream, turns
from greensock import Server
from greensock.testing import Dial, Peer, Recorder, Serve, wait_until

#: No exchange of the canary takes longer, in seconds: what others cost it is far below on any machine.
SLOWEST = 2.0

OPTIONS = {"write_timeout": 0.3, "close_timeout": 0.3, "idle_timeout": 2.0}


@contextmanager
def canary(server: Server, dial: Dial) -> Iterator[None]:
    """A well-behaved connection that exchanges as long as the block lasts, and then some."""

    exchanges: list[float] = []
    stop = Event()

    def exchange() -> None:
        message = stream(1000)
        while not stop.is_set():
            began = monotonic()
            assert peer.exchange(message) == message
            exchanges.append(monotonic() - began)

    def wait_for_more() -> None:
        before = len(exchanges)
        wait_until(lambda: len(exchanges) > before + 5 or singing.ready())

    peer = dial(server)
    singing = gevent.spawn(attempt, exchange)
    wait_for_more()
    yield
    wait_for_more()
    stop.set()
    assert singing.get() is None
    assert max(exchanges) < SLOWEST
    peer.finish()
    assert peer.read_to_end() == b""


@pytest.fixture
def echo() -> Recorder:
    """Handlers that give back what they get."""
    return Recorder(data=lambda socket, data: socket.write(data))


def all_closed(server: Server) -> bool:
    stats = server.stats()
    return stats.connections == 0 and stats.accepted == stats.closed


def test_resets(echo: Recorder, serve: Serve, dial: Dial) -> None:
    server = serve(echo.handlers, **OPTIONS)
    with canary(server, dial):
        for number in range(100):
            peer = dial(server)
            if number % 3:
                peer.send(stream(number * 100))
            if number % 2:
                turns(number % 5)
            peer.reset()
    wait_until(lambda: all_closed(server))
    assert server.stats().accepted == 101


def test_connections_that_are_closed_at_once(echo: Recorder, serve: Serve, dial: Dial) -> None:
    server = serve(echo.handlers, **OPTIONS)
    with canary(server, dial):
        for _ in range(200):
            dial(server).close()
    wait_until(lambda: all_closed(server))
    assert server.stats().accepted == 201


def test_floods(serve: Serve, dial: Dial) -> None:
    """Peers that send as fast as they can, to a handler that only counts."""

    def answer(socket: AnySocket, data: bytes) -> None:
        if socket.remote_address in flooding:
            return
        socket.write(data)

    flooding = set()
    server = serve({"data": answer}, **OPTIONS)
    peers = [dial(server) for _ in range(4)]
    flooding = {peer.address for peer in peers}
    with canary(server, dial):
        sending = [gevent.spawn(attempt, peer.send, bytes(30_000_000)) for peer in peers]
        gevent.joinall(sending)
    assert [greenlet.get() for greenlet in sending] == [None] * 4
    for peer in peers:
        peer.close()
    wait_until(lambda: all_closed(server))
    assert server.stats().bytes_read >= 120_000_000


def test_one_byte_at_a_time(echo: Recorder, serve: Serve, dial: Dial) -> None:
    server = serve(echo.handlers, **OPTIONS)
    peers = [dial(server) for _ in range(10)]
    message = stream(300)
    with canary(server, dial):
        sending = [gevent.spawn(attempt, peer.send_bytewise, message) for peer in peers]
        gevent.joinall(sending)
    for peer in peers:
        assert peer.read_exactly(300) == message
        peer.close()
    wait_until(lambda: all_closed(server))


def test_peers_that_never_read(serve: Serve, dial: Dial) -> None:
    """Each asks for more than anybody would keep for it, and is ended by the write timeout."""

    def answer(socket: AnySocket, data: bytes) -> None:
        socket.write(data if len(data) == 1000 else data * 10)

    server = serve({"data": answer}, narrow_listener(), **OPTIONS)
    peers = [dial(server, receive_buffer=4096) for _ in range(8)]
    with canary(server, dial):
        sending = [gevent.spawn(attempt, peer.send, bytes(20_000_000)) for peer in peers]
        gevent.joinall(sending)
        assert all(isinstance(greenlet.get(), ConnectionError) for greenlet in sending)
    wait_until(lambda: all_closed(server))
    assert server.stats().buffered == 0
    assert server.stats().buffered_peak <= 8 * (65_536 + 10 * 120_000) + 2000
    assert server.stats().timeouts == 8


def test_peers_that_fall_silent(echo: Recorder, serve: Serve, dial: Dial) -> None:
    server = serve(echo.handlers, **{**OPTIONS, "idle_timeout": 0.3})
    peers = [dial(server) for _ in range(50)]
    for peer in peers[::2]:
        peer.send(b"hello and then nothing")
    with canary(server, dial):
        wait_until(lambda: server.connections <= 1)
    wait_until(lambda: all_closed(server))
    assert server.stats().timeouts == 50


@pytest.mark.parametrize("allow_half_open", [False, True])
def test_peers_that_half_close_and_vanish(allow_half_open: bool, echo: Recorder, serve: Serve, dial: Dial) -> None:
    """They do not read what they asked for; nor does anything come from them any more."""
    options = {**OPTIONS, "idle_timeout": 0.5, "allow_half_open": allow_half_open}
    server = serve(echo.handlers, narrow_listener(), **options)
    peers = [dial(server, receive_buffer=4096) for _ in range(20)]
    with canary(server, dial):
        for peer in peers:
            peer.send(stream(10_000))
            peer.finish()
        wait_until(lambda: server.connections <= 1)
    wait_until(lambda: all_closed(server))


def test_peers_that_reset_while_they_are_served_much(serve: Serve, dial: Dial) -> None:
    def answer(socket: AnySocket, data: bytes) -> None:
        if len(data) == 1000:
            socket.write(data)
        else:
            for position in range(0, 10_000_000, 100_000):
                socket.write(stream(100_000, position))

    recorder = Recorder(data=answer)
    server = serve(recorder.handlers, narrow_listener(), **OPTIONS)
    with canary(server, dial):
        for size in range(20):
            peer = dial(server, receive_buffer=4096)
            peer.send(b"?")
            peer.read_exactly(1 + size * 1000)
            peer.reset()
        wait_until(lambda: server.connections <= 1)
    wait_until(lambda: all_closed(server))
    for socket in recorder.sockets:
        assert recorder.of(socket)[-1] == "close"
        assert recorder.of(socket).count("close") == 1
    assert server.stats().errors == 0
    assert server.stats().buffered == 0


def test_peers_that_ignore_a_close(serve: Serve, dial: Dial) -> None:
    def answer(socket: AnySocket, data: bytes) -> None:
        socket.write(data)
        if len(data) != 1000:
            socket.close()

    server = serve({"data": answer}, **OPTIONS)
    peers = [dial(server) for _ in range(20)]
    acts: list[Callable[[Peer], object]] = [
        lambda peer: None,
        lambda peer: gevent.spawn(attempt, peer.send, bytes(50_000_000)),
        lambda peer: gevent.spawn(attempt, peer.send_bytewise, bytes(100_000)),
    ]
    with canary(server, dial):
        for number, peer in enumerate(peers):
            peer.send(b"close, please")
            acts[number % 3](peer)
        wait_until(lambda: server.connections <= 1)
    wait_until(lambda: all_closed(server))

"""Listening sockets that are asked: for one connection after the other, or for so many and no more."""

import errno
import os
import socket as sockets
import ssl
import tempfile
from collections.abc import Iterator
from math import inf
from pathlib import Path
from typing import Any

import gevent
import gevent.socket
import gevent.ssl
import pytest

from connections import attempt, turns
from greensock import legacy
from greensock.legacy.listening import Arrivals, Listener
from greensock.testing import Peer, wait_until
from tls_peer import SecurePeer, client_context, credentials
from worlds import LOOPBACK, Echo, World, ours

__all__ = ["ours"]


def listening(arrived: Any = lambda: None, address: Any = LOOPBACK, family: int = sockets.AF_INET) -> Listener:
    made = Listener(arrived, lambda: None, family, sockets.SOCK_STREAM)
    made.bind(address)
    made.listen()
    return made


@pytest.fixture
def listener(no_leaks: None) -> Iterator[Listener]:
    with listening() as made:
        yield made


@pytest.fixture
def context() -> ssl.SSLContext:
    """For servers: gevent's, which does not block."""
    made = gevent.ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    both = credentials()
    with tempfile.TemporaryDirectory() as folder:
        for name in both:
            Path(folder, name).write_bytes(both[name])
        made.load_cert_chain(Path(folder, "cert"), Path(folder, "key"))
    return made


# -- accept ------------------------------------------------------------------------------------------------


def test_what_was_accepted_already_comes_before_what_waits_in_the_kernel() -> None:
    arrived = [("second", 2), ("first", 1)]
    with listening(lambda: arrived.pop() if arrived else None) as listener, Peer(listener.getsockname()) as peer:
        assert [listener.accept(), listener.accept()] == [("first", 1), ("second", 2)]
        sock, address = listener.accept()
        with sock:
            assert address == peer.address


def test_who_accepts_holds_up_nobody_else(listener: Listener) -> None:
    accepting = [gevent.spawn(listener.accept) for _ in range(3)]
    gevent.sleep(0.01)
    assert not any(greenlet.ready() for greenlet in accepting)
    peers = [Peer(listener.getsockname()) for _ in range(3)]
    accepted = [greenlet.get(timeout=10) for greenlet in accepting]
    assert sorted(address for _, address in accepted) == sorted(peer.address for peer in peers)
    for (sock, _), peer in zip(accepted, peers, strict=True):
        assert type(sock) is gevent.socket.socket
        sock.close()
        peer.close()


def test_a_connection_of_a_unix_socket_has_no_address(tmp_path: Path) -> None:
    path = str(tmp_path / "socket")
    with listening(address=path, family=sockets.AF_UNIX) as listener, Peer(path) as peer:
        sock, address = listener.accept()
        with sock:
            assert address == ""
            assert sock.family == sockets.AF_UNIX
            sock.sendall(b"hello")
        assert peer.read_to_end() == b"hello"


def test_a_listener_that_was_closed_has_nothing_to_accept(listener: Listener) -> None:
    listener.close()
    error = attempt(listener.accept)
    assert isinstance(error, OSError) and error.errno == errno.EBADF


@pytest.mark.parametrize("kind", ["TCPServer", "ThreadingTCPServer"])
def test_a_listening_socket_that_was_wrapped_makes_it_a_server_of_tls(
    ours: World, kind: str, context: ssl.SSLContext
) -> None:
    """The recipe of the documentation of http.server. Handshakes hold up nobody, as they do there."""
    server: Any = getattr(legacy, kind)(LOOPBACK, Echo)
    server.socket = context.wrap_socket(server.socket, server_side=True)
    ours.serve(server)
    with Peer(server.server_address) as silent, SecurePeer(server.server_address, shake=kind != "TCPServer") as peer:
        if kind == "TCPServer":  # one after the other: the first one's handshake is due
            silent.reset()
            peer.shake_hands()
        assert peer.exchange(b"hello\n") == b"HELLO\n"


def test_requests_may_be_wrapped_one_by_one(ours: World, context: ssl.SSLContext) -> None:
    def get_request(self: Any) -> Any:
        request, client_address = self.socket.accept()
        return context.wrap_socket(request, server_side=True), client_address

    server = ours.make("ThreadingTCPServer", Echo, get_request=get_request)
    ours.serve(server)
    with Peer(server.server_address), SecurePeer(server.server_address) as peer:  # the first one says nothing
        assert peer.exchange(b"hello\n") == b"HELLO\n"


def test_accept_by_hand_gives_gevents_sockets(ours: World) -> None:
    server = ours.keep(legacy.TCPServer(LOOPBACK, Echo))
    with Peer(server.server_address) as peer:
        sock, address = server.socket.accept()
        assert address == peer.address
        sock.sendall(b"hello")
        sock.close()
        assert peer.read_to_end() == b"hello"
    server.socket.settimeout(0.01)
    with pytest.raises(TimeoutError):
        server.socket.accept()
    server.socket.settimeout(0)
    with pytest.raises(BlockingIOError):
        server.socket.accept()


@pytest.mark.parametrize("words", [b"this is no handshake\n", b""])
def test_a_handshake_that_fails_was_a_request_all_the_same(ours: World, context: ssl.SSLContext, words: bytes) -> None:
    calls: list[str] = []
    server = ours.keep(ours.make("TCPServer", Echo, handle_timeout=lambda self: calls.append("timeout")))
    server.timeout = 10
    server.socket = context.wrap_socket(server.socket, server_side=True)
    handling = ours.spawn(server.handle_request)
    with Peer(server.server_address) as peer:
        peer.send(words)
        peer.finish()
        handling.join()
        assert not peer.read_to_end().startswith(b"\x16"), "no record of a handshake"
    assert handling.error is None
    assert calls == []
    handling = ours.spawn(server.handle_request)
    with SecurePeer(server.server_address) as secure:
        assert secure.exchange(b"hello\n") == b"HELLO\n"
    handling.join()


# -- as many as were asked for -----------------------------------------------------------------------------


class Arriving:
    """:class:`Arrivals` whose sessions last until their peers end, and what was told of them."""

    def __init__(self, listener: Any) -> None:
        self.sessions: list[Any] = []
        self.changes = 0
        self.peers: list[Peer] = []
        self.address = listener.getsockname()
        self.arrivals = Arrivals(listener, self._session, self._change)

    def _session(self, socket: Any) -> None:
        self.sessions.append(socket)
        for _ in socket:
            pass

    def _change(self) -> None:
        self.changes += 1

    def dial(self, count: int = 1) -> None:
        self.peers += [Peer(self.address) for _ in range(count)]

    def close(self) -> None:
        for peer in self.peers:
            peer.close()
        self.arrivals.stop(0)


@pytest.fixture
def arriving(listener: Listener) -> Iterator[Arriving]:
    made = Arriving(listener)
    yield made
    made.close()


def test_nothing_is_accepted_that_nobody_has_asked_for(arriving: Arriving) -> None:
    arriving.dial(2)
    turns()
    arrivals = arriving.arrivals
    assert (arrivals.taken, arrivals.begun, arrivals.wanted, arriving.sessions) == (0, 0, 0, [])
    assert arrivals.full()


def test_as_many_are_accepted_as_were_asked_for(arriving: Arriving) -> None:
    arrivals = arriving.arrivals
    arrivals.want(2)
    assert not arrivals.full()
    arriving.dial(4)
    wait_until(lambda: len(arriving.sessions) == 2)
    turns()
    assert (arrivals.taken, arrivals.begun, arrivals.in_flight, arrivals.wanted) == (2, 2, 0, 0)
    assert arrivals.full()
    arrivals.want(1)
    wait_until(lambda: len(arriving.sessions) == 3)
    turns()
    assert arrivals.taken == 3
    addresses = [socket.remote_address for socket in arriving.sessions]
    assert addresses == [peer.address for peer in arriving.peers[:3]], "in their order"


def test_all_may_be_asked_for_and_then_none(arriving: Arriving) -> None:
    arrivals = arriving.arrivals
    arrivals.want(inf)
    arriving.dial(20)
    wait_until(lambda: len(arriving.sessions) == 20)
    arrivals.want(0)
    arriving.dial()
    turns()
    assert (arrivals.taken, arrivals.full()) == (20, True)


def test_the_end_of_each_connection_is_told(arriving: Arriving) -> None:
    arriving.arrivals.want(inf)
    arriving.dial(3)
    wait_until(lambda: len(arriving.sessions) == 3)
    assert arriving.changes == 0
    for count in (1, 2, 3):
        arriving.peers[count - 1].close()
        wait_until(lambda count=count: arriving.changes == count)  # type: ignore[misc]


def test_a_connection_is_in_flight_until_its_handshake_is_over(listener: Listener, context: ssl.SSLContext) -> None:
    listener.context = context  # type: ignore[attr-defined] # as one has that was wrapped
    arriving = Arriving(listener)
    arrivals = arriving.arrivals
    try:
        arrivals.want(inf)
        with SecurePeer(arriving.address, shake=False) as good, Peer(arriving.address) as bad:
            wait_until(lambda: arrivals.taken == 2)
            turns()
            assert (arrivals.in_flight, arrivals.begun) == (2, 0)
            bad.send(b"this is no handshake\n")
            wait_until(lambda: arrivals.in_flight == 1)
            assert (arrivals.taken, arrivals.begun, arriving.changes) == (2, 0, 1)
            good.shake_hands()
            wait_until(lambda: arrivals.in_flight == 0)
            assert (arrivals.begun, len(arriving.sessions)) == (1, 1)
    finally:
        arriving.close()


def test_the_listener_stays_its_owners(listener: Listener) -> None:
    arriving = Arriving(listener)
    arriving.arrivals.want(1)
    arriving.dial()
    wait_until(lambda: arriving.sessions)
    arriving.arrivals.close()
    with Peer(listener.getsockname()) as peer:
        sock, address = listener.accept()
        assert address == peer.address
        sock.close()
    arriving.close()


def test_connections_have_no_timeout_that_their_program_does_not_know_of(arriving: Arriving) -> None:
    arriving.arrivals.want(1)
    arriving.dial()
    wait_until(lambda: arriving.sessions)
    [socket] = arriving.sessions
    assert (arriving.arrivals.write_timeout, arriving.arrivals.idle_timeout) == (None, None)
    assert socket.server is arriving.arrivals


def test_a_listener_that_cannot_serve_is_refused_and_left_as_it_was(listener: Listener) -> None:
    listener.context = client_context()  # type: ignore[attr-defined]
    descriptors = os.listdir("/proc/self/fd")
    with pytest.raises(ValueError, match="SSLContext for a server"):
        Arriving(listener)
    assert os.listdir("/proc/self/fd") == descriptors
    with Peer(listener.getsockname()) as peer:
        sock, address = listener.accept()
        assert address == peer.address
        sock.close()

"""``legacy.StreamServer``: gevent's own tests with it in the place of gevent's, and what is different."""

import errno
import importlib.util
import re
import socket as sockets
import ssl
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import gevent
import gevent.pool
import gevent.ssl
import pytest
from gevent.event import Event

from greensock import legacy
from greensock.testing import Peer, wait_until
from tls_peer import SecurePeer, credentials, trust

#: gevent.tests that make StreamServers, or servers that derive from it, and how many of their tests there are at least.
SUITES = {
    "test__server": 39,
    "test__socket_close": 2,
    "test__server_pywsgi": 37,
    "test__pywsgi": 120,
    "test__backdoor": 12,
}

SWAP = """
import gevent.server, importlib, sys
from greensock import legacy
gevent.server.StreamServer = legacy.StreamServer
name = sys.argv.pop(1)
module = importlib.import_module(f"gevent.tests.{name}")
vars(sys.modules["__main__"]).update({key: value for key, value in vars(module).items() if key[:2] != "__"})
import gevent.testing
gevent.testing.main()
"""


@pytest.mark.skipif(not importlib.util.find_spec("gevent.tests"), reason="this gevent comes without its tests")
@pytest.mark.parametrize(("suite", "least"), SUITES.items())
def test_gevents_own_tests_pass(suite: str, least: int, tmp_path: Path) -> None:
    """All of them: there are no exceptions to name."""
    command = [sys.executable, "-c", SWAP, suite]
    done = subprocess.run(command, capture_output=True, text=True, timeout=50, cwd=tmp_path)
    ran = re.search(r"^Ran (\d+) tests? in", done.stderr, re.MULTILINE)
    assert ran and int(ran[1]) >= least, done.stderr[-3000:]
    assert re.search(r"^OK( \(skipped=\d+\))?$", done.stderr, re.MULTILINE), done.stderr[-3000:]
    assert done.returncode == 0


# -- what is ours ------------------------------------------------------------------------------------------


@pytest.fixture
def start(no_leaks: None) -> Iterator[Callable[..., legacy.StreamServer]]:
    """A function that starts a server on a free port; it ends with the test."""
    servers: list[legacy.StreamServer] = []

    def start(handle: Any, **arguments: Any) -> legacy.StreamServer:
        server = legacy.StreamServer(("127.0.0.1", 0), handle, **arguments)
        servers.append(server)
        server.start()
        return server

    yield start
    for server in servers:
        server.stop()


def echo(sock: Any, address: Any) -> None:
    while data := sock.recv(1000):
        sock.sendall(data)


def test_a_handle_gets_what_it_takes_for_a_socket(start: Callable[..., Any]) -> None:
    seen: list[Any] = []

    def handle(sock: Any, address: Any) -> None:
        seen.append((isinstance(sock, sockets.socket), sock.getpeername(), address, sock.getsockname()))
        echo(sock, address)

    server = start(handle)
    with Peer(server.address) as peer:
        assert peer.exchange(b"hello") == b"hello"
        assert seen == [(True, peer.address, peer.address, server.address)]
        peer.finish()
        assert peer.read_to_end() == b""


def test_it_closes_gracefully_when_its_handle_returns(start: Callable[..., Any]) -> None:
    """gevent's would reset the connection, because of what was not read, and the peer would lose the answer."""
    server = start(lambda sock, address: sock.sendall(b"x" * 1_000_000))
    with Peer(server.address) as peer:
        peer.send(b"never read")
        assert len(peer.read_to_end()) == 1_000_000


@pytest.mark.parametrize("spawn", ["default", gevent.spawn_raw, 5])
def test_many_at_a_time(start: Callable[..., Any], spawn: Any) -> None:
    server = start(echo, spawn=spawn)
    peers = [Peer(server.address) for _ in range(5)]
    for number, peer in enumerate(peers):
        peer.send(b"%d" % number)
    assert [peer.read() for peer in peers] == [b"%d" % number for number in range(5)]
    for peer in peers:
        peer.close()


def test_a_stop_kills_what_is_left_in_the_pool(start: Callable[..., Any]) -> None:
    ended: list[BaseException | None] = []

    def handle(sock: Any, address: Any) -> None:
        try:
            sock.recv(1)
        except BaseException as error:
            ended.append(error)
            raise

    server = start(handle, spawn=gevent.pool.Pool(3))
    with Peer(server.address) as peer:
        wait_until(lambda: len(server.pool) == 1)
        server.stop(timeout=0.01)
        assert isinstance(ended[0], gevent.GreenletExit)
        assert peer.read_to_end() == b""


def test_a_file_that_was_left_open_holds_a_connection_until_the_server_stops(start: Callable[..., Any]) -> None:
    left: list[Any] = []
    server = start(lambda sock, address: left.append(sock.makefile("rwb", 0)))
    with Peer(server.address) as peer:
        wait_until(lambda: left)
        peer.send(b"still read")
        assert left[0].read(10) == b"still read"
        left[0].write(b"still sent")
        assert peer.read_exactly(10) == b"still sent"
        server.stop()
        assert peer.read_to_end() == b""
        with pytest.raises(OSError) as caught:
            left[0].read(1)
        assert caught.value.errno == errno.EBADF
    left[0].close()


def test_what_the_network_does_is_no_traceback(start: Callable[..., Any], capfd: pytest.CaptureFixture[str]) -> None:
    over: list[Any] = []

    def handle(sock: Any, address: Any) -> None:
        sock.settimeout(0.02)
        try:
            sock.recv(1)
        finally:
            over.append(sock)

    server = start(handle)
    with Peer(server.address) as silent:
        assert silent.read_to_end() == b""
    Peer(server.address).reset()
    wait_until(lambda: len(over) == 2)
    gevent.sleep(0)
    assert capfd.readouterr().err == ""


@pytest.mark.leaks  # on purpose: of a hub error
def test_what_a_handle_raises_is_told_by_gevent(start: Callable[..., Any], capfd: pytest.CaptureFixture[str]) -> None:
    def handle(sock: Any, address: Any) -> None:
        sock.sendall(b"so far")
        raise ZeroDivisionError("its own fault")

    server = start(handle)
    with Peer(server.address) as peer:
        assert peer.read_to_end() == b"so far"
    gevent.sleep(0)
    errors = capfd.readouterr().err
    assert "ZeroDivisionError: its own fault" in errors and "failed with ZeroDivisionError" in errors


def test_a_slow_peer_is_waited_for_as_long_as_it_takes(start: Callable[..., Any]) -> None:
    """greensock's own timeout for writing would come between a legacy program and its peer."""
    server = start(echo)
    with Peer(server.address) as peer:
        peer.exchange(b"x")
        assert server._greensock is not None
        assert server._greensock._shared.options.write_timeout is None


# -- TLS ---------------------------------------------------------------------------------------------------


@pytest.fixture
def files(tmp_path: Path) -> dict[str, str]:
    """A certificate and its key in files, as gevent takes them."""
    both = credentials()
    (tmp_path / "cert.pem").write_bytes(both["cert"])
    (tmp_path / "key.pem").write_bytes(both["key"])
    return {"certfile": str(tmp_path / "cert.pem"), "keyfile": str(tmp_path / "key.pem")}


def contexts(files: dict[str, str]) -> list[ssl.SSLContext]:
    made = [gevent.ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER), ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)]
    for context in made:
        context.load_cert_chain(files["certfile"], files["keyfile"])
    return made


def test_tls_with_files(start: Callable[..., Any], files: dict[str, str]) -> None:
    seen: list[Any] = []

    def handle(sock: Any, address: Any) -> None:
        seen.append((isinstance(sock, ssl.SSLSocket), sock.version(), sock.cipher()[1], sock.getpeercert()))
        assert sock.selected_alpn_protocol() is None and sock.server_side and sock.pending() == 0
        assert sock.context is not None
        sock.do_handshake()
        echo(sock, address)

    server = start(handle, **files)
    assert server.ssl_enabled
    with SecurePeer(server.address) as peer:
        assert peer.exchange(b"hello") == b"hello"
        assert peer.exchange(b"x" * 100_000) == b"x" * 100_000
    assert seen == [(True, "TLSv1.3", "TLSv1.3", None)]


@pytest.mark.parametrize("which", [0, 1], ids=["gevent.ssl", "ssl"])
def test_tls_with_a_context(start: Callable[..., Any], files: dict[str, str], which: int) -> None:
    server = start(echo, ssl_context=contexts(files)[which], server_side=True, do_handshake_on_connect=True)
    with SecurePeer(server.address) as peer:
        assert peer.exchange(b"hello") == b"hello"


def test_tls_with_one_file_for_both(start: Callable[..., Any], tmp_path: Path) -> None:
    path = tmp_path / "both.pem"
    path.write_bytes(credentials()["key"] + credentials()["cert"])
    server = start(echo, certfile=str(path))
    with SecurePeer(server.address) as peer:
        assert peer.exchange(b"hello") == b"hello"


@pytest.mark.parametrize(("verify", "without", "with_one"), [(0, None, None), (1, None, True), (2, ssl.SSLError, True)])
def test_clients_certificates(
    start: Callable[..., Any], files: dict[str, str], tmp_path: Path, verify: int, without: Any, with_one: Any
) -> None:
    trusted = tmp_path / "ca.pem"
    trusted.write_bytes(trust()["ca"])
    seen: list[Any] = []

    def handle(sock: Any, address: Any) -> None:
        seen.append(bool(sock.getpeercert()) or None)
        echo(sock, address)

    server = start(handle, **files, ca_certs=str(trusted), cert_reqs=verify)
    known = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    known.load_verify_locations(cadata=trust()["ca"].decode())
    known.load_cert_chain(files["certfile"], files["keyfile"])
    with SecurePeer(server.address, known) as peer:
        assert peer.exchange(b"hello") == b"hello"
    assert seen == [with_one]
    if without is None:
        with SecurePeer(server.address) as peer:
            assert peer.exchange(b"hello") == b"hello"
        assert seen == [with_one, None]
    else:
        with pytest.raises(without), SecurePeer(server.address) as peer:
            peer.exchange(b"hello")


def test_a_handshake_that_fails_is_no_traceback(
    start: Callable[..., Any], files: dict[str, str], capfd: pytest.CaptureFixture[str]
) -> None:
    calls: list[Any] = []
    server = start(lambda sock, address: calls.append(sock), **files)
    with Peer(server.address) as peer:
        peer.send(b"GET / HTTP/1.0\r\n\r\n")
        peer.is_reset()
    Peer(server.address).reset()
    gevent.sleep(0.01)
    assert calls == [] and capfd.readouterr().err == ""


def test_others_go_on_while_one_shakes_hands(start: Callable[..., Any], files: dict[str, str]) -> None:
    server = start(echo, **files)
    with Peer(server.address), SecurePeer(server.address) as peer:  # the first one says nothing
        assert peer.exchange(b"hello") == b"hello"


@pytest.mark.parametrize("suppress", [True, False])
def test_a_peer_that_is_cut_off(start: Callable[..., Any], files: dict[str, str], suppress: bool) -> None:
    ended: list[Any] = []
    over = Event()

    def handle(sock: Any, address: Any) -> None:
        try:
            sock.recv(100)
            ended.append(sock.recv(100))
        except ssl.SSLError as error:
            ended.append(type(error))
        over.set()

    server = start(handle, **files, suppress_ragged_eofs=suppress)
    peer = SecurePeer(server.address)
    peer.send(b"hello")
    peer.socket.shutdown(sockets.SHUT_WR)  # without a word of TLS
    over.wait(5)
    assert ended == [b"" if suppress else ssl.SSLEOFError]
    peer.close()


def test_a_wrapper_of_ones_own(start: Callable[..., Any], files: dict[str, str]) -> None:
    """It takes the descriptor over: from then on the connection is gevent's."""
    server = start(echo, **files)
    context = contexts(files)[0]
    server.wrap_socket = lambda sock, **arguments: context.wrap_socket(sock, server_side=True)
    with SecurePeer(server.address) as peer:
        assert peer.exchange(b"hello") == b"hello"


def test_arguments_for_tls_are_checked_at_once(files: dict[str, str], no_leaks: None) -> None:
    def make(**arguments: Any) -> legacy.StreamServer:
        return legacy.StreamServer(("127.0.0.1", 0), echo, **arguments)

    with pytest.raises(ValueError, match="certfile must be specified"):
        make(keyfile=files["keyfile"])
    with pytest.raises(ValueError, match="nowhere"):
        make(certfile="/nowhere.pem", keyfile=files["keyfile"])
    with pytest.raises(TypeError, match="'certfiel'"):
        make(**files, certfiel="a misspelling")
    with (
        sockets.create_server(("127.0.0.1", 0)) as listener,
        pytest.raises(TypeError, match="backlog must be None"),
    ):
        legacy.StreamServer(listener, echo, backlog=5)

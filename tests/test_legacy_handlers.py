"""Handlers of other servers as sessions of ``greensock.listen``."""

import http.server
import logging
import socketserver
import threading
from pathlib import Path
from typing import Any

import gevent
import pytest
from gevent.event import Event

import greensock
from connections import leave
from greensock import legacy
from greensock.testing import Dial, Peer, Serve, wait_until
from tls_peer import SecurePeer, credentials


class Upper(socketserver.StreamRequestHandler):
    """Lines go back, in capitals."""

    def handle(self) -> None:
        for line in self.rfile:
            self.wfile.write(line.upper())


def test_what_there_is() -> None:
    for name in (
        *("request_handler", "stream_handle", "TCPServer", "ThreadingTCPServer", "UnixStreamServer", "StreamServer"),
        *("ThreadingMixIn", "ForkingMixIn", "ThreadingUnixStreamServer"),
    ):
        assert name in legacy.__all__
        assert getattr(legacy, name).__doc__


# -- request handlers --------------------------------------------------------------------------------------


def test_a_request_handler_serves_a_session(serve: Serve, dial: Dial) -> None:
    server = serve(legacy.request_handler(Upper))
    peer = dial(server)
    assert peer.exchange(b"one\n") == b"ONE\n"
    peer.send(b"two\nthree")
    peer.finish()
    assert peer.read_to_end() == b"TWO\nTHREE"


def test_http_server_serves_files(serve: Serve, dial: Dial, tmp_path: Path) -> None:
    (tmp_path / "page").write_bytes(b"x" * 3_000_000)

    class Handler(http.server.SimpleHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def __init__(self, *arguments: Any) -> None:
            super().__init__(*arguments, directory=str(tmp_path))

        def log_message(self, *arguments: Any) -> None:
            pass

    server = serve(legacy.request_handler(Handler))
    peer = dial(server)
    for _ in range(2):
        peer.send(b"GET /page HTTP/1.1\r\nHost: localhost\r\n\r\n")
        head = b""
        while not head.endswith(b"\r\n\r\n"):
            head += peer.read_exactly(1)
        assert head.startswith(b"HTTP/1.1 200 OK\r\n")
        assert len(peer.read_exactly(3_000_000)) == 3_000_000


def test_many_at_a_time(serve: Serve, dial: Dial) -> None:
    peers = [dial(server) for server in [serve(legacy.request_handler(Upper))] for _ in range(50)]
    for number, peer in enumerate(peers):
        peer.send(b"line %d\n" % number)
    assert [peer.read() for peer in peers] == [b"LINE %d\n" % number for number in range(50)]


def test_what_a_handler_finds_as_its_server(serve: Serve, dial: Dial) -> None:
    seen: list[Any] = []

    class Handler(socketserver.BaseRequestHandler):
        def handle(self) -> None:
            around: Any = self.server
            around.count = getattr(around, "count", 0) + 1
            seen.append((around.server_address, around.server_port, around.server_name, around.count, around.data))
            assert around.RequestHandlerClass is Handler
            assert around.timeout is None
            assert around.connections == 1
            with pytest.raises(AttributeError):
                _ = around.no_such_thing

    server = serve(legacy.request_handler(Handler), data="of the application")
    for _ in range(3):
        with Peer(server.address) as peer:
            assert peer.read_to_end() == b""
        wait_until(lambda: not server.connections)
    expected = [(server.address, server.port, "127.0.0.1", count, "of the application") for count in (1, 2, 3)]
    assert seen == expected


def test_a_server_of_ones_own(serve: Serve, dial: Dial) -> None:
    seen: list[Any] = []

    class Handler(socketserver.BaseRequestHandler):
        def handle(self) -> None:
            seen.append(self.server)

    mine = object()
    assert dial(serve(legacy.request_handler(Handler, mine))).read_to_end() == b""
    assert seen == [mine]


def test_a_handler_may_shut_the_server_down(serve: Serve, dial: Dial) -> None:
    class Handler(socketserver.StreamRequestHandler):
        def handle(self) -> None:
            self.server.shutdown()
            self.wfile.write(b"down")

    server = serve(legacy.request_handler(Handler))
    serving = gevent.spawn(server.serve_forever)
    assert dial(server).read_to_end() == b"down"
    serving.get(timeout=5)


def test_a_thread_of_a_handler_may_shut_the_server_down(serve: Serve, dial: Dial) -> None:
    class Handler(socketserver.StreamRequestHandler):
        def handle(self) -> None:
            thread = threading.Thread(target=self.server.shutdown)
            thread.start()
            self.wfile.write(b"down")

    server = serve(legacy.request_handler(Handler))
    serving = gevent.spawn(server.serve_forever)
    assert dial(server).read_to_end() == b"down"
    serving.get(timeout=5)


@pytest.mark.parametrize("wrong", [None, 5, "Handler"])
def test_what_cannot_be_called_is_refused(wrong: Any) -> None:
    with pytest.raises(TypeError, match="cannot be called"):
        legacy.request_handler(wrong)
    with pytest.raises(TypeError, match="cannot be called"):
        legacy.stream_handle(wrong)


def test_a_handler_that_raises_is_logged_once(serve: Serve, dial: Dial, caplog: pytest.LogCaptureFixture) -> None:
    class Handler(socketserver.BaseRequestHandler):
        def handle(self) -> None:
            raise ZeroDivisionError("its own fault")

    server = serve(legacy.request_handler(Handler))
    assert dial(server).is_reset()
    wait_until(lambda: caplog.records)
    (record,) = caplog.records
    assert record.levelno == logging.ERROR and "its own fault" in record.getMessage()
    assert server.stats().errors == 1


@pytest.mark.parametrize("what", ["reset", "timeout"])
def test_what_the_network_does_is_not_logged(
    serve: Serve, dial: Dial, caplog: pytest.LogCaptureFixture, what: str
) -> None:
    class Handler(socketserver.StreamRequestHandler):
        timeout = 0.02 if what == "timeout" else 10

        def handle(self) -> None:
            self.rfile.readline()

    reasons: list[Any] = []
    handle = legacy.request_handler(Handler)
    server = serve({"handle": handle, "close": lambda socket, error: reasons.append(str(socket.close_reason))})
    peer = dial(server)
    wait_until(lambda: server.connections)
    if what == "reset":
        peer.reset()
    wait_until(lambda: reasons)
    assert reasons == [what]
    assert caplog.records == [] and server.stats().errors == 0


def test_a_server_that_drains_lets_handlers_read_the_end(serve: Serve, dial: Dial) -> None:
    class Handler(socketserver.StreamRequestHandler):
        def handle(self) -> None:
            for line in self.rfile:
                self.wfile.write(line.upper())
            self.wfile.write(b"bye")

    server = serve(legacy.request_handler(Handler))
    peer = dial(server)
    assert peer.exchange(b"one\n") == b"ONE\n"
    leaving = gevent.spawn(leave, peer)
    server.stop(5, close_active=True)
    assert leaving.get() == b"bye"


def test_a_file_that_was_left_open_holds_nothing(serve: Serve, dial: Dial) -> None:
    left: list[Any] = []

    class Handler(socketserver.BaseRequestHandler):
        def handle(self) -> None:
            left.append(self.request.makefile("rb"))

    server = serve(legacy.request_handler(Handler))
    assert dial(server).read_to_end() == b""
    with pytest.raises(OSError):
        left[0].read(1)
    left[0].close()


def test_over_tls(serve: Serve) -> None:
    server = serve(legacy.request_handler(Upper), tls=credentials())
    with SecurePeer(server.address) as peer:
        assert peer.exchange(b"one\n") == b"ONE\n"


# -- gevent's handles --------------------------------------------------------------------------------------


def test_a_handle_of_gevent_serves_a_session(serve: Serve, dial: Dial) -> None:
    seen: list[Any] = []

    def handle(sock: Any, address: Any) -> None:
        seen.append(address)
        with sock.makefile("rwb") as file:
            for line in file:
                file.write(line.upper())
                file.flush()

    server = serve(legacy.stream_handle(handle))
    peer = dial(server)
    assert peer.exchange(b"one\n") == b"ONE\n"
    assert seen == [peer.address]


def test_connect_takes_them_too(serve: Serve) -> None:
    answers: list[bytes] = []
    over = Event()

    def handle(sock: Any, address: Any) -> None:
        sock.sendall(b"hello\n")
        answers.append(sock.recv(100))
        over.set()

    server = serve(legacy.request_handler(Upper))
    greensock.connect(server.url, legacy.stream_handle(handle))
    assert over.wait(5)
    assert answers == [b"HELLO\n"]


def test_a_client_may_have_a_request_handler(serve: Serve) -> None:
    seen: list[Any] = []
    over = Event()

    class Handler(socketserver.StreamRequestHandler):
        def handle(self) -> None:
            self.wfile.write(b"hello\n")
            seen.append((self.rfile.readline(), self.server))
            over.set()

    server = serve(legacy.request_handler(Upper))
    greensock.connect(server.url, legacy.request_handler(Handler))
    assert over.wait(5)
    assert seen == [(b"HELLO\n", None)]


def test_unix_sockets_have_no_address(serve: Serve, tmp_path: Path) -> None:
    seen: list[Any] = []
    server = serve(legacy.stream_handle(lambda sock, address: seen.append(address)), f"unix:{tmp_path}/socket")
    with Peer(server.address) as peer:
        assert peer.read_to_end() == b""
    assert seen == [""]

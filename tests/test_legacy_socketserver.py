"""``socketserver`` beside ``greensock.legacy``: the same tests for both, behaviour by behaviour.

Those of loops, of the way of a request and of the end are in ``test_legacy_serving.py``.
"""

import errno
import http.server
import os
import socket as sockets
import socketserver
import sys
import threading
import xmlrpc.client
import xmlrpc.server
from pathlib import Path
from typing import Any

import gevent
import gevent.socket
import pytest

from greensock import legacy
from greensock.testing import PATIENCE, Peer, wait_until
from program import Launch
from worlds import LOOPBACK, Echo, World, ask, every_world, ours, world

__all__ = ["every_world", "ours", "world"]

# -- construction ------------------------------------------------------------------------------------------


def test_it_is_bound_and_listens_when_it_is_made(world: World) -> None:
    server = world.keep(world.module.TCPServer(LOOPBACK, Echo))
    host, port = server.server_address
    assert host == "127.0.0.1" and port > 0
    assert server.socket.getsockname() == server.server_address
    assert server.fileno() == server.socket.fileno()
    assert server.RequestHandlerClass is Echo
    assert server.timeout is None
    assert isinstance(server, socketserver.TCPServer)
    with Peer(server.server_address):
        pass  # the backlog has it


def test_the_defaults_are_those(world: World) -> None:
    for kind in ("TCPServer", "ThreadingTCPServer", "UnixStreamServer", "ThreadingUnixStreamServer"):
        ours, original = getattr(world.module, kind), getattr(socketserver, kind)
        for name in ("address_family", "socket_type", "request_queue_size", "allow_reuse_address", "allow_reuse_port"):
            assert getattr(ours, name) == getattr(original, name)
    for name in ("daemon_threads", "block_on_close"):
        assert getattr(world.module.ThreadingTCPServer, name) == getattr(socketserver.ThreadingTCPServer, name)


def test_it_can_be_bound_and_activated_later(world: World) -> None:
    server = world.keep(world.module.TCPServer(LOOPBACK, Echo, bind_and_activate=False))
    assert server.server_address == LOOPBACK
    server.server_bind()
    assert server.server_address[1] > 0
    with pytest.raises(ConnectionRefusedError):
        Peer(server.server_address)
    server.server_activate()
    world.serve(server)
    assert ask(server) == b"HELLO\n"


@pytest.mark.parametrize("reuse", [False, True])
def test_addresses_are_reused_if_it_is_told_to(world: World, reuse: bool) -> None:
    server = world.keep(world.make("TCPServer", Echo, allow_reuse_address=reuse, allow_reuse_port=reuse))
    for option in (sockets.SO_REUSEADDR, sockets.SO_REUSEPORT):
        assert bool(server.socket.getsockopt(sockets.SOL_SOCKET, option)) is reuse


def test_the_queue_is_as_long_as_it_says(world: World) -> None:
    server = world.keep(world.make("TCPServer", Echo, request_queue_size=1))
    peers = []
    try:
        with pytest.raises(TimeoutError):  # the kernel holds one more than it was told
            for _ in range(5):
                peer = gevent.socket.socket()
                peers.append(peer)
                peer.settimeout(0.1)
                peer.connect(server.server_address)
        assert len(peers) == 3
    finally:
        for peer in peers:
            peer.close()


def test_an_address_in_use_is_told_and_the_server_closed(world: World) -> None:
    closed: list[Any] = []

    def server_close(self: Any) -> None:
        closed.append(self)
        super(type(self), self).server_close()

    first = world.keep(world.module.TCPServer(LOOPBACK, Echo))
    with pytest.raises(OSError) as caught:
        world.make("TCPServer", Echo, first.server_address, server_close=server_close)
    assert caught.value.errno == errno.EADDRINUSE
    assert len(closed) == 1 and closed[0].socket.fileno() == -1


def test_other_families(world: World, tmp_path: Path) -> None:
    server = world.make("TCPServer", Echo, ("::1", 0), address_family=sockets.AF_INET6)
    world.serve(server)
    assert ask(server) == b"HELLO\n"


@pytest.mark.parametrize("kind", ["UnixStreamServer", "ThreadingUnixStreamServer"])
def test_unix_sockets(world: World, tmp_path: Path, kind: str) -> None:
    seen: list[Any] = []

    class Handler(Echo):
        def handle(self) -> None:
            seen.append(self.client_address)
            super().handle()

    path = str(tmp_path / "socket")
    server = getattr(world.module, kind)(path, Handler)
    assert server.server_address == path
    world.serve(server)
    assert ask(server) == b"HELLO\n"
    assert seen == [""]
    assert os.path.exists(path)


def test_it_closes_at_the_end_of_a_with_block(world: World) -> None:
    with world.module.TCPServer(LOOPBACK, Echo) as server:
        address = server.server_address
    assert server.socket.fileno() == -1
    with pytest.raises(ConnectionRefusedError):
        Peer(address)
    with world.module.TCPServer(address, Echo):
        pass  # the port is free again, at once


def test_binding_may_be_extended(world: World) -> None:
    server = world.keep(world.http_server(Echo))
    assert server.server_port == server.server_address[1]
    assert server.server_name
    assert server.socket.getsockopt(sockets.SOL_SOCKET, sockets.SO_REUSEADDR)


# -- the methods of a server -------------------------------------------------------------------------------


def test_errors_are_printed_unless_one_says_otherwise(world: World, capfd: pytest.CaptureFixture[str]) -> None:
    class Handler(socketserver.BaseRequestHandler):
        def handle(self) -> None:
            raise ZeroDivisionError("its own fault")

    server = world.module.TCPServer(LOOPBACK, Handler)
    world.serve(server)
    with Peer(server.server_address) as peer:
        assert peer.read_to_end() == b""
        host, port = peer.address
    errors = capfd.readouterr().err
    assert f"Exception occurred during processing of request from ('{host}', {port})" in errors.replace("\n", " ")
    assert "Traceback" in errors and "ZeroDivisionError: its own fault" in errors


def test_handlers_may_be_made_with_more(world: World) -> None:
    class Handler(socketserver.StreamRequestHandler):
        def __init__(self, greeting: bytes, *arguments: Any) -> None:
            self.greeting = greeting
            super().__init__(*arguments)

        def handle(self) -> None:
            self.wfile.write(self.greeting)

    def finish_request(self: Any, request: Any, client_address: Any) -> None:
        self.RequestHandlerClass(b"welcome", request, client_address, self)

    server = world.make("ThreadingTCPServer", Handler, finish_request=finish_request)
    world.serve(server)
    assert ask(server, b"") == b"welcome"


def test_the_mixin_of_the_standard_library_will_do(world: World) -> None:
    class Server(socketserver.ThreadingMixIn, world.module.TCPServer):  # type: ignore[misc, name-defined]
        pass

    server = Server(LOOPBACK, Echo)
    world.serve(server)
    with Peer(server.server_address), Peer(server.server_address):
        assert ask(server) == b"HELLO\n"


# -- handlers ----------------------------------------------------------------------------------------------


def test_a_handler_knows_who_it_is_for(world: World) -> None:
    seen: list[Any] = []

    class Handler(socketserver.StreamRequestHandler):
        def handle(self) -> None:
            seen.append(self.server)
            self.wfile.write(repr((self.client_address, self.request.getpeername())).encode())
            assert self.connection is self.request
            assert self.server.greeting == "an attribute of the application"  # type: ignore[attr-defined]

    server = world.module.ThreadingTCPServer(LOOPBACK, Handler)
    server.greeting = "an attribute of the application"
    world.serve(server)
    with Peer(server.server_address) as peer:
        assert peer.read_to_end() == repr((peer.address, peer.address)).encode()
    assert seen == [server]


@pytest.mark.parametrize("failing", ["", "setup", "handle", "finish"])
def test_setup_handle_and_finish(world: World, failing: str) -> None:
    log: list[str] = []

    class Handler(socketserver.BaseRequestHandler):
        def _note(self, name: str) -> None:
            log.append(name)
            if name == failing:
                raise ZeroDivisionError

        def setup(self) -> None:
            self._note("setup")

        def handle(self) -> None:
            self._note("handle")

        def finish(self) -> None:
            self._note("finish")

    server = world.make("TCPServer", Handler, handle_error=lambda *arguments: log.append("error"))
    world.serve(server)
    assert ask(server, b"") == b""
    called = ["setup"] if failing == "setup" else ["setup", "handle", "finish"]
    assert log == called + ["error"] * bool(failing)


@pytest.mark.parametrize("rbufsize", [-1, 0, 16])
@pytest.mark.parametrize("wbufsize", [0, -1, 4])
def test_files_of_every_kind_of_buffer(world: World, rbufsize: int, wbufsize: int) -> None:
    class Handler(Echo):
        pass

    Handler.rbufsize, Handler.wbufsize = rbufsize, wbufsize
    server = world.module.TCPServer(LOOPBACK, Handler)
    world.serve(server)
    text = b"".join(b"line %d\n" % number for number in range(100)) + b"the rest"
    assert ask(server, text) == text.upper()


def test_unbuffered_writes_go_out_at_once_and_buffered_ones_when_flushed(world: World) -> None:
    go_on = world.event()

    class Handler(socketserver.StreamRequestHandler):
        def handle(self) -> None:
            assert self.wfile.write(b"now") == 3
            assert self.wfile.fileno() == self.request.fileno()
            go_on.wait(PATIENCE)
            self.wfile = self.connection.makefile("wb", -1)  # as with wbufsize = -1
            self.wfile.write(b" and later")

    server = world.module.TCPServer(LOOPBACK, Handler)
    world.serve(server)
    with Peer(server.server_address) as peer:
        assert peer.read_exactly(3) == b"now"
        go_on.set()
        assert peer.read_to_end() == b" and later"


def test_a_handler_that_waits_too_long_times_out(world: World) -> None:
    caught: list[BaseException] = []

    class Handler(socketserver.StreamRequestHandler):
        timeout = 0.02

        def handle(self) -> None:
            assert self.connection.gettimeout() == 0.02
            try:
                self.rfile.readline()
            except TimeoutError as error:
                caught.append(error)
            self.wfile.write(b"too late")

    server = world.module.ThreadingTCPServer(LOOPBACK, Handler)
    world.serve(server)
    with Peer(server.server_address) as peer:
        assert peer.read_to_end() == b"too late"
    assert [str(error) for error in caught] == ["timed out"]


def test_small_writes_need_not_wait(world: World) -> None:
    options: list[Any] = []

    class Handler(socketserver.StreamRequestHandler):
        disable_nagle_algorithm = True

        def handle(self) -> None:
            options.append(self.request.getsockopt(sockets.IPPROTO_TCP, sockets.TCP_NODELAY))

    server = world.module.TCPServer(LOOPBACK, Handler)
    world.serve(server)
    ask(server, b"")
    assert all(options) and options


def test_files_are_closed_at_the_end(world: World) -> None:
    files: list[Any] = []

    class Handler(socketserver.StreamRequestHandler):
        wbufsize = -1

        def handle(self) -> None:
            files.extend([self.rfile, self.wfile])
            self.wfile.write(b"x" * 1_000_000)

    server = world.module.ThreadingTCPServer(LOOPBACK, Handler)
    world.serve(server)
    assert len(ask(server, b"")) == 1_000_000
    wait_until(lambda: files and all(file.closed for file in files))


def test_a_peer_that_is_gone_is_an_error_of_the_handler(world: World) -> None:
    told: list[BaseException | None] = []
    ready, go_on = world.event(), world.event()

    class Handler(socketserver.StreamRequestHandler):
        def handle(self) -> None:
            ready.set()
            go_on.wait(PATIENCE)
            self.rfile.read(1)

    server = world.make("ThreadingTCPServer", Handler, handle_error=lambda *args: told.append(sys.exc_info()[1]))
    world.serve(server)
    peer = Peer(server.server_address)
    wait_until(ready.is_set)
    peer.reset()
    go_on.set()
    wait_until(lambda: told)
    assert isinstance(told[0], ConnectionResetError)


# -- whole servers -----------------------------------------------------------------------------------------


@pytest.mark.parametrize("protocol", ["HTTP/1.0", "HTTP/1.1"])
def test_http(every_world: World, tmp_path: Path, protocol: str) -> None:
    world = every_world
    (tmp_path / "page.html").write_text("<p>" + "text" * 100_000)

    class Handler(http.server.SimpleHTTPRequestHandler):
        protocol_version = protocol

        def __init__(self, *arguments: Any) -> None:
            super().__init__(*arguments, directory=str(tmp_path))

        def log_message(self, *arguments: Any) -> None:
            pass

    server = world.http_server(Handler)
    world.serve(server)
    with Peer(server.server_address) as peer:
        for _ in range(3 if protocol == "HTTP/1.1" else 1):
            peer.send(b"GET /page.html HTTP/1.1\r\nHost: localhost\r\n\r\n")
            head = b""
            while not head.endswith(b"\r\n\r\n"):
                head += peer.read_exactly(1)
            assert head.startswith(protocol.encode() + b" 200 OK\r\n")
            assert b"Content-Length: 400003\r\n" in head
            assert peer.read_exactly(400003).endswith(b"texttext")
        peer.send(b"GET /missing HTTP/1.0\r\n\r\n")
        if protocol == "HTTP/1.1":
            assert b" 404 File not found\r\n" in peer.read_to_end()


def test_xmlrpc(every_world: World) -> None:
    world = every_world
    server: Any
    if world.ours:

        class Server(legacy.TCPServer, xmlrpc.server.SimpleXMLRPCServer):
            def __init__(self) -> None:
                xmlrpc.server.SimpleXMLRPCDispatcher.__init__(self)
                legacy.TCPServer.__init__(self, LOOPBACK, xmlrpc.server.SimpleXMLRPCRequestHandler)
                self.logRequests = False

        server = Server()
    else:
        server = xmlrpc.server.SimpleXMLRPCServer(LOOPBACK, logRequests=False)
    server.register_function(pow, "pow")
    world.serve(server)
    answers: list[Any] = []

    def call() -> None:
        with xmlrpc.client.ServerProxy("http://{}:{}".format(*server.server_address)) as proxy:
            answers.append(proxy.pow(2, 10))

    threading.Thread(target=call).start()  # a client of the standard library blocks its thread
    wait_until(lambda: answers)
    assert answers == [1024]


# -- ours alone --------------------------------------------------------------------------------------------


def test_the_last_bytes_arrive_though_not_all_was_read(ours: World) -> None:
    """With socketserver the kernel resets the connection then, and the peer may lose the answer."""

    class Handler(socketserver.StreamRequestHandler):
        def handle(self) -> None:
            self.wfile.write(b"x" * 5_000_000)

    server = legacy.ThreadingTCPServer(LOOPBACK, Handler)
    ours.serve(server)
    with Peer(server.server_address) as peer:
        peer.send(b"never read")
        assert len(peer.read_to_end()) == 5_000_000


def test_a_constructor_that_passes_ours_by_is_told_with_the_remedy(ours: World) -> None:
    class Server(xmlrpc.server.SimpleXMLRPCServer, legacy.TCPServer):
        pass

    server = Server(LOOPBACK)
    with pytest.raises(RuntimeError, match="socketserver.TCPServer = legacy.TCPServer before"):
        server.serve_forever()
    server.socket.close()


def test_a_program_whose_library_calls_the_original_by_name(launch: Launch) -> None:
    program = launch(
        """
        import socketserver
        from greensock import legacy

        socketserver.TCPServer = legacy.TCPServer

        import threading, xmlrpc.client, xmlrpc.server

        server = xmlrpc.server.SimpleXMLRPCServer(("127.0.0.1", 0), logRequests=False)
        server.register_function(pow)
        serving = threading.Thread(target=server.serve_forever)
        serving.start()
        with xmlrpc.client.ServerProxy("http://{}:{}".format(*server.server_address)) as proxy:
            print(proxy.pow(2, 10), type(server._greensock).__name__)
        server.shutdown()
        server.server_close()
        serving.join()
        """
    )
    assert program.finish() == (0, "1024 Serving\n", "")


def test_forking_is_refused_with_the_reason() -> None:
    """Not in the definition of a class: werkzeug has a forking server that it makes only when it is told to."""
    kinds: list[Any] = [
        type("Server", bases, {})
        for bases in (
            (socketserver.ForkingMixIn, legacy.TCPServer),
            (legacy.ForkingMixIn, legacy.UnixStreamServer),
            (socketserver.UDPServer, legacy.TCPServer),
        )
    ]
    for kind in kinds[:2]:
        with pytest.raises(TypeError, match=r"Server derives from ForkingMixIn: a process .* Use ThreadingTCPServer"):
            kind(LOOPBACK, Echo)
    with pytest.raises(TypeError, match="UDPServer: greensock carries streams only"):
        kinds[2](LOOPBACK, Echo)


def test_what_the_network_does_is_no_traceback(ours: World, capfd: pytest.CaptureFixture[str]) -> None:
    over: list[Any] = []

    class Handler(socketserver.StreamRequestHandler):
        timeout = 0.02

        def handle(self) -> None:
            self.rfile.readline()

        def finish(self) -> None:
            over.append(self)
            super().finish()

    server = legacy.ThreadingTCPServer(LOOPBACK, Handler)
    ours.serve(server)
    with Peer(server.server_address) as silent:
        assert silent.read_to_end() == b""
    Peer(server.server_address).reset()
    wait_until(lambda: len(over) == 2)
    gevent.sleep(0)
    assert capfd.readouterr().err == ""

"""``socketserver`` beside ``greensock.legacy``: the same tests for both, behaviour by behaviour.

The originals run in threads of the operating system, ours in greenlets, and once more in such threads.
"""

import errno
import http.server
import os
import queue
import socket as sockets
import socketserver
import ssl
import sys
import tempfile
import threading
import xmlrpc.client
import xmlrpc.server
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, Final

import gevent
import gevent.event
import gevent.monkey
import gevent.queue
import gevent.socket
import gevent.ssl
import pytest

from greensock import legacy
from greensock.testing import PATIENCE, Peer, wait_until
from tls_peer import SecurePeer, credentials

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


# -- the loop ----------------------------------------------------------------------------------------------


@pytest.mark.parametrize("kind", ["TCPServer", "ThreadingTCPServer"])
def test_it_serves_until_it_is_shut_down_and_again(every_world: World, kind: str) -> None:
    world = every_world
    server = getattr(world.module, kind)(LOOPBACK, Echo)
    for _ in range(3):
        running = world.serve(server)
        assert [ask(server) for _ in range(3)] == [b"HELLO\n"] * 3
        world.spawn(server.shutdown).join()
        running.join()
        assert running.error is None


def test_shutdown_returns_when_the_loop_has_ended(every_world: World) -> None:
    world = every_world
    server = world.module.ThreadingTCPServer(LOOPBACK, Echo)
    running = world.serve(server)
    assert ask(server) == b"HELLO\n"
    done: list[bool] = []

    def stop() -> None:
        server.shutdown()
        done.append(True)

    world.spawn(stop).join()
    assert done
    running.join()


def test_between_two_loops_connections_wait(world: World) -> None:
    server = world.keep(world.module.TCPServer(LOOPBACK, Echo))
    with Peer(server.server_address) as peer:
        peer.send(b"early\n")
        peer.finish()
        world.serve(server)
        assert peer.read_to_end() == b"EARLY\n"


@pytest.mark.parametrize("kind", ["TCPServer", "ThreadingTCPServer"])
def test_service_actions_are_called_in_between(world: World, kind: str) -> None:
    calls: list[int] = []
    server = world.make(kind, Echo, service_actions=lambda self: calls.append(1))
    world.serve(server, 0.01)
    wait_until(lambda: len(calls) > 2)
    before = len(calls)
    assert ask(server) == b"HELLO\n"
    wait_until(lambda: len(calls) > before)


def test_one_request_after_the_other(world: World) -> None:
    seen: list[bytes] = []
    go_on = world.event()

    class Handler(socketserver.StreamRequestHandler):
        def handle(self) -> None:
            line = self.rfile.readline()
            seen.append(line)
            if line == b"first\n":
                go_on.wait(PATIENCE)
            self.wfile.write(b"done")
            seen.append(b"-" + line)

    server = world.module.TCPServer(LOOPBACK, Handler)
    world.serve(server)
    with Peer(server.server_address) as first, Peer(server.server_address) as second:
        first.send(b"first\n")
        wait_until(lambda: seen)
        second.send(b"second\n")
        gevent.sleep(0.02)
        assert seen == [b"first\n"]
        go_on.set()
        assert first.read_to_end() == second.read_to_end() == b"done"
    assert seen == [b"first\n", b"-first\n", b"second\n", b"-second\n"]


def test_many_requests_at_a_time(world: World) -> None:
    waiting: list[Any] = []
    go_on = world.event()

    class Handler(socketserver.StreamRequestHandler):
        def handle(self) -> None:
            waiting.append(self)
            go_on.wait(PATIENCE)
            self.wfile.write(b"done")

    server = world.module.ThreadingTCPServer(LOOPBACK, Handler)
    world.serve(server)
    peers = [Peer(server.server_address) for _ in range(20)]
    wait_until(lambda: len(waiting) == 20)
    go_on.set()
    assert [peer.read_to_end() for peer in peers] == [b"done"] * 20
    for peer in peers:
        peer.close()


@pytest.mark.parametrize("kind", ["TCPServer", "ThreadingTCPServer"])
def test_one_request_can_be_handled_by_hand(every_world: World, kind: str) -> None:
    world = every_world
    server = world.keep(getattr(world.module, kind)(LOOPBACK, Echo))
    for _ in range(2):
        with Peer(server.server_address) as first, Peer(server.server_address) as second:
            for peer in (first, second):
                peer.send(b"hello\n")
                peer.finish()
            world.spawn(server.handle_request).join()
            assert first.read_to_end() == b"HELLO\n"
            world.spawn(server.handle_request).join()
            assert second.read_to_end() == b"HELLO\n"


@pytest.mark.parametrize("by", ["timeout", "socket.settimeout"])
def test_handling_by_hand_times_out(world: World, by: str) -> None:
    calls: list[str] = []
    server = world.keep(world.make("TCPServer", Echo, handle_timeout=lambda self: calls.append("timeout")))
    if by == "timeout":
        server.timeout = 0.02
    else:
        server.socket.settimeout(0.02)
    world.spawn(server.handle_request).join()
    assert calls == ["timeout"]
    server.timeout = 10
    server.socket.settimeout(10)
    handling = world.spawn(server.handle_request)
    assert ask(server) == b"HELLO\n"
    handling.join()
    assert calls == ["timeout"]


def test_a_timeout_of_nothing_looks_once(world: World) -> None:
    calls: list[str] = []
    server = world.keep(world.make("TCPServer", Echo, timeout=0, handle_timeout=lambda self: calls.append("timeout")))
    world.spawn(server.handle_request).join()
    assert calls == ["timeout"]
    with Peer(server.server_address) as peer:
        peer.send(b"hello\n")
        peer.finish()
        world.spawn(server.handle_request).join()
        assert peer.read_to_end() == b"HELLO\n"


# -- the way of a request ----------------------------------------------------------------------------------


CHAIN: Final = (
    *("get_request", "verify_request", "process_request", "finish_request", "shutdown_request", "close_request"),
    *("handle_error",),
)


def traced(world: World, kind: str, handler: Any, **members: Any) -> tuple[Any, list[str]]:
    """A server that notes which of its methods are called, in order."""
    base = getattr(world.module, kind)
    log: list[str] = []

    def trace(name: str) -> Callable[..., Any]:
        def method(self: Any, *arguments: Any) -> Any:
            log.append(name)
            own = members.get(name)
            return own(self, *arguments) if own else getattr(base, name)(self, *arguments)

        return method

    server = type("Server", (base,), {**members, **{name: trace(name) for name in CHAIN}})(LOOPBACK, handler)
    world.serve(server)
    return server, log


@pytest.mark.parametrize("kind", ["TCPServer", "ThreadingTCPServer"])
def test_each_request_goes_its_way(world: World, kind: str) -> None:
    server, log = traced(world, kind, Echo)
    assert ask(server) == b"HELLO\n"
    wait_until(lambda: "close_request" in log)
    assert log == [
        *("get_request", "verify_request", "process_request", "finish_request"),
        *("shutdown_request", "close_request"),
    ]


@pytest.mark.parametrize("kind", ["TCPServer", "ThreadingTCPServer"])
def test_requests_can_be_refused(world: World, kind: str) -> None:
    asked: list[Any] = []

    def verify(self: Any, request: Any, client_address: Any) -> bool:
        asked.append(client_address)
        return False

    server, log = traced(world, kind, Echo, verify_request=verify)
    with Peer(server.server_address) as peer:
        assert peer.read_to_end() == b""
        assert asked == [peer.address]
    wait_until(lambda: "close_request" in log)
    assert log == ["get_request", "verify_request", "shutdown_request", "close_request"]


@pytest.mark.parametrize("kind", ["TCPServer", "ThreadingTCPServer"])
def test_a_request_that_cannot_be_had_is_passed_over(world: World, kind: str) -> None:
    refusals = [OSError("not today")]

    def get_request(self: Any) -> Any:
        request, client_address = super(type(self), self).get_request()
        if refusals:
            request.close()
            raise refusals.pop()
        return request, client_address

    server, log = traced(world, kind, Echo, get_request=get_request)
    with Peer(server.server_address) as peer:
        assert peer.read_to_end() == b""
    assert ask(server) == b"HELLO\n"
    assert log[:3] == ["get_request", "get_request", "verify_request"]


@pytest.mark.parametrize("kind", ["TCPServer", "ThreadingTCPServer"])
def test_a_handler_that_raises_is_told_and_harms_nobody(world: World, kind: str) -> None:
    told: list[Any] = []

    class Handler(socketserver.StreamRequestHandler):
        def handle(self) -> None:
            self.wfile.write(b"so far")
            raise ZeroDivisionError("its own fault")

    def handle_error(self: Any, request: Any, client_address: Any) -> None:
        told.append((sys.exc_info()[1], client_address))

    server, log = traced(world, kind, Handler, handle_error=handle_error)
    for count in (1, 2):
        with Peer(server.server_address) as peer:
            assert peer.read_to_end() == b"so far"
            (error, address) = told.pop()
            assert isinstance(error, ZeroDivisionError) and address == peer.address
        wait_until(lambda count=count: log.count("close_request") == count)  # type: ignore[misc]
    handled = ["get_request", "verify_request", "process_request", "finish_request", "handle_error"]
    assert log == [*handled, "shutdown_request", "close_request"] * 2


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


@pytest.mark.parametrize("error", [SystemExit(3), GeneratorExit()])
def test_what_is_no_error_ends_the_loop_of_a_server_of_one(world: World, error: BaseException) -> None:
    class Handler(socketserver.BaseRequestHandler):
        def handle(self) -> None:
            raise error

    server = world.module.TCPServer(LOOPBACK, Handler)
    running = world.serve(server)
    with Peer(server.server_address) as peer:
        assert peer.read_to_end() == b""
    running.join()
    assert running.error is error


@pytest.mark.filterwarnings("ignore::pytest.PytestUnhandledThreadExceptionWarning")
def test_what_ends_a_thread_ends_one_request_of_many(world: World) -> None:
    class Handler(socketserver.StreamRequestHandler):
        def handle(self) -> None:
            if self.rfile.readline() == b"exit\n":
                raise SystemExit
            self.wfile.write(b"alive")

    server = world.module.ThreadingTCPServer(LOOPBACK, Handler)
    world.serve(server)
    assert ask(server, b"exit\n") == b""
    assert ask(server, b"stay\n") == b"alive"


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


def test_requests_may_be_given_to_others(world: World) -> None:
    """A pool of workers: ``process_request`` returns before the request has even begun."""
    requests = world.Queue()

    def process_request(self: Any, request: Any, client_address: Any) -> None:
        requests.put((request, client_address))

    def work() -> None:
        while (item := requests.get()) is not None:
            server.process_request_thread(*item)

    server = world.make("ThreadingTCPServer", Echo, process_request=process_request)
    world.serve(server)
    workers = [world.spawn(work) for _ in range(2)]
    assert [ask(server) for _ in range(5)] == [b"HELLO\n"] * 5
    for _ in workers:
        requests.put(None)
    for worker in workers:
        worker.join()


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


# -- the end -----------------------------------------------------------------------------------------------


def waiting_handler(world: World) -> tuple[Any, Any, list[Any]]:
    """A handler class whose handlers wait for an event, that event, and those that wait."""
    go_on = world.event()
    waiting: list[Any] = []

    class Handler(socketserver.StreamRequestHandler):
        def handle(self) -> None:
            waiting.append(self)
            go_on.wait(PATIENCE)
            self.wfile.write(b"done")

    return Handler, go_on, waiting


def test_closing_waits_for_handlers(world: World) -> None:
    handler, go_on, waiting = waiting_handler(world)
    server = world.module.ThreadingTCPServer(LOOPBACK, handler)
    running = world.serve(server)
    with Peer(server.server_address) as peer:
        wait_until(lambda: waiting)
        world.spawn(server.shutdown).join()
        running.join()
        closing = world.spawn(server.server_close)
        gevent.sleep(0.02)
        assert not closing.is_over
        go_on.set()
        assert peer.read_to_end() == b"done"
        closing.join()


@pytest.mark.parametrize("members", [{"daemon_threads": True}, {"block_on_close": False}])
def test_closing_does_not_wait_for_those_that_it_need_not(world: World, members: dict[str, Any]) -> None:
    handler, go_on, waiting = waiting_handler(world)
    server = world.make("ThreadingTCPServer", handler, **members)
    running = world.serve(server)
    with Peer(server.server_address) as peer:
        wait_until(lambda: waiting)
        world.spawn(server.shutdown).join()
        running.join()
        world.spawn(server.server_close).join()
        go_on.set()
        assert peer.read_to_end() == b"done"


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


@pytest.mark.parametrize("kind", ["TCPServer", "ThreadingTCPServer"])
@pytest.mark.parametrize("name", ["legacy", "legacy in a thread"])
def test_a_handler_may_shut_its_server_down(kind: str, name: str, no_leaks: None) -> None:
    """With socketserver, a server of one request at a time waits for itself then, for ever."""
    world = World(name)

    class Handler(socketserver.StreamRequestHandler):
        def handle(self) -> None:
            self.server.shutdown()
            self.wfile.write(b"down")

    server = getattr(legacy, kind)(LOOPBACK, Handler)
    running = world.serve(server)
    assert ask(server) == b"down"
    running.join()
    server.server_close()


def test_a_handler_may_close_its_server(ours: World) -> None:
    class Handler(socketserver.StreamRequestHandler):
        def handle(self) -> None:
            self.server.shutdown()
            self.server.server_close()
            self.wfile.write(b"closed")

    for kind in ("TCPServer", "ThreadingTCPServer"):
        server = getattr(legacy, kind)(LOOPBACK, Handler)
        running = ours.serve(server)
        assert ask(server) == b"closed"
        running.join()


def test_closing_ends_a_loop_that_was_not_shut_down(ours: World) -> None:
    server = legacy.ThreadingTCPServer(LOOPBACK, Echo)
    running = ours.serve(server)
    assert ask(server) == b"HELLO\n"
    server.server_close()
    running.join()


@native_threads
def test_closing_ends_a_loop_in_another_thread(no_leaks: None) -> None:
    server = legacy.TCPServer(LOOPBACK, Echo)
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    assert ask(server) == b"HELLO\n"
    server.server_close()
    thread.join()


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


@pytest.mark.parametrize("kind", ["TCPServer", "ThreadingTCPServer"])
def test_a_file_that_was_left_open_holds_a_connection_until_the_server_closes(ours: World, kind: str) -> None:
    left: list[Any] = []

    class Handler(socketserver.BaseRequestHandler):
        def handle(self) -> None:
            left.append(self.request.makefile("rb"))
            self.request.sendall(b"bye")

    server = getattr(legacy, kind)(LOOPBACK, Handler)
    ours.serve(server)
    with Peer(server.server_address) as peer:
        assert peer.read_to_end() == b"bye"  # socketserver ends the writing side in any case
        peer.send(b"still read")
        assert left[0].read(10) == b"still read"
        server.shutdown()
        server.server_close()
        with pytest.raises(OSError):
            left[0].read(1)
    left[0].close()


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


def test_a_server_serves_once_at_a_time(ours: World) -> None:
    server = legacy.TCPServer(LOOPBACK, Echo)
    ours.serve(server)
    assert ask(server) == b"HELLO\n"
    with pytest.raises(RuntimeError, match="serving already"):
        server.serve_forever()
    with pytest.raises(RuntimeError, match="serving already"):
        server.handle_request()


@pytest.mark.parametrize("name", ["legacy", "legacy in a thread"])
def test_a_closed_server_does_not_serve(name: str, no_leaks: None) -> None:
    world = World(name)
    server = legacy.TCPServer(LOOPBACK, Echo)
    server.server_close()
    running = world.spawn(server.serve_forever)
    running.join()
    assert isinstance(running.error, OSError) and running.error.errno == errno.EBADF
    server.shutdown()


def test_forking_is_refused_with_the_reason() -> None:
    for base in (socketserver.ForkingMixIn, legacy.ForkingMixIn):
        with pytest.raises(TypeError, match=r"ForkingMixIn: a process that is forked .* Use ThreadingTCPServer"):
            type("Server", (base, legacy.TCPServer), {})
    with pytest.raises(TypeError, match="UDPServer: greensock carries streams only"):
        type("Server", (legacy.TCPServer, socketserver.UDPServer), {})


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


@native_threads
def test_a_thread_of_its_own_is_left_clean(no_leaks: None) -> None:
    """Nothing of a hub is left of the threads that have served."""
    descriptors = set(os.listdir("/proc/self/fd"))
    for kind in ("TCPServer", "ThreadingTCPServer"):
        server = getattr(legacy, kind)(LOOPBACK, Echo)
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        with Peer(server.server_address) as peer:
            peer.send(b"hello\n")
            assert peer.read_exactly(6) == b"HELLO\n"
        server.shutdown()
        thread.join()
        server.server_close()
    wait_until(lambda: set(os.listdir("/proc/self/fd")) == descriptors)


@native_threads
def test_daemons_of_a_thread_read_the_end_when_it_ends(no_leaks: None) -> None:
    read: list[bytes] = []

    class Handler(socketserver.StreamRequestHandler):
        def handle(self) -> None:
            read.append(self.rfile.readline())
            read.append(self.rfile.readline())
            self.wfile.write(b"bye")

    server = type("Server", (legacy.ThreadingTCPServer,), {"daemon_threads": True})(LOOPBACK, Handler)
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    with Peer(server.server_address) as peer:
        peer.send(b"hello\n")
        wait_until(lambda: read)
        server.shutdown()
        assert peer.read_to_end() == b"bye"
    thread.join()
    server.server_close()
    assert read == [b"hello\n", b""]


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

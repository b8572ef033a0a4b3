"""How legacy servers serve: their loops, the way of each request, and how all of it ends.

The same tests for ours and for those of ``socketserver``, as far as both behave in the same way.
"""

import errno
import os
import socket as sockets
import socketserver
import sys
import threading
from collections.abc import Callable
from contextlib import ExitStack
from pathlib import Path
from typing import Any, Final

import gevent
import gevent.socket
import pytest

from connections import turns
from greensock import legacy
from greensock.testing import PATIENCE, Peer, wait_until
from worlds import LOOPBACK, Echo, World, ask, every_world, native_threads, ours, world

__all__ = ["every_world", "ours", "world"]


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

    # With less room the kernel drops some, which try again after a second.
    server = world.make("ThreadingTCPServer", Handler, request_queue_size=20)
    world.serve(server)
    peers = [Peer(server.server_address) for _ in range(20)]
    wait_until(lambda: len(waiting) == 20)
    go_on.set()
    assert [peer.read_to_end() for peer in peers] == [b"done"] * 20
    for peer in peers:
        peer.close()


def test_a_shutdown_between_two_loops_ends_the_next_one_at_once(world: World) -> None:
    server = world.module.TCPServer(LOOPBACK, Echo)
    running = world.serve(server)
    assert ask(server) == b"HELLO\n"
    for _ in range(2):
        world.spawn(server.shutdown).join()
    running.join()
    none = world.serve(server)
    none.join()
    assert none.error is None
    world.serve(server)
    assert ask(server) == b"HELLO\n"


def test_shutdown_waits_for_the_one_request_that_is_being_handled(every_world: World) -> None:
    world = every_world
    handler, go_on, waiting = waiting_handler(world)
    server = world.module.TCPServer(LOOPBACK, handler)
    running = world.serve(server)
    with Peer(server.server_address) as peer:
        wait_until(lambda: waiting)
        stopping = world.spawn(server.shutdown)
        gevent.sleep(0.02)
        assert not stopping.is_over and not running.is_over
        go_on.set()
        assert peer.read_to_end() == b"done"
        stopping.join()
    running.join()


# -- by hand -----------------------------------------------------------------------------------------------


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


class Answer(socketserver.StreamRequestHandler):
    """A few bytes, and nothing is read."""

    def handle(self) -> None:
        self.wfile.write(b"answer")


def test_peers_that_stay_do_not_hold_up_the_next_request(every_world: World) -> None:
    world = every_world
    server = world.keep(world.module.TCPServer(LOOPBACK, Answer))

    def handle_four() -> None:
        for _ in range(4):
            server.handle_request()

    with ExitStack() as stay:
        peers = [stay.enter_context(Peer(server.server_address)) for _ in range(4)]
        world.spawn(handle_four).join()
        assert [peer.read_to_end() for peer in peers] == [b"answer"] * 4


@pytest.mark.parametrize("kind", ["UnixStreamServer", "ThreadingUnixStreamServer"])
def test_what_was_sent_is_with_the_kernel_when_a_request_is_over(world: World, kind: str, tmp_path: Path) -> None:
    """The thread may block from then on, or the program end."""

    class Handler(socketserver.StreamRequestHandler):
        def handle(self) -> None:
            self.request.setsockopt(sockets.SOL_SOCKET, sockets.SO_SNDBUF, 4096)
            self.wfile.write(b"x" * 60_000)

    def handle_one() -> None:
        server.handle_request()
        server.server_close()

    server = world.keep(world.make(kind, Handler, str(tmp_path / "socket")))
    with Peer(server.server_address) as peer:
        handling = world.spawn(handle_one)
        assert peer.read_exactly(1) == b"x"
        turns(5)
        assert not handling.is_over
        peer.read_exactly(59_999)
        handling.join()


@pytest.mark.parametrize("name", ["legacy", "legacy in a thread"])
def test_a_peer_whose_bytes_were_not_read_is_waited_for_and_not_reset(name: str, no_leaks: None) -> None:
    world = World(name)
    with legacy.TCPServer(LOOPBACK, Answer) as server:
        with Peer(server.server_address) as peer:
            peer.send(b"never read")
            handling = world.spawn(server.handle_request)
            assert peer.read_to_end() == b"answer"
        handling.join()


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


# -- ours alone --------------------------------------------------------------------------------------------


@pytest.mark.parametrize("kind", ["TCPServer", "ThreadingTCPServer"])
@pytest.mark.parametrize("name", ["legacy", "legacy in a thread"])
def test_a_handler_may_shut_its_server_down(kind: str, name: str, no_leaks: None) -> None:
    """With socketserver, a server of one request at a time waits for itself then, for ever."""
    world = World(name)

    class Handler(socketserver.StreamRequestHandler):
        def handle(self) -> None:
            self.rfile.readline()
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
            self.rfile.readline()
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


@native_threads
@pytest.mark.parametrize("kind", ["TCPServer", "ThreadingTCPServer"])
def test_a_server_moves_between_threads_and_leaves_nothing_listening(kind: str, no_leaks: None) -> None:
    world = World("legacy")
    server = getattr(legacy, kind)(LOOPBACK, Echo)
    for in_a_thread in (False, True, False):
        world.native = in_a_thread
        running = world.serve(server)
        assert ask(server) == b"HELLO\n"
        server.shutdown()
        running.join()
    server.server_close()
    assert_nobody_listens(server.server_address)


@native_threads
def test_closing_in_another_thread_leaves_nothing_listening(ours: World) -> None:
    server = legacy.TCPServer(LOOPBACK, Echo)
    running = ours.serve(server)
    assert ask(server) == b"HELLO\n"
    closing = threading.Thread(target=server.server_close)
    closing.start()
    running.join()
    wait_until(lambda: not closing.is_alive())
    assert_nobody_listens(server.server_address)


@native_threads
def test_who_returns_from_a_loop_that_another_thread_has_closed_listens_no_more(no_leaks: None) -> None:
    server: Any = legacy.TCPServer(LOOPBACK, Echo)

    def close() -> None:
        with sockets.create_connection(server.server_address, PATIENCE) as peer:
            peer.shutdown(sockets.SHUT_WR)
            assert peer.recv(1) == b""
        server.server_close()

    closing = threading.Thread(target=close)
    closing.start()
    server.serve_forever()
    with pytest.raises(ConnectionRefusedError):
        sockets.create_connection(server.server_address, PATIENCE)  # which lets no other greenlet run
    closing.join()


@pytest.mark.parametrize("kind", ["TCPServer", "ThreadingTCPServer"])
def test_a_program_that_closes_the_listening_socket_alone_listens_no_more(every_world: World, kind: str) -> None:
    world = every_world
    server = world.keep(getattr(world.module, kind)(LOOPBACK, Echo))
    running = world.serve(server)
    assert ask(server) == b"HELLO\n"
    world.spawn(server.shutdown).join()
    running.join()
    server.socket.close()
    assert_nobody_listens(server.server_address)


def assert_nobody_listens(address: Any) -> None:
    def is_refused() -> bool:
        try:
            Peer(address).close()
        except ConnectionRefusedError:
            return True
        return False

    wait_until(is_refused, what="the end of listening")


@native_threads
@pytest.mark.parametrize("daemons", [False, True])
def test_a_thread_that_serves_returns_when_its_handlers_have_or_after_the_last_call(
    daemons: bool, no_leaks: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("greensock.legacy.serving.LAST_CALL", 0.05)
    world = World("legacy in a thread")
    begun, go_on = world.event(), world.event()

    class Handler(socketserver.StreamRequestHandler):
        def handle(self) -> None:
            begun.set()
            while not go_on.is_set():
                gevent.sleep(0.001)
            self.wfile.write(b"done")

    server = world.make("ThreadingTCPServer", Handler, daemon_threads=daemons)
    running = world.serve(server)
    with Peer(server.server_address) as peer:
        wait_until(begun.is_set)
        server.shutdown()
        if daemons:
            running.join()
            peer.is_reset()  # or not: it ends
        else:
            gevent.sleep(0.2)
            assert not running.is_over, "it is their thread, too"
            go_on.set()
            assert peer.read_to_end() == b"done"
    running.join()
    server.server_close()


def test_a_listening_socket_that_was_exchanged_is_the_one_that_is_served(ours: World) -> None:
    server: Any = legacy.ThreadingTCPServer(LOOPBACK, Echo)
    running = ours.serve(server)
    assert ask(server) == b"HELLO\n"
    server.shutdown()
    running.join()
    before, server.socket = server.socket, gevent.socket.socket()
    before.close()
    old, server.server_address = server.server_address, LOOPBACK
    server.server_bind()
    server.server_activate()
    ours.serve(server)
    assert ask(server) == b"HELLO\n"
    assert_nobody_listens(old)


def test_the_others_wait_in_the_backlog_of_a_server_of_one(ours: World) -> None:
    handler, go_on, waiting = waiting_handler(ours)
    server = legacy.TCPServer(LOOPBACK, handler)
    ours.serve(server)
    peers = [Peer(server.server_address) for _ in range(3)]
    wait_until(lambda: waiting)
    turns()
    arrivals = server._greensock._arrivals
    assert arrivals is not None and arrivals.taken == 1
    go_on.set()
    assert [peer.read_to_end() for peer in peers] == [b"done"] * 3
    assert arrivals.taken == 3
    for peer in peers:
        peer.close()


@pytest.mark.parametrize("kind", ["TCPServer", "ThreadingTCPServer"])
def test_a_connection_that_is_not_even_looked_at_is_closed_and_the_loop_goes_on(ours: World, kind: str) -> None:
    """With socketserver it stays in the backlog, and ``get_request`` is called again and again."""
    refuses = True

    def get_request(self: Any) -> Any:
        if refuses:
            raise OSError("not today")
        return super(type(self), self).get_request()

    server = ours.make(kind, Echo, get_request=get_request)
    ours.serve(server)
    for _ in range(3):
        with Peer(server.server_address) as peer:
            assert peer.read_to_end() == b""
    refuses = False
    assert ask(server) == b"HELLO\n"


@pytest.mark.parametrize("where", ["get_request", "verify_request", "handle_error"])
def test_a_method_that_raises_ends_the_loop_of_a_server_of_one_and_no_connection_is_left(
    ours: World, where: str
) -> None:
    class Handler(Echo):
        def handle(self) -> None:
            raise ZeroDivisionError

    def fail(*arguments: Any) -> Any:
        raise KeyError(where)

    server = ours.make("TCPServer", Handler, **{where: fail})
    running = ours.serve(server)
    with Peer(server.server_address) as peer:
        running.join()
        assert isinstance(running.error, KeyError)
        if where == "get_request":  # of which it may be asked for again
            server.server_close()
        assert peer.read_to_end() == b""


@pytest.mark.parametrize("where", ["get_request", "verify_request", "handle_error"])
def test_a_method_that_raises_ends_one_request_of_many_and_is_logged(
    ours: World, where: str, caplog: pytest.LogCaptureFixture
) -> None:
    fails = True

    class Handler(Echo):
        def handle(self) -> None:
            if fails:
                raise ZeroDivisionError
            super().handle()

    def fail(self: Any, *arguments: Any) -> Any:
        if fails:
            raise KeyError(where)
        return getattr(super(type(self), self), where)(*arguments)

    server = ours.make("ThreadingTCPServer", Handler, **{where: fail})
    ours.serve(server)
    with Peer(server.server_address) as peer:
        peer.is_reset()  # or not: it ends
    wait_until(lambda: caplog.records)
    [record] = caplog.records
    assert record.exc_info and record.exc_info[0] is KeyError
    fails = False
    assert ask(server) == b"HELLO\n"


def test_a_greenlet_that_is_ended_is_no_error(
    ours: World, capfd: pytest.CaptureFixture[str], caplog: pytest.LogCaptureFixture
) -> None:
    class Handler(socketserver.StreamRequestHandler):
        def handle(self) -> None:
            raise gevent.GreenletExit

    server = legacy.ThreadingTCPServer(LOOPBACK, Handler)
    ours.serve(server)
    assert ask(server) == b""
    assert (capfd.readouterr().err, caplog.records) == ("", [])

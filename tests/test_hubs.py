"""Which hubs serve, and what a fork does to them."""

import signal
from contextlib import ExitStack
from pathlib import Path
from time import monotonic

import gevent
import gevent.event
import gevent.local
import gevent.socket
import pytest

from greensock.engine import Engine
from greensock.testing import Peer
from program import Launch

# -- what cannot serve -----------------------------------------------------------------------------------

ECHO = """
    import gevent, gevent.socket, greensock
    server = greensock.listen(("127.0.0.1", 0), {"data": lambda socket, data: socket.write(data)})
    with gevent.socket.create_connection(server.address) as client:
        client.sendall(b"hello")
        print(client.recv(5).decode(), type(gevent.get_hub().loop).__module__, flush=True)
    server.stop(1)
"""


def test_free_threaded_python_is_refused_in_one_sentence(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("sys._is_gil_enabled", lambda: False, raising=False)
    with pytest.raises(RuntimeError, match="needs the GIL"):
        Engine(gevent.get_hub())


@pytest.mark.parametrize("loop", ["libev-cext", "libev-cffi"])
def test_both_faces_of_libev_serve(loop: str, launch: Launch, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("GEVENT_LOOP", loop)
    status, output, errors = launch(ECHO).finish()
    assert (status, output.split()[0]) == (0, "hello"), errors


def test_libuv_is_refused_in_one_sentence(launch: Launch, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("GEVENT_LOOP", "libuv")
    status, _, errors = launch(ECHO).finish()
    assert status == 1
    assert "RuntimeError: greensock needs gevent's libev loop (GEVENT_LOOP=libev)" in errors


FORK = """
    import os, gevent, gevent.event, greensock

    go_on = gevent.event.Event()

    def data(socket, data):
        pid = b"%d" % os.getpid()
        if data == b"sleep":
            go_on.wait()
            socket.write(b"woke ")
        elif data == b"fork":
            socket.write(b"forked ")  # still queued when the child gets its copy
            parent = os.getpid()
            if os.fork() == 0:
                go_on.set()
                try:
                    greensock.listen(("127.0.0.1", 0), {"data": print})
                except RuntimeError as error:
                    print("child:", error, flush=True)
                while os.getppid() == parent:  # lets its loop turn: it would serve, had it taken anything along
                    gevent.sleep(0.001)
                os._exit(0)
        elif data == b"wake":
            go_on.set()
        socket.write(pid)

    server = greensock.listen(("127.0.0.1", 0), {"data": data})
    print(os.getpid(), server.port, flush=True)
    greensock.run(server)
"""


def test_a_fork_in_a_handler_takes_no_connection_along(launch: Launch) -> None:
    program = launch(FORK)
    pid, port = program.line().split()
    own = pid.encode()
    address = ("127.0.0.1", int(port))
    with ExitStack() as stack:
        old = [stack.enter_context(Peer(address)) for _ in range(30)]
        for peer in old:
            peer.send(b"before")
            assert peer.read_exactly(len(own)) == own
        sleeper, forker = old[:2]
        sleeper.send(b"sleep")
        forker.send(b"fork")
        assert program.line().startswith("child: this gevent hub was carried over a fork")
        assert forker.read_exactly(7 + len(own)) == b"forked " + own
        for _ in range(3):
            with ExitStack() as for_a_while:
                new = [for_a_while.enter_context(Peer(address)) for _ in range(30)]
                for peer in new + old[1:]:
                    peer.send(b"after")
                    assert peer.read_exactly(len(own)) == own
        forker.send(b"wake")
        assert forker.read_exactly(len(own)) == own
        assert sleeper.read_exactly(5 + len(own)) == b"woke " + own
        for peer in old:
            peer.finish()
            if peer is not forker:  # which the child keeps while its handler runs there
                assert peer.read_to_end() == b"", "nothing comes twice, and the parent's close arrives"
    assert program.finish(signal.SIGTERM) == (0, "", "")


FORK_OF_MAIN = """
    import os, sys, gevent.event, greensock

    opened = gevent.event.Event()
    handlers = {"open": lambda socket: opened.set(), "data": lambda socket, data: socket.write(data)}
    with greensock.listen("unix:" + sys.argv[1], handlers) as server:
        print("listening", flush=True)
        opened.wait()
        child = os.fork()
        if child == 0:
            sys.exit(3)  # which leaves the with block
        print(os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]), flush=True)
        greensock.run(server)
"""


def test_a_child_that_leaves_the_with_block_ends_nothing_of_its_parent(launch: Launch, tmp_path: Path) -> None:
    path = tmp_path / "socket"
    program = launch(FORK_OF_MAIN, str(path))
    assert program.line() == "listening"
    with Peer(str(path)) as old, Peer(str(path)) as waiting:
        began = monotonic()
        assert program.line() == "3"
        assert monotonic() - began < 5, "there is nothing to wait for"
        assert path.exists()
        with Peer(str(path)) as new:
            assert [peer.exchange(b"hello") for peer in (old, waiting, new)] == [b"hello"] * 3
    assert program.finish(signal.SIGTERM) == (0, "", "")


FORK_BEFORE_USE = """
    import sys, gevent, gevent.os, gevent.socket, greensock, os

    gevent.sleep(0.001)  # there is a hub, as in a program that is patched
    child = (gevent.os.fork if sys.argv[1] == "gevent" else os.fork)()
    server = greensock.listen(("127.0.0.1", 0), {"data": lambda socket, data: socket.write(data)})
    for _ in range(3):
        with gevent.socket.create_connection(server.address) as client:
            client.sendall(b"hello")
            assert client.recv(10) == b"hello"
    server.stop(1)
    if child == 0:
        sys.exit(3)
    print(os.waitstatus_to_exitcode(gevent.os.waitpid(child, 0)[1]), flush=True)
"""


@pytest.mark.parametrize("fork", ["gevent", "os"])
def test_a_child_may_use_the_hub_that_nobody_has_served_on(launch: Launch, fork: str) -> None:
    assert launch(FORK_BEFORE_USE, fork).finish() == (0, "3\n", "")


THREAD = """
    import os, threading, gevent, gevent.socket, greensock
    from greensock.engine import Engine

    def echo(socket, data):
        gevent.sleep(0)
        socket.write(data)

    def serve():
        server = greensock.listen(("127.0.0.1", 0), {"data": echo})
        with gevent.socket.create_connection(server.address) as client:
            client.sendall(b"hello")
            assert client.recv(5) == b"hello"
        server.stop(1)
        Engine.of_this_hub().close()
        gevent.get_hub().destroy(destroy_loop=True)

    def plain():
        gevent.sleep(0)
        gevent.get_hub().destroy(destroy_loop=True)

    def descriptors_left(function, times=10):
        before = len(os.listdir("/proc/self/fd"))
        for _ in range(times):
            thread = threading.Thread(target=function)
            thread.start()
            thread.join()
        return len(os.listdir("/proc/self/fd")) - before

    print(descriptors_left(serve) <= descriptors_left(plain))
"""


def test_a_hub_in_another_thread_serves_and_is_ended(launch: Launch) -> None:
    status, output, errors = launch(THREAD).finish()
    assert (status, output) == (0, "True\n"), errors

"""Accepting when things go wrong: too many connections, too few descriptors, peers that change their mind."""

import _socket
import errno
import itertools
import logging
import os
import select
import shutil
import socket
import subprocess
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import gevent
import pytest

import greensock
from greensock.testing import Dial, Peer, Recorder, Serve, wait_until
from program import Launch


def echoing(**behaviour: Any) -> Recorder:
    return Recorder(data=lambda socket, data: socket.write(data), **behaviour)


# -- max_connections -------------------------------------------------------------------------------------


def test_more_than_max_connections_wait_in_the_backlog(serve: Serve, dial: Dial) -> None:
    recorder = echoing()
    server = serve(recorder.handlers, max_connections=2)
    peers = [dial(server) for _ in range(4)]
    for peer in peers:
        peer.send(b"hello")
    for peer in peers[:2]:
        assert peer.read_exactly(5) == b"hello"
    assert server.connections == 2
    assert recorder.events.count("open") == 2
    peers[0].close()
    assert peers[2].read_exactly(5) == b"hello"
    assert not select.select([peers[3].socket.fileno()], [], [], 0)[0]
    peers[1].close()
    assert peers[3].read_exactly(5) == b"hello"


def test_a_full_server_that_gets_free_accepts_again_each_of_1000_times(serve: Serve) -> None:
    recorder = Recorder()
    server = serve(recorder.handlers, max_connections=1)
    inside = Peer(server.address)
    recorder.wait_for("open")
    for cycle in range(1000):
        waiting = Peer(server.address)
        if cycle % 2:
            gevent.sleep(0)  # let the server notice that it is full
        inside.close()
        recorder.wait_for("open", cycle + 2)
        inside = waiting
        assert server.connections == 1
    inside.close()
    recorder.wait_for("close", 1001)


def test_a_connection_counts_until_its_close_handler_has_returned(serve: Serve, dial: Dial) -> None:
    held = gevent.event.Event()
    recorder = echoing(close=lambda socket, error: held.wait())
    server = serve(recorder.handlers, max_connections=1)
    dial(server).close()
    recorder.wait_for("close")
    waiting = dial(server)
    waiting.send(b"hello")
    for _ in range(10):
        gevent.sleep(0)
    assert recorder.events.count("open") == 1
    held.set()
    assert waiting.read_exactly(5) == b"hello"


def test_a_free_place_does_not_undo_stop_accepting(serve: Serve, dial: Dial) -> None:
    recorder = echoing()
    server = serve(recorder.handlers, max_connections=1)
    inside, waiting = dial(server), dial(server)
    waiting.send(b"hello")
    recorder.wait_for("open")
    server.stop_accepting()
    inside.close()
    recorder.wait_for("close")
    for _ in range(10):
        gevent.sleep(0)
    assert recorder.events.count("open") == 1
    server.start_accepting()
    assert waiting.read_exactly(5) == b"hello"


def test_a_thousand_connections_at_once_are_all_served(serve: Serve) -> None:
    recorder = echoing()
    server = serve(recorder.handlers)
    with ExitStack() as stack:
        peers = [stack.enter_context(Peer(server.address)) for _ in range(1000)]
        for peer in peers:
            peer.send(b"hello")
        assert all(peer.read_exactly(5) == b"hello" for peer in peers)
        assert server.connections == 1000
    recorder.wait_for("close", 1000)


# -- errors of accept ------------------------------------------------------------------------------------


class Moody(_socket.socket):
    """A listener whose next accepts fail as they are told to, before they take anything from the backlog."""

    def __init__(self) -> None:
        super().__init__()
        self.bind(("127.0.0.1", 0))
        self.listen()
        self.moods: list[int] = []
        self.failed = 0

    def _accept(self) -> tuple[int, Any]:
        if self.moods:
            number = self.moods.pop(0)
            self.failed += 1
            raise OSError(number, os.strerror(number))
        accepted: tuple[int, Any] = super()._accept()  # type: ignore[misc]
        return accepted


@pytest.fixture
def log(caplog: pytest.LogCaptureFixture) -> Iterator[list[str]]:
    """The lines that greensock logs, access lines left out."""
    caplog.set_level(logging.DEBUG, "greensock")
    lines: list[str] = []

    class Lines(logging.Handler):
        def emit(self, record: logging.LogRecord) -> None:
            if record.name == "greensock":
                assert record.exc_info is None
                lines.append(f"{record.levelname} {record.getMessage()}")

    handler = Lines()
    logging.getLogger("greensock").addHandler(handler)
    yield lines
    logging.getLogger("greensock").removeHandler(handler)


@pytest.mark.parametrize(
    "number",
    [errno.ECONNABORTED, errno.EPROTO, errno.ENETDOWN, errno.EHOSTUNREACH, errno.ENETUNREACH, errno.EPERM, errno.EINTR],
)
def test_a_peer_that_changed_its_mind_delays_nobody_and_is_no_news(
    serve: Serve, dial: Dial, log: list[str], capfd: pytest.CaptureFixture[str], number: int
) -> None:
    recorder = echoing()
    listener = Moody()
    server = serve(recorder.handlers, listener)
    server.min_delay = server.delay = 1000.0  # whoever waits waits for ever
    for _ in range(20):
        listener.moods = [number]
        assert dial(server).exchange(b"hello") == b"hello"
    assert listener.failed == 20
    assert log == []
    assert capfd.readouterr().err == ""


@pytest.mark.parametrize("number", [errno.EMFILE, errno.ENFILE, errno.ENOBUFS, errno.ENOMEM])
def test_a_shortage_is_waited_out_with_one_line_when_it_begins_and_one_when_it_ends(
    serve: Serve, dial: Dial, log: list[str], capfd: pytest.CaptureFixture[str], number: int
) -> None:
    recorder = echoing()
    listener = Moody()
    server = serve(recorder.handlers, listener)
    before = dial(server)
    assert before.exchange(b"hello") == b"hello"
    for shortage in (1, 2):
        listener.moods = [number] * 4
        peer = dial(server)
        peer.send(b"hello")
        assert before.exchange(b"others are served") == b"others are served"
        assert peer.read_exactly(5) == b"hello"
        assert listener.failed == 4 * shortage
        wait_until(lambda shortage=shortage: len(log) == 2 * shortage)  # type: ignore[misc]
    assert log == 2 * [
        f"ERROR {server.url} cannot accept for now: [Errno {number}] {os.strerror(number)}; it tries again",
        f"WARNING {server.url} accepts again",
    ]
    assert capfd.readouterr().err == ""


def test_tries_during_a_shortage_become_rarer_up_to_one_a_second(serve: Serve, dial: Dial) -> None:
    listener = Moody()
    server = serve(echoing().handlers, listener)
    server.max_delay = 0.04
    listener.moods = [errno.EMFILE] * 4
    delays = []
    peer = dial(server)
    for failed in (1, 2, 3, 4):
        wait_until(lambda failed=failed: listener.failed == failed)  # type: ignore[misc]
        delays.append(server.delay)
    assert delays == [0.02, 0.04, 0.04, 0.04]
    assert peer.exchange(b"hello") == b"hello"
    wait_until(lambda: server.delay == server.min_delay == 0.01)
    assert greensock.Server.max_delay == 1


def test_a_server_may_be_stopped_during_a_shortage_and_started_again(serve: Serve, dial: Dial) -> None:
    server = serve(echoing().handlers)
    server.socket.close()  # so that the address is free for the moody one
    listener = Moody()
    server.socket = listener
    server.stop_accepting()
    server.start_accepting()
    listener.moods = [errno.EMFILE] * 3
    with Peer(listener.getsockname()):
        wait_until(lambda: listener.failed == 1)
        server.stop(0)
        assert not server.started
    server.start()
    assert dial(server).exchange(b"hello") == b"hello"


@pytest.mark.parametrize("number", [errno.EBADF, errno.EINVAL, errno.ENOTSOCK])
def test_a_listener_that_will_never_accept_again_ends_the_server_and_says_so(
    serve: Serve, dial: Dial, log: list[str], capfd: pytest.CaptureFixture[str], number: int
) -> None:
    listener = Moody()
    server = serve(echoing().handlers, listener)
    before = dial(server)
    assert before.exchange(b"hello") == b"hello"
    serving = gevent.spawn(server.serve_forever)
    gevent.sleep(0)
    listener.moods = [number]
    dial(server)
    serving.get(timeout=10)
    assert server.closed
    assert log == [f"ERROR {server.url} cannot accept any more: [Errno {number}] {os.strerror(number)}"]
    assert capfd.readouterr().err == ""
    assert before.exchange(b"connections live on") == b"connections live on"


@pytest.mark.parametrize("what", ["wire", "socket"])
def test_an_accepted_descriptor_is_not_lost_when_its_socket_cannot_be_made(
    serve: Serve, dial: Dial, monkeypatch: pytest.MonkeyPatch, log: list[str], what: str
) -> None:
    server = serve(echoing().handlers)
    server.max_delay = 0  # try again at once
    owner, name = (server, "_make_wire") if what == "wire" else (greensock.accepting, "Socket")
    real: Any = getattr(owner, name)
    failures = 0

    def fails(*args: Any) -> Any:
        nonlocal failures
        if failures < 100:
            failures += 1
            raise MemoryError("on purpose")
        return real(*args)

    before = len(os.listdir("/proc/self/fd"))
    monkeypatch.setattr(owner, name, fails)
    for _ in range(100):
        with Peer(server.address) as peer:
            assert peer.read_to_end() == b"", "this peer is lost, and no other"
    assert failures == 100
    assert len(os.listdir("/proc/self/fd")) == before
    assert dial(server).exchange(b"hello") == b"hello"
    assert server.stats().accepted == server.connections == 1
    wait_until(lambda: len(log) == 2)
    assert log == [
        f"ERROR {server.url} cannot accept for now: on purpose; it tries again",
        f"WARNING {server.url} accepts again",
    ]


# -- for real --------------------------------------------------------------------------------------------


STARVES = """
    import logging, resource, sys
    import gevent
    import greensock

    def data(socket, data):
        socket.write(data)

    logging.basicConfig(level=logging.DEBUG, stream=sys.stdout, format="%(levelname)s %(message)s")
    logging.getLogger("greensock.access").setLevel(logging.WARNING)
    server = greensock.listen("127.0.0.1:0", {"data": data})
    resource.setrlimit(resource.RLIMIT_NOFILE, (32, 32))
    print(server.port)
    greensock.run(server)
    print(server.stats().accepted)
"""


def test_a_server_without_descriptors_serves_those_it_has_and_resumes_by_itself(launch: Launch) -> None:
    program = launch(STARVES)
    address = ("127.0.0.1", int(program.line()))

    def exchange(peer: socket.socket) -> bool:
        peer.sendall(b"hello")
        return peer.recv(100) == b"hello"

    with ExitStack() as stack:
        first = stack.enter_context(socket.create_connection(address, 10))
        assert exchange(first)
        peers = [stack.enter_context(socket.create_connection(address, 10)) for _ in range(64)]
        line = program.line()
        assert line.startswith(f"ERROR tcp://127.0.0.1:{address[1]} cannot accept for now")
        assert "Too many open files" in line
        assert exchange(first), "existing connections are served meanwhile"
        for peer in peers:
            peer.sendall(b"hello")
        served = select.select(peers, [], [], 10)[0]
        while len(served) < 64:  # each that leaves makes room for one more
            for peer in served:
                peer.close()
            peers = [peer for peer in peers if peer not in served]
            assert exchange(first)
            if not peers:
                break
            served = select.select(peers, [], [], 10)[0]
            assert served, f"{len(peers)} peers are still waiting"
        assert not peers
    line = program.line()
    assert line.endswith("accepts again")
    program.process.terminate()
    status, output, errors = program.finish()
    *more, accepted = output.splitlines()
    assert (status, accepted, errors) == (0, "65", "")
    # One pair of lines for each time that it ran out, and nothing else.
    for line, word in zip(more, itertools.cycle(["cannot accept for now", "accepts again"]), strict=False):
        assert word in line


SERVES = """
    import logging, sys
    import greensock

    logging.basicConfig(level=logging.DEBUG)
    logging.getLogger("greensock.access").setLevel(logging.WARNING)
    server = greensock.listen("127.0.0.1:0", {"data": lambda socket, data: socket.write(data)})
    print(server.port)
    greensock.run(server)
    print(server.stats().accepted)
"""


def strace(tmp_path: Path, fault: str) -> tuple[str, ...]:
    command = (
        "strace",
        "-f",
        "-qq",
        "-o",
        str(tmp_path / "trace"),
        "-e",
        "trace=accept4",
        "-e",
        f"inject=accept4:{fault}",
    )
    if shutil.which("strace") is None or subprocess.run([*command, "true"], capture_output=True).returncode:
        pytest.skip("strace cannot inject faults here")
    return command


@pytest.mark.parametrize(
    ("fault", "lines"),
    [("error=ECONNABORTED:when=2+3", 0), ("error=ENETDOWN:when=1+2", 0), ("error=ENFILE:when=10..13", 2)],
)
def test_injected_faults_cost_no_connection(launch: Launch, tmp_path: Path, fault: str, lines: int) -> None:
    program = launch(SERVES, wrapper=strace(tmp_path, fault))
    address = ("127.0.0.1", int(program.line()))
    for _ in range(60):
        with socket.create_connection(address, 10) as peer:
            peer.sendall(b"hello")
            assert peer.recv(100) == b"hello"
    pid = int(subprocess.check_output(["ps", "-o", "pid=", "--ppid", str(program.process.pid)]))
    os.kill(pid, 15)
    status, output, errors = program.finish()
    assert (status, output) == (0, "60\n")
    assert len(errors.splitlines()) == lines, errors
    assert "INJECTED" in (tmp_path / "trace").read_text()

"""The examples and load tests as their readers start them: as programs."""

import json
import signal
import socket
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import pytest

ROOT = Path(__file__).parent.parent
TIMEOUT = 20

# Not pytest.importorskip: to import locust is to monkey-patch the process that runs the tests.
needs_locust = pytest.mark.skipif(find_spec("locust") is None, reason="locust is not installed")

Start = Callable[..., "Program"]


class Program:
    """A running Python program."""

    def __init__(self, *arguments: str) -> None:
        self.process = subprocess.Popen(
            [sys.executable, *arguments],
            cwd=ROOT,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )

    def address(self) -> tuple[str, int]:
        """Wait for the line that says where it listens."""
        assert self.process.stdout
        line = self.process.stdout.readline()
        prefix = "listening on tcp://"
        assert line.startswith(prefix), line or self.finish()
        host, _, port = line.removeprefix(prefix).strip().rpartition(":")
        return host, int(port)

    def finish(self, number: signal.Signals | None = None) -> tuple[int, str, str]:
        """Send the signal, wait, and return exit status, the rest of the output, and the errors."""
        if number is not None:
            self.process.send_signal(number)
        output, errors = self.process.communicate(timeout=TIMEOUT)
        return self.process.returncode, output, errors


@pytest.fixture
def start() -> Iterator[Start]:
    programs: list[Program] = []

    def start(*arguments: str) -> Program:
        programs.append(Program(*arguments))
        return programs[-1]

    yield start
    for program in programs:
        with program.process:
            program.process.kill()


def exchange(peer: socket.socket, message: bytes) -> bytes:
    peer.sendall(message)
    reply = b""
    while len(reply) < len(message):
        received = peer.recv(65536)
        assert received, f"the connection ended after {len(reply)} of {len(message)} bytes"
        reply += received
    return reply


def test_echo_echoes_and_counts(start: Start) -> None:
    echo = start("examples/echo.py", "127.0.0.1:0", "--stats")
    message = bytes(range(256)) * 64
    with socket.create_connection(echo.address(), TIMEOUT) as peer:
        assert exchange(peer, b"hello") == b"hello"
        assert exchange(peer, message) == message
        echo.process.send_signal(signal.SIGTERM)
        assert peer.recv(1) == b"", "a drained connection ends, it is not reset"
    status, output, errors = echo.finish()
    assert (status, errors) == (0, "")
    stats = json.loads(output)
    total = len(b"hello") + len(message)
    assert (stats["accepted"], stats["bytes_read"], stats["bytes_written"]) == (1, total, total)
    assert (stats["connections"], stats["errors"], stats["buffered"]) == (0, 0, 0)


def test_echo_without_connections_ends_quietly(start: Start) -> None:
    echo = start("examples/echo.py", "127.0.0.1:0")
    with socket.create_connection(echo.address(), TIMEOUT) as peer:
        assert exchange(peer, b"hello") == b"hello"  # it serves, so it takes signals
    assert echo.finish(signal.SIGTERM) == (0, "", "")


def test_an_interrupt_shows_no_traceback(start: Start) -> None:
    echo = start("examples/echo.py", "127.0.0.1:0")
    with socket.create_connection(echo.address(), TIMEOUT) as peer:
        assert exchange(peer, b"hello") == b"hello"
        echo.process.send_signal(signal.SIGINT)
        assert peer.recv(1) == b""
    assert echo.finish() == (0, "", "")


@needs_locust
def test_the_demo_prints_its_table_and_succeeds(start: Start) -> None:
    demo = start("loadtests/demo.py", "--seconds", "1", "--users", "3")
    status, output, errors = demo.finish()
    assert status == 0, output + errors
    for row in ("messages/s", "p50", "p99", "connections", "bytes buffered at the peak", "drains", "failures"):
        assert f"│ {row} " in output
    assert "(the same)" in output


@needs_locust
def test_an_interrupted_demo_ends_without_a_traceback(start: Start) -> None:
    demo = start("loadtests/demo.py", "--seconds", "60", "--users", "3")
    assert demo.process.stdout
    demo.process.stdout.readline()
    progress = demo.process.stdout.readline()
    assert "messages/s" in progress
    status, _, errors = demo.finish(signal.SIGINT)
    assert (status, errors) == (130, "interrupted\n")


@pytest.fixture
def faulty_server() -> Iterator[str]:
    """The url of an echo that fails its first three connections, each in another way, and then behaves."""

    def serve() -> None:
        for behave in (turn_a_bit, say_too_much, break_off, echo_on):
            try:
                peer, _ = listener.accept()
            except OSError:
                return  # the test is over
            with peer:
                behave(peer)

    def turn_a_bit(peer: socket.socket) -> None:
        message = peer.recv(64)
        peer.sendall(bytes([message[0] ^ 1]) + message[1:])
        peer.recv(1)

    def say_too_much(peer: socket.socket) -> None:
        peer.sendall(peer.recv(64) + b"!")
        peer.recv(1)

    def break_off(peer: socket.socket) -> None:
        peer.sendall(peer.recv(64)[:63])

    def echo_on(peer: socket.socket) -> None:
        while message := peer.recv(64):
            peer.sendall(message)

    with socket.create_server(("127.0.0.1", 0)) as listener:
        thread = threading.Thread(target=serve)
        thread.start()
        yield f"tcp://127.0.0.1:{listener.getsockname()[1]}"
        listener.shutdown(socket.SHUT_RDWR)  # wakes a blocked accept
        thread.join(TIMEOUT)


def run_locustfile(start: Start, host: str) -> tuple[int, dict[str, dict[str, Any]]]:
    """Run the locustfile with one user for one second; return its exit status and its rows by type."""
    arguments = ("--headless", "--users", "1", "--run-time", "1", "--stop-timeout", "10", "--json")
    status, output, errors = start("-m", "locust", "-f", "loadtests/echo.py", "--host", host, *arguments).finish()
    assert "Traceback" not in errors, errors
    return status, {row["method"]: row for row in json.loads(output)}


@needs_locust
def test_the_load_test_counts_each_wrong_reply_and_connects_again(start: Start, faulty_server: str) -> None:
    status, rows = run_locustfile(start, faulty_server)
    assert status == 1
    assert rows["TCP"]["num_failures"] == 3
    assert rows["TCP"]["num_requests"] > 3
    assert (rows["CONN"]["num_requests"], rows["CONN"]["num_failures"]) == (4, 0)


@needs_locust
def test_the_load_test_counts_a_refused_connection(start: Start) -> None:
    with socket.socket() as bound:
        bound.bind(("127.0.0.1", 0))  # and does not listen
        status, rows = run_locustfile(start, f"tcp://127.0.0.1:{bound.getsockname()[1]}")
    assert status == 1
    assert rows.keys() == {"CONN"}
    assert rows["CONN"]["num_failures"] == rows["CONN"]["num_requests"] > 0

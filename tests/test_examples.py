"""The examples as their readers start them: as programs."""

import json
import signal
import socket
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent
TIMEOUT = 20

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

"""Programs that are tested from outside: by the lines that they print, by signals, and by how they end."""

import os
import signal
import subprocess
import sys
import textwrap
from collections.abc import Callable, Iterator
from pathlib import Path

import gevent.socket
import pytest

ROOT = Path(__file__).parent.parent

#: Seconds in which a program that was told to end has ended.
TIMEOUT = 20


class Program:
    """A running Python program.

    Args:
        arguments: what Python is called with.
        wrapper: a command that runs it, such as strace.
        pass_fds: descriptors that it inherits.
    """

    def __init__(self, *arguments: str, wrapper: tuple[str, ...] = (), pass_fds: tuple[int, ...] = ()) -> None:
        self.process = subprocess.Popen(
            [*wrapper, sys.executable, "-u", *arguments],
            cwd=ROOT,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            pass_fds=pass_fds,
            start_new_session=True,  # so that kill() ends a wrapper together with what it runs
            bufsize=0,  # so that line() reads no further than its line, and finish() gets the rest
        )

    def line(self) -> str:
        """The next line that it prints, without its end."""
        assert self.process.stdout
        line = self.process.stdout.readline().decode()
        assert line, f"the program ended: {self.finish()}"
        return line.rstrip("\n")

    def wait_for(self, beginning: str) -> str:
        """The next line that begins so; those before it are dropped. Other greenlets run meanwhile."""
        assert self.process.stdout
        while True:
            gevent.socket.wait_read(self.process.stdout.fileno(), TIMEOUT)
            line = self.line()
            if line.startswith(beginning):
                return line

    def address(self) -> tuple[str, int]:
        """Where it listens, which it prints first."""
        host, _, port = self.wait_for("listening on ").partition("://")[2].rpartition(":")
        return host, int(port)

    def certificate(self) -> str:
        """The certificate that it prints, as PEM."""
        lines = [self.wait_for("-----BEGIN CERTIFICATE-----")]
        while lines[-1] != "-----END CERTIFICATE-----":
            lines.append(self.line())
        return "\n".join(lines)

    def send(self, number: signal.Signals) -> None:
        """Send it a signal."""
        self.process.send_signal(number)

    def finish(self, number: signal.Signals | None = None) -> tuple[int, str, str]:
        """Send the signal, wait for the end, and return status, the rest of the output, and the errors."""
        if number is not None:
            self.send(number)
        output, errors = self.process.communicate(timeout=TIMEOUT)
        return self.process.returncode, output.decode(), errors.decode()

    def kill(self) -> None:
        """End it if it still runs."""
        with self.process:
            try:
                os.killpg(self.process.pid, signal.SIGKILL)
            except ProcessLookupError:
                pass  # it has ended


Launch = Callable[..., Program]


@pytest.fixture
def launch(no_leaks: None) -> Iterator[Launch]:
    """A function that starts a program from its text, indented as you like. It ends with the test."""
    programs: list[Program] = []

    def launch(source: str, *arguments: str, wrapper: tuple[str, ...] = (), pass_fds: tuple[int, ...] = ()) -> Program:
        source = textwrap.dedent(source)
        programs.append(Program("-c", source, *arguments, wrapper=wrapper, pass_fds=pass_fds))
        return programs[-1]

    yield launch
    for program in programs:
        program.kill()


@pytest.fixture
def example(no_leaks: None) -> Iterator[Launch]:
    """A function that starts one of ``examples/``. It ends with the test."""
    programs: list[Program] = []

    def start(name: str, *arguments: str) -> Program:
        programs.append(Program(f"examples/{name}.py", *arguments))
        return programs[-1]

    yield start
    for program in programs:
        program.kill()

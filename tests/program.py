"""Programs that are tested from outside: by the lines that they print, by signals, and by how they end."""

import signal
import subprocess
import sys
import textwrap
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent

#: Seconds in which a program that was told to end has ended.
TIMEOUT = 20


class Program:
    """A running Python program.

    Args:
        source: its text, indented as you like.
        arguments: what it finds in ``sys.argv``.
        wrapper: a command that runs it, such as strace.
        pass_fds: descriptors that it inherits.
    """

    def __init__(
        self, source: str, *arguments: str, wrapper: tuple[str, ...] = (), pass_fds: tuple[int, ...] = ()
    ) -> None:
        self.process = subprocess.Popen(
            [*wrapper, sys.executable, "-u", "-c", textwrap.dedent(source), *arguments],
            cwd=ROOT,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            pass_fds=pass_fds,
            bufsize=0,  # so that line() reads no further than its line, and finish() gets the rest
        )

    def line(self) -> str:
        """The next line that it prints, without its end."""
        assert self.process.stdout
        line = self.process.stdout.readline().decode()
        assert line, f"the program ended: {self.finish()}"
        return line.rstrip("\n")

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
            self.process.kill()


Launch = Callable[..., Program]


@pytest.fixture
def launch(no_leaks: None) -> Iterator[Launch]:
    """A function that starts a :class:`Program`, which ends with the test."""
    programs: list[Program] = []

    def launch(source: str, *arguments: str, wrapper: tuple[str, ...] = (), pass_fds: tuple[int, ...] = ()) -> Program:
        programs.append(Program(source, *arguments, wrapper=wrapper, pass_fds=pass_fds))
        return programs[-1]

    yield launch
    for program in programs:
        program.kill()

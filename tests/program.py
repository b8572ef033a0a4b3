"""Programs that are tested from outside: by the lines that they print, by signals, and by how they end."""

import os
import signal
import subprocess
import sys
import textwrap
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

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
        cwd: the directory that it starts in.
        env: variables of its environment, beside those of this one.
        stderr: where its errors go, if not to :meth:`finish`.
    """

    def __init__(
        self,
        *arguments: str,
        wrapper: tuple[str, ...] = (),
        pass_fds: tuple[int, ...] = (),
        cwd: Path = ROOT,
        env: Mapping[str, str] | None = None,
        stderr: int = subprocess.PIPE,
    ) -> None:
        self.process = subprocess.Popen(
            [*wrapper, sys.executable, "-u", *arguments],
            cwd=cwd,
            env={**os.environ, "PYTHONPATH": str(ROOT), **(env or {})},
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=stderr,
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


class Serving(Program):
    """``greensock serve``, with the text of the program that it serves.

    Args:
        directory: where ``service.py`` is written and the command runs.
        source: the text of that file, indented as you like.
        arguments: more of the command line.
        target: what is served.
        options: those of :class:`Program`.
    """

    def __init__(
        self, directory: Path, source: str, *arguments: str, target: str = "service.py", **options: Any
    ) -> None:
        self.file = directory / "service.py"
        self.edit(source)
        super().__init__("-m", "greensock", "serve", target, *arguments, cwd=directory, **options)

    def edit(self, source: str) -> None:
        """Write the program again, in one step, as good editors do."""
        new = self.file.with_suffix(".new")
        new.write_text(textwrap.dedent(source))
        new.replace(self.file)

    def wait_for_error(self, words: str) -> str:
        """The next line of its errors that has *words* in it; those before it are dropped. Others run meanwhile."""
        assert self.process.stderr
        while True:
            gevent.socket.wait_read(self.process.stderr.fileno(), TIMEOUT)
            line = self.process.stderr.readline().decode()
            assert line, f"the program ended without {words!r}: {self.finish()}"
            if words in line:
                return line.rstrip("\n")


Serve = Callable[..., Serving]


@pytest.fixture
def serving(no_leaks: None, tmp_path: Path) -> Iterator[Serve]:
    """A function that serves a program from its text, on a free port unless told otherwise. It ends with the test."""
    programs: list[Serving] = []

    def serve(source: str, *arguments: str, **options: Any) -> Serving:
        bind = () if "--bind" in arguments else ("--bind", "127.0.0.1:0")
        programs.append(Serving(tmp_path, source, *bind, *arguments, **options))
        return programs[-1]

    yield serve
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


def run(*arguments: str, cwd: Path = ROOT, env: Mapping[str, str] | None = None) -> tuple[int, str, str]:
    """Run the command ``greensock`` to its end: status, output, and errors."""
    program = Program("-m", "greensock", *arguments, cwd=cwd, env=env)
    try:
        return program.finish()
    finally:
        program.kill()

"""Programs that others wrote, at the other end of a connection: told by a pipe, heard by a pipe.

They run beside servers and clients in the process of the test, and so nothing here blocks the hub.
"""

import json
import os
import shutil
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, Protocol, cast

import gevent
import gevent.subprocess
import psutil
import pytest
from gevent.event import Event
from gevent.subprocess import PIPE

from greensock.testing import wait_until
from program import ROOT

PEERS = Path(__file__).parent / "peers"

#: Seconds in which a program has done what it was told to.
PATIENCE = 20.0


def find(name: str) -> str | None:
    """The program of this name: where programs are, or where ``make bench`` has put Bun."""
    installed = ROOT / "loadtests" / "compare" / "peers" / "node_modules" / ".bin"
    return shutil.which(name) or shutil.which(name, path=installed)


def needs(*names: str) -> pytest.MarkDecorator:
    """A mark that skips a test where one of these programs is missing, unless that is a fault of ``.ci/run``."""
    missing = [name for name in names if find(name) is None]
    if missing and "CI" in os.environ:
        raise RuntimeError(f"these have to be installed: {', '.join(missing)}")
    return pytest.mark.skipif(bool(missing), reason=f"not installed: {', '.join(missing)}")


class Foreign:
    """A running program.

    Attributes:
        output: what it has printed so far.
        errors: the same of its standard error.
    """

    def __init__(self, program: str, *arguments: object) -> None:
        command = [find(program) or program, *map(str, arguments)]
        self.process: Any = gevent.subprocess.Popen(command, stdin=PIPE, stdout=PIPE, stderr=PIPE, bufsize=0)
        self.output = bytearray()
        self.errors = bytearray()
        self._heard = Event()
        self._listening = [
            gevent.spawn(self._listen, self.process.stdout, self.output),
            gevent.spawn(self._listen, self.process.stderr, self.errors),
        ]

    def _listen(self, pipe: Any, into: bytearray) -> None:
        while part := pipe.read(65536):
            into += part
            self._heard.set()
        self._heard.set()

    @property
    def said(self) -> str:
        """All that it has printed, wherever."""
        return (self.output + self.errors).decode(errors="replace")

    def wait_until(self, condition: Callable[[], object], what: str) -> None:
        """Block until what it has printed makes *condition* true.

        Raises:
            AssertionError: it has ended without, or time is up.
        """
        with gevent.Timeout(PATIENCE, cast(Any, False)):
            while not condition():
                ended = all(pipe.ready() for pipe in self._listening)
                assert not ended, f"it ended without {what}:\n{self.said}"
                self._heard.clear()
                self._heard.wait()
            return
        raise AssertionError(f"no {what} in {PATIENCE} s:\n{self.said}")

    def wait_for(self, text: str) -> str:
        """Block until it has printed *text*, and return all that it has printed."""
        self.wait_until(lambda: text in self.said, repr(text))
        return self.said

    def send(self, data: bytes) -> None:
        """Give it *data* to read."""
        rest = memoryview(data)
        while rest:
            rest = rest[self.process.stdin.write(rest) :]

    def say(self, line: str) -> None:
        """Give it a line to read."""
        self.send(line.encode() + b"\n")

    def hang_up(self) -> None:
        """Let it read the end of its input."""
        self.process.stdin.close()

    def finish(self) -> int:
        """Block until it has ended, and return its status."""
        with gevent.Timeout(PATIENCE, AssertionError("it did not end")):
            gevent.joinall(self._listening)
            return int(self.process.wait())

    def port(self) -> int:
        """Block until it listens, and say where."""
        inside = psutil.Process(self.process.pid)

        def listening() -> list[int]:
            assert self.process.poll() is None, self.said
            found = inside.net_connections("tcp")
            return [connection.laddr.port for connection in found if connection.status == psutil.CONN_LISTEN]

        wait_until(listening, PATIENCE, "the program listens")
        return listening()[0]

    def kill(self) -> None:
        """End it if it still runs."""
        if self.process.poll() is None:
            self.process.kill()
        self.finish()
        for pipe in (self.process.stdin, self.process.stdout, self.process.stderr):
            try:
                pipe.close()
            except BrokenPipeError:
                pass  # it has ended without reading all


class Script(Foreign):
    """``peers/node.js`` or ``peers/bun.js``: one connection, told by lines, and heard by events.

    Args:
        runtime: ``node`` or ``bun``.
        role: ``connect`` or ``listen``.
        options: what ``tls.connect``, ``tls.createServer``, ``Bun.connect`` and ``Bun.listen`` take; those of TLS are
            put where the runtime has them.
    """

    def __init__(self, runtime: str, role: str, tls: dict[str, Any], **options: Any) -> None:
        tls = {name: value.decode() if isinstance(value, bytes) else value for name, value in tls.items()}
        given = {**options, **tls} if runtime == "node" else {**options, "tls": tls}
        super().__init__(runtime, PEERS / f"{runtime}.js", role, json.dumps({"port": 0, **given}))
        self._events: list[dict[str, Any]] = []
        self._parsed = 0

    @property
    def events(self) -> list[dict[str, Any]]:
        """What it has told so far."""
        end = self.output.rfind(b"\n") + 1
        self._events += map(json.loads, self.output[self._parsed : end].splitlines())
        self._parsed = end
        return self._events

    def event(self, name: str, **values: object) -> dict[str, Any]:
        """Block until it has told of the event *name*, with these values."""
        found: list[dict[str, Any]] = []

        def told() -> bool:
            found[:] = [event for event in self.events if {"event": name, **values}.items() <= event.items()]
            return bool(found)

        self.wait_until(told, f"{name} with {values}")
        return found[0]

    @property
    def names(self) -> list[str]:
        """The names of its events so far, each once."""
        return list(dict.fromkeys(event["event"] for event in self.events))


class Start(Protocol):
    """Type of the :func:`foreign` fixture."""

    def __call__(self, program: str, *arguments: object) -> Foreign: ...


class StartScript(Protocol):
    """Type of the :func:`script` fixture."""

    def __call__(self, runtime: str, role: str, tls: dict[str, Any], **options: Any) -> Script: ...


@pytest.fixture
def foreign(no_leaks: None) -> Iterator[Start]:
    """A function that starts a program, which ends with the test."""
    programs: list[Foreign] = []

    def start(program: str, *arguments: object) -> Foreign:
        programs.append(Foreign(program, *arguments))
        return programs[-1]

    yield start
    for program in programs:
        program.kill()


@pytest.fixture
def script(no_leaks: None) -> Iterator[StartScript]:
    """A function that starts a :class:`Script`, which ends with the test."""
    scripts: list[Script] = []

    def start(runtime: str, role: str, tls: dict[str, Any], **options: Any) -> Script:
        scripts.append(Script(runtime, role, tls, **options))
        return scripts[-1]

    yield start
    for started in scripts:
        started.kill()

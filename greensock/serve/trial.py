"""A program tried out in a process of its own, before a server that works is asked to take it.

A module may do anything when it is imported: raise, end the process, or hang for ever, in Python or in C. In another
process it does no harm, and the server goes on meanwhile. Precedents: ``nginx -t``, ``haproxy -c``.
"""

import dataclasses
import faulthandler
import json
import os
import re
import signal
import sys
from typing import Any, Final

import gevent
import gevent.os

from . import native, stacks
from .app import App, AppError

#: Seconds that a process has to start, beside what the program itself takes.
STARTING: Final = 5.0

_CHILD: Final = """
import json, sys
given = json.loads(sys.argv[1])
sys.path[:] = given["path"]
from greensock.serve.trial import main
main(given["target"], given["patch"], given["timeout"])
"""


@dataclasses.dataclass(frozen=True, slots=True)
class Outcome:
    """What came of it.

    Attributes:
        error: why the program cannot be served, for people; None if it can.
        files: those of the program's files that it got to see.
    """

    error: str | None
    files: frozenset[str] = frozenset()


def try_out(target: str, *, patch: bool, timeout: float) -> Outcome:
    """Import *target* in a new process and see whether it could be served. Blocks this greenlet only.

    Args:
        patch: monkey-patch there first.
        timeout: seconds after which the import counts as hung.

    Resource handling: a process and a pipe, gone when this returns, raises, or is killed.
    """
    given = {"path": sys.path, "target": target, "patch": patch, "timeout": timeout}
    reading, writing = os.pipe()
    try:
        try:
            # Not gevent.subprocess: its watcher reaps the children of others as well (ev(3), ev_child).
            child = os.posix_spawn(
                sys.executable,
                [sys.executable, "-c", _CHILD, json.dumps(given)],
                os.environ,
                file_actions=[
                    (os.POSIX_SPAWN_OPEN, 0, os.devnull, os.O_RDONLY, 0),
                    (os.POSIX_SPAWN_DUP2, writing, 1),
                    (os.POSIX_SPAWN_DUP2, writing, 2),
                ],
            )
        finally:
            os.close(writing)
        try:
            os.set_blocking(reading, False)
            text = gevent.with_timeout(STARTING + timeout, _read, reading, timeout_value="Timeout")
            return _outcome(text, target)
        finally:
            _end(child)
    finally:
        os.close(reading)


def _read(descriptor: int) -> str:
    parts = []
    while part := gevent.os.nb_read(descriptor, 65536):
        parts.append(part)
    return b"".join(parts).decode(errors="replace")


def _end(child: int) -> None:
    """It has said all it had to say, or is not wanted any more."""
    try:
        os.kill(child, signal.SIGKILL)
        while native.waitpid(child, os.WNOHANG) == (0, 0):
            gevent.sleep(0.001)  # a killed process is gone at once
    except (ChildProcessError, ProcessLookupError):
        pass  # somebody waits for all children of this process


def _outcome(text: str, target: str) -> Outcome:
    try:
        told = json.loads(text)
        return Outcome(told["error"], frozenset(told["files"]))
    except ValueError:
        pass
    # The words of faulthandler: it kept the interpreter's lock until time was up, or crashed.
    frames = re.findall(r'^  File "(.+)", line (\d+) in (.+)$', text, re.MULTILINE)
    files = frozenset(file for file, _, _ in frames)
    calls = "\n".join(f"  {stacks.file_of(file)}:{line} in {name}" for file, line, name in frames)
    if text.startswith("Timeout"):
        return Outcome(f"{target}: its import takes too long. It is at\n{calls}", files)
    if calls:
        return Outcome(f"{target}: its import crashes the interpreter, at\n{calls}", files)
    return Outcome(f"{target}: it ends the process when it is imported\n{text}".rstrip())


# -- in the new process ----------------------------------------------------------------------------------


def main(target: str, patch: bool, timeout: float) -> None:
    """Import *target* and say on standard output what came of it, in JSON."""
    report = os.dup(1)
    nowhere = os.open(os.devnull, os.O_WRONLY)
    os.dup2(nowhere, 1)  # what the program prints it will print in the server, too
    os.dup2(nowhere, 2)
    faulthandler.enable(report)
    faulthandler.dump_traceback_later(timeout + STARTING / 2, exit=True, file=report)
    if patch:
        import gevent.monkey

        gevent.monkey.patch_all()
    app: App | None = None
    main_thread = native.get_ident()
    first = native.allocate_lock()

    def say(error: str | None, files: Any) -> None:
        first.acquire()  # for good: whoever comes second waits for the end
        faulthandler.cancel_dump_traceback_later()
        with os.fdopen(report, "w") as file:
            json.dump({"error": error, "files": sorted(files)}, file)
        os._exit(0)  # without what the program would do at its end

    def expire() -> None:
        native.sleep(timeout)
        seen = [stacks.of_thread(main_thread), *stacks.of_greenlets()]
        hung = [frame for frames in seen if (frame := stacks.users(frames)) is not None]
        where = "\n".join(f"  {stacks.describe(frame)}" for frame in hung)
        files = {frame.f_code.co_filename for frames in seen for frame in frames}
        say(f"{target}: its import has not ended after {timeout:g} s. It is at\n{where}", files)

    native.start_thread(expire)
    try:
        app = App(target)
        app.load()
    except AppError as error:
        say(str(error), {*error.files, *(app.files() if app else ())})
    say(None, app.files() if app else ())

"""What a program may do when it is imported, tried out where it does no harm."""

import os
import textwrap
from pathlib import Path
from time import monotonic

import gevent
import psutil
import pytest

from greensock.serve.trial import try_out
from greensock.testing import wait_until

GOOD = """
def data(socket, data): ...
handlers = {"data": data}
"""


@pytest.fixture(autouse=True)
def elsewhere(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)


def write(text: str, name: str = "service.py") -> str:
    Path(name).write_text(textwrap.dedent(text))
    return name


def trial(text: str, *, patch: bool = False, timeout: float = 10.0) -> str | None:
    """What is wrong with a program of that text."""
    return try_out(write(text), patch=patch, timeout=timeout).error


def test_a_good_one() -> None:
    write("", "helper.py")
    outcome = try_out(write("import os, helper" + GOOD), patch=False, timeout=10.0)
    assert outcome.error is None
    assert outcome.files == {os.path.abspath("service.py"), os.path.abspath("helper.py")}


@pytest.mark.parametrize(
    ("text", "error"),
    [
        ("x = (", "SyntaxError: '(' was never closed"),
        ("import nowhere", "ModuleNotFoundError: No module named 'nowhere'"),
        ("1 / 0", "ZeroDivisionError: division by zero"),
        ("handler = {}", "has no 'handlers'; it has handler"),
        ("handlers = {'dta': print}", "service.py cannot serve: unknown event 'dta'"),
        ("raise SystemExit(2)", "service.py: it ends when it is imported, with SystemExit(2)"),
        ("import os; os._exit(2)", "service.py: it ends the process when it is imported"),
        ("import os; os.kill(os.getpid(), 9)", "service.py: it ends the process when it is imported"),
        ("print('noise'); import sys; print('noise', file=sys.stderr); 1 / 0", "ZeroDivisionError: division by zero"),
    ],
)
def test_a_bad_one_is_told(text: str, error: str) -> None:
    told = trial(text)
    assert told is not None
    assert error in told
    assert "noise\n" not in told


def test_one_that_crashes_is_told_with_its_line() -> None:
    told = trial("import ctypes\n\n\nctypes.string_at(0)")
    assert told is not None
    assert "service.py: its import crashes the interpreter, at\n" in told
    assert "service.py:4 in <module>" in told


@pytest.mark.parametrize(
    ("how", "patch"),
    [
        ("import time; time.sleep(1000)", False),
        ("import time; time.sleep(1000)", True),
        ("import gevent; gevent.sleep(1000)", False),
        ("while True: pass", False),
    ],
)
def test_one_that_hangs_is_told_with_its_line_while_others_go_on(how: str, patch: bool) -> None:
    turns = 0

    def others() -> None:
        nonlocal turns
        while True:
            gevent.sleep(0.01)
            turns += 1

    going_on = gevent.spawn(others)
    told = trial(f"\n{how}\n", patch=patch, timeout=0.5)
    going_on.kill()
    assert told == (
        "service.py: its import has not ended after 0.5 s. It is at\n"
        f"  service.py:2 in <module>: {how}"
    )  # fmt: skip
    assert turns > 10


def test_one_that_hangs_in_c_is_told_too() -> None:
    told = trial("import re\nre.match('(a+)+$', 'a' * 60 + 'b')", timeout=0.1)
    assert told is not None
    assert "service.py: its import takes too long. It is at\n" in told
    assert "service.py:2 in <module>" in told


def test_it_is_patched_first_if_the_program_is() -> None:
    checks = "import socket, gevent.monkey\nassert gevent.monkey.is_module_patched('socket') is "
    assert trial(f"{checks}True\n{GOOD}", patch=True) is None
    assert trial(f"{checks}False\n{GOOD}", patch=False) is None


def test_it_has_the_module_path_of_this_process(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "lib").mkdir()
    write("", "lib/elsewhere.py")
    monkeypatch.syspath_prepend(str(tmp_path / "lib"))
    assert trial("import elsewhere" + GOOD) is None


def test_one_that_is_not_wanted_any_more_ends() -> None:
    trying = gevent.spawn(trial, "import os, time; open('begun', 'w').write(str(os.getpid())); time.sleep(1000)")
    wait_until(lambda: os.path.exists("begun") and Path("begun").read_text())
    child = int(Path("begun").read_text())
    before = monotonic()
    trying.kill()
    assert monotonic() - before < 5
    assert not psutil.pid_exists(child)

"""What patching came too late for, seen from inside of programs that were patched in several ways."""

import subprocess
import sys
import textwrap
from pathlib import Path

import pytest

from greensock import patching
from program import Launch

SHOW = """
from greensock import patching
for leftover in patching.leftovers():
    print(leftover)
"""


def test_this_process_is_not_patched() -> None:
    assert patching.patched() == []
    assert patching.leftovers() == []
    assert patching.unpatched_log_handlers() == []
    patching.warn_when_late()  # would raise: warnings are errors here


def test_a_program_that_patches_first_has_nothing_to_fear(launch: Launch) -> None:
    done = launch("""
        from gevent import monkey
        monkey.patch_all()
        import asyncio, concurrent.futures, functools, http.server, logging.handlers, multiprocessing, queue, ssl
        import select, selectors, socket, socketserver, subprocess, tempfile, threading, time, xmlrpc.server
        from socket import getaddrinfo, socket as Socket
        from time import sleep
        import hypothesis, pytest, gevent.pool
        import greensock

        lock, recursive, condition, semaphore = (
            threading.Lock(), threading.RLock(), threading.Condition(), threading.Semaphore()
        )
        local, event, jobs, simple = threading.local(), threading.Event(), queue.Queue(), queue.SimpleQueue()
        context = ssl.create_default_context()
        pool = concurrent.futures.ThreadPoolExecutor()
        green, hub, threads = gevent.pool.Pool(), gevent.get_hub(), gevent.get_hub().threadpool
        handler = logging.handlers.QueueHandler(jobs)
        selector = selectors.DefaultSelector()

        class Cached:
            @functools.cached_property
            def value(self): ...

        class Local(threading.local): ...
        class Thread(threading.Thread): ...
        from greensock import patching
        print(patching.patched() == list(patching.PATCHABLE), patching.leftovers(), patching.unpatched_log_handlers())
        """)
    assert done.finish() == (0, "True [] []\n", "")


@pytest.mark.parametrize(
    ("before", "seen"),
    [
        ("from time import sleep", "__main__.sleep still is the unpatched time.sleep"),
        ("from time import sleep as rest", "__main__.rest still is the unpatched time.sleep"),
        ("from socket import socket", "__main__.socket still is the unpatched socket.socket"),
        ("from socket import getaddrinfo", "__main__.getaddrinfo still is the unpatched socket.getaddrinfo"),
        ("from select import poll", "__main__.poll still is the unpatched select.poll"),
        ("from subprocess import Popen", "__main__.Popen still is the unpatched subprocess.Popen"),
        ("from queue import SimpleQueue", "__main__.SimpleQueue still is the unpatched queue.SimpleQueue"),
        ("import threading; lock = threading.Lock()", "__main__.lock is, or holds, an unpatched lock"),
        ("import threading; lock = threading.RLock()", "__main__.lock is, or holds, an unpatched RLock"),
        ("import threading; event = threading.Event()", "__main__.event is, or holds, an unpatched lock"),
        ("import threading; local = threading.local()", "__main__.local is, or holds, an unpatched threading.local"),
        ("import queue; jobs = {'mail': queue.Queue()}", "__main__.jobs is, or holds, an unpatched lock"),
        ("import queue; jobs = queue.SimpleQueue()", "__main__.jobs is, or holds, an unpatched queue.SimpleQueue"),
        ("import ssl; context = ssl.create_default_context()", "__main__.context is, or holds, an unpatched ssl.SSL"),
        ("import selectors; s = selectors.DefaultSelector()", "__main__.s is, or holds, an unpatched selectors.Epoll"),
        (
            "import socket; sock = socket.socket()",
            "__main__.sock is, or holds, an unpatched socket.socket",
        ),
        (
            "import threading\nclass Local(threading.local): ...",
            "__main__.Local derives from the unpatched threading.local",
        ),
        (
            "import threading\nclass Jobs:\n    lock = threading.Lock()",
            "__main__.Jobs.lock is, or holds, an unpatched lock",
        ),
        (
            "import threading\ndef locking(lock):\n    return lambda: lock\nlocked = locking(threading.Lock())",
            "__main__.locked is, or holds, an unpatched lock",
        ),
        (
            "import threading\nclass Job:\n    def __init__(self): self.lock = threading.Lock()\njobs = [Job(), Job()]",
            "__main__.jobs is, or holds, an unpatched lock",
        ),
    ],
)
def test_what_was_there_before_is_named(launch: Launch, before: str, seen: str) -> None:
    patch = "\nimport warnings; warnings.simplefilter('ignore')\nfrom gevent import monkey; monkey.patch_all()\n"
    done = launch(before + patch + SHOW)
    status, output, errors = done.finish()
    assert (status, errors) == (0, "")
    (line,) = output.splitlines()
    assert line.startswith(seen)


@pytest.mark.parametrize(
    "before",
    [
        "from socket import create_connection, socketpair, fromfd",
        "from threading import Thread, RLock, Condition, Event, Semaphore",
        "from queue import Queue",
        "from subprocess import run, check_output",
    ],
)
def test_what_only_calls_what_is_patched_is_no_matter(launch: Launch, before: str) -> None:
    """They find the new names when they are called."""
    assert launch(before + "\nfrom gevent import monkey; monkey.patch_all()\n" + SHOW).finish() == (0, "", "")


def test_only_what_was_patched_is_told(launch: Launch) -> None:
    done = launch(
        "import threading; lock = threading.Lock()\nfrom time import sleep\n"
        "from gevent import monkey; monkey.patch_time()" + SHOW + "print(patching.patched())"
    )
    assert done.finish() == (0, "__main__.sleep still is the unpatched time.sleep\n['time']\n", "")


def test_modules_that_hold_strange_things_are_borne(launch: Launch) -> None:
    done = launch("""
        import sys, threading
        lock = threading.Lock()
        circle = [lock]
        circle.append(circle)
        globals()[5] = lock
        sys.modules["no module"] = 5
        sys.modules["nothing"] = None
        class Raises:
            def __getattr__(self, name): raise RuntimeError(name)
            def __eq__(self, other): raise RuntimeError
            def __hash__(self): raise RuntimeError
            @property
            def __class__(self): return int
        raises = Raises()
        sys.modules["raises"] = Raises()
        from gevent import monkey
        monkey.patch_all()
        from greensock import patching
        print([leftover.name for leftover in patching.leftovers()])
        """)
    assert done.finish() == (0, "['circle', 'lock']\n", "")


def test_log_handlers_that_patching_was_told_to_leave(launch: Launch) -> None:
    done = launch("""
        import logging
        logging.basicConfig()
        from gevent import monkey
        monkey.patch_thread(logging=False)
        from greensock import patching
        print(*patching.unpatched_log_handlers(), sep=chr(10))
        """)
    status, output, errors = done.finish()
    assert (status, errors) == (0, "")
    assert "<StreamHandler <stderr> (NOTSET)>" in output.splitlines()


# -- the warning at listen() ------------------------------------------------------------------------------


@pytest.fixture
def app(tmp_path: Path) -> Path:
    """A module that makes a lock and takes a name, as many do."""
    (tmp_path / "app.py").write_text("import threading\nfrom time import sleep\nlock = threading.Lock()\n")
    return tmp_path


def run(app: Path, text: str, *options: str) -> subprocess.CompletedProcess[str]:
    program = app / "program.py"
    program.write_text(textwrap.dedent(text))
    return subprocess.run([sys.executable, *options, str(program)], capture_output=True, text=True, timeout=30)


LISTEN = """
for _ in range(2):
    greensock.listen(("127.0.0.1", 0), {"data": print}).stop()
print("served")
"""


def test_listen_warns_once_and_names_the_module(app: Path) -> None:
    done = run(
        app,
        "import app\nfrom gevent import monkey; monkey.patch_all()\nimport greensock" + LISTEN,
    )
    assert done.returncode == 0 and done.stdout == "served\n"
    warning, *rest = done.stderr.splitlines()
    assert "program.py:5: MonkeyPatchWarning" in warning and "too late" in warning
    assert rest[0] == "  app: app.lock is, or holds, an unpatched lock, and 1 more"
    assert done.stderr.count("too late") == 1


@pytest.mark.parametrize(
    "beginning",
    [
        "import app, greensock",
        "from gevent import monkey; monkey.patch_all()\nimport app, greensock",
        "import greensock\nfrom gevent import monkey; monkey.patch_all()\nimport app",
    ],
    ids=["unpatched", "patched first", "patched after greensock"],
)
def test_listen_is_silent_when_all_is_well(app: Path, beginning: str) -> None:
    done = run(app, beginning + LISTEN)
    assert (done.returncode, done.stdout, done.stderr) == (0, "served\n", "")


def test_the_warning_is_silenced_as_those_of_gevent_are(app: Path) -> None:
    text = """
        import warnings, app
        from gevent import monkey
        monkey.patch_all()
        import greensock
        warnings.simplefilter("ignore", monkey.MonkeyPatchWarning)
        greensock.listen(("127.0.0.1", 0), {"data": print}).stop()
        """
    assert run(app, text).stderr == ""


def test_as_an_error_it_keeps_listen_from_listening(app: Path) -> None:
    text = """
        import app
        from gevent import monkey
        monkey.patch_all()
        import greensock
        try:
            greensock.listen(("127.0.0.1", 0), {"data": print})
        except monkey.MonkeyPatchWarning as warning:
            print("app.lock" in str(warning))
        """
    assert run(app, text, "-W", "error").stdout == "True\n"

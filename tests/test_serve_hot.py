"""Handlers replaced while they serve: what is good takes over, what is not changes nothing and is told once."""

import errno
import gc
import logging
import os
import sys
import textwrap
import traceback
import weakref
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import gevent
import pytest

import greensock
from apps import clean
from greensock.serve.app import App
from greensock.serve.hot import Reloader, Watcher
from greensock.testing import Dial, Serve, wait_until

__all__ = ["clean"]

ANSWERS = """
def data(socket, data):
    socket.write(b"{}")

handlers = {{"data": data}}
"""


def write(text: str, name: str = "service.py") -> None:
    """In one step, as good editors do."""
    Path(f"{name}.new").write_text(textwrap.dedent(text))
    os.replace(f"{name}.new", name)


@pytest.fixture
def app() -> App:
    write(ANSWERS.format("one"))
    return App("service.py")


def reloader(app: App, *servers: greensock.Server) -> Reloader:
    return Reloader(app, servers, patch=False, took=0.1)


def told(caplog: pytest.LogCaptureFixture) -> list[str]:
    return [record.getMessage() for record in caplog.records if record.name == "greensock"]


# -- asked for -------------------------------------------------------------------------------------------


def test_the_next_event_runs_the_new_code_on_all_servers(
    app: App, serve: Serve, dial: Dial, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO, "greensock")
    handlers = app.load()
    servers = serve(handlers), serve(handlers)
    reloading = reloader(app, *servers)
    peers = [dial(server) for server in servers]
    assert [peer.exchange(b"???") for peer in peers] == [b"one", b"one"]
    write(ANSWERS.format("two"))
    reloading.reload()
    assert [peer.exchange(b"???") for peer in peers] == [b"two", b"two"]
    assert told(caplog) == ["reloaded service.py"]
    assert (reloading.reloads, reloading.failures) == (1, 0)


def test_server_data_outlives_it(app: App, serve: Serve, dial: Dial) -> None:
    write(
        """
        def data(socket, data):
            seen = socket.server.data.setdefault("seen", [])
            seen.append(len(data))
            socket.write(repr(seen))

        handlers = {"data": data}
        """
    )
    server = serve(app.load(), data={})
    reloading = reloader(app, server)
    peer = dial(server)
    assert peer.exchange(b"...") == b"[3]"
    reloading.reload()
    assert peer.exchange(b"......") == b"[3, 6]"


@pytest.mark.parametrize(
    ("broken", "words"),
    [
        ("x = (", "SyntaxError: '(' was never closed"),
        ("import nowhere", "No module named 'nowhere'"),
        ("handler = {}", "has no 'handlers'; it has handler"),
        ("handlers = {'dta': print}", "unknown event 'dta'"),
        ("import time; time.sleep(1000)", "its import has not ended"),
        ("import os; os._exit(1)", "it ends the process when it is imported"),
    ],
)
def test_what_is_broken_changes_nothing_and_is_told_once(
    app: App,
    serve: Serve,
    dial: Dial,
    caplog: pytest.LogCaptureFixture,
    monkeypatch: pytest.MonkeyPatch,
    broken: str,
    words: str,
) -> None:
    monkeypatch.setattr("greensock.serve.hot.IMPORT_TIMEOUT", 0.6)
    server = serve(app.load())
    reloading = reloader(app, server)
    peer = dial(server)
    write(broken)
    reloading.reload()
    assert peer.exchange(b"???") == b"one"
    reloading.reload()
    (message,) = told(caplog)
    assert message.startswith("nothing is reloaded, the old handlers go on:\n")
    assert words in message
    assert "Traceback" not in message or "nowhere" in message
    assert (reloading.reloads, reloading.failures) == (0, 2)


def test_after_a_mistake_a_good_one_takes_over_and_who_asks_is_answered(
    app: App, serve: Serve, dial: Dial, caplog: pytest.LogCaptureFixture
) -> None:
    server = serve(app.load())
    reloading = reloader(app, server)
    peer = dial(server)
    write("x = (")
    reloading.reload()
    reloading.reload(asked=True)
    assert len(told(caplog)) == 2
    write(ANSWERS.format("two"))
    reloading.reload()
    assert peer.exchange(b"???") == b"two"
    assert (reloading.reloads, reloading.failures) == (1, 2)


def test_a_module_that_is_missing_is_waited_for(app: App, serve: Serve) -> None:
    server = serve(app.load())
    reloading = reloader(app, server)
    assert reloading.files() == {os.path.abspath("service.py")}
    write("import shop.helper\n" + ANSWERS.format("two"))
    reloading.reload()
    there = {os.path.abspath(f"shop{end}") for end in (".py", "/__init__.py")}
    assert there < reloading.files()
    os.mkdir("shop")
    write("", "shop/helper.py")
    reloading.reload()
    assert reloading.files() == {os.path.abspath("service.py"), os.path.abspath("shop/helper.py")}


def test_what_fails_only_in_this_process_changes_nothing_either(
    app: App, serve: Serve, dial: Dial, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    server = serve(app.load())
    peer = dial(server)
    reloading = reloader(app, server)
    before = app.modules()
    monkeypatch.setattr(sys, "of_this_process", True, raising=False)
    write(
        "import sys\nif hasattr(sys, 'of_this_process'):\n    raise ValueError('duplicate')\n" + ANSWERS.format("two")
    )
    reloading.reload()
    assert peer.exchange(b"???") == b"one"
    assert "ValueError: duplicate" in told(caplog)[0]
    assert app.modules() == before


def test_a_system_that_grants_no_process_changes_nothing(
    app: App, serve: Serve, dial: Dial, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    server = serve(app.load())
    reloading = reloader(app, server)
    peer = dial(server)

    def refuse(*arguments: object, **options: object) -> None:
        raise OSError(errno.EAGAIN, "Resource temporarily unavailable")

    monkeypatch.setattr(os, "posix_spawn", refuse)
    reloading.reload()
    assert "Resource temporarily unavailable" in told(caplog)[0]
    assert peer.exchange(b"???") == b"one"


def test_a_newer_one_ends_an_older_one_that_is_still_tried_out(app: App, serve: Serve, dial: Dial) -> None:
    server = serve(app.load())
    peer = dial(server)
    reloading = reloader(app, server)
    write("open('begun', 'w')\nimport time; time.sleep(1000)")
    older = gevent.spawn(reloading.reload)
    wait_until(lambda: os.path.exists("begun"))
    write(ANSWERS.format("two"))
    reloading.reload()
    older.get(timeout=10)
    assert peer.exchange(b"???") == b"two"
    assert (reloading.reloads, reloading.failures) == (1, 0)


def test_others_are_served_meanwhile(app: App, serve: Serve, dial: Dial) -> None:
    server = serve(app.load())
    peer = dial(server)
    reloading = reloader(app, server)
    write("import time; time.sleep(0.5)\n" + ANSWERS.format("two"))
    going_on = gevent.spawn(reloading.reload)
    count = 0
    while not going_on.ready() and peer.exchange(b"???") == b"one":
        count += 1
    assert count > 10
    going_on.get(timeout=10)


def test_old_handlers_are_let_go(app: App, serve: Serve) -> None:
    handlers: Any = app.load()
    old = weakref.ref(handlers["data"])
    server = serve(handlers)
    del handlers
    reloading = reloader(app, server)
    write(ANSWERS.format("two"))
    reloading.reload()
    gc.collect()
    assert old() is None


def test_what_handlers_import_when_they_run_is_part_of_the_program(app: App, serve: Serve, dial: Dial) -> None:
    write("VALUE = b'one'", "late.py")
    write("def data(socket, data):\n    import late\n    socket.write(late.VALUE)\n\nhandlers = {'data': data}")
    server = serve(app.load())
    reloading = reloader(app, server)
    peer = dial(server)
    assert os.path.abspath("late.py") not in reloading.files()
    assert peer.exchange(b"???") == b"one"
    assert os.path.abspath("late.py") in reloading.files()
    write("VALUE = b'two'", "late.py")
    reloading.reload()
    assert peer.exchange(b"???") == b"two"


# -- watched ---------------------------------------------------------------------------------------------


@pytest.fixture
def watch(monkeypatch: pytest.MonkeyPatch) -> Iterator[Callable[..., list[None]]]:
    """A function that watches files, and gives a list that grows by one with each change."""
    monkeypatch.setattr("greensock.serve.hot.LOOK", 100)
    watchers = []

    def watch(*files: str) -> list[None]:
        changes: list[None] = []
        paths = {os.path.abspath(file) for file in files}
        watchers.append(Watcher(lambda: paths, lambda: changes.append(None)))
        return changes

    yield watch
    for watcher in watchers:
        watcher.close()


@pytest.mark.parametrize("file", ["service.py", "not/yet/there.py"])
def test_a_watcher_that_is_closed_has_no_thread_any_more(file: str) -> None:
    """What an interpreter that ends finds in compiled code may abort the process."""

    def is_watching() -> bool:
        frames = [frame for top in sys._current_frames().values() for frame, _ in traceback.walk_stack(top)]
        return any(frame.f_code is Watcher._watch_files.__code__ for frame in frames)

    write("1")
    watcher = Watcher(lambda: {os.path.abspath(file)}, print)
    wait_until(is_watching)
    watcher.close()
    assert not is_watching()
    watcher.close()


def test_a_change_of_a_file_is_told_once(watch: Callable[..., list[None]]) -> None:
    write("1")
    changes = watch("service.py")
    for count in range(1, 4):
        write(f"x = {count}")
        wait_until(lambda count=count: len(changes) == count)  # type: ignore[misc]
    Path("notes.txt").write_text("no part of the program")
    os.utime("service.py", ns=(os.stat("service.py").st_atime_ns, os.stat("service.py").st_mtime_ns))
    write("no part of it", "other.py")
    write("last")
    wait_until(lambda: len(changes) == 4)


def test_a_file_that_is_not_there_yet(watch: Callable[..., list[None]]) -> None:
    changes = watch("service.py", "package/new.py")
    write("1")
    wait_until(lambda: len(changes) == 1)
    os.mkdir("package")
    write("1", "package/new.py")
    wait_until(lambda: len(changes) == 2)


def test_files_in_other_directories(watch: Callable[..., list[None]]) -> None:
    os.mkdir("a")
    os.mkdir("b")
    write("1", "a/one.py")
    write("1", "b/two.py")
    changes = watch("a/one.py", "b/two.py")
    write("2", "b/two.py")
    wait_until(lambda: len(changes) == 1)
    write("2", "a/one.py")
    wait_until(lambda: len(changes) == 2)


def test_a_directory_that_goes_and_comes_back(watch: Callable[..., list[None]]) -> None:
    os.mkdir("a")
    write("1", "a/one.py")
    changes = watch("a/one.py")
    os.rename("a", "gone")
    wait_until(lambda: len(changes) == 1)
    os.rename("gone", "a")
    wait_until(lambda: len(changes) == 2)
    write("2", "a/one.py")
    wait_until(lambda: len(changes) == 3)


def test_without_watches_of_the_system_it_looks_by_itself(
    watch: Callable[..., list[None]], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Users have no more than fs.inotify.max_user_watches of them."""

    def refuse(*directories: str, **options: object) -> None:
        raise OSError("OS file watch limit reached.")

    monkeypatch.setattr("watchfiles.watch", refuse)
    write("1")
    changes = watch("service.py")
    for count in range(1, 3):
        write(f"x = {count}")
        wait_until(lambda count=count: len(changes) == count)  # type: ignore[misc]


def test_a_link_that_leads_elsewhere_now(watch: Callable[..., list[None]]) -> None:
    """As deployments do it; inotify(7) watches what the link led to, so this is seen by looking."""
    for name in ("old", "new"):
        os.mkdir(name)
        write(name, f"{name}/service.py")
    os.symlink("old", "current")
    changes = watch("current/service.py")
    os.symlink("new", "next")
    os.replace("next", "current")
    wait_until(lambda: len(changes) == 1)

"""Where threads and greenlets are, and which of their calls a user wrote."""

import json
import os
import threading
from pathlib import Path
from types import FrameType

import gevent
import pytest

from greensock.serve import native, stacks


def test_the_outermost_call_comes_first() -> None:
    frames = stacks.of_thread(native.get_ident())
    names = [frame.f_code.co_name for frame in frames]
    assert names.index("<module>") < names.index("test_the_outermost_call_comes_first")
    assert frames == stacks.of_frame(frames[-1])
    assert stacks.of_thread(0) == []


def test_a_thread_that_waits() -> None:
    gate = threading.Event()
    begun = threading.Event()

    def wait_in_thread() -> None:
        begun.set()
        gate.wait()

    thread = threading.Thread(target=wait_in_thread)
    thread.start()
    begun.wait()
    frame = stacks.users(stacks.of_thread(thread.ident or 0))
    gate.set()
    thread.join()
    assert frame is not None
    assert frame.f_code is wait_in_thread.__code__


def test_greenlets_that_wait_and_the_roots_among_them() -> None:
    """In a thread of its own: the root of this one may be older than what the garbage collector tells of."""
    seen: list[bool] = []

    def codes(roots: bool) -> list[object]:
        return [frame.f_code for frames in stacks.of_greenlets(roots=roots) for frame in frames]

    def sleeps() -> None:
        gevent.sleep(1000)

    def look() -> None:
        seen.extend([sleeps.__code__ in codes(False), look.__code__ in codes(True)])
        seen.extend([root.__code__ in codes(True), root.__code__ in codes(False)])

    def root() -> None:
        greenlet = gevent.spawn(sleeps)
        gevent.sleep(0)
        gevent.spawn(look).get()
        greenlet.kill()
        gevent.get_hub().destroy()

    thread = threading.Thread(target=root)
    thread.start()
    thread.join()
    assert seen == [True, False, True, False]


def frames_named(*files: str) -> list[FrameType]:
    """Frames that belong to such files."""
    found = []
    for file in files:
        namespace: dict[str, FrameType] = {}
        exec(compile("import sys\nfound = sys._getframe()", file, "exec"), namespace)
        found.append(namespace["found"])
    return found


USERS = "/home/me/shop/chat.py"
LIBRARY = "/venv/lib/python3/site-packages/pymysql/cursors.py"
GREENSOCK = str(Path(stacks.__file__).parent / "engine.py")
GEVENT = f"{Path(gevent.__file__).parent}{os.sep}hub.py"


@pytest.mark.parametrize(
    ("files", "blamed"),
    [
        ([USERS], USERS),
        ([GREENSOCK, USERS, LIBRARY, json.__file__, GEVENT], USERS),
        ([USERS, GREENSOCK, LIBRARY], USERS),
        ([GREENSOCK, json.__file__, LIBRARY, GEVENT], LIBRARY),
        (["<frozen importlib._bootstrap>", "<string>"], "<string>"),
        (["<frozen importlib._bootstrap>", GREENSOCK, GEVENT], None),
        ([], None),
    ],
)
def test_the_innermost_call_of_the_user(files: list[str], blamed: str | None) -> None:
    frame = stacks.users(frames_named(*files))
    assert (frame and frame.f_code.co_filename) == blamed


def test_a_call_in_one_line(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    path = tmp_path / "service.py"
    path.write_text("import sys\ndef data():\n    return sys._getframe()\nfound = data()")
    namespace: dict[str, FrameType] = {}
    exec(compile(path.read_text(), str(path), "exec"), namespace)
    assert stacks.describe(namespace["found"]) == "service.py:3 in data: return sys._getframe()"
    (frame,) = frames_named("/nowhere/service.py")
    assert stacks.describe(frame) == "/nowhere/service.py:2 in <module>"


def test_a_file_below_the_working_directory_is_told_from_there(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "here").mkdir()
    monkeypatch.chdir(tmp_path / "here")
    assert stacks.file_of(str(tmp_path / "here/a/b.py")) == os.path.join("a", "b.py")
    assert stacks.file_of(str(tmp_path / "b.py")) == str(tmp_path / "b.py")
    (tmp_path / "here").rmdir()
    assert stacks.file_of("/a/b.py") == "/a/b.py"

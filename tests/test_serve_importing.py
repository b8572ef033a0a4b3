"""A program is imported afresh without a trace of what went wrong."""

import gc
import os
import sys
from typing import Any

import pytest

from apps import ECHO, clean, write
from greensock.serve.app import App, AppError
from greensock.serve.importing import forget

__all__ = ["clean"]


def test_all_modules_are_new_and_the_old_ones_are_untouched() -> None:
    write("shop/__init__.py", "")
    write("shop/chat.py", "from . import wire\nhandlers = {'data': lambda socket, data: wire.VALUE}")
    write("shop/wire.py", "VALUE = 1")
    app = App("shop.chat")
    old: Any = app.load()
    old_wire = sys.modules["shop.wire"]
    write("shop/wire.py", "VALUE = 2")
    with app.afresh() as fresh:
        new: Any = fresh
    assert (old["data"](0, 0), new["data"](0, 0)) == (1, 2)
    assert old_wire.VALUE == 1
    assert sys.modules["shop.wire"] is not old_wire
    assert sys.modules["shop"].wire is sys.modules["shop.wire"]


def test_a_file_that_was_edited_within_a_second_and_is_as_long_as_before(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "dont_write_bytecode", False)
    path = write("service.py", ECHO + "VALUE = 1")
    app = App("service.py")
    app.load()
    status = path.stat()
    for value in range(2, 10):
        write("service.py", ECHO + f"VALUE = {value}")
        os.utime(path, ns=(status.st_atime_ns, status.st_mtime_ns))
        with app.afresh():
            assert vars(sys.modules["service"])["VALUE"] == value


@pytest.mark.parametrize(
    "broken",
    ["x = (", "import nowhere", "raise RuntimeError", "raise SystemExit", "handler = 1", "handlers = {'dta': print}"],
)
def test_what_cannot_be_imported_changes_nothing(broken: str) -> None:
    write("shop/__init__.py", "")
    write("shop/chat.py", "from . import wire\n" + ECHO)
    write("shop/wire.py", "")
    app = App("shop.chat")
    app.load()
    before = app.modules()
    write("shop/chat.py", "from . import wire, other\n" + broken)
    write("shop/other.py", "")
    with pytest.raises(AppError), app.afresh():
        pass
    assert app.modules() == before
    assert sys.modules["shop"].chat is before["shop.chat"]
    assert sys.modules["shop"].wire is before["shop.wire"]
    write("shop/chat.py", "from . import wire\n" + ECHO)
    with app.afresh():
        pass
    assert app.modules().keys() == before.keys()
    assert sys.meta_path[0].__class__.__name__ != "_Fresh"


def test_a_block_that_raises_has_the_old_modules_back() -> None:
    write("service.py", ECHO)
    app = App("service.py")
    app.load()
    before = app.modules()
    with pytest.raises(ZeroDivisionError), app.afresh():
        assert app.modules() != before
        raise ZeroDivisionError
    assert app.modules() == before


def test_a_module_that_is_not_imported_any_more_is_gone_and_a_new_one_is_there() -> None:
    write("service.py", "import one\n" + ECHO)
    write("one.py", "")
    app = App("service.py")
    app.load()
    write("service.py", "import two\n" + ECHO)
    write("two.py", "")
    with app.afresh():
        pass
    assert set(app.modules()) == {"service", "two"}


def test_hundreds_of_times_are_no_more_memory_than_once() -> None:
    """Handlers[Player] is the trap: typing's caches keep the class, the last 128 of them, and its module with each."""
    write(
        "service.py",
        """
        import greensock, helper

        class Player: ...

        class Game(greensock.Handlers[Player]):
            def data(self, socket, data):
                helper.answer(socket)
        """,
    )
    write("helper.py", "BULK = bytes(1_000_000)\ndef answer(socket): ...")
    app = App("service:Game")
    app.load()
    for _ in range(300):
        with app.afresh():
            pass
    forget()
    classes = [thing for thing in gc.get_objects() if isinstance(thing, type) and thing.__module__ == "service"]
    assert sorted(thing.__name__ for thing in classes) == ["Game", "Player"], "those of the last one"
    del classes
    before = len(gc.get_objects())
    for _ in range(200):
        with app.afresh():
            pass
    forget()
    assert len(gc.get_objects()) - before < 100, "not one object for each"

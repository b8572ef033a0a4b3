"""A program is found and imported, or it is told what is wrong with it."""

import os
import sys
from pathlib import Path
from typing import Any

import pytest

from apps import ECHO, clean, write
from greensock.serve.app import App, AppError

__all__ = ["clean"]


def refusal(target: str) -> str:
    with pytest.raises(AppError) as refused:
        App(target).load()
    return str(refused.value)


# -- found -----------------------------------------------------------------------------------------------


@pytest.mark.parametrize("target", ["service", "service:handlers", "service.py", "./service.py:handlers"])
def test_a_module_or_a_file(target: str) -> None:
    write("service.py", ECHO)
    app = App(target)
    assert app.load() is sys.modules["service"].handlers
    assert set(app.modules()) == {"service"}
    assert app.files() == {os.path.abspath("service.py")}


def test_a_file_elsewhere(tmp_path: Path) -> None:
    write("there/of/service.py", "import beside\nhandlers = beside.handlers")
    write("there/of/beside.py", ECHO)
    app = App("there/of/service.py")
    app.load()
    assert set(app.modules()) == {"service", "beside"}
    assert app.root == os.path.abspath("there/of")


@pytest.mark.parametrize("target", ["shop.chat", "shop/chat.py", "shop", "shop/__init__.py"])
def test_a_package(target: str) -> None:
    write("shop/__init__.py", "from .chat import handlers")
    write("shop/chat.py", "from . import wire\nhandlers = wire.handlers")
    write("shop/wire.py", ECHO)
    app = App(target)
    app.load()
    assert set(app.modules()) == {"shop", "shop.chat", "shop.wire"}
    assert app.root == os.path.abspath(".")


def test_a_package_without_init() -> None:
    write("shop/chat.py", ECHO)
    app = App("shop.chat")
    app.load()
    assert set(app.modules()) == {"shop.chat"}


def test_a_module_that_is_found_by_the_module_path(tmp_path: Path) -> None:
    write("src/service.py", "import beside\n" + ECHO)
    write("src/beside.py", "")
    sys.path.insert(0, str(tmp_path / "src"))
    app = App("service")
    app.load()
    assert app.root == os.path.abspath("src")
    assert set(app.modules()) == {"service", "beside"}


def test_of_an_installed_package_its_neighbours_are_other_peoples(tmp_path: Path) -> None:
    write("lib/site-packages/shop/__init__.py", "import neighbour\n" + ECHO)
    write("lib/site-packages/neighbour.py", "")
    sys.path.insert(0, str(tmp_path / "lib/site-packages"))
    app = App("shop")
    app.load()
    assert set(app.modules()) == {"shop"}


def test_what_is_installed_below_the_directory_is_not_part_of_it(tmp_path: Path) -> None:
    for place in ("venv/lib/site-packages", ".venv/lib"):
        write(f"{place}/library_{len(place)}.py", "")
        sys.path.insert(0, str(tmp_path / place))
    write("service.py", "import library_22, library_9, os, greensock\n" + ECHO)
    app = App("service.py")
    app.load()
    assert set(app.modules()) == {"service"}


def test_names_may_have_dots() -> None:
    write(
        "service.py", "class inner:\n    data = staticmethod(lambda socket, data: None)\n    handlers = {'data': data}"
    )
    assert App("service:inner.handlers").load() is sys.modules["service"].inner.handlers


def test_a_class_is_made_once() -> None:
    write("service.py", "class Echo:\n    def data(self, socket, data): ...")
    app = App("service:Echo")
    assert type(app.load()) is sys.modules["service"].Echo


def test_a_session_function() -> None:
    write("service.py", "def handle(socket): ...")
    assert App("service:handle").load() is sys.modules["service"].handle


def test_a_handler_class_of_socketserver_becomes_a_session() -> None:
    write("service.py", "import socketserver\nclass Old(socketserver.StreamRequestHandler):\n    def handle(self): ...")
    handle: Any = App("service:Old").load()
    assert handle.__module__ == "greensock.legacy.handlers"


def test_another_object_of_the_program_is_found_in_the_same_ways() -> None:
    write("service.py", ECHO + "frames = object()")
    app = App("service.py")
    app.load()
    assert app.find("service:frames") is app.find("service.py:frames") is sys.modules["service"].frames
    with pytest.raises(AppError, match=r"service.py has no 'frame'; it has data, handlers"):
        app.find("service:frame")
    with pytest.raises(AppError, match="No module named 'nowhere'"):
        app.find("nowhere:frames")


def test_another_class_of_the_program_is_made_or_said_to_be_none_that_can() -> None:
    write(
        "service.py",
        ECHO + "class Needs:\n    def __init__(self, room): ...\nclass Fails:\n    __init__ = lambda self: 1 / 0",
    )
    app = App("service.py")
    app.load()
    with pytest.raises(
        AppError, match=r"service:Needs cannot be made: .*missing 1 required positional argument: 'room'"
    ):
        app.find("service:Needs")
    with pytest.raises(AppError, match="(?s)service.py.*ZeroDivisionError"):
        app.find("service:Fails")


# -- not found -------------------------------------------------------------------------------------------


def test_no_file() -> None:
    assert refusal("nowhere.py") == "there is no file 'nowhere.py'"
    Path("a.py").mkdir()
    assert refusal("a.py") == "there is no file 'a.py'"


def test_no_module() -> None:
    here = os.path.abspath(".")
    told = f"nowhere:x: there is no module 'nowhere', neither in {here} nor on the module path"
    assert refusal("nowhere:x") == told
    write("shop/__init__.py", "")
    assert "there is no module 'shop.chat'" in refusal("shop.chat")


@pytest.mark.parametrize("target", [":x", "a b", ".a", "a..b", "a-b:c", "1"])
def test_no_target(target: str) -> None:
    assert "names no module; a target is MODULE:NAME or path/to/file.py:NAME" in refusal(target)


def test_a_missing_name_is_told_with_those_there_are() -> None:
    write(
        "service.py", "import os\nfrom collections import deque\n_x = 1\nclass Echo: ...\ndef main(): ...\ntable = {}"
    )
    assert refusal("service.py") == f"{os.path.abspath('service.py')} has no 'handlers'; it has Echo, main, table"
    write("empty.py", "")
    assert refusal("empty.py").endswith("it has nothing that could be handlers")


def test_what_cannot_serve_is_told() -> None:
    write("service.py", "class No: ...\nclass Needs:\n    def __init__(self, room): ...\nmisspelt = {'dta': print}\n")
    assert refusal("service:No").startswith("service:No cannot serve: 'No' as handlers has no event handler")
    assert "missing 1 required positional argument: 'room'" in refusal("service:Needs")
    assert refusal("service:misspelt").startswith("service:misspelt cannot serve: unknown event 'dta'")


def test_a_class_that_fails_when_it_is_made_is_told_with_its_line() -> None:
    write("service.py", "class Fails:\n    def __init__(self):\n        raise OSError('no database')")
    told = refusal("service:Fails")
    assert 'service.py", line 3, in __init__' in told
    assert told.endswith("OSError: no database")


def test_a_file_is_that_file_although_another_directory_is_searched_first(tmp_path: Path) -> None:
    for place in ("first", "second"):
        write(f"{place}/service.py", f"PLACE = {place!r}\n" + ECHO)
    sys.path[:0] = [str(tmp_path / "first"), str(tmp_path / "second")]
    App("second/service.py").load()
    assert vars(sys.modules["service"])["PLACE"] == "second"


def test_a_name_that_is_taken() -> None:
    write("textwrap.py", ECHO)
    assert refusal("./textwrap.py").startswith("./textwrap.py: the name 'textwrap' is taken by /")
    write("sys.py", ECHO)
    assert refusal("sys.py") == "sys.py: the name 'sys' is taken by a built-in module; rename the file"


def test_a_failing_import_is_told_without_those_who_import() -> None:
    write("service.py", "import deep")
    write("deep.py", "def fail():\n    raise RuntimeError('on purpose')\nfail()")
    told = refusal("service.py")
    lines = [line for line in told.splitlines() if line.startswith("  File")]
    assert [line.partition(", ")[2] for line in lines] == [
        "line 1, in <module>", "line 3, in <module>", "line 2, in fail",
    ]  # fmt: skip
    assert told.endswith("RuntimeError: on purpose")


def test_the_files_of_a_failure_are_known() -> None:
    write("service.py", "import deep")
    write("deep.py", "x = (")
    with pytest.raises(AppError, match="'\\(' was never closed") as refused:
        App("service.py").load()
    assert refused.value.files == {os.path.abspath("service.py"), os.path.abspath("deep.py")}


@pytest.mark.parametrize("how", ["raise SystemExit(3)", "import sys; sys.exit(3)"])
def test_an_end_of_the_process_is_none(how: str) -> None:
    write("service.py", how)
    assert refusal("service.py") == "service.py: it ends when it is imported, with SystemExit(3)"


def test_an_interrupt_is_for_whoever_imports() -> None:
    write("service.py", "raise KeyboardInterrupt")
    with pytest.raises(KeyboardInterrupt):
        App("service.py").load()

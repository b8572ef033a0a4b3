"""The user's program: found, and imported."""

import importlib
import os
import sys
import traceback
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from importlib.machinery import PathFinder
from operator import attrgetter
from types import ModuleType
from typing import Any, Final

from gevent import GreenletExit

from ..handlers import EVENTS, HandlerTable
from .importing import imported_afresh
from .settings import is_path
from .stacks import OURS

#: The name that is looked for when the target has none.
DEFAULT_NAME: Final = "handlers"

#: Directories of other people's code, wherever a virtual environment may lie.
_FOREIGN: Final = frozenset({"site-packages", "dist-packages"})


class AppError(Exception):
    """The program cannot be served. Its text is for people: what is wrong, and where.

    Attributes:
        files: those that the failure went through, and those that it missed.
    """

    def __init__(self, text: str, files: Iterable[str] = ()) -> None:
        super().__init__(text)
        self.files = frozenset(files)


class App:
    """What a target names, and the modules that it is made of.

    Args:
        target: ``module:name`` or ``path/to/file.py:name``; without a name, ``handlers`` is looked for.

    The modules of the app are those that are found in its directory: where the file is, or else the working directory.
    What is installed elsewhere is not imported again.

    Raises:
        AppError: there is no such file.
    """

    def __init__(self, target: str) -> None:
        self.target = target
        place, colon, name = target.rpartition(":")
        if not colon:
            place, name = target, ""
        self._name = name or DEFAULT_NAME
        self._file = os.path.abspath(place) if is_path(place) else None
        if self._file is not None:
            self.root, self._module = _locate(place)
        elif all(part.isidentifier() for part in place.split(".")):
            self.root, self._module = os.getcwd(), place
        else:
            raise AppError(f"{target!r} names no module; a target is MODULE:NAME or path/to/file.py:NAME")
        if sys.path[:1] != [self.root]:
            sys.path.insert(0, self.root)
        if self._file is None:
            self.root = _root_of(place.partition(".")[0]) or self.root

    def load(self) -> object:
        """Import the program and return its handlers, fit for ``listen``.

        Raises:
            AppError: it cannot be imported, has no such name, or what that is cannot serve.
        """
        importlib.invalidate_caches()
        try:
            module = importlib.import_module(self._module)
        except (KeyboardInterrupt, GreenletExit):
            raise
        except BaseException as error:
            raise self._failed(error) from None
        self._check_origin(module)
        return self.lookup(module, self._name)

    @contextmanager
    def afresh(self) -> Iterator[object]:
        """Import all modules of the program again, from their sources, and give the new handlers.

        Raises:
            AppError: as :meth:`load` does.

        When that, or the block, raises, everything is as it was before.
        """
        with imported_afresh(self.modules, self.owns):
            yield self.load()

    def modules(self) -> dict[str, ModuleType]:
        """The program's modules that are imported now, by name."""
        owned = ((name, module) for name, module in list(sys.modules.items()) if self.owns(_file_of(module)))
        return {name: module for name, module in owned if name != "__main__"}

    def files(self) -> set[str]:
        """The files of :meth:`modules`."""
        return {os.path.abspath(file) for module in self.modules().values() if (file := _file_of(module))}

    def find(self, reference: str) -> object:
        """Another object of the program, by ``module:name``. A class is made once, as handlers are.

        Raises:
            AppError: there is none, or it cannot be made.
        """
        place, _, name = reference.rpartition(":")
        if is_path(place):
            _, place = _locate(place)
        try:
            module = importlib.import_module(place)
        except Exception as error:
            raise self._failed(error) from None
        found = _attribute(module, name)
        try:
            return found() if isinstance(found, type) else found
        except TypeError as error:
            raise AppError(f"{reference} cannot be made: {error}") from None
        except Exception as error:
            raise self._failed(error) from None

    def lookup(self, module: ModuleType, name: str) -> object:
        """The handlers *name* of *module*, one object for all servers.

        Raises:
            AppError: there are none, or they cannot serve.
        """
        handlers = _attribute(module, name)
        try:
            if _is_request_handler(handlers):
                from ..legacy import request_handler  # for few, and it brings much along

                handlers = request_handler(handlers)
            elif isinstance(handlers, type):
                handlers = handlers()
            HandlerTable(handlers)
        except TypeError as error:
            raise AppError(f"{self.target} cannot serve: {error}", self.files()) from None
        except Exception as error:
            raise self._failed(error) from None
        return handlers

    def owns(self, file: str | None) -> bool:
        """Whether *file* is part of the program."""
        if file is None:
            return False
        file = os.path.abspath(file)
        inside = file.removeprefix(self.root + os.sep)
        if inside == file or not _FOREIGN.isdisjoint(inside.split(os.sep)):
            return False
        return not file.startswith(OURS) and not inside.startswith(".")

    def _check_origin(self, module: ModuleType) -> None:
        """A file may have the name of a module that is something else, and imported already."""
        file = _file_of(module)
        if self._file is not None and (file is None or os.path.abspath(file) != self._file):
            raise AppError(
                f"{self.target}: the name {self._module!r} is taken by {file or 'a built-in module'}; rename the file"
            )

    def _failed(self, error: BaseException) -> AppError:
        """What went wrong in the import, without the frames of those who import."""
        told = traceback.TracebackException.from_exception(error)
        told.stack[:] = [frame for frame in told.stack if not _imports(frame.filename)]
        files = {os.path.abspath(frame.filename) for frame in told.stack}
        if isinstance(error, SyntaxError) and error.filename:
            files.add(os.path.abspath(error.filename))
        if isinstance(error, ModuleNotFoundError) and error.name:
            place = os.path.join(self.root, *error.name.split("."))
            files.update((f"{place}.py", os.path.join(place, "__init__.py")))  # where it may be written
        text = "".join(told.format()).rstrip()
        if isinstance(error, ModuleNotFoundError) and f"{self._module}.".startswith(f"{error.name}."):
            text = f"{self.target}: there is no module {error.name!r}, neither in {self.root} nor on the module path"
        elif isinstance(error, SystemExit):
            text = f"{self.target}: it ends when it is imported, with SystemExit({error.code!r})"
        return AppError(text, files)


def _root_of(package: str) -> str | None:
    """The directory whose files belong to an app that begins in *package*; None if there is no such package."""
    spec = PathFinder.find_spec(package)
    if spec is None:
        return None
    locations = spec.submodule_search_locations
    inside = os.path.abspath(next(iter(locations or ()), None) or os.path.dirname(spec.origin or ""))
    if locations is None or not _FOREIGN.isdisjoint(inside.split(os.sep)):
        return inside  # the neighbours of an installed package are other people's
    return os.path.dirname(inside)


def _locate(path: str) -> tuple[str, str]:
    """The directory to import from and the dotted name of the module in the file *path*."""
    file = os.path.abspath(path)
    if not os.path.isfile(file):
        raise AppError(f"there is no file {path!r}")
    directory, base = os.path.split(file)
    parts = [base.removesuffix(".py")]
    while os.path.isfile(os.path.join(directory, "__init__.py")):  # it is part of a package
        directory, package = os.path.split(directory)
        parts.insert(0, package)
    if parts[-1] == "__init__":
        parts.pop()
    return directory, ".".join(parts)


def _attribute(module: ModuleType, name: str) -> Any:
    try:
        return attrgetter(name)(module)
    except AttributeError:
        there = ", ".join(_candidates(module)) or "nothing that could be handlers"
        raise AppError(f"{_file_of(module) or module.__name__} has no {name!r}; it has {there}") from None


def _is_request_handler(handlers: object) -> bool:
    """Whether it is a handler class of :mod:`socketserver`, which has been imported then."""
    socketserver = sys.modules.get("socketserver")
    return (
        socketserver is not None
        and isinstance(handlers, type)
        and issubclass(handlers, socketserver.BaseRequestHandler)
    )


def _candidates(module: ModuleType) -> Iterator[str]:
    """Names that *module* defines itself and that could be meant."""
    for name, value in vars(module).items():
        if name.startswith("_") or isinstance(value, ModuleType):
            continue
        if getattr(value, "__module__", module.__name__) == module.__name__ and (
            callable(value) or isinstance(value, dict) or any(hasattr(value, event) for event in EVENTS)
        ):
            yield name


def _file_of(module: object) -> str | None:
    file = getattr(module, "__file__", None)
    return file if isinstance(file, str) else None


def _imports(file: str) -> bool:
    return file.startswith(("<frozen importlib", OURS)) or file == importlib.__file__

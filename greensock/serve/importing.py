"""A program's modules imported afresh.

A fresh import makes new modules beside the old ones and never touches these: :func:`importlib.reload` would execute
the new text in the old module, and a failure half-way would leave a mixture that serves.
"""

import gc
import linecache
import sys
import typing
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from importlib.machinery import ModuleSpec, PathFinder, SourceFileLoader
from types import ModuleType


@contextmanager
def imported_afresh(
    modules: Callable[[], Mapping[str, ModuleType]], owns: Callable[[str | None], bool]
) -> Iterator[None]:
    """What is imported in this with-block is imported again, from its source, if it is part of the program.

    Args:
        modules: the program's modules that are imported now, by name.
        owns: whether a file is part of the program.

    When the block raises, everything is as it was before.
    """
    old = modules()
    for name in old:
        del sys.modules[name]
    fresh = _Fresh(owns)
    sys.meta_path.insert(0, fresh)
    try:
        yield
    except BaseException:
        for name in modules():
            del sys.modules[name]
        sys.modules.update(old)
        for name, module in old.items():
            _bind_in_parent(name, module)
        raise
    finally:
        sys.meta_path.remove(fresh)
        linecache.checkcache()


class _Fresh:
    """Finds the program's modules and compiles them from source.

    The cache of compiled modules goes by whole seconds and sizes: it would give back the old code of a file that was
    edited within a second and is as long as before.
    """

    def __init__(self, owns: Callable[[str | None], bool]) -> None:
        self._owns = owns

    def find_spec(
        self, name: str, path: Sequence[str] | None = None, target: ModuleType | None = None
    ) -> ModuleSpec | None:
        """Part of the import system, see importlib.abc.MetaPathFinder."""
        spec = PathFinder.find_spec(name, path, target)
        if spec is not None and type(spec.loader) is SourceFileLoader and self._owns(spec.origin):
            spec.loader = _FromSource(spec.loader.name, spec.loader.path)
        return spec


class _FromSource(SourceFileLoader):
    def path_stats(self, path: str) -> typing.NoReturn:
        """Without these the loader neither reads nor writes a cached file."""
        raise OSError


def forget() -> None:
    """Let go of modules that were replaced: their classes are in caches and in cycles."""
    for clear in getattr(typing, "_cleanups", ()):  # Handlers[Player] keeps Player, and with it its module
        clear()
    gc.collect()


def _bind_in_parent(name: str, module: ModuleType) -> None:
    package, _, child = name.rpartition(".")
    if package in sys.modules:
        setattr(sys.modules[package], child, module)

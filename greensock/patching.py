"""What gevent has monkey-patched in this process, and what was there too early to be changed by it.

``gevent.monkey`` replaces names in modules of the standard library. Whoever took such a name before, or made
a lock, a socket or an SSL context of the old kind, goes on to block the hub: every connection waits for it.
"""

import _thread
import gc
import itertools
import sys
import types
import warnings
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import Any, Final

from gevent import monkey

#: What gevent.monkey.patch_all() patches, as far as it keeps handlers from blocking the hub.
PATCHABLE: Final = ("os", "queue", "select", "signal", "socket", "ssl", "subprocess", "threading", "time")

#: What blocks by itself, or makes things that do, and is replaced by patching. Functions that only call such
#: things, like ``socket.create_connection``, find the new ones, whenever they were imported.
_BLOCKING: Final = {
    "_thread": ("allocate_lock", "start_new_thread"),
    "os": ("waitpid",),
    "queue": ("SimpleQueue",),
    "select": ("epoll", "poll", "select"),
    "selectors": ("DefaultSelector", "EpollSelector"),
    "socket": ("getaddrinfo", "gethostbyaddr", "gethostbyname", "gethostbyname_ex", "getnameinfo", "socket"),
    "ssl": ("SSLContext",),
    "subprocess": ("Popen",),
    "threading": ("Lock", "local"),
    "time": ("sleep",),
}

#: How far below a name of a module unpatched things are looked for: ``app.server.jobs.mutex`` is 4, of which
#: instances take one or two each. In a program of 900 modules that takes 150 ms; one step alone takes 25.
_DEPTH: Final = 4
#: Look at no more objects than these, which takes a second: below a name may hang the data of a whole program.
_MOST: Final = 500_000

#: They know what they do: their old names and locks are wanted.
_EXEMPT: Final = frozenset({"gevent", "greenlet", "greensock", "zope"})
#: Types of modules that make locks of the old kind in patched programs, too.
_NOT_LOOKED_INTO: Final = _EXEMPT | {"functools", "_frozen_importlib", "_frozen_importlib_external"}
_PLAIN: Final = (
    *(type, types.ModuleType, types.BuiltinFunctionType, types.CodeType, types.FrameType, types.GetSetDescriptorType),
    *(str, bytes, int, float, type(None)),
)


@dataclass(frozen=True, slots=True)
class Leftover:
    """Something that patching came too late for.

    Attributes:
        module: the module that has it.
        name: what it is called there.
        what: the unpatched thing that it is or has, such as ``time.sleep`` or ``lock``.
        kind: ``"name"``: it is that thing; ``"class"``: it derives from it; ``"object"``: it was made by it, or
            holds one that was.
    """

    module: str
    name: str
    what: str
    kind: str

    def __str__(self) -> str:
        verb = {"name": "still is the", "class": "derives from the", "object": "is, or holds, an"}[self.kind]
        return f"{self.module}.{self.name} {verb} unpatched {self.what}"


def patched() -> list[str]:
    """Those of :data:`PATCHABLE` that are patched."""
    return [name for name in PATCHABLE if monkey.is_module_patched(name)]


def leftovers() -> list[Leftover]:
    """What patching came too late for, by module and name, outside of the standard library.

    Sees what modules and their classes hold, some steps below their names, not what only a running function does.
    """
    originals = _originals()
    if not originals:
        return []
    search = _Search(originals)
    exempt = sys.stdlib_module_names | _EXEMPT
    for name, module in list(sys.modules.items()):
        if name.partition(".")[0] not in exempt:
            search.module(name, module)
    search.below()
    return sorted(search.found, key=lambda leftover: (leftover.module, leftover.name))


def unpatched_log_handlers() -> list[str]:
    """Handlers of :mod:`logging` whose lock was not replaced, as patching does unless it is told otherwise."""
    logging = sys.modules.get("logging")
    if logging is None or not monkey.is_module_patched("threading"):
        return []
    handlers = [reference() for reference in logging._handlerList]
    return [repr(handler) for handler in handlers if type(getattr(handler, "lock", None)) is _thread.RLock]


_warned = False


def warn_when_late() -> None:
    """Warn, once in a process, if it was patched too late for some module. An unpatched process costs nothing."""
    global _warned
    if _warned or not patched():
        return
    _warned = True
    by_module = itertools.groupby(leftovers(), lambda leftover: leftover.module)
    lines = []
    for module, found in by_module:
        first, *others = map(str, found)
        lines.append(f"{module}: {first}{f', and {len(others)} more' * bool(others)}")
    if lines:
        warnings.warn(
            "gevent.monkey has patched this program too late for these modules, which can block all connections "
            "(patch first, then import them; greensock.doctor() tells more):\n  " + "\n  ".join(lines),
            monkey.MonkeyPatchWarning,
            stacklevel=4,  # the caller of listen()
        )


def _originals() -> dict[int, tuple[str, Any]]:
    """The replaced things, by their ``id``: what each is called, and the thing itself."""
    found = {}
    for module, names in _BLOCKING.items():
        for name in names:
            if monkey.is_object_patched(module, name):
                original = monkey.get_original(module, name)
                found[id(original)] = (f"{module}.{name}", original)
    return found


class _Search:
    """A walk over modules, and then over all that hangs on their names, nearest first."""

    def __init__(self, originals: dict[int, tuple[str, Any]]) -> None:
        self.found: list[Leftover] = []
        self._originals = originals
        self._classes = {thing: name for name, thing in originals.values() if isinstance(thing, type)}
        if monkey.is_module_patched("threading"):
            self._classes[type(monkey.get_original("_thread", "allocate_lock")())] = "lock"
            self._classes[_thread.RLock] = "RLock"
        self._modules: set[int] = set()
        self._held: list[tuple[Any, tuple[str, str]]] = []  # what hangs on a name, and on which one

    def module(self, module: str, contents: Any) -> None:
        """Look at the names of a module and of its classes."""
        if id(contents) in self._modules:
            return  # it has several names
        self._modules.add(id(contents))
        for name, value in _attributes(contents):
            original = self._originals.get(id(value))
            if original is not None:
                self.found.append(Leftover(module, name, original[0], "name"))
            elif not issubclass(type(value), type):  # which isinstance() would ask a proxy
                self._held.append((value, (module, name)))
            elif value.__module__ == module:
                self._class(module, name, value)

    def _class(self, module: str, name: str, cls: type) -> None:
        for base in cls.__mro__[1:]:
            if base in self._classes:
                self.found.append(Leftover(module, name, self._classes[base], "class"))
            if base in self._classes or base.__module__.partition(".")[0] in _EXEMPT:
                break
        self._held += [(value, (module, f"{name}.{key}")) for key, value in _attributes(cls)]

    def below(self) -> None:
        """Look for unpatched things among what hangs on the names; once for each name."""
        seen: set[int] = set()
        done: set[tuple[str, str]] = set()
        level = self._held
        for steps_left in reversed(range(_DEPTH)):
            deeper: list[tuple[Any, tuple[str, str]]] = []
            for thing, place in level:
                kind = type(thing)
                if kind in self._classes:
                    if place not in done:
                        done.add(place)
                        self.found.append(Leftover(*place, self._classes[kind], "object"))
                elif steps_left and id(thing) not in seen and len(seen) < _MOST and _may_hold(thing, kind):
                    seen.add(id(thing))
                    deeper += [(held, place) for held in _held_by(thing)]
            level = deeper


def _attributes(of: Any) -> Iterator[tuple[str, Any]]:
    try:
        attributes = list(vars(of).items())
    except TypeError:  # something else that was put into sys.modules
        return
    yield from (
        (name, value)
        for name, value in attributes
        if isinstance(name, str) and not (name.startswith("__") and name.endswith("__"))
    )


def _may_hold(thing: Any, kind: type) -> bool:
    if issubclass(kind, _PLAIN) or not gc.is_tracked(thing):
        return False
    return str(kind.__module__).partition(".")[0] not in _NOT_LOOKED_INTO


def _held_by(thing: Any) -> Iterable[Any]:
    if type(thing) is types.FunctionType:
        return thing.__closure__ or ()  # what else it refers to are its module's names, and its defaults
    return gc.get_referents(thing)

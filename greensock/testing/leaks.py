"""What a test has left behind."""

import gc
import os
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from time import monotonic
from typing import Any

import gevent
from greenlet import greenlet

from ..engine import Engine
from .waiting import LAST_TURNS


class Leaks:
    """What is there now that was not there when this was made.

    Made before a test, asked after it. Parked runners and their engine are not counted: they are there to stay.
    """

    def __init__(self) -> None:
        self._hub = gevent.get_hub()
        self._engine = Engine.of_this_hub()
        self._hub_errors: list[str] = []
        self._report: Any = self._hub.print_exception
        self._descriptors = _descriptors()
        self._watchers = self._hub.loop.activecnt
        self._greenlets = {id(g): g for g in self._live_greenlets()}

    @contextmanager
    def listening_for_hub_errors(self) -> Iterator[None]:
        """Note what gevent would only print: exceptions of greenlets and callbacks that nobody caught."""

        def note(context: Any, kind: Any, value: Any, traceback: Any) -> None:
            self._hub_errors.append(f"hub error in {context!r}: {kind.__name__}: {value}")
            self._report(context, kind, value, traceback)

        setattr(self._hub, "print_exception", note)  # noqa: B010 - it is a method, which mypy protects
        try:
            yield
        finally:
            setattr(self._hub, "print_exception", self._report)  # noqa: B010

    def find(self) -> list[str]:
        """One line for each leak; empty when all is clean."""
        engine = self._engine
        found = list(self._hub_errors)
        own = self._hub.loop.fileno()  # libev makes another one when it finds in it what was closed (ev_epoll.c)
        new = [(fd, to) for fd, to in _descriptors().items() if self._descriptors.get(fd) != to and fd != own]
        found += [f"descriptor {fd} -> {to}" for fd, to in new]
        found += [f"greenlet {g!r}" for g in self._live_greenlets() if id(g) not in self._greenlets]
        found += [f"blocked handler of {socket!r}" for socket in engine.blocked]
        found += [f"clock of {socket!r}" for socket in engine.clocks.watched]
        extra = self._hub.loop.activecnt - self._watchers
        if extra > 0:
            found.append(f"{extra} active watchers")
        return found

    def check(self, timeout: float = 2.0) -> None:
        """Fail unless everything is gone within *timeout* seconds.

        Raises:
            AssertionError: with one line for each leak.
        """
        deadline = monotonic() + timeout
        found = self.find()
        turns = 0
        while found and (monotonic() < deadline or turns < LAST_TURNS):
            gevent.sleep(0.005)  # not wait_until: its own watchers would be found
            gc.collect()
            found = self.find()
            turns += 1
        assert not found, "left behind:\n" + "\n".join(found)

    def _live_greenlets(self) -> list[greenlet]:
        """Those of this thread: gevent's resolver keeps threads with greenlets of their own."""
        parked = {id(g) for g in self._engine.runners.parked}
        main = _root(self._hub)
        own = {id(self._hub), id(gevent.getcurrent()), id(main)}
        return [
            g
            for g in gc.get_objects()
            if isinstance(g, greenlet) and g and id(g) not in parked and id(g) not in own and _root(g) is main
        ]


def _root(branch: greenlet) -> greenlet:
    """The first greenlet of the thread of *branch*."""
    while branch.parent is not None:
        branch = branch.parent
    return branch


def _descriptors() -> dict[int, str]:
    found = {}
    for name in os.listdir("/proc/self/fd"):
        with suppress(OSError):  # the one that listdir itself had open
            found[int(name)] = os.readlink(f"/proc/self/fd/{name}")
    return found

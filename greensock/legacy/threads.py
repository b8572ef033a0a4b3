"""Legacy servers run in threads that never had an event loop, and are told to stop by others."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any, Final

from gevent.event import Event
from gevent.monkey import get_original

from ..engine import Engine
from ..hubs import get_ident, has_hub

_new_lock: Final = get_original("_thread", "allocate_lock")


class Gate:
    """Open or shut, and waited for: by greenlets of the thread that has shut it, and by other threads."""

    def __init__(self) -> None:
        self._event = Event()
        self._event.set()
        self._lock = _new_lock()
        self._thread = 0

    @property
    def is_open(self) -> bool:
        """Whether nobody has to wait."""
        return self._event.is_set()

    def shut(self) -> None:
        """Have those wait who come from now on."""
        self._thread = get_ident()
        self._lock.acquire()
        self._event = Event()  # one that was waited for belongs to the thread that did

    def open(self) -> None:
        """Let all pass. For the thread that has shut it."""
        self._event.set()
        self._lock.release()

    def wait(self) -> None:
        """Return when it is open."""
        if get_ident() == self._thread:
            self._event.wait()
        else:
            with self._lock:
                pass


class Loop:
    """The event loop of a thread, while a legacy server serves in it.

    Attributes:
        ends: whether it ends with that, together with all that it carries: the thread had none before.
    """

    def __init__(self) -> None:
        self.ends = not has_hub()
        self._engine = Engine.of_this_hub()
        self.ends &= not self._engine.hub.main_hub
        self._watchers: list[Any] = []

    def call_from_anywhere(self, function: Callable[[], object]) -> Callable[[], object]:
        """A function for any thread to call, which has *function* called in the hub of this one."""
        watcher = self._engine.loop.async_()
        watcher.start(function)
        self._watchers.append(watcher)
        return watcher.send  # type: ignore[no-any-return]

    def close(self) -> None:
        """Nobody calls any more."""
        for watcher in self._watchers:
            watcher.stop()
            watcher.close()
        if self.ends:
            self._engine.close()
            self._engine.hub.destroy(destroy_loop=True)


@contextmanager
def loop_of_this_thread() -> Iterator[Loop]:
    """The event loop of this thread, for the time of a block, also where there was none."""
    loop = Loop()
    try:
        yield loop
    finally:
        loop.close()

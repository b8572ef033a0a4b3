"""Handlers replaced while they serve: when somebody asks, or when a file of the program has changed.

A change is first tried out in a process of its own. Only a program that can be imported there is imported
here, afresh, and its handlers take over at once; whatever goes wrong before that changes nothing.
"""

import os
from collections.abc import Callable, Iterable
from time import monotonic
from typing import Final

import gevent

from ..log import logger
from ..server import Server
from . import native
from .app import App, AppError
from .importing import forget
from .trial import try_out

#: The least that an import may take until it counts as hung. A program that took longer once may take five times that.
IMPORT_TIMEOUT: Final = 5.0

#: How long a file must have been left alone, in milliseconds: editors write in several steps.
SETTLED: Final = 50

#: Look at the files after so many milliseconds without news, too: not every file system tells of changes (inotify(7)).
LOOK: Final = 1000

#: Wait so long for the thread that watches to end: it may be looking at a file system that does not answer.
MOST_TO_END: Final = 1.0

Signature = dict[str, tuple[int, int, int]]


class Reloader:
    """Imports *app* again and gives its handlers to *servers*.

    Args:
        patch: whether the program runs monkey-patched.
        took: seconds that its first import took.

    Only one reload runs at a time; a newer one ends an older one that is still being tried out.
    """

    def __init__(self, app: App, servers: Iterable[Server], *, patch: bool, took: float) -> None:
        self._app = app
        self._servers = list(servers)
        self._patch = patch
        self._timeout = max(IMPORT_TIMEOUT, 5 * took)
        self._running: gevent.Greenlet[..., None] | None = None
        #: what was said last, so that it is not said twice
        self._told: str | None = None
        #: how often it was done, and how often not
        self.reloads = 0
        self.failures = 0
        #: the files of the program, whatever a reload is doing to its modules
        self._files = app.files()
        #: those that a failed import has seen, or missed
        self._seen: set[str] = set()

    def files(self) -> set[str]:
        """The files that a change of is news, now. May be asked by any thread."""
        self._files = self._files | self._app.files()  # also what handlers import when they run
        return self._files | self._seen

    def reload(self, *, asked: bool = False) -> None:
        """Do it, and log what came of it. Blocks until it is done, or overtaken.

        Args:
            asked: somebody wants to know: what is wrong is said again, even if it was said before.
        """
        if asked:
            self._told = None
        if self._running is not None:
            self._running.kill()
        self._running = gevent.spawn(self._reload)
        self._running.join()

    def _reload(self) -> None:
        try:
            outcome = try_out(self._app.target, patch=self._patch, timeout=self._timeout)
            if outcome.error is not None:
                self._seen = self._seen.union(filter(self._app.owns, outcome.files))
                raise AppError(outcome.error)
            self._take_over()
        except (AppError, OSError) as error:  # the system may grant no process or pipe just now
            self.failures += 1
            if str(error) != self._told:
                logger.error("nothing is reloaded, the old handlers go on:\n%s", error)
            self._told = str(error)
        else:
            self.reloads += 1
            self._told = None
            logger.info("reloaded %s", self._app.target)

    def _take_over(self) -> None:
        """From the import on: all or nothing."""
        before = monotonic()
        with self._app.afresh() as handlers:
            try:
                for server in self._servers:
                    server.reload(handlers)  # if one refuses it is the first: they serve the same
            except TypeError as error:
                raise AppError(f"{self._app.target} cannot take over: {error}") from None
        del handlers
        self._files = self._seen = set()
        self._timeout = max(self._timeout, 5 * (monotonic() - before))
        forget()


class Watcher:
    """Calls *changed* in a greenlet when one of *files* is not what it was.

    Args:
        files: gives those that matter now; some may not be there yet.

    Resource handling: a thread of the system and what it watches with, until :meth:`close`.
    """

    def __init__(self, files: Callable[[], Iterable[str]], changed: Callable[[], object]) -> None:
        import watchfiles  # here: what it imports is not for a thread of the system

        self._watch = watchfiles.watch
        self._files = files
        self._changed = changed
        self._loop = gevent.get_hub().loop
        self._closed = False
        self._closing, self._ended = native.allocate_lock(), native.allocate_lock()  # released when it is so
        self._closing.acquire()
        self._ended.acquire()
        self._seen = self._look()
        native.start_thread(self._run)

    def close(self) -> None:
        """Watch no more, and wait for the thread, which takes as long as :data:`SETTLED`.

        An interpreter that ends meanwhile ends the thread, in the middle of the compiled code of older versions of
        watchfiles, which makes them abort the process.
        """
        if not self._closed:
            self._closed = True
            self._closing.release()
            self._ended.acquire(timeout=MOST_TO_END)

    def is_set(self) -> bool:
        """For watchfiles, which takes this for an event: whether to stop."""
        return self._closed

    # -- in the thread --------------------------------------------------------------------------------

    def _run(self) -> None:
        try:
            self._watch_files()
        finally:
            self._ended.release()

    def _watch_files(self) -> None:
        while not self._closed:
            watched = self._directories()
            try:
                for _ in self._news(watched):
                    if self._closed or not self._tell():
                        return
                    if self._directories() != watched:
                        break  # and begin again with the others
            except Exception:  # of watchfiles: a directory has gone, or the system grants no more watches
                watched = set()
            if not watched:
                if self._closing.acquire(timeout=LOOK / 1000):
                    return
                self._tell()

    def _news(self, directories: set[str]) -> Iterable[object]:
        """Something whenever there may be news, and every now and then."""
        if not directories:
            return ()
        return self._watch(
            *directories,
            watch_filter=None,
            step=SETTLED,
            rust_timeout=LOOK,
            yield_on_timeout=True,
            stop_event=self,
            raise_interrupt=False,
            recursive=False,
        )

    def _tell(self) -> bool:
        """See whether something has changed, and say so. False when nobody is there to hear it."""
        now = self._look()
        if now != self._seen:
            self._seen = now
            try:
                self._loop.run_callback_threadsafe(gevent.spawn, self._changed)
            except ValueError:  # by gevent: operation on destroyed loop
                return False
        return True

    def _directories(self) -> set[str]:
        return {directory for file in self._files() if os.path.isdir(directory := os.path.dirname(file))}

    def _look(self) -> Signature:
        """What tells the state of each file from another one."""
        found = {}
        for file in self._files():
            try:
                status = os.stat(file)
            except OSError:
                continue  # it is gone, or not there yet
            found[file] = status.st_mtime_ns, status.st_size, status.st_ino
        return found

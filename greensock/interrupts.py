"""Ctrl-C that is heard although a handler blocks the loop.

The loop takes INT with a C function of its own, and tells of it when it turns: never, while a handler computes, or
sleeps outside of gevent. Python's signal handlers run between any two instructions of the main thread. So for as long
as :func:`heard` lasts Python has the signal. It passes each one on to the loop's function, for all who watch for it
there, and when the loop has not turned since the last one, it ends what keeps the loop from turning.
"""

import os
import signal
from collections.abc import Iterator
from contextlib import contextmanager
from time import monotonic
from typing import Any, Final

import gevent
from greenlet import getcurrent

from .hubs import READ

#: More bytes than any system's ``struct sigaction`` has: 152 on Linux, 16 on macOS.
SIZE: Final = 512

#: Seconds after which a loop that was told of an INT and has not turned is taken to be blocked.
BLOCKED: Final = 0.25

#: What has INT now. Calls of ``run()`` may overlap, and end in any order.
_current: "_Interrupts | None" = None


@contextmanager
def heard() -> Iterator[None]:
    """Until this is left, have INT raise ``KeyboardInterrupt`` where the loop has been blocked since the last one.

    For the main thread, when its loop watches for INT already. Without effect where the system does not tell what it
    does at a signal.
    """
    global _current
    if _current is None:
        try:
            _current = _Interrupts()
        except OSError:
            yield
            return
    mine = _current
    mine.users += 1
    try:
        yield
    finally:
        mine.users -= 1
        if not mine.users:
            _current = None
            mine.give_back()


def handler_before(number: int) -> Any:
    """As :func:`signal.getsignal`, but never what this module has put there."""
    return _current.before if _current is not None and number == signal.SIGINT else signal.getsignal(number)


class _Interrupts:
    """INT, taken from the loop.

    Resource handling: two descriptors and a watcher, until :meth:`give_back`.

    Raises:
        OSError: the system does not tell what it does at INT, Python has INT already, or no descriptor is left.
    """

    def __init__(self) -> None:
        self.users = 0
        self._since: float | None = None  # the loop was told of an INT, and has not turned
        self._action = _Action()
        self.before = signal.signal(signal.SIGINT, self._interrupted)
        if self._action.is_done_now():  # somebody took it away from the loop, and knows what to do
            signal.signal(signal.SIGINT, self.before)
            raise OSError("Python has INT already")
        try:
            self._reader, self._writer = os.pipe()
        except OSError:
            self._take_back()
            raise
        # The system may interrupt any thread. The pipe wakes the main one, which then calls Python's handler.
        os.set_blocking(self._writer, False)
        self._hub = gevent.get_hub()
        self._wakeup = self._hub.loop.io(self._reader, READ, ref=False)
        self._wakeup.start(os.read, self._reader, 512)
        self._wakeup_before = signal.set_wakeup_fd(self._writer, warn_on_full_buffer=False)
        if self._wakeup_before != -1:  # somebody else waits for signals, and will wake up
            signal.set_wakeup_fd(self._wakeup_before)

    def _heard(self) -> None:
        self._since = None

    def _interrupted(self, number: int, _frame: Any) -> None:
        now = monotonic()
        since = self._since
        if since is None:
            self._since = now
            self._hub.loop.run_callback(self._heard)
        self._action.function(number)
        if since is not None and now - since >= BLOCKED and getcurrent() is not self._hub:
            raise KeyboardInterrupt

    def _take_back(self) -> None:
        if self.before is not None:  # by then it is what Python remembers, and by the next line what is done
            signal.signal(signal.SIGINT, self.before)
        self._action.restore()

    def give_back(self) -> None:
        """Leave INT to the loop again."""
        self._take_back()
        if self._wakeup_before == -1:
            signal.set_wakeup_fd(-1)
        self._wakeup.stop()
        self._wakeup.close()
        os.close(self._reader)
        os.close(self._writer)


class _Action:
    """What the system does at INT when this is made: the whole ``struct sigaction``, whatever is in it.

    Raises:
        OSError: this system does not tell, or it calls no function.
    """

    def __init__(self) -> None:
        try:
            import ctypes  # not before there is something to run

            if os.uname().machine.startswith(("mips", "parisc")):
                raise OSError("here struct sigaction does not begin with the function")

            self._ctypes = ctypes
            self._sigaction = ctypes.CDLL(None).sigaction
        except (ImportError, AttributeError, TypeError) as error:
            raise OSError(f"no sigaction(2): {error}") from error
        self._kept = self._read()
        self._address = self._address_in(self._kept)
        if self._address in (None, 1):  # SIG_DFL and SIG_IGN, which no loop has put there
            raise OSError("there is no handler of INT")
        #: what it calls, to be called with the number of the signal
        self.function = ctypes.CFUNCTYPE(None, ctypes.c_int)(self._address)

    def is_done_now(self) -> bool:
        """Whether the system calls the same function now."""
        return self._address_in(self._read()) == self._address

    def restore(self) -> None:
        """Have the system do it again."""
        self._sigaction(int(signal.SIGINT), self._kept, None)

    def _read(self) -> Any:
        action = self._ctypes.create_string_buffer(SIZE)
        if self._sigaction(int(signal.SIGINT), None, action):
            raise OSError("sigaction(2) has failed")
        return action

    def _address_in(self, action: Any) -> int | None:
        return self._ctypes.c_void_p.from_buffer(action).value  # the function comes first in the struct

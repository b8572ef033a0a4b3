"""Timeouts: one timer that has all of them looked at, in place of one for each connection."""

from time import monotonic
from typing import Any, Final, Protocol

#: Timeouts are looked at at least so often (one is never early and at most a second late), and at most so
#: often, in seconds: 10,000 sockets cost 0.2 ms.
LONGEST: Final = 0.5
SHORTEST: Final = 0.02


class Clocked(Protocol):
    """What has a timeout."""

    def _check_clocks(self, now: float) -> bool:
        """Act on timeouts that are due; whether there is any clock left to look at."""


class Clocks:
    """The timeouts of one hub.

    To have a timer for each socket would cost memory, and a heap operation per message.
    """

    def __init__(self, loop: Any) -> None:
        #: what has to be looked at
        self.watched: set[Clocked] = set()
        #: whether it is time to: for the next turn, which follows at once and first reads what has come
        self.due = False
        self._loop = loop
        self._period = LONGEST
        self._timer: Any = None

    def watch(self, clocked: Any, seconds: float) -> None:
        """Look at *clocked*, which has a timeout of *seconds*."""
        self.watched.add(clocked)
        period = min(max(seconds / 8, SHORTEST), LONGEST)
        if self._timer is None or period < self._period:
            self.stop()
            self._period = period
            self._timer = self._loop.timer(period, period)
            self._timer.start(self._on_timer)

    def unwatch(self, clocked: Any) -> None:
        """Look no more at *clocked*."""
        self.watched.discard(clocked)
        if not self.watched:
            self.stop()

    def look(self) -> None:
        """Have those act whose time has come."""
        self.due = False
        now = monotonic()
        for clocked in list(self.watched):
            if not clocked._check_clocks(now):
                self.unwatch(clocked)

    def stop(self) -> None:
        """Let go of the timer."""
        if self._timer is not None:
            self._timer.stop()
            self._timer.close()
            self._timer = None
        self._period = LONGEST

    @property
    def running(self) -> bool:
        """Whether there is a timer."""
        return self._timer is not None

    def _on_timer(self) -> None:
        self.due = True

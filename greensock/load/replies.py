"""Who waits for replies: for one, for many in a pipeline, or for those of a stream that goes on meanwhile."""

from collections.abc import Callable
from time import perf_counter
from typing import Any, Final

from gevent.event import Event
from greenlet import getcurrent, greenlet

from .talk import Request

#: To the hub, without the question whether the current greenlet is one itself.
_switch: Final = greenlet.switch


class Waiter:
    """A greenlet that is woken, once for whatever has come since it began to wait."""

    __slots__ = ("_asked", "_hub", "_waiting", "under_way")

    def __init__(self, hub: Any) -> None:
        #: requests without a reply so far
        self.under_way = 0
        self._hub = hub
        self._waiting: Any = None
        self._asked = False

    def _wake(self) -> None:
        """In the hub, by a callback for each time that ``_asked`` was set."""
        if self._waiting is not None:
            self._waiting.switch()

    def wait(self) -> None:
        """Block the current greenlet until something has come since the last time."""
        self._waiting = getcurrent()
        try:
            while not self._asked:  # somebody else may switch to this greenlet, by mistake
                _switch(self._hub)
            self._asked = False
        finally:
            self._waiting = None  # whoever is killed is not woken once more


class Reply(Waiter):
    """The reply to one request."""

    __slots__ = ("arrived", "error", "message")

    def __init__(self, hub: Any) -> None:
        self.under_way = 0  # and so on: super().__init__(), without the call
        self._hub = hub
        self._waiting = None
        self._asked = False
        self.message: Any = None
        self.error: Exception | None = None
        #: when it came or was given up (``perf_counter``)
        self.arrived = 0.0

    def answered(self, message: Any, request: Request, arrived: float) -> None:
        """Called when it has come."""
        self.message = message
        self.arrived = arrived
        self._asked = True
        self._hub.loop.run_callback(self._wake)

    def failed(self, error: Exception, request: Request) -> None:
        """Called when it will not come."""
        self.error = error
        self.answered(None, request, perf_counter())


class Replies(Waiter):
    """Those to the requests of a pipeline, for a greenlet that looks at all that have come together."""

    __slots__ = ("_came", "error")

    def __init__(self, hub: Any) -> None:
        super().__init__(hub)
        #: of the first that failed
        self.error: Exception | None = None
        self._came: list[tuple[Request, float, Any, Exception | None]] = []

    def answered(self, message: Any, request: Request, arrived: float) -> None:
        """Called when one has come."""
        self._came.append((request, arrived, message, None))
        if not self._asked:
            self._asked = True
            self._hub.loop.run_callback(self._wake)

    def failed(self, error: Exception, request: Request) -> None:
        """Called when one will not come."""
        self.error = self.error or error
        self._came.append((request, perf_counter(), None, error))
        if not self._asked:
            self._asked = True
            self._hub.loop.run_callback(self._wake)

    def take(self) -> list[tuple[Request, float, Any, Exception | None]]:
        """Block the current greenlet until there are some: the request, when its reply came, the reply, or why not."""
        if not self._came:
            self.wait()
        came, self._came = self._came, []
        self._asked = False
        return came

    def give_up(self) -> int:
        """Nobody waits any more: how many there are of which nobody has seen what became of them."""
        return self.under_way + len(self._came)


class Scheduled:
    """Those to the requests of a stream, recorded as they come.

    Args:
        record: is called with each, when it came or was given up, and why, if it was.
    """

    __slots__ = ("_change", "_record", "answers", "under_way")

    def __init__(self, record: Callable[[Request, float, Any, Exception | None], object]) -> None:
        self.under_way = 0
        self.answers = 0
        self._record: Callable[..., object] | None = record
        self._change = Event()

    def answered(self, message: Any, request: Request, arrived: float) -> None:
        """Called when one has come."""
        self._over(request, arrived, message, None)

    def failed(self, error: Exception, request: Request) -> None:
        """Called when one will not come."""
        self._over(request, perf_counter(), None, error)

    def _over(self, request: Request, arrived: float, message: Any, error: Exception | None) -> None:
        self.answers += error is None
        self._change.set()
        if self._record is not None:
            self._record(request, arrived, message, error)

    def wait(self, most: int) -> None:
        """Block the current greenlet until no more than so many are under way."""
        while self.under_way > most:
            self._change.clear()
            self._change.wait()

    def give_up(self) -> int:
        """Record no more; returns how many were under way."""
        self._record = None
        return self.under_way

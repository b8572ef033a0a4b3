"""What becomes of a request in locust's statistics: its row, its time, and in which words it failed.

Rows are few and failures are told in few words, whatever happens: locust groups both by their text, so that a port, a
number of bytes or an id in them would make a row of its own each time.
"""

from collections.abc import Sequence
from time import monotonic, time
from typing import Any, Final

import locust.stats
from locust import User
from locust.exception import RescheduleTask
from locust.stats import RequestStats, StatsEntry

from ..errors import FrameError, FrameTooLarge, IncompleteRead, SocketClosed
from ..state import CloseReason

# The types of rows; locust's console has room for eight characters. Those of requests are TCP, TLS and UNIX.
CONNECT: Final = "CONN"
DISCONNECT: Final = "DISC"
SEND: Final = "SEND"
PUSH: Final = "PUSH"

#: Rows that are of connections; in all others a line is a message.
OF_CONNECTIONS: Final = frozenset({CONNECT, DISCONNECT})

#: Seconds for which successes may be held back, so that they are recorded together.
BATCHED: Final = 0.1


class RequestFailed(RescheduleTask):
    """A request was not answered. It stands in the statistics; the exception ends the task, and locust begins the next.

    ``__cause__`` tells why. Whoever wants to go on in the same task catches it, or asks with ``catch_response=True``.
    """


def loss(error: Exception | None, reason: CloseReason | None) -> Exception:
    """What those are told who wait for something on a connection that has ended.

    Args:
        error: what was raised; becomes ``__cause__``.
        reason: why the connection has ended.
    """
    told: Exception
    if isinstance(error, FrameTooLarge):
        told = FrameTooLarge("a message over the limit of the framing")
    elif isinstance(error, FrameError):
        told = FrameError("what came is no message")
    elif isinstance(error, IncompleteRead) or reason is CloseReason.TRUNCATED:
        told = SocketClosed("the connection ended inside a message")
    else:
        told = SocketClosed(f"the connection ended: {reason or 'nobody knows why'}")
    told.__cause__ = error
    return told


def length_of(message: Any) -> int:
    """Bytes of *message*; of what a framing has made something else of, 0."""
    if isinstance(message, (bytes, bytearray)):
        return len(message)
    if isinstance(message, str):
        return len(message.encode())
    return message.nbytes if isinstance(message, memoryview) else 0


def messages_per_s(stats: RequestStats, until: float) -> float:
    """How many messages the clients have counted in the second that ended at *until*, seconds since the epoch.

    locust counts by whole seconds; of the two that this one lies in each gives its share.
    """
    second, share = int(until), until % 1
    entries = [entry for entry in list(stats.entries.values()) if entry.method not in OF_CONNECTIONS]
    before, after = (sum(entry.num_reqs_per_sec.get(at, 0) for entry in entries) for at in (second - 1, second))
    return before * (1 - share) + after * share


# -- recording ----------------------------------------------------------------------------------------------


class Ledger:
    """Puts what one user did into the statistics of its environment, by the event ``request``.

    While nobody but locust's own statistics listens to that, they are told directly, which is a quarter of the cost.
    """

    __slots__ = ("_event", "_listeners", "_stats", "_user")

    def __init__(self, user: User) -> None:
        environment = user.environment
        self._user = user
        self._stats: RequestStats = environment.stats
        self._event = environment.events.request
        self._listeners: Sequence[Any] = getattr(self._event, "_handlers", ())

    @property
    def plain(self) -> bool:
        """Whether only locust's own statistics listen."""
        listeners = self._listeners
        return len(listeners) == 1 and getattr(listeners[0], "__module__", "") == "locust.runners"

    def record(self, kind: str, name: str, response_time: float | None, message: Any = None) -> None:
        """A success: *message* came after *response_time* milliseconds, or, if that is None, nobody knows when."""
        if self.plain:
            length = len(message) if type(message) is bytes else length_of(message)
            self._stats.log_request(kind, name, response_time, length)  # type: ignore[arg-type]
        else:
            self._event.fire(**self.meta(kind, name, response_time, message))

    def record_failure(self, kind: str, name: str, response_time: float | None, error: Exception) -> None:
        """A failure, given up after *response_time* milliseconds."""
        self._event.fire(**self.meta(kind, name, response_time, error=error))

    def add_many(self, kind: str, name: str, response_times: list[float], length: int) -> None:
        """As many successes, with *length* bytes in all, past all other listeners."""
        now = time()
        entry = StatsEntry(self._stats, name, kind)
        entry.num_requests = len(response_times)
        entry.num_reqs_per_sec[int(now)] = len(response_times)
        entry.last_request_timestamp = now
        times: Any = response_times  # which are floats, whatever locust calls them
        entry.total_response_time = sum(times)
        entry.min_response_time = min(times)
        entry.max_response_time = max(times)
        entry.total_content_length = length
        bucket = locust.stats.bucket_response_time  # afresh: it may be replaced
        counts = entry.response_times
        for response_time in response_times:
            counts[bucket(response_time)] += 1
        self._stats.total.extend(entry)
        self._stats.entries[name, kind].extend(entry)

    def fire(self, meta: dict[str, Any]) -> None:
        """Fire the event with what :meth:`meta` gave."""
        self._event.fire(**meta)

    def meta(
        self,
        kind: str,
        name: str,
        response_time: float | None,
        message: Any = None,
        *,
        error: Exception | None = None,
        context: dict[str, Any] | None = None,
    ) -> dict[str, Any]:
        """What the event is fired with."""
        return {
            "request_type": kind,
            "name": name,
            "response_time": response_time,
            "response_length": length_of(message),
            "response": message,
            "exception": error,
            "context": {**self._user.context(), **(context or {})},
            "start_time": time() - (response_time or 0.0) / 1000,
        }


class Batch:
    """Successes of one row, which are added to the statistics together.

    To tell them one by one costs more than a pipelined request itself. While nobody but locust's own statistics
    listens, this does what a master does with what a worker has counted (``StatsEntry.extend``), to the same effect.
    """

    __slots__ = ("_due", "_kind", "_ledger", "_name", "_waiting")

    def __init__(self, ledger: Ledger, kind: str, name: str) -> None:
        self._ledger = ledger
        self._kind = kind
        self._name = name
        self._waiting: list[tuple[float, Any]] = []
        self._due = 0.0

    def add(self, response_time: float, message: Any) -> None:
        """One more: *message* came after so many milliseconds."""
        self._waiting.append((response_time, message))

    def flush(self, *, when_due: bool = False) -> None:
        """Add them to the statistics; *when_due*: only if it was done a while ago, or if others listen."""
        if when_due and monotonic() < self._due and self._ledger.plain:
            return
        waiting, self._waiting = self._waiting, []
        self._due = monotonic() + BATCHED
        if not self._ledger.plain:
            for response_time, message in waiting:
                self._ledger.record(self._kind, self._name, response_time, message)
        elif waiting:
            times = [response_time for response_time, _ in waiting]
            self._ledger.add_many(self._kind, self._name, times, sum(length_of(message) for _, message in waiting))


# -- response times -----------------------------------------------------------------------------------------


def fine_bucket(response_time: float) -> float:
    """Milliseconds as they are grouped for percentiles: to a hundredth below 10, where locust has whole ones only."""
    if response_time < 10:
        return round(response_time, 2)
    if response_time < 100:
        return round(response_time, 1)
    return float(_coarse(response_time))


_coarse: Final = locust.stats.bucket_response_time


def response_times(stats: RequestStats) -> list[str]:
    """The percentiles of each row in hundredths of milliseconds, as lines of a table."""
    shares = (0.5, 0.9, 0.99, 0.999)
    lines = [f"{'Response times, ms':<40} {'p50':>9} {'p90':>9} {'p99':>9} {'p99.9':>9} {'max':>9}"]
    for (name, kind), entry in sorted(stats.entries.items()):
        if entry.response_times:
            times = (*(entry.get_response_time_percentile(share) for share in shares), entry.max_response_time)
            lines.append(f"{kind:<8} {name:<31} " + " ".join(f"{value:>9.2f}" for value in times))
    return ["", *lines, ""]

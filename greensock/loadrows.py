"""What becomes of a request in locust's statistics: its row, its time, and in which words it failed.

Rows are few and failures are told in few words, whatever happens: locust groups both by their text, so that a port, a
number of bytes or an id in them would make a row of its own each time.
"""

from time import time
from types import TracebackType
from typing import Any, Final, Self

import gevent
import locust.stats
from gevent import GreenletExit
from locust.env import Environment
from locust.exception import (
    CatchResponseError,
    InterruptTaskSet,
    LocustError,
    RescheduleTask,
    RescheduleTaskImmediately,
    StopTest,
    StopUser,
)
from locust.stats import RequestStats, StatsEntry

from .errors import FrameError, IncompleteRead, SocketClosed
from .state import CloseReason

# The types of rows; locust's console has room for eight characters. Those of requests are TCP, TLS and UNIX.
CONNECT: Final = "CONN"
DISCONNECT: Final = "DISC"
SEND: Final = "SEND"
PUSH: Final = "PUSH"

#: Rows that are of connections; in all others a line is a message.
OF_CONNECTIONS: Final = frozenset({CONNECT, DISCONNECT})

#: How locust's control flow leaves a task: no failure of the request that was made in it.
_CONTROL: Final = (InterruptTaskSet, RescheduleTask, RescheduleTaskImmediately, StopTest, StopUser)

#: What a request can fail with because of the peer or the network. A ValueError of an encoder is none of these.
FAILURES: Final = (OSError, FrameError, EOFError)


class RequestFailed(RescheduleTask):
    """A request was not answered. It stands in the statistics; the exception ends the task, and locust begins the next.

    ``__cause__`` tells why. Whoever wants to go on in the same task catches it, or asks with ``catch_response=True``.
    """


def failure(error: BaseException, reason: CloseReason | None, waited: float | None) -> Exception:
    """*error* in words of which there are few.

    Args:
        error: what was raised.
        reason: why the connection closed, if it did.
        waited: seconds that the answer had.
    """
    told: Exception
    if isinstance(error, (TimeoutError, gevent.Timeout)):
        told = TimeoutError("no answer in time" if waited is None else f"no answer in {waited:g} s")
    elif isinstance(error, IncompleteRead) or reason is CloseReason.TRUNCATED:
        told = SocketClosed("the connection ended inside a message")
    elif isinstance(error, FrameError):
        told = type(error)("what came is no message")
    else:
        told = SocketClosed(f"the connection ended before the answer: {reason or 'it was closed'}")
    told.__cause__ = error
    return told


def length_of(message: Any) -> int:
    """Bytes of *message*; of what a framing has made something else of, 0."""
    if isinstance(message, (bytes, bytearray, memoryview, str)):
        return len(message)
    return 0


def messages_per_s(stats: RequestStats, until: float) -> float:
    """How many messages the clients have counted in the second that ended at *until*, seconds since the epoch.

    locust counts by whole seconds; of the two that this one lies in each gives its share.
    """
    second, share = int(until), until % 1
    entries = [entry for entry in list(stats.entries.values()) if entry.method not in OF_CONNECTIONS]
    before, after = (sum(entry.num_reqs_per_sec.get(at, 0) for entry in entries) for at in (second - 1, second))
    return before * (1 - share) + after * share


# -- requests judged by the test ---------------------------------------------------------------------------


class Answer:
    """What came back, for a test that judges itself: use it as a context manager.

    ::

        with self.client.exchange(b"get 1", catch_response=True) as answer:
            if answer.message == b"busy":
                answer.failure("busy")

    Attributes:
        message: the answer; None if there is none.
        error: why there is none.
        request_meta: what the ``request`` event is going to be fired with.

    At the end of the block the request is recorded, as a failure if the block raises. One without an answer is a
    failure whatever the block says, and :class:`RequestFailed` is raised after it.
    """

    def __init__(self, event: Any, request_meta: dict[str, Any], error: Exception | None) -> None:
        self.message = request_meta["response"]
        self.error = error
        self.request_meta = request_meta
        self._event = event
        self._entered = False

    def success(self) -> None:
        """Record the request as a success, in spite of an earlier :meth:`failure`.

        Raises:
            LocustError: it was not answered, or this is not in a with-block.
        """
        self._check_entered()
        if self.error is not None:
            raise LocustError("a request that was not answered is no success")
        self.request_meta["exception"] = None

    def failure(self, why: object) -> None:
        """Record the request as a failure.

        Args:
            why: an exception, or a text. Of few different ones: each has a line in locust's report.

        Raises:
            LocustError: this is not in a with-block.
        """
        self._check_entered()
        self.request_meta["exception"] = why if isinstance(why, Exception) else CatchResponseError(why)

    def _check_entered(self) -> None:
        if not self._entered:
            raise LocustError(
                "an answer is judged in a with-block: with client.exchange(…, catch_response=True) as answer"
            )

    def __enter__(self) -> Self:
        self._entered = True
        return self

    def __exit__(
        self, kind: type[BaseException] | None, raised: BaseException | None, traceback: TracebackType | None
    ) -> None:
        if isinstance(raised, GreenletExit):
            return  # killed, and so neither a success nor a failure
        if self.error is None and isinstance(raised, Exception) and not isinstance(raised, _CONTROL):
            self.failure(raised)
        self._event.fire(**self.request_meta)
        if self.error is not None:
            raise RequestFailed(str(self.error)) from self.error


# -- many at once -------------------------------------------------------------------------------------------


def is_only_counted(environment: Environment) -> bool:
    """Whether nobody but locust's own statistics listens to requests, so that they may be counted together."""
    listeners = getattr(environment.events.request, "_handlers", ())
    return len(listeners) == 1 and getattr(listeners[0], "__module__", "") == "locust.runners"


class Batch:
    """Answered requests of one row, which are added to the statistics together.

    An event for each costs more than a pipelined request itself. What this does instead is what a master does with what
    a worker has counted, ``StatsEntry.extend``, and the outcome is the same.
    """

    __slots__ = ("_kind", "_length", "_name", "_stats", "_times", "_total")

    def __init__(self, stats: RequestStats, kind: str, name: str) -> None:
        self._stats = stats
        self._kind = kind
        self._name = name
        self._times: list[float] = []
        self._length = 0
        self._total = 0

    def add(self, response_time: float, length: int) -> None:
        """One more, after so many milliseconds, with so many bytes."""
        self._times.append(response_time)
        self._length += length

    def flush(self) -> None:
        """Add them to the statistics."""
        times = self._times
        if not times:
            return
        now = time()
        entry = StatsEntry(self._stats, self._name, self._kind)
        entry.num_requests = len(times)
        entry.num_reqs_per_sec[int(now)] = len(times)
        entry.last_request_timestamp = now
        entry.total_response_time = sum(times)  # type: ignore[assignment]
        entry.min_response_time = min(times)  # type: ignore[assignment]
        entry.max_response_time = max(times)  # type: ignore[assignment]
        bucket = locust.stats.bucket_response_time  # afresh: it may be replaced
        counts = entry.response_times
        for response_time in times:
            counts[bucket(response_time)] += 1
        entry.total_content_length = self._length
        self._stats.total.extend(entry)
        self._stats.entries[self._name, self._kind].extend(entry)
        self._times = []
        self._length = 0


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
    return lines

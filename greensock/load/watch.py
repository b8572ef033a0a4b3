"""A service's numbers in a load test: asked for once a second by the process that runs the test, told in files and at
the end. Of several processes only the master asks."""

import csv
import logging
from collections import deque
from collections.abc import Iterator
from time import time
from typing import Any, Final, TextIO

import gevent
from gevent.lock import BoundedSemaphore
from locust.env import Environment
from locust.runners import MasterRunner, WorkerRunner

from .ending import tell_at_the_end
from .rows import messages_per_s
from .stats import COLUMNS, TOTALS, Endpoint, History, Sample

#: Seconds between two questions.
INTERVAL: Final = 1.0

#: Seconds after which it is known what the clients did in one: they are this process's, or workers' that report every
#: three seconds (locust.runners.WORKER_REPORT_INTERVAL).
SETTLED: Final = 2.0
SETTLED_BY_WORKERS: Final = 6.0

logger: Final = logging.getLogger("greensock.locust")

_LINE: Final = (
    "Server {url}: {accepted:,} connections accepted, {messages_read:,} messages in, {messages_written:,} out, "
    "at most {buffered_peak:,} bytes buffered, {drains:,} drains, {slow_consumers:,} slow consumers, {errors:,} errors"
)
_AT_END: Final = (*TOTALS, "buffered_peak")


class Watch:
    """Asks *endpoint*, from the beginning of *environment* to its end.

    Resource handling: a greenlet of the runner's, which ends with it; a connection for each question; with ``--csv``
    an open file, ``…_server_history.csv``, and at the end another, ``…_server.csv``.
    """

    def __init__(self, environment: Environment, endpoint: Endpoint) -> None:
        self.environment = environment
        self.endpoint = endpoint
        self.history = History()
        #: why there are no numbers now; None: there are
        self.problem: str | None = None
        #: messages in a second by the clients' count, as far as it is known
        self.client_per_s: float | None = None
        self._one_at_a_time = BoundedSemaphore()
        self._unsettled: deque[Sample] = deque()
        self._lag = SETTLED_BY_WORKERS if isinstance(environment.runner, MasterRunner) else SETTLED
        self._file: TextIO | None = None

    def start(self) -> None:
        """Begin."""
        runner = self.environment.runner
        assert runner is not None and not isinstance(runner, WorkerRunner)
        events = self.environment.events
        events.test_start.add_listener(self._begin)
        events.reset_stats.add_listener(self._begin)
        events.spawning_complete.add_listener(self._spawned)
        events.test_stop.add_listener(self._test_ends)
        tell_at_the_end(self.environment, self._end)
        if self._csv_prefix:
            # Like those of locust it stays open until the end, and is of use before.
            self._file = open(f"{self._csv_prefix}_server_history.csv", "w", buffering=1, newline="")  # noqa: SIM115
            csv.writer(self._file).writerow(_HEADER)
        runner.greenlet.spawn(self._run)

    def poll(self) -> None:
        """Ask now. A failure is told once, and not raised."""
        with self._one_at_a_time:
            problem = None
            try:
                servers = self.endpoint.fetch()
            except (OSError, ValueError) as error:
                problem = str(error)
            else:
                self._unsettled.append(self.history.add(time(), servers))
        if problem != self.problem:
            if problem is None:
                logger.info("%s answers again", self.endpoint)
            else:
                logger.warning("the server's numbers are missing: %s", problem)
            self.problem = problem
        self._settle(time() - self._lag)

    @property
    def latest(self) -> Sample | None:
        """The last sample; None: there is none."""
        return self.history.samples[-1] if self.history.samples else None

    def summary(self) -> Iterator[str]:
        """What each server did since the test began, in a line."""
        sample = self.latest
        for url, numbers in sample.servers.items() if sample else ():
            yield _LINE.format(url=url, **numbers)
        if self.problem is not None:
            yield f"Server: {self.problem}"

    def history_rows(self) -> Iterator[list[Any]]:
        """What is remembered, as a table with a heading."""
        yield _HEADER
        for sample in list(self.history.samples):
            yield from _rows(sample)

    # -- in the course of a run ----------------------------------------------------------------------

    def _run(self) -> None:
        while True:
            self.poll()
            gevent.sleep(INTERVAL)

    def _begin(self, **_: Any) -> None:
        self.poll()
        self.history.rebase()

    def _spawned(self, **_: Any) -> None:
        if self.environment.reset_stats:  # with --reset-stats locust begins to count anew
            self._begin()

    def _test_ends(self, **_: Any) -> None:
        self.poll()

    def _settle(self, until: float) -> None:
        """Say of the samples before *until* what the clients did, and write them down."""
        while self._unsettled and self._unsettled[0].time <= until:
            sample = self._unsettled.popleft()
            self.client_per_s = sample.client_per_s = round(messages_per_s(self.environment.stats, sample.time), 2)
            if self._file is not None:
                csv.writer(self._file).writerows(_rows(sample))

    def _end(self) -> Iterator[str]:
        self._settle(float("inf"))
        if self._file is not None:
            self._file.close()
            self._write_summary()
        return self.summary()

    def _write_summary(self) -> None:
        sample = self.latest
        with open(f"{self._csv_prefix}_server.csv", "w", newline="") as file:
            table = csv.writer(file)
            table.writerow(["Server", *_AT_END])
            for url, numbers in sample.servers.items() if sample else ():
                table.writerow([url, *(numbers[name] for name in _AT_END)])

    @property
    def _csv_prefix(self) -> str | None:
        return getattr(self.environment.parsed_options, "csv_prefix", None)


_HEADER: Final = ["Timestamp", "Server", *COLUMNS, "client_messages_per_s"]


def _rows(sample: Sample) -> Iterator[list[Any]]:
    for url, numbers in sample.servers.items():
        yield [int(sample.time), url, *(round(numbers[name], 2) for name in COLUMNS), sample.client_per_s]

"""The load generator itself: how busy its processes are, what they had to leave unanswered, and that none of what they
counted is lost at the end.

A master of locust's that is told to quit gives its workers half a second, and what they report later is lost; so it is
kept here until they have ended their users. Workers that are interrupted themselves, as all are by a Ctrl-C in a
terminal, would leave without a last report.
"""

import dataclasses
import logging
from collections.abc import Iterator
from time import perf_counter, process_time
from typing import Any, Final
from weakref import WeakKeyDictionary

import gevent
from gevent.event import Event
from gevent.lock import RLock
from locust.env import Environment
from locust.runners import STATE_RUNNING, STATE_SPAWNING, STATE_STOPPING, MasterRunner, WorkerRunner

from .ending import tell_at_the_end

#: What workers are asked, and answer. The same key holds what they report.
ENDING: Final = "greensock-end"
ENDED: Final = "greensock-ended"
REPORT: Final = "greensock"

#: Seconds over which it is measured how busy a process is.
WINDOW: Final = 2.0

#: Seconds that workers have for the end of their users, beyond ``--stop-timeout``.
PATIENCE: Final = 10.0

logger: Final = logging.getLogger("greensock.locust")


@dataclasses.dataclass(slots=True)
class Effort:
    """What it took to generate the load of one test; on a master, all workers together."""

    #: messages that ``stream`` sent, and how many of them later than they were due
    scheduled: int = 0
    late: int = 0
    #: requests that were sent, and whose users were killed before the answer came. They are counted nowhere else.
    aborted: int = 0
    #: the greatest share of its core that a process used for :data:`WINDOW` seconds
    busiest: float = 0.0

    def add(self, other: "Effort") -> None:
        """Add what another process did."""
        self.scheduled += other.scheduled
        self.late += other.late
        self.aborted += other.aborted
        self.busiest = max(self.busiest, other.busiest)

    def summary(self) -> Iterator[str]:
        """What there is to say about the generator at the end."""
        late = f", {self.late:,} of {self.scheduled:,} messages of stream() sent late" if self.scheduled else ""
        yield f"Generator: at most {self.busiest:.0%} of a core used by a locust process{late}"
        if self.aborted:
            yield (
                f"Generator: {self.aborted:,} requests unanswered when their users were killed, which are in no row "
                "(--stop-timeout gives users time)"
            )

    def clear(self) -> None:
        """Begin anew."""
        self.scheduled = self.late = self.aborted = 0
        self.busiest = 0.0


_efforts: "WeakKeyDictionary[Environment, Effort]" = WeakKeyDictionary()


def effort_of(environment: Environment) -> Effort:
    """The one :class:`Effort` of *environment*."""
    effort = _efforts.get(environment)
    if effort is None:
        effort = _efforts[environment] = Effort()
    return effort


class Generator:
    """Measures the processes of one test, and has the workers among them end in order.

    Resource handling: a greenlet of the runner's, which ends with it.
    """

    def __init__(self, environment: Environment) -> None:
        self._environment = environment
        self._effort = effort_of(environment)
        self._mark = (0.0, 0.0)
        #: workers that have users, and that have none any more
        self._running: set[str] = set()
        self._ended: set[str] = set()
        self._all_ended = Event()
        #: two that stop a runner are in each other's way
        self._one_at_a_time = RLock()

    def start(self) -> None:
        """Begin, in any process of the test."""
        runner, events = self._environment.runner, self._environment.events
        assert runner is not None
        events.test_start.add_listener(self._test_begins)
        tell_at_the_end(self._environment, self._effort.summary)
        if isinstance(runner, MasterRunner):
            events.worker_report.add_listener(self._reported)
            events.test_stopping.add_listener(self._end_workers)
            runner.register_message(ENDED, self._worker_ended)
            return
        events.test_stopping.add_listener(self._look)
        runner.greenlet.spawn(self._measure)
        if isinstance(runner, WorkerRunner):
            events.report_to_master.add_listener(self._report)
            events.quitting.add_listener(self._leave)
            runner.register_message(ENDING, self._end_users, concurrent=True)

    def _test_begins(self, **_: Any) -> None:
        self._effort.clear()
        self._ended.clear()
        self._mark = (perf_counter(), process_time())

    # -- how busy this process is --------------------------------------------------------------------

    def _measure(self) -> None:
        while True:
            self._mark = (perf_counter(), process_time())
            gevent.sleep(WINDOW)
            self._look()

    def _look(self, **_: Any) -> None:
        began, used = self._mark
        elapsed = perf_counter() - began
        runner = self._environment.runner
        if elapsed >= WINDOW / 2 and runner is not None and runner.state in (STATE_SPAWNING, STATE_RUNNING):
            self._effort.busiest = max(self._effort.busiest, (process_time() - used) / elapsed)

    # -- from workers to their master ----------------------------------------------------------------

    def _report(self, data: dict[str, Any], **_: Any) -> None:
        data[REPORT] = dataclasses.asdict(self._effort)
        self._effort.clear()

    def _reported(self, data: dict[str, Any], **_: Any) -> None:
        if REPORT in data:
            self._effort.add(Effort(**data[REPORT]))

    # -- the end -------------------------------------------------------------------------------------

    def _end_workers(self, environment: Environment, **_: Any) -> None:
        """On the master, before it stops: wait until no worker has users any more."""
        runner = environment.runner
        assert isinstance(runner, MasterRunner)
        runner.update_state(STATE_STOPPING)  # before workers leave, whose users the others would be given
        self._running = {worker.id for worker in (*runner.clients.running, *runner.clients.spawning)} - self._ended
        self._all_ended.clear()
        for worker in self._running:
            runner.send_message(ENDING, client_id=worker)
        if self._running and not self._all_ended.wait(environment.stop_timeout + PATIENCE):
            logger.warning("%d workers have not ended their users: what they counted last is lost", len(self._running))

    def _worker_ended(self, msg: Any, **_: Any) -> None:
        self._ended.add(msg.node_id)
        self._running.discard(msg.node_id)
        if not self._running:
            self._all_ended.set()

    def _end_users(self, environment: Environment, **_: Any) -> None:
        """On a worker. What it counted since its last report follows when it is told to quit."""
        runner = environment.runner
        assert isinstance(runner, WorkerRunner)
        with self._one_at_a_time:
            if runner.state in (STATE_SPAWNING, STATE_RUNNING):
                runner.stop()
        runner.send_message(ENDED)

    def _leave(self, environment: Environment, **_: Any) -> None:
        """On a worker that ends, before it tells its master so: a last report, which it owes if it was interrupted."""
        self._end_users(environment)
        runner = environment.runner
        assert isinstance(runner, WorkerRunner)
        report: dict[str, Any] = {}
        environment.events.report_to_master.fire(client_id=runner.client_id, data=report)
        runner.send_message("stats", report)

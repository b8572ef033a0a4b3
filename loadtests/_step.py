"""Users in five steps, up to ``-u`` in the time of ``-t``, and at the end a table of what each step gave. Where more users
bring no more messages and only make them wait longer, the service is full, or the generator is.

    greensock serve loadtests/_services.py:Echo --framing lines --stats 127.0.0.1:8081
    locust -f loadtests/echo.py,loadtests/_step.py --headless -u 100 -r 100 -t 50 -s 5 -H tcp://127.0.0.1:8080 --gs-stats 127.0.0.1:8081

Goes with any of the load tests here, at ten seconds a step or more when workers report to a master. (A shape is for all that
is loaded with it, so locust has to be given this file by name: it passes over such names otherwise.)
"""  # noqa: E501

import math
from collections import Counter
from collections.abc import Iterator
from itertools import pairwise
from time import monotonic
from typing import Any, NamedTuple

from locust import LoadTestShape, events
from locust.stats import calculate_response_time_percentile

from greensock.load.ending import tell_at_the_end
from greensock.load.rows import OF_CONNECTIONS

STEPS = 5


class Mark(NamedTuple):
    """What had been counted when a step began."""

    users: int
    moment: float
    requests: int
    response_times: Counter[Any]


class Steps(LoadTestShape):
    use_common_options = True

    def __init__(self) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self.marks: list[Mark] = []
        events.init.add_listener(lambda environment, **_: tell_at_the_end(environment, self._report))
        events.test_stopping.add_listener(self._stopping)

    def tick(self) -> tuple[int, float] | None:
        """Called by locust every second: how many users there should be, and how many more of them each second."""
        assert self.runner is not None
        options: Any = self.runner.environment.parsed_options
        elapsed: float = self.get_run_time()  # type: ignore[no-untyped-call]
        step = int(elapsed / (options.run_time or 10 * STEPS) * STEPS)
        if step >= STEPS:
            return None
        if step >= len(self.marks):
            self.marks.append(self._mark())
        return math.ceil((options.num_users or STEPS) * (step + 1) / STEPS), options.spawn_rate or 100

    def _stopping(self, **_: Any) -> None:
        self.end = monotonic()

    def _report(self) -> Iterator[str]:
        last = self._mark()._replace(moment=self.end)
        yield f"{'Users':>8} {'messages/s':>12} {'p50, ms':>9} {'p99, ms':>9}"
        yield from _lines([*self.marks, last])

    def _mark(self) -> Mark:
        assert self.runner is not None
        entries = [e for e in self.runner.stats.entries.values() if e.method not in OF_CONNECTIONS]
        times: Counter[Any] = Counter()
        for entry in entries:
            times.update(entry.response_times)
        return Mark(self.runner.target_user_count, monotonic(), sum(e.num_requests for e in entries), times)


def _lines(marks: list[Mark]) -> Iterator[str]:
    for begin, end in pairwise(marks):
        times = end.response_times - begin.response_times
        p50, p99 = (calculate_response_time_percentile(times, times.total(), share) for share in (0.5, 0.99))
        rate = (end.requests - begin.requests) / (end.moment - begin.moment)
        yield f"{end.users:>8} {rate:>12,.0f} {p50:>9.2f} {p99:>9.2f}"

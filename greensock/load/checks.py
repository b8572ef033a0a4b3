"""Thresholds of a load test, judged when it is over: one that was crossed makes the exit status 3."""

import logging
import math
from argparse import ArgumentTypeError
from collections.abc import Iterable, Iterator
from typing import Any, Final

import locust.log
from locust.env import Environment
from locust.stats import RequestStats

from .ending import tell_at_the_end
from .generator import effort_of
from .watch import Watch

#: Exit status, as that of locust-plugins' checks. 1 is locust's own for failed requests, 2 for failures of locust.
CROSSED: Final = 3

#: A process that uses more of its core measures itself. Locust warns at the same share.
BUSY: Final = 0.9

#: So much of what ``stream`` sends may be late.
LATE: Final = 0.01

logger: Final = logging.getLogger("greensock.locust")


def add_options(parser: Any) -> None:
    """Add ``--gs-check-…`` to locust's command line."""
    group = parser.add_argument_group("greensock: thresholds", "One that is crossed makes the exit status 3.")
    group.add_argument(
        "--gs-check-p99",
        metavar="[NAME=]MS",
        action="append",
        type=_latency,
        env_var="LOCUST_GS_CHECK_P99",
        help="99 %% of the requests, of this name or of each, take no more than so many milliseconds. May be repeated.",
    )
    group.add_argument(
        "--gs-check-failures",
        metavar="SHARE",
        type=_share,
        env_var="LOCUST_GS_CHECK_FAILURES",
        help="No more than this share of the requests fails, 0 to 1. Without it locust ends with 1 if any does.",
    )
    group.add_argument(
        "--gs-check-server-buffered",
        metavar="BYTES",
        type=_size,
        env_var="LOCUST_GS_CHECK_SERVER_BUFFERED",
        help="The server never has more bytes queued for its peers. Needs --gs-stats.",
    )
    group.add_argument(
        "--gs-check-generator",
        action="store_true",
        env_var="LOCUST_GS_CHECK_GENERATOR",
        help="Every locust process has time left: it uses at most 90 %% of its core, and sends when it should.",
    )


def _latency(text: str) -> list[Any]:
    name, _, limit = text.rpartition("=")
    return [name, _number(limit, "a number of milliseconds above 0, or NAME=MS", above=0)]


def _share(text: str) -> float:
    return _number(text, "a share of 0 to 1", most=1)


def _size(text: str) -> float:
    return _number(text, "a number of bytes")


def _number(text: str, wanted: str, *, above: float = -1, most: float = math.inf) -> float:
    try:
        value = float(text)
    except ValueError:
        value = math.nan
    if not (0 <= value <= most and above < value < math.inf):
        raise ArgumentTypeError(f"{text!r} is not {wanted}")
    return value


class Checks:
    """The thresholds that were asked for on the command line of *environment*.

    Args:
        watch: knows the server's numbers; None: nobody asks for them.

    Raises:
        ValueError: one of them needs the server's numbers, and there are none.
    """

    def __init__(self, environment: Environment, watch: Watch | None) -> None:
        options = environment.parsed_options
        self._environment = environment
        self._watch = watch
        self._latencies: list[list[Any]] = getattr(options, "gs_check_p99", None) or []
        self._failures: float | None = getattr(options, "gs_check_failures", None)
        self._buffered: float | None = getattr(options, "gs_check_server_buffered", None)
        self._generator: bool = getattr(options, "gs_check_generator", False)
        if self._buffered is not None and watch is None:
            raise ValueError("--gs-check-server-buffered needs the server's numbers: say where with --gs-stats")

    def start(self) -> None:
        """Judge when the test is over."""
        if self._latencies or self._failures is not None or self._buffered is not None or self._generator:
            tell_at_the_end(self._environment, self._judge)

    def crossed(self) -> Iterator[str]:
        """What was crossed, in a sentence for each."""
        stats = self._environment.stats
        if not stats.total.num_requests:
            yield "there were no requests"
        for name, limit in self._latencies:
            yield from _too_slow(stats, name, limit)
        if self._failures is not None and stats.total.fail_ratio > self._failures:
            yield f"{stats.total.fail_ratio:.2%} of the requests failed, more than {self._failures:.2%}"
        if self._buffered is not None:
            yield from self._too_much_buffered(self._buffered)
        if self._generator:
            yield from self._generator_too_busy()

    def _too_much_buffered(self, limit: float) -> Iterator[str]:
        assert self._watch is not None
        sample = self._watch.latest
        if sample is None:
            yield f"nothing is known of what the server buffered: {self._watch.problem}"
            return
        for url, numbers in sample.servers.items():
            if numbers["buffered_peak"] > limit:
                yield f"{url} had {numbers['buffered_peak']:,} bytes buffered, more than {limit:,.0f}"

    def _generator_too_busy(self) -> Iterator[str]:
        effort = effort_of(self._environment)
        if effort.busiest > BUSY:
            yield f"a locust process used {effort.busiest:.0%} of its core, more than {BUSY:.0%}: give it --processes"
        if effort.late > effort.scheduled * LATE:
            yield f"{effort.late:,} of {effort.scheduled:,} messages were sent late, more than {LATE:.0%}"

    def _judge(self) -> Iterable[str]:
        environment = self._environment
        crossed = list(self.crossed())
        for sentence in crossed:
            logger.error("threshold crossed: %s", sentence)
        if crossed:
            environment.process_exit_code = environment.process_exit_code or CROSSED
        elif self._failures is not None and not _has_erred(environment):
            environment.process_exit_code = environment.process_exit_code or 0  # failures are few enough
        return ()


def _has_erred(environment: Environment) -> bool:
    """Whether there was more than failed requests, which locust's own exit status tells."""
    return bool(environment.runner and environment.runner.exceptions) or locust.log.unhandled_greenlet_exception


def _too_slow(stats: RequestStats, name: str, limit: float) -> Iterator[str]:
    timed = [entry for entry in stats.entries.values() if entry.response_times and name in ("", entry.name)]
    if not timed:
        yield f"there were no requests {f'named {name!r} ' if name else ''}whose time is known"
    for entry in timed:
        p99 = entry.get_response_time_percentile(0.99)
        if p99 > limit:
            yield f"99 % of {entry.method} {entry.name} took up to {p99:g} ms, more than {limit:g}"

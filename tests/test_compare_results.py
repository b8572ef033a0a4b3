"""What the figures of the comparison are worth: who is ahead, who is not shown to be, and which runs count."""

import pytest

from measurements import NOISE, result, run
from results.comparing import Comparison, Outcome
from results.runs import LEAST_GROWTH, Result


def outcome(found: Result, peer: str) -> Outcome:
    comparison = found.comparison(peer)
    assert comparison is not None
    return comparison.outcome


def test_ratios_are_of_the_same_round() -> None:
    comparison = result("echo", greensock=[100, 200, 300], uvloop=[50, 400, 100]).comparison("uvloop")
    assert comparison is not None
    assert (comparison.median, comparison.low, comparison.high) == (2.0, 0.5, 3.0)


@pytest.mark.parametrize(
    ("ours", "expected"),
    [
        ([120, 130, 110], Outcome.AHEAD),
        ([80, 90, 70], Outcome.BEHIND),
        ([120, 130, 95], Outcome.NO_DIFFERENCE),
        ([100, 130, 120], Outcome.NO_DIFFERENCE),  # 1 itself is on no side
        ([80, 90, 99.8], Outcome.NO_DIFFERENCE),  # and is shown as 1.00
        ([300], Outcome.NO_DIFFERENCE),  # from one round nobody knows
    ],
)
def test_a_difference_is_one_that_every_round_shows(ours: list[float], expected: Outcome) -> None:
    assert outcome(result("echo", greensock=ours, bun=[100] * len(ours)), "bun") == expected


@pytest.mark.parametrize("key", ["memory", "latency-60", "slow-reader"])
def test_less_is_better_of_memory_and_latency(key: str) -> None:
    found = result(key, greensock=[1e6, 1.1e6], gevent=[2e6, 2.2e6], bun=[5e5, 6e5])
    assert outcome(found, "gevent") == Outcome.AHEAD
    assert outcome(found, "bun") == Outcome.BEHIND
    comparison = found.comparison("bun")
    assert comparison is not None and comparison.loss == comparison.median > 1


def test_targets_follow_the_direction() -> None:
    assert result("echo", greensock=[100, 100], bun=[90, 90]).verdict("bun") is True
    assert result("echo", greensock=[100, 100], bun=[110, 110]).verdict("bun") is False
    assert result("session-memory", greensock_sessions=[90, 90], gevent=[100, 100]).verdict("gevent") is True
    assert result("memory", greensock=[999.0]).verdict("greensock") is True
    assert result("memory", greensock=[1001.0]).verdict("greensock") is False
    assert result("echo", greensock=[100]).verdict("bun") is None


def test_growth_that_any_process_has_is_not_compared() -> None:
    """0 bytes beside 4 KiB is not infinitely better."""
    found = result("slow-reader", greensock=[0, 0], gevent=[4096, 4096], node=[LEAST_GROWTH * 10] * 2)
    assert outcome(found, "gevent") == Outcome.NO_DIFFERENCE
    assert outcome(found, "node") == Outcome.AHEAD


def test_disturbed_runs_count_only_where_there_are_no_others() -> None:
    found = result("echo", greensock=[run(10, waited=NOISE), run(100), run(110)], bun=[run(50, waited=NOISE)] * 3)
    assert found.values("greensock") == [100, 110]
    assert not found.disturbed("greensock")
    assert found.values("bun") == [50, 50, 50]
    assert found.disturbed("bun")


def test_a_failed_run_has_no_figure_and_no_ratio() -> None:
    found = result("echo", greensock=[100, 100], bun=[run(0, failures=1, error="a wrong byte")] * 2)
    assert found.median("bun") is None
    assert found.comparison("bun") is None
    assert not found.targets_met


def test_the_load_client_was_the_limit_where_it_alone_was_busy() -> None:
    found = result(
        "echo",
        greensock=[run(100, client_cpu=0.97, server_cpu=0.7)],
        uvloop=[run(100, client_cpu=0.97, server_cpu=0.99)],
        bun=[run(100, client_cpu=0.6, server_cpu=0.7)],
    )
    assert [found.client_limited(peer) for peer in found.runs] == [True, False, False]


def test_a_client_that_is_late_is_the_limit_of_a_latency() -> None:
    found = result("latency-60", greensock=[run(900, late_us=500)] * 2, bun=[run(900, late_us=20)] * 2)
    assert [found.client_limited(peer) for peer in found.runs] == [True, False]


def test_two_measurements_differ_when_their_spreads_do_not_touch() -> None:
    def ratios(*values: float) -> Comparison:
        return Comparison.of(values, lower_is_better=False)

    assert ratios(1.3, 1.4).moved_from(ratios(1.1, 1.2)) is True
    assert ratios(1.1, 1.4).moved_from(ratios(1.0, 1.2)) is False
    assert ratios(0.1001, 0.1002).moved_from(ratios(0.0999, 0.1000)) is False  # nobody would see it in "0.10"
    assert ratios(1.5).moved_from(ratios(1.1, 1.2)) is None

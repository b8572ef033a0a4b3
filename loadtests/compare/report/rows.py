"""The figures of one peer in one case, as texts for any table."""

from __future__ import annotations

import statistics
from collections.abc import Iterator
from dataclasses import dataclass
from enum import StrEnum

from cases.case import Case, Measure
from results.comparing import Outcome
from results.runs import DISTURBED, Result, Run

ALIKE = "≈"  # beside a ratio: no difference shown
NOISY = "~"  # beside a figure: every run was disturbed
LIMITED = "!"  # beside the load client's share: it was the limit

NOTES = {
    ALIKE: "no difference shown: the ratios of the rounds lie on both sides of 1, or there was one round only",
    NOISY: f"disturbed in every round, other processes had over {DISTURBED:.0%} of a core: compare µs each instead",
    LIMITED: "the load client was the limit, not this server, which is at least this good; where messages have a "
    "schedule: the client was late itself, by more than half of the p99",
}


class State(StrEnum):
    MEASURED = "measured"
    MISSING = "missing"
    FAILED = "failed"


@dataclass(frozen=True)
class Row:
    peer: str
    state: State = State.MEASURED
    figure: str = ""
    spread: str = ""
    latency: str = ""
    shares: str = ""
    each: str = ""
    ratio: str = ""
    target: str = ""
    met: bool | None = None
    outcome: Outcome | None = None
    marks: str = ""  # of NOTES

    def cells(self, case: Case) -> list[str]:
        """Those between the peer and the target."""
        costs = [self.latency, self.shares, self.each] if case.has_costs else []
        return [self.figure, self.spread, *costs, self.ratio]


def headings(case: Case) -> list[str]:
    costs = ["p50 / p99 ms", "server / load", "µs each"] if case.has_costs else []
    return ["median", "min-max", *costs, "ours / peer"]


def rows(result: Result) -> Iterator[Row]:
    """Of all peers that the case has and the run was to measure."""
    for peer in result.case.peers:
        if peer in result.missing:
            yield Row(peer, State.MISSING, target=target(result.case, peer))
        elif peer in result.runs:
            yield row(result, peer)


def row(result: Result, peer: str) -> Row:
    case, runs, values = result.case, result.counted(peer), result.values(peer)
    if not runs:
        return Row(peer, State.FAILED, target=target(case, peer))
    comparison = result.comparison(peer)
    alike = comparison is not None and comparison.outcome == Outcome.NO_DIFFERENCE
    noisy, limited = result.disturbed(peer), result.client_limited(peer)
    latency, shares, each = costs(runs) if case.has_costs else ("", "", "")
    return Row(
        peer,
        figure=f"{statistics.median(values):,.0f}" + (f" {NOISY}" if noisy else ""),
        spread=f"{min(values):,.0f}-{max(values):,.0f}" if len(values) > 1 else "",
        latency=latency,
        shares=shares + (f" {LIMITED}" if limited else ""),
        each=each,
        ratio=f"{comparison}" + (f" {ALIKE}" if alike else "") if comparison else "",
        target=target(case, peer),
        met=result.verdict(peer),
        outcome=comparison.outcome if comparison else None,
        marks=ALIKE * alike + NOISY * noisy + LIMITED * limited,
    )


def costs(runs: list[Run]) -> tuple[str, str, str]:
    """Latencies, shares of a core and CPU time for each, medians of the runs."""

    def median(name: str) -> float:
        return float(statistics.median(getattr(run, name) for run in runs))

    p50, p99 = median("p50_us") / 1000, median("p99_us") / 1000
    latency = f"{p50:.2f} / {p99:.2f}" if p99 else "-"
    return latency, f"{median('server_cpu'):.0%} / {median('client_cpu'):.0%}", f"{median('cpu_us'):.1f}"


def target(case: Case, peer: str) -> str:
    if peer == case.ours:
        return f"≤ {case.ceiling:,.0f}" if case.ceiling is not None else ""
    return f"{'≤' if case.lower_is_better else '≥'} {case.targets[peer]:.2f}" if peer in case.targets else ""


def remarks(result: Result) -> list[str]:
    """What has to be said below the table."""
    marks = {mark for row in rows(result) for mark in row.marks}
    said = [f"{mark} {note}" for mark, note in NOTES.items() if mark in marks]
    everything = [run for runs in result.runs.values() for run in runs]
    if disturbed := sum(run.disturbed for run in everything):
        said.append(f"{disturbed} of {len(everything)} runs were disturbed; they count only where no other does")
    if result.case.measure == Measure.LATENCY:
        said += lateness(result)
    said += dict.fromkeys(f"{peer} FAILED: {run.error}" for peer, run in result.failures)
    return said


def lateness(result: Result) -> Iterator[str]:
    """What was offered, and by how much the client was late: a p99 that is not well above this is the client's."""
    for peer in result.case.peers:
        if runs := result.counted(peer):
            offered = statistics.median(run.offered for run in runs)
            late = statistics.median(run.late_us for run in runs)
            yield f"{peer} was offered {offered:,.0f} messages/s, of which 99 % were sent at most {late:,.0f} µs late"

"""What was measured, and which of it counts."""

from __future__ import annotations

import statistics
from dataclasses import dataclass, field

from cases.case import Case, Measure
from results.comparing import Comparison

DISTURBED = 0.03  # a run is disturbed when other processes had one of its cores for a larger share of it
BUSY = 0.90  # from this share of a core on, a process is what the other one waits for
LEAST_GROWTH = 64 * 1024  # of a slow reader's server: less is what any process needs to work, and not compared


@dataclass
class Run:
    """One server under one load: the figure, and what is needed to judge it."""

    value: float = 0.0
    p50_us: float = 0.0
    p99_us: float = 0.0
    cpu_us: float = 0.0  # the server's CPU time for one message: hardly touched by what else runs
    client_cpu: float = 0.0  # shares of one core
    server_cpu: float = 0.0
    waited: float = 0.0  # the share of the time in which other processes had one of the two cores
    failures: int = 0
    error: str = ""
    percentiles_us: list[tuple[float, float]] = field(default_factory=list)  # LATENCY: from the schedule
    offered: float = 0.0  # LATENCY: messages a second that were due
    late_us: float = 0.0  # LATENCY: by how much the client itself was late, of 99 % of them
    memory: list[tuple[float, float]] = field(default_factory=list)  # SLOW_READER: seconds, bytes above the start

    @property
    def disturbed(self) -> bool:
        return self.waited > DISTURBED


@dataclass
class Result:
    """One case, and the runs of each peer in it, in the order of the rounds."""

    case: Case
    missing: dict[str, str]
    runs: dict[str, list[Run]] = field(default_factory=dict)

    def counted(self, peer: str) -> list[Run]:
        """The runs that a figure rests on: disturbed ones only where there are no others."""
        runs = [run for run in self.runs.get(peer, ()) if not run.failures]
        return [run for run in runs if not run.disturbed] or runs

    def values(self, peer: str) -> list[float]:
        return [run.value for run in self.counted(peer)]

    def median(self, peer: str) -> float | None:
        values = self.values(peer)
        return statistics.median(values) if values else None

    def ratios(self, peer: str) -> list[float]:
        """greensock / peer, each pair from the same round, so that slow drifts of the machine cancel out."""
        rounds = zip(self.runs.get(self.case.ours, ()), self.runs.get(peer, ()), strict=False)
        pairs = [(ours, theirs) for ours, theirs in rounds if not (ours.failures or theirs.failures)]
        quiet = [(ours, theirs) for ours, theirs in pairs if not (ours.disturbed or theirs.disturbed)]
        figures = [(self.comparable(ours), self.comparable(theirs)) for ours, theirs in quiet or pairs]
        return [ours / theirs for ours, theirs in figures if theirs > 0]

    def comparable(self, run: Run) -> float:
        return max(run.value, LEAST_GROWTH) if self.case.measure == Measure.SLOW_READER else run.value

    def comparison(self, peer: str) -> Comparison | None:
        """None for greensock itself, and for a peer that has no figure."""
        ratios = [] if peer == self.case.ours else self.ratios(peer)
        return Comparison.of(ratios, self.case.lower_is_better) if ratios else None

    @property
    def failures(self) -> list[tuple[str, Run]]:
        return [(peer, run) for peer, runs in self.runs.items() for run in runs if run.failures]

    def disturbed(self, peer: str) -> bool:
        """Was every run disturbed, so that the figure rests on such runs?"""
        runs = self.counted(peer)
        return bool(runs) and runs[0].disturbed

    def client_limited(self, peer: str) -> bool:
        """Did the load client work all the time and the server not?  Then the server is at least this good.

        Of a latency it is the limit where its own lateness, which is part of that latency, is most of it.
        """
        runs = self.counted(peer)
        if runs and self.case.measure == Measure.LATENCY:
            return statistics.median(run.late_us for run in runs) > statistics.median(self.values(peer)) / 2
        if not runs or self.case.measure != Measure.RATE or self.case.per_cpu:
            return False
        client = statistics.median(run.client_cpu for run in runs)
        return client > BUSY > statistics.median(run.server_cpu for run in runs)

    def verdict(self, peer: str) -> bool | None:
        """Was the target met that the table sets for this row?  None where it sets none, or nothing was measured."""
        if peer == self.case.ours:
            median, ceiling = self.median(peer), self.case.ceiling
            return median <= ceiling if median is not None and ceiling is not None else None
        comparison, target = self.comparison(peer), self.case.targets.get(peer)
        if comparison is None or target is None:
            return None
        return comparison.median <= target if self.case.lower_is_better else comparison.median >= target

    @property
    def targets_met(self) -> bool:
        rows = [*self.case.targets, *((self.case.ours,) if self.case.ceiling is not None else ())]
        return all(self.verdict(peer) for peer in rows)

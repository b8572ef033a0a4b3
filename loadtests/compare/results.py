"""What was measured, and which of it counts."""

from __future__ import annotations

import statistics
from dataclasses import dataclass, field

from cases import Case

DISTURBED = 0.03  # a run is disturbed when other processes had one of its cores for a larger share of it


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
    case: Case
    missing: dict[str, str]
    runs: dict[str, list[Run]] = field(default_factory=dict)

    def counted(self, peer: str) -> list[Run]:
        """The runs that a figure rests on: disturbed ones only where there are no others."""
        runs = [run for run in self.runs.get(peer, ()) if not run.failures]
        return [run for run in runs if not run.disturbed] or runs

    def values(self, peer: str) -> list[float]:
        return [run.value for run in self.counted(peer)]

    def ratios(self, peer: str) -> list[float]:
        """greensock / peer, each pair from the same round, so that slow drifts of the machine cancel out."""
        rounds = zip(self.runs.get(self.case.ours, ()), self.runs.get(peer, ()), strict=False)
        pairs = [(ours, theirs) for ours, theirs in rounds if not (ours.failures or theirs.failures)]
        quiet = [(ours, theirs) for ours, theirs in pairs if not (ours.disturbed or theirs.disturbed)]
        return [ours.value / theirs.value for ours, theirs in quiet or pairs]

    @property
    def failures(self) -> list[tuple[str, Run]]:
        return [(peer, run) for peer, runs in self.runs.items() for run in runs if run.failures]

    def verdict(self, peer: str) -> bool | None:
        """Was the target met that the table sets for this row?  None where it sets none, or nothing was measured."""
        if peer == self.case.ours:
            values, ceiling = self.values(peer), self.case.ceiling
            return statistics.median(values) <= ceiling if values and ceiling is not None else None
        ratios, target = self.ratios(peer), self.case.targets.get(peer)
        if not ratios or target is None:
            return None
        ratio = statistics.median(ratios)
        return ratio <= target if self.case.is_memory else ratio >= target

    @property
    def targets_met(self) -> bool:
        rows = [*self.case.targets, *((self.case.ours,) if self.case.ceiling is not None else ())]
        return all(self.verdict(peer) for peer in rows)

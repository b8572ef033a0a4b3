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
    client_cpu: float = 0.0  # shares of one core
    server_cpu: float = 0.0
    waited: float = 0.0  # the share of the time in which other processes had one of the two cores
    failures: int = 0
    error: str = ""

    @property
    def disturbed(self) -> bool:
        return self.waited > DISTURBED

    @property
    def cpu_us(self) -> float:
        """The server's CPU time for one message, in microseconds: hardly touched by what else runs."""
        return self.server_cpu / self.value * 1e6 if self.value else 0.0


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
        if self.case.ceiling is not None:
            values = self.values(peer) if peer == self.case.ours else []
            return statistics.median(values) <= self.case.ceiling if values else None
        ratios = self.ratios(peer)
        return statistics.median(ratios) >= self.case.targets[peer] if peer in self.case.targets and ratios else None

    @property
    def targets_met(self) -> bool:
        rows = (self.case.ours,) if self.case.is_memory else tuple(self.case.targets)
        return all(self.verdict(peer) for peer in rows)

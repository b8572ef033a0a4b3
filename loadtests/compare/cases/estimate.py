"""How long a measurement takes, so that nobody has to find out."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from cases.case import Case, Measure

# Seconds, of what was seen on two cores. A machine that is slower moves the bar, not the order of things.
START_AND_END = 0.3
SETTLING = 2.5  # of memory, before it is read: twice at least half a second without a change, and mostly more
PER_CONNECTION = 0.0001
PER_MIB = 0.0006


@dataclass(frozen=True)
class Estimate:
    seconds: float
    warmup: float
    mib: int

    def run(self, case: Case) -> float:
        connections = option(case.load, "--connections")
        lasts = START_AND_END + connections * PER_CONNECTION
        if case.measure == Measure.MEMORY:
            return lasts + SETTLING
        if case.amount:
            return lasts + 1.25 * self.mib * PER_MIB  # a quarter is sent before, to warm up
        return lasts + self.warmup + self.seconds

    def all(self, plan: Sequence[tuple[Case, Sequence[str]]], rounds: int) -> float:
        return rounds * sum(self.run(case) * len(peers) for case, peers in plan)


def option(words: Sequence[str], name: str) -> int:
    return int(words[words.index(name) + 1]) if name in words else 0


def in_words(seconds: float) -> str:
    if seconds < 100:
        return f"{seconds:.0f} seconds"
    return f"{seconds / 60:.0f} minutes"

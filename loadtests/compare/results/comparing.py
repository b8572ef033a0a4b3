"""When two figures differ, and when nobody can tell."""

from __future__ import annotations

import statistics
from collections.abc import Sequence
from dataclasses import dataclass
from enum import StrEnum


class Outcome(StrEnum):
    AHEAD = "ahead"
    BEHIND = "behind"
    NO_DIFFERENCE = "no difference shown"


@dataclass(frozen=True)
class Comparison:
    """The ratios greensock / peer of several rounds.

    Only ratios that all lie on one side of 1 show a difference. A single one shows none: nobody knows how far the
    next would have been from it.
    """

    median: float
    low: float
    high: float
    rounds: int
    lower_is_better: bool

    @classmethod
    def of(cls, ratios: Sequence[float], lower_is_better: bool) -> Comparison:
        return cls(statistics.median(ratios), min(ratios), max(ratios), len(ratios), lower_is_better)

    @property
    def outcome(self) -> Outcome:
        # Rounded as it is shown: nobody should read "0.93-1.00" and wonder. A hundredth is no difference either.
        if self.rounds < 2 or round(self.low, 2) <= 1 <= round(self.high, 2):
            return Outcome.NO_DIFFERENCE
        return Outcome.AHEAD if (self.median < 1) == self.lower_is_better else Outcome.BEHIND

    @property
    def loss(self) -> float:
        """How many times better the peer is: above 1 where greensock is behind."""
        if self.lower_is_better:
            return self.median
        return 1 / self.median if self.median else float("inf")

    def moved_from(self, other: Comparison) -> bool | None:
        """Do the spreads of two measurements not even touch?  None where one of them has no spread."""
        if self.rounds < 2 or other.rounds < 2:
            return None
        # As they are shown, again: idle memory comes out the same to a thousandth, and a byte more has not moved it.
        return round(self.low, 2) > round(other.high, 2) or round(self.high, 2) < round(other.low, 2)

    def __str__(self) -> str:
        spread = f" ({self.low:.2f}-{self.high:.2f})" if self.rounds > 1 else ""
        return f"{self.median:.2f}{spread}"

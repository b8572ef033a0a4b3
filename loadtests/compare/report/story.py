"""Two measurements side by side: do they say the same?"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from results.comparing import Comparison, Outcome
from results.recording import Record


@dataclass(frozen=True)
class Pair:
    title: str
    peer: str
    then: Comparison
    now: Comparison

    @property
    def turned(self) -> bool:
        """Who was shown to be ahead is now shown to be behind."""
        return {self.then.outcome, self.now.outcome} == {Outcome.AHEAD, Outcome.BEHIND}

    @property
    def moved(self) -> bool:
        return self.now.moved_from(self.then) is True

    @property
    def remark(self) -> str:
        said = ["**the order changed**"] if self.turned else []
        if self.moved:
            said.append("moved by more than both spreads")
        if self.now.moved_from(self.then) is None:
            said.append("one round: cannot say")
        elif not self.turned and self.then.outcome != self.now.outcome:
            shown = "then" if self.now.outcome == Outcome.NO_DIFFERENCE else "now"
            said.append(f"a difference shown only {shown}")
        return ", ".join(said)


def pairs(record: Record) -> list[Pair]:
    """What both have measured."""
    if record.earlier is None:
        return []
    now = record.ratios()
    titles = {result.case.key: result.case.title for result in record.results}
    return [
        Pair(titles[key], peer, then, now[key][peer])
        for key, peers in record.earlier.ratios.items()
        for peer, then in peers.items()
        if peer in now.get(key, {})
    ]


def in_words(record: Record) -> Iterator[str]:
    found = pairs(record)
    assert record.earlier is not None
    yield (
        f"Beside the run of {record.earlier.began}: {len(found)} ratios greensock / peer that both have measured. "
        f"The order changed in {sum(pair.turned for pair in found)}; the ratio moved by more than both spreads in "
        f"{sum(pair.moved for pair in found)}."
    )
    for pair in found:
        if pair.turned:
            yield f"The order changed: {pair.title}, {pair.peer}: {pair.then} then, {pair.now} now."


def table(record: Record) -> Iterator[list[str]]:
    yield ["case", "peer", "then", "now", ""]
    for pair in pairs(record):
        yield [pair.title, pair.peer, str(pair.then), str(pair.now), pair.remark]

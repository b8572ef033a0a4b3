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
    other: Comparison
    this: Comparison

    @property
    def turned(self) -> bool:
        """Who was shown to be ahead by the one is shown to be behind by the other."""
        return {self.other.outcome, self.this.outcome} == {Outcome.AHEAD, Outcome.BEHIND}

    @property
    def moved(self) -> bool:
        return self.this.moved_from(self.other) is True

    @property
    def remark(self) -> str:
        said = ["**the order changed**"] if self.turned else []
        if self.moved:
            said.append("moved by more than both spreads")
        if self.this.moved_from(self.other) is None:
            said.append("one round: cannot say")
        elif not self.turned and self.other.outcome != self.this.outcome:
            which = "the other" if self.this.outcome == Outcome.NO_DIFFERENCE else "this"
            said.append(f"a difference shown only by {which} run")
        return ", ".join(said)


def pairs(record: Record) -> list[Pair]:
    """What both have measured."""
    if record.other is None:
        return []
    these = record.ratios()
    titles = {result.case.key: result.case.title for result in record.results}
    return [
        Pair(titles[key], peer, other, these[key][peer])
        for key, peers in record.other.ratios.items()
        for peer, other in peers.items()
        if peer in these.get(key, {})
    ]


def in_words(record: Record) -> Iterator[str]:
    found = pairs(record)
    assert record.other is not None
    yield (
        f"Beside another run, of {record.other.began}, with {record.other.how_often}: {len(found)} ratios greensock / "
        f"peer that both have measured. The order changed in {sum(pair.turned for pair in found)}; the ratio moved by "
        f"more than both spreads in {sum(pair.moved for pair in found)}."
    )
    for pair in found:
        if pair.turned:
            yield f"The order changed: {pair.title}, {pair.peer}: {pair.other} there, {pair.this} here."


def table(record: Record) -> Iterator[list[str]]:
    assert record.other is not None
    yield ["case", "peer", record.other.began, record.began, ""]
    for pair in pairs(record):
        yield [pair.title, pair.peer, str(pair.other), str(pair.this), pair.remark]

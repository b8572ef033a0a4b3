"""Who is ahead of whom, in plain words."""

from __future__ import annotations

from collections.abc import Iterator

from cases import Case, Measure
from comparing import Comparison, Outcome
from recording import Record
from results import Result


def comparisons(record: Record) -> Iterator[tuple[Result, str, Comparison]]:
    """Each case with each rival that it has a figure for."""
    for result in record.results:
        for peer in result.case.rivals:
            if comparison := result.comparison(peer):
                yield result, peer, comparison


def scores(record: Record) -> Iterator[str]:
    """A sentence for each rival: in how many cases greensock is ahead."""
    against: dict[str, list[tuple[Result, Comparison]]] = {}
    for result, peer, comparison in comparisons(record):
        against.setdefault(peer, []).append((result, comparison))
    for peer, found in against.items():
        outcomes = [comparison.outcome for _, comparison in found]
        counts = {outcome: outcomes.count(outcome) for outcome in Outcome}
        yield (
            f"**{peer}**: of {len(found)} comparisons greensock is ahead in {counts[Outcome.AHEAD]} and behind in "
            f"{counts[Outcome.BEHIND]}; no difference was shown in {counts[Outcome.NO_DIFFERENCE]}."
        )


def where_it_loses(record: Record) -> list[str]:
    """One item for each case in which greensock is behind somebody, the largest loss first."""
    behind: dict[str, list[tuple[str, Comparison]]] = {}
    for result, peer, comparison in comparisons(record):
        if comparison.outcome == Outcome.BEHIND:
            behind.setdefault(result.case.key, []).append((peer, comparison))
    for found in behind.values():
        found.sort(key=lambda loss: -loss[1].loss)
    items = []
    for key, found in sorted(behind.items(), key=lambda item: -item[1][0][1].loss):
        lost = record.result(key)
        assert lost is not None
        items.append(loss_in_words(lost, found))
    failed = [
        result for result in record.results if result.case.ours in result.runs and not result.values(result.case.ours)
    ]
    return [f"**{result.case.title}**: {result.case.ours} failed, and has no figure." for result in failed] + items


def loss_in_words(result: Result, found: list[tuple[str, Comparison]]) -> str:
    case = result.case
    each = ", ".join(f"{peer} {factor(comparison)}" for peer, comparison in found)
    said = f"**{case.title}**: {meaning(case)} {each}."
    if result.client_limited(case.ours):
        said += f" The load client was the limit of {case.ours}, which is at least as fast as measured."
    return f"{said} {case.why}".strip()


def factor(comparison: Comparison) -> str:
    """How many times better the peer is, with its spread."""
    low, high = comparison.low, comparison.high
    if not comparison.lower_is_better:
        low, high = 1 / high, 1 / low
    return f"{comparison.loss:.2f} × ({low:.2f}-{high:.2f})"


def meaning(case: Case) -> str:
    match case.measure:
        case Measure.MEMORY:
            return f"{case.ours} needs more memory than others:"
        case Measure.LATENCY:
            return f"{case.ours} has a longer p99, each at its own rate, than"
        case Measure.SLOW_READER:
            return f"the memory of {case.ours} grows further than that of"
        case _:
            return f"{case.ours} does less; in {case.unit},"


def not_shown(record: Record) -> list[str]:
    """One item for each case in which somebody cannot be told from greensock."""
    alike: dict[str, list[str]] = {}
    for result, peer, comparison in comparisons(record):
        if comparison.outcome == Outcome.NO_DIFFERENCE:
            alike.setdefault(result.case.title, []).append(f"{peer} {comparison}")
    return [f"{title}: {', '.join(found)}" for title, found in alike.items()]

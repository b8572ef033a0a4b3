"""Who is ahead of whom, in plain words."""

from __future__ import annotations

from collections.abc import Iterator

from cases.case import Measure
from report.rows import NOISY
from results.comparing import Comparison, Outcome
from results.recording import Record
from results.runs import Result


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
    items = []
    for result in record.results:
        if result.case.ours in result.runs and not result.values(result.case.ours):
            items.append(f"**{result.case.title}**: {result.case.ours} failed, and has no figure.")
    explained: set[str] = set()
    for key, found in sorted(behind.items(), key=lambda item: -max(loss.loss for _, loss in item[1])):
        lost = record.result(key)
        assert lost is not None
        said = loss_in_words(lost, sorted(found, key=lambda item: -item[1].loss))
        why = lost.case.why
        items.append(said if why in explained else f"{said} {why}".strip())
        explained.add(why)
    return items


def loss_in_words(result: Result, found: list[tuple[str, Comparison]]) -> str:
    case = result.case
    factors = ", ".join(f"{factor(comparison)} that of {peer}" for peer, comparison in found)
    match case.measure:
        case Measure.MEMORY:
            said = f"the memory of {case.ours} is {factors}."
        case Measure.LATENCY:
            said = f"the p99 of {case.ours} is {factors}, each server at its own rate."
        case Measure.SLOW_READER:
            said = f"the growth of {case.ours} is {factors}."
        case _:
            others = " and ".join(f"{peer} makes {factor(comparison)}" for peer, comparison in found)
            said = f"{others} the {case.unit} of {case.ours}."
    if result.client_limited(case.ours):
        said += f" The load client was the limit of {case.ours}, which is at least as good as measured."
    if result.disturbed(case.ours):
        said += f" `{NOISY}` Other processes disturbed every round."
    return f"**{case.title}**: {said}"


def factor(comparison: Comparison) -> str:
    """How many times better the peer is, with its spread."""
    low, high = comparison.low, comparison.high
    if not comparison.lower_is_better:
        low, high = 1 / high, 1 / low
    return f"{comparison.loss:.2f} × ({low:.2f}-{high:.2f})"


def not_shown(record: Record) -> list[str]:
    """One item for each case in which somebody cannot be told from greensock."""
    alike: dict[str, list[str]] = {}
    for result, peer, comparison in comparisons(record):
        if comparison.outcome == Outcome.NO_DIFFERENCE:
            alike.setdefault(result.case.title, []).append(f"{peer} {comparison}")
    return [f"{title}: {', '.join(found)}" for title, found in alike.items()]

"""Was it the servers that were measured, or the load client?"""

from __future__ import annotations

import statistics
from collections.abc import Iterator

from cases.peers import CEILING
from report.rows import LIMITED
from results.recording import Record
from results.runs import Result

CLOSE = 0.95  # of the ceiling: from here on a server may be held up by what holds up the ceiling


def ceilings(record: Record) -> list[Result]:
    return [result for result in record.results if result.values(CEILING)]


def fastest(result: Result) -> tuple[str, float] | None:
    """The fastest server, the bare one aside, and its share of what that one does."""
    medians = {peer: median for peer in result.case.peers if peer != CEILING and (median := result.median(peer))}
    top = result.median(CEILING)
    if not medians or not top:
        return None
    peer = max(medians, key=lambda name: medians[name])
    return peer, medians[peer] / top


def table(record: Record) -> Iterator[list[str]]:
    yield ["case", "the ceiling", "load client beside it", "fastest server", "of the ceiling", "load client beside it"]
    for result in ceilings(record):
        found = fastest(result)
        if found is not None:
            peer, share = found
            top = f"{result.median(CEILING):,.0f}"
            mark = f" {LIMITED}" if result.client_limited(peer) else ""
            yield [
                result.case.title,
                top,
                client_share(result, CEILING),
                peer,
                f"{share:.0%}{mark}",
                client_share(result, peer),
            ]


def client_share(result: Result, peer: str) -> str:
    return f"{statistics.median(run.client_cpu for run in result.counted(peer)):.0%}"


def in_words(record: Record) -> Iterator[str]:
    """Sentences that a reader can act on."""
    found = [(result, *share) for result in ceilings(record) if (share := fastest(result))]
    if found:
        result, peer, nearest = max(found, key=lambda item: item[2])
        yield (
            f"`{CEILING}` echoes with a bare epoll loop and checks nothing: what it reaches is what the kernel and the "
            "load client leave to any server. The fastest of the others came nearest to it in "
            f"*{result.case.title}*: {peer}, with {nearest:.0%} of it."
        )
        far = sum(share < CLOSE for _, _, share in found)
        yield (
            f"In {far} of {len(found)} echo cases all of them stayed below {CLOSE:.0%} of the ceiling: there the load "
            "client would have driven a faster server, and was not the limit."
        )
        if close := [result.case.title for result, _, share in found if share >= CLOSE]:
            yield f"Not proven so, because somebody came as near as that: {'; '.join(close)}."
    else:
        yield f"`{CEILING}` was not measured, so this run does not prove that the load client was not the limit."
    limited = [
        f"{result.case.title} ({', '.join(peers)})"
        for result in record.results
        if (peers := [peer for peer in result.case.peers if peer != CEILING and result.client_limited(peer)])
    ]
    if limited:
        yield (
            f"The load client *was* the limit, marked `{LIMITED}`, in: {'; '.join(limited)}. These servers are at "
            "least as good as their figures; compare their microseconds."
        )
    else:
        yield f"No server's figure is marked `{LIMITED}`: the load client was never busy beside a server that was not."

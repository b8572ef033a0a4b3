"""The tables of README.md that are measured: what stands between two marks there."""

from __future__ import annotations

import re
import statistics
from collections.abc import Iterator

import click

from report import losses
from report.page import table
from report.rows import ALIKE, LIMITED, NOISY
from results.comparing import Outcome
from results.recording import Record
from results.runs import Result

BEGIN = "<!-- measured: begin (written by loadtests/compare/bench.py, from docs/benchmarks/results.json) -->"
END = "<!-- measured: end -->"
MARKED = re.compile(f"{re.escape(BEGIN)}\n.*?{re.escape(END)}", re.DOTALL)

# The columns: each peer with its other styles, which have figures where the first has none, or besides.
COLUMNS = (("gevent",), ("uvloop", "uvloop writelines", "uvloop streams"), ("bun", "bun sink"))
CASES = (
    *("echo", "echo-1000", "echo-large", "small", "frames", "lines", "broadcast", "bulk", "bulk-down", "sleep", "log"),
    *("churn", "memory", "latency-60", "slow-reader", "session", "session-lines", "session-memory"),
    *("tls-echo", "tls-echo-16k", "tls-churn", "tls-memory"),
)


def part(record: Record) -> str:
    """All that is between the marks, and they."""
    blocks = [[BEGIN], [when(record)]]
    if lines := list(compared(record)):
        blocks += [table(lines), [LEGEND]]
    blocks += [[" ".join(losses.scores(record))]]
    if lost := losses.where_it_loses(record):
        blocks.append([f"The largest loss is in {lost[0]}"])
    blocks.append([END])
    return "\n\n".join("\n".join(block) for block in blocks)


LEGEND = (
    f"In brackets greensock's figure over the other's, the median of the rounds; `{ALIKE}`: no difference shown; "
    f"`{LIMITED}`: the load client was the limit; `{NOISY}`: disturbed. Of memory and latency less is better."
)


def when(record: Record) -> str:
    names = ("python", "gevent", "uvloop", "node", "bun")
    versions = ", ".join(f"{name} {record.versions[name].split()[0]}" for name in names if record.versions.get(name))
    return (
        f"Measured on {record.began}, {record.how_often}, on "
        f"{record.machine['cpu']}, {record.machine['kernel']} ({versions})."
    )


def compared(record: Record) -> Iterator[list[str]]:
    results = [result for key in CASES if (result := record.result(key)) is not None]
    if results:
        yield ["the same work for all", "greensock", "gevent", "uvloop", "Bun"]
    for result in results:
        case = result.case
        cells = ["; ".join(column(result, *peers)) for peers in COLUMNS]
        yield [f"{case.title}, {case.unit}", figure(result, case.ours), *cells]


def column(result: Result, *peers: str) -> Iterator[str]:
    for peer in peers:
        if peer in result.case.peers and (peer == peers[0] or peer in result.runs):
            yield cell(result, peer)


def cell(result: Result, peer: str) -> str:
    style = peer.partition(" ")[2]
    named = f"{style}: " if style else ""
    comparison = result.comparison(peer)
    if comparison is None:
        return named + figure(result, peer)
    alike = f" {ALIKE}" if comparison.outcome == Outcome.NO_DIFFERENCE else ""
    return f"{named}{figure(result, peer)} ({comparison.median:.2f}{alike})"


def figure(result: Result, peer: str) -> str:
    if peer in result.missing:
        return "missing"
    if peer not in result.runs:
        return "not measured"
    values = result.values(peer)
    if not values:
        return "failed"
    marks = LIMITED * result.client_limited(peer) + NOISY * result.disturbed(peer)
    return short(statistics.median(values)) + (f" {marks}" if marks else "")


def short(value: float) -> str:
    """Three digits or four: more are not the same tomorrow."""
    if value >= 100_000:
        return f"{value / 1000:,.0f} k"
    return f"{value / 1000:.1f} k" if value >= 10_000 else f"{value:,.0f}"


def replaced(text: str, record: Record) -> str:
    """README.md with what was measured in the place of what was there."""
    if not MARKED.search(text):
        raise click.ClickException(f"README.md has no part between {BEGIN!r} and {END!r}")
    return MARKED.sub(lambda _: part(record), text, count=1)

"""docs/benchmarks.md, written from a record alone: there is no figure in it that a hand has put there."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence

from cases.estimate import in_words
from report import losses, proof, story
from report.plots import Plot
from report.rows import State, headings, remarks, rows
from results.recording import Record
from results.runs import Result

COMMAND = "python loadtests/compare/bench.py"


def table(lines: Iterable[Sequence[str]], left: int = 1) -> list[str]:
    """A table in Markdown, its first line the headings, the first *left* columns flush left."""
    head, *body = lines
    rule = ["---" if column < left else "---:" for column in range(len(head))]
    return [f"| {' | '.join(cells)} |" for cells in (head, rule, *body)]


def items(texts: Iterable[str], otherwise: str) -> list[str]:
    return [f"- {text}" for text in texts] or [otherwise]


def render(record: Record, plots: Sequence[Plot], folder: str, readme: str) -> str:
    """*folder* is where the page finds its plots, *readme* where it finds what is fair."""
    blocks: list[list[str]] = [
        ["<!-- Written by loadtests/compare/bench.py from results.json: change that, or measure again. -->"],
        ["# greensock measured beside its peers"],
        *introduction(record, folder),
        *who(record),
        ["## Where greensock loses"],
        [
            "How many times better the other one is, the median of the rounds and in brackets the spread; the largest "
            "loss of each case decides the order. Only differences that every round shows are here."
        ],
        items(losses.where_it_loses(record), "Nowhere in this run."),
        ["## Where no difference was shown"],
        [
            "The ratios greensock / peer of single rounds lie on both sides of 1, or there was one round only. These "
            "are counted neither as won nor as lost."
        ],
        items(losses.not_shown(record), "Nowhere in this run."),
        *was_it_the_client(record),
        *curves(plots, folder),
        ["## All cases"],
        [
            "The median of the rounds, its spread, the latencies, the shares of a core that server and load client "
            "used, the server's CPU time for one of the units, and greensock's figure over the peer's, round by round, "
            "as median and spread. In cases of memory and latency less is better."
        ],
        *(block for result in record.results for block in one_case(result)),
        *the_same_story(record),
        *how_to_repeat(record, readme),
    ]
    return "\n\n".join("\n".join(block) for block in blocks) + "\n"


def introduction(record: Record, folder: str) -> Iterator[list[str]]:
    yield [
        f"Measured on {record.began}, in {in_words(record.took)}: {len(record.results)} cases, "
        f"{record.how_often}, on one core for the server and another for the "
        f"load client, which checks every reply. All of it is in [`results.json`]({folder}/results.json)."
    ]
    for title, facts in (("settings", record.settings), ("machine", record.machine), ("versions", record.versions)):
        yield table([[title, ""], *([key, str(value)] for key, value in facts.items())], left=2)
    if record.missing:
        missing = [f"**{name}** took no part: {why}" for name, why in record.missing.items()]
        yield items(missing, "")
    if record.left_out:
        yield [f"Cases that this run left out: {', '.join(f'`{key}`' for key in record.left_out)}."]


def who(record: Record) -> Iterator[list[str]]:
    yield ["## In short"]
    yield items(losses.scores(record), "Nothing was compared.")


def was_it_the_client(record: Record) -> Iterator[list[str]]:
    yield ["## Was the load client the limit?"]
    yield [" ".join(proof.in_words(record))]
    if proof.ceilings(record):
        yield table(proof.table(record))


def curves(plots: Sequence[Plot], folder: str) -> Iterator[list[str]]:
    if plots:
        yield ["## Curves"]
    for plot in plots:
        yield [f"### {plot.title}"]
        yield [f"![{plot.title}]({folder}/{plot.name}.svg)"]
        yield [plot.reading]


def one_case(result: Result) -> Iterator[list[str]]:
    case = result.case
    yield [f"### {case.title} (`{case.key}`)"]
    lines = [["peer", *headings(case), "target"]]
    for row in rows(result):
        if row.state != State.MEASURED:
            lines.append([row.peer, f"**{row.state}**", *[""] * (len(lines[0]) - 3), row.target])
            continue
        verdict = {True: "met", False: "**missed**", None: ""}[row.met]
        name = f"**{row.peer}**" if row.peer == case.ours else row.peer
        lines.append([name, *row.cells(case), f"{row.target} {verdict}".strip()])
    lines[0][1] = f"{case.unit}, median"
    yield table(lines)
    if said := remarks(result):
        yield items(said, "")


def the_same_story(record: Record) -> Iterator[list[str]]:
    if record.other is not None:
        yield ["## The same story?"]
        yield items(story.in_words(record), "")
        yield table(story.table(record), left=2)


def how_to_repeat(record: Record, readme: str) -> Iterator[list[str]]:
    settings = record.settings
    yield ["## How to repeat it"]
    yield ["On a machine with two cores or more that does nothing else, from the top of a checkout:"]
    yield ["    make bench"]
    yield ["or, with these settings and against this measurement:"]
    options = f"--rounds {settings['rounds']} --seconds {settings['seconds']:g} --warmup {settings['warmup']:g}"
    amount = f"--retries {settings['retries']} --amount {settings['MiB']}"
    yield [f"    cp docs/benchmarks/results.json other.json\n    {COMMAND} {options} {amount} --against other.json"]
    yield ["This page again, from the figures as they are:"]
    yield [f"    {COMMAND} --from docs/benchmarks/results.json"]
    yield ["## What is not fair"]
    yield [
        "One core for each server, loopback, full load: what that favours, and whom, is written down in "
        f"[`loadtests/compare/README.md`]({readme}#what-is-fair-and-what-is-not), with how it is measured."
    ]

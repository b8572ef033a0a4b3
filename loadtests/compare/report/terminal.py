"""Telling people at the terminal: the tables, and what they should not believe."""

from __future__ import annotations

from collections.abc import Sequence

from rich import box
from rich.console import Console
from rich.markup import escape
from rich.table import Table

from report.rows import State, headings, remarks, rows
from results.comparing import Outcome
from results.runs import Result, Run

console = Console()
if not console.is_terminal:
    console.width = 120  # a log file has no right edge


def describe(run: Run) -> str:
    return "FAILED" if run.failures else f"{run.value:,.0f}" + ("~" if run.disturbed else "")


LEGEND = (
    "server / load: the share of a core that each used; µs each: the server's CPU time for one of them; "
    "ours / peer: greensock's figure over the peer's, round by round, the median of that and its spread"
)
VERDICTS = {True: "[green]met[/]", False: "[bold red]missed[/]", None: ""}
OUTCOMES = {Outcome.AHEAD: "green", Outcome.BEHIND: "red", Outcome.NO_DIFFERENCE: "dim", None: "default"}


def new_table(title: str, headings: Sequence[str]) -> Table:
    table = Table(
        title=title,
        title_justify="left",
        title_style="bold",
        box=box.SIMPLE_HEAD,
        padding=(0, 1),
        collapse_padding=True,
        pad_edge=False,
    )
    table.add_column("peer", no_wrap=True)
    for heading in headings:
        table.add_column(heading, justify="right", no_wrap=True)
    return table


def print_result(result: Result) -> None:
    case = result.case
    table = new_table(f"{case.title}: {case.unit}", (*headings(case), "target"))
    for row in rows(result):
        if row.state != State.MEASURED:
            table.add_row(row.peer, f"[bold red]{row.state.upper()}[/]")
            continue
        *cells, ratio = row.cells(case)
        name = f"[bold]{row.peer}[/]" if row.peer == case.ours else row.peer
        judged = f"[{OUTCOMES[row.outcome]}]{ratio}[/]"
        table.add_row(name, *cells, judged, f"{row.target} {VERDICTS[row.met]}".strip())
    console.print(table)
    for remark in remarks(result):
        console.print(f"  {escape(remark)}", highlight=False, style="bold red" if "FAILED" in remark else "")
    console.print()


def warn_missing(missing: dict[str, str]) -> None:
    for name, why in missing.items():
        console.print(f"[bold white on red] MISSING [/] [bold]{name}[/] takes no part: ", end="")
        console.print(why, markup=False, highlight=False)

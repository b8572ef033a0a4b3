"""Telling people: the tables, and what they should not believe."""

from __future__ import annotations

import statistics
from collections.abc import Callable, Sequence

from rich import box
from rich.console import Console
from rich.table import Table

from cases import Case
from measuring import RETRIES
from results import DISTURBED, Result, Run

BUSY = 0.90  # from this share of a core on, a process is what the other one waits for

console = Console()
if not console.is_terminal:
    console.width = 120  # a log file has no right edge


def describe(run: Run) -> str:
    return "FAILED" if run.failures else f"{run.value:,.0f}" + ("~" if run.disturbed else "")


def spread(values: list[float], show: Callable[[float], str]) -> str:
    return f"{show(min(values))}-{show(max(values))}" if len(values) > 1 else ""


LEGEND = (
    "server / load: the share of a core that each used; µs each: the server's CPU time for one of them; "
    "ours / peer: greensock's figure over the peer's, round by round, the median of that"
)


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
    headings = ["median", "min-max"]
    if not case.is_memory:
        headings += ["p50 / p99 ms", "server / load", "µs each"]
    table = new_table(f"{case.title}: {case.unit}", (*headings, "ours / peer", "target"))
    notes: set[str] = set()
    for peer in case.peers:
        if peer in result.missing:
            table.add_row(peer, "[bold red]MISSING[/]")
        elif peer in result.runs:
            table.add_row(*row(result, peer, notes))
    console.print(table)
    everything = [run for runs in result.runs.values() for run in runs]
    if disturbed := sum(run.disturbed for run in everything):
        notes.add(
            f"{disturbed} of {len(everything)} runs were disturbed: other processes had over {DISTURBED:.0%} of a "
            f"core, also in {RETRIES} repetitions; such runs count only where there are no others"
        )
    for note in sorted(notes):
        console.print(f"  {note}", highlight=False)
    for peer, run in result.failures:
        console.print(f"  [bold red]FAILED[/] {peer}: {run.failures} failures; ", end="")
        console.print(run.error, markup=False, highlight=False)
    console.print()


def row(result: Result, peer: str, notes: set[str]) -> list[str]:
    runs = result.counted(peer)
    if not runs:
        return [peer, "[bold red]FAILED[/]"]
    values = result.values(peer)
    figure = f"{statistics.median(values):,.0f}"
    if runs[0].disturbed:
        figure += " ~"
        notes.add("~ disturbed in every round: compare µs each rather than the figures")
    cells = [f"[bold]{peer}[/]" if peer == result.case.ours else peer, figure, spread(values, "{:,.0f}".format)]
    if not result.case.is_memory:
        cells += costs(result.case, runs, notes)
    ratios = [] if peer == result.case.ours else result.ratios(peer)
    bounds = spread(ratios, "{:.2f}".format)
    cells.append(f"{statistics.median(ratios):.2f}" + (f" ({bounds})" if bounds else "") if ratios else "")
    cells.append(f"{target(result.case, peer)} {VERDICTS[result.verdict(peer)]}".strip())
    return cells


def costs(case: Case, runs: list[Run], notes: set[str]) -> list[str]:
    """Latencies and CPU time, medians of the runs, and whether the load client was the limit."""
    p50, p99 = (statistics.median(us) / 1000 for us in zip(*((run.p50_us, run.p99_us) for run in runs), strict=True))
    server = statistics.median(run.server_cpu for run in runs)
    client = statistics.median(run.client_cpu for run in runs)
    load = f"{client:.0%}"
    if client > BUSY > server and not case.per_cpu:
        load = f"[bold red]{load} ![/]"
        notes.add("! the load client was the limit, not this server, which is at least this fast")
    each = statistics.median(run.cpu_us for run in runs)
    latency = f"{p50:.2f} / {p99:.2f}" if p99 else "-"
    return [latency, f"{server:.0%} / {load}", f"{each:.1f}"]


VERDICTS = {True: "[green]met[/]", False: "[bold red]missed[/]", None: ""}


def target(case: Case, peer: str) -> str:
    if peer == case.ours:
        return f"≤ {case.ceiling:,.0f}" if case.ceiling is not None else ""
    return f"{'≤' if case.is_memory else '≥'} {case.targets[peer]:.2f}" if peer in case.targets else ""


def warn_missing(missing: dict[str, str]) -> None:
    for name, why in missing.items():
        console.print(f"[bold white on red] MISSING [/] [bold]{name}[/] takes no part: ", end="")
        console.print(why, markup=False, highlight=False)

"""Measure greensock beside the servers that its users would otherwise write.

One compiled load client (load.c and its parts) drives each server in turn: the server on one core, the client on
another, in alternating rounds, with every byte of every reply checked.  README.md in this folder
says what is measured, and what is fair about it and what is not.
"""

from __future__ import annotations

import json
import resource
import signal
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import click
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

from cases import CASES, MEMORY_CONNECTIONS, Case
from certificate import Certificate
from cores import Cores
from facts import as_json, machine, versions
from measuring import Bench
from peers import PEERS
from programs import build_load_client, raise_descriptor_limit, why_missing
from report import LEGEND, console, describe, print_result, warn_missing
from results import Result


def run_case(bench: Bench, case: Case, peers: list[str], rounds: int, missing: dict[str, str]) -> Result:
    result = Result(case, missing, {peer: [] for peer in peers})
    columns = (
        TextColumn("  {task.description}"),
        BarColumn(),
        MofNCompleteColumn(),
        TimeRemainingColumn(),
    )
    with Progress(*columns, console=console, transient=True, refresh_per_second=2) as progress:
        task = progress.add_task("", total=rounds * len(peers))
        for number in range(rounds):
            turn = number % len(peers)
            for name in peers[turn:] + peers[:turn]:  # nobody is always first, or always after the same one
                progress.update(task, description=f"round {number + 1} of {rounds}: {name}")
                result.runs[name].append(bench.measure(case, PEERS[name]))
                progress.advance(task)
            latest = (f"{name} {describe(result.runs[name][-1])}" for name in peers)
            progress.console.print(f"  round {number + 1}: " + ", ".join(latest), style="dim", highlight=False)
    return result


def one_of(known: dict[str, Any]) -> Callable[[click.Context, click.Parameter, str | None], list[str]]:
    """A comma-separated choice among the known names; all of them without one."""

    def parse(ctx: click.Context, param: click.Parameter, value: str | None) -> list[str]:
        if value is None:
            return list(known)
        names = [name.strip() for name in value.split(",")]
        for name in names:
            if name not in known:
                raise click.BadParameter(f"{name!r} is none of: {', '.join(known)}")
        return names

    return parse


@click.command(context_settings={"help_option_names": ["-h", "--help"], "show_default": True})
@click.option("--cases", callback=one_of(CASES), help=f"Some of: {', '.join(CASES)}.")
@click.option("--peers", callback=one_of(PEERS), help=f"Some of: {', '.join(PEERS)}.")
@click.option("--rounds", type=click.IntRange(min=1), default=5, help="Alternating rounds of each case.")
@click.option("--seconds", type=click.FloatRange(min=0.1), default=3.0, help="Measured in each run.")
@click.option("--warmup", type=click.FloatRange(min=0.0), default=1.0, help="Seconds before that, not measured.")
@click.option("--amount", type=click.IntRange(min=4), default=1024, help="MiB of the case that measures an amount.")
@click.option("--quick", is_flag=True, help="One round of one second: does it work, not how fast is it.")
@click.option("--json", "json_file", type=click.Path(dir_okay=False, path_type=Path), help="Write all results there.")
@click.option("--check", is_flag=True, help="Fail also when a target is missed or could not be measured.")
def main(
    cases: list[str],
    peers: list[str],
    rounds: int,
    seconds: float,
    warmup: float,
    amount: int,
    quick: bool,
    json_file: Path | None,
    check: bool,
) -> None:
    """Compare greensock with gevent, asyncio, uvloop, Node and Bun.

    The exit status is 0 when every reply of every server was right; with --check only if every
    target was met as well.
    """
    if quick:
        rounds, seconds, warmup, amount = 1, 1.0, 0.3, 256
    descriptors = raise_descriptor_limit()
    if descriptors != resource.RLIM_INFINITY and descriptors < MEMORY_CONNECTIONS + 100:
        console.print(f"[bold red]The hard limit of descriptors is {descriptors}: the memory case will fail.[/]")
    cores = Cores.available()
    cores.claim()
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))  # by way of every `finally`: no server outlives the bench
    certificate = click.get_current_context().with_resource(Certificate.made())
    bench = Bench(build_load_client(), cores, seconds, warmup, amount << 20, certificate)
    settings = {
        "rounds": rounds,
        "seconds": seconds,
        "warmup": warmup,
        "MiB": amount,
        "server core": cores.server,
        "load core": cores.load,
    }
    for title, facts in (("versions", versions()), ("machine", machine()), ("settings", settings)):
        console.print(
            f"[bold]{title}[/]: " + ", ".join(f"{key} {value}" for key, value in facts.items()), highlight=False
        )
    if cores.shared:
        console.print("[bold red]Only one core: server and load client share it. The figures compare badly.[/]")
    missing = {name: why for name in peers if (why := why_missing(PEERS[name]))}
    warn_missing(missing)
    console.print(LEGEND, style="dim", highlight=False)
    console.print()

    results = []
    for case in (CASES[key] for key in cases):
        present = [name for name in case.peers if name in peers and name not in missing]
        if present:
            console.print(f"[bold]{case.title}[/]")
            results.append(run_case(bench, case, present, rounds, missing))
            print_result(results[-1])
    warn_missing(missing)
    if json_file:
        json_file.write_text(json.dumps(as_json(results, settings), indent=2) + "\n")
        console.print(f"results written to {json_file}", highlight=False)
    failed = any(result.failures for result in results)
    if failed:
        console.print("[bold red]Some replies were wrong or missing: see FAILED above.[/]")
    if check and not all(result.targets_met for result in results):
        console.print("[bold red]Not every target was met.[/]")
        failed = True
    sys.exit(1 if failed or not results else 0)


if __name__ == "__main__":
    main()

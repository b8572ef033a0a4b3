"""Measure greensock beside the servers that its users would otherwise write.

One compiled load client (the folder load) drives each server in turn: the server on one core, the client on
another, in alternating rounds, with every byte of every reply checked.  README.md in this folder
says what is measured, and what is fair about it and what is not.
"""

from __future__ import annotations

import resource
import signal
import sys
import time
from collections.abc import Callable
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import click

from cases import CASES
from cases.estimate import Estimate, in_words
from cases.peers import PEERS
from measure.certificate import Certificate
from measure.client import build_load_client
from measure.cores import Cores
from measure.facts import machine, versions
from measure.measuring import RETRIES, Bench
from measure.servers import raise_descriptor_limit, why_missing
from report.publishing import PAGE, folder_of, publish
from report.terminal import LEGEND, console, warn_missing
from results import recording
from results.recording import Record
from rounds import Runner

QUICK = {"rounds": 1, "seconds": 0.8, "warmup": 0.3, "retries": 0, "amount": 256}


def one_of(known: dict[str, Any]) -> Callable[[click.Context, click.Parameter, str | None], list[str] | None]:
    """A comma-separated choice among the known names."""

    def parse(ctx: click.Context, param: click.Parameter, value: str | None) -> list[str] | None:
        if value is None:
            return None
        names = [name.strip() for name in value.split(",")]
        for name in names:
            if name not in known:
                raise click.BadParameter(f"{name!r} is none of: {', '.join(known)}")
        return names

    return parse


FILE = click.Path(dir_okay=False, path_type=Path)
EXISTING = click.Path(exists=True, dir_okay=False, path_type=Path)


@click.command(context_settings={"help_option_names": ["-h", "--help"], "show_default": True})
@click.option("--cases", callback=one_of(CASES), help=f"Some of: {', '.join(CASES)}.  [default: all]")
@click.option("--peers", callback=one_of(PEERS), help=f"Some of: {', '.join(PEERS)}.  [default: all]")
@click.option("--rounds", type=click.IntRange(min=1), default=3, help="Alternating rounds of each case.")
@click.option("--seconds", type=click.FloatRange(min=0.1), default=1.0, help="Measured in each run.")
@click.option("--warmup", type=click.FloatRange(min=0.0), default=0.4, help="Seconds before that, not measured.")
@click.option("--retries", type=click.IntRange(min=0), default=RETRIES, help="Repetitions of a disturbed run.")
@click.option("--amount", type=click.IntRange(min=4), default=1024, help="MiB of the cases that measure an amount.")
@click.option(
    "--quick", is_flag=True, help="One short round of some cases of each kind: does it work, not how fast is it."
)
@click.option(
    "--report", type=FILE, help="Write a page there, also of a part: with plots and results in a folder beside it."
)
@click.option("--json", "json_file", type=FILE, help="Write the results there as well.")
@click.option("--from", "from_file", type=EXISTING, help="Measure nothing: write the page from these results.")
@click.option("--against", type=EXISTING, help="Put other results beside these, and say where the story differs.")
@click.option("--check", is_flag=True, help="Fail also when a target is missed or could not be measured.")
def main(
    cases: list[str] | None,
    peers: list[str] | None,
    rounds: int,
    seconds: float,
    warmup: float,
    retries: int,
    amount: int,
    quick: bool,
    report: Path | None,
    json_file: Path | None,
    from_file: Path | None,
    against: Path | None,
    check: bool,
) -> None:
    """Compare greensock with gevent, asyncio, uvloop, Twisted, Node and Bun.

    A run of all cases and all peers writes docs/benchmarks.md and the tables of README.md. The exit status is 0 when
    every reply of every server was right; with --check only if every target was met as well.
    """
    other = recording.read(against) if against else None
    if from_file:
        record = recording.read(from_file)
        if report is None and from_file.resolve() != folder_of(PAGE) / "results.json":
            raise click.UsageError("--from other results than the project's own needs --report FILE")
        report = report or PAGE
    else:
        if quick:
            rounds, seconds, warmup, retries, amount = QUICK.values()  # type: ignore[assignment]
        whole = not quick and cases is None and peers is None
        chosen = cases or [case.key for case in CASES.values() if case.quick or not quick]
        record = measure(chosen, peers or list(PEERS), rounds, Estimate(seconds, warmup, amount), retries)
        report = report or (PAGE if whole else None)
    if other:
        record = record.beside(other)
    if report:
        console.print(f"written: {', '.join(map(str, publish(record, report)))}", highlight=False)
    else:
        console.print("No page was written: only a whole run writes docs/benchmarks.md, any other what --report names.")
    if json_file:
        recording.write(record, json_file)
        console.print(f"results written to {json_file}", highlight=False)
    sys.exit(status(record, check))


def measure(cases: list[str], peers: list[str], rounds: int, estimate: Estimate, retries: int) -> Record:
    began, started = datetime.now(UTC), time.monotonic()
    descriptors = raise_descriptor_limit()
    most = max(CASES[key].connections for key in cases)
    if descriptors != resource.RLIM_INFINITY and descriptors < most + 100:
        console.print(f"[bold red]The hard limit of descriptors is {descriptors}: {most} connections will fail.[/]")
    cores = Cores.available()
    cores.claim()
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))  # by way of every `finally`: no server outlives the bench
    certificate = click.get_current_context().with_resource(Certificate.made())
    client = build_load_client()
    bench = Bench(client, cores, estimate.seconds, estimate.warmup, estimate.mib << 20, certificate, retries)
    missing = {name: why for name in peers if (why := why_missing(PEERS[name]))}
    plan = [(CASES[key], [name for name in CASES[key].peers if name in peers and name not in missing]) for key in cases]
    plan = [(case, present) for case, present in plan if present]
    settings = {
        "rounds": rounds,
        "seconds": estimate.seconds,
        "warmup": estimate.warmup,
        "retries": retries,
        "MiB": estimate.mib,
        "server core": cores.server,
        "load core": cores.load,
    }
    left_out = [key for key in CASES if key not in (case.key for case, _ in plan)]
    record = Record(f"{began:%Y-%m-%d %H:%M} UTC", 0.0, settings, machine(), versions(), missing, left_out)
    introduce(record, cores)
    total = estimate.all(plan, rounds)
    console.print(f"{len(plan)} cases, {rounds} rounds: about {in_words(total)}\n", style="bold", highlight=False)
    results = Runner(bench, plan, rounds, estimate, missing).run()
    warn_missing(missing)
    took = time.monotonic() - started
    console.print(f"measured in {in_words(took)}", highlight=False)
    if left_out:
        console.print(f"cases left out: {', '.join(left_out)}", highlight=False)
    return replace(record, took=took, results=results)


def introduce(record: Record, cores: Cores) -> None:
    """Under what circumstances, before anybody waits for the figures."""
    for title in ("versions", "machine", "settings"):
        facts = ", ".join(f"{key} {value}" for key, value in getattr(record, title).items())
        console.print(f"[bold]{title}[/]: {facts}", highlight=False)
    if cores.shared:
        console.print("[bold red]Only one core: server and load client share it. The figures compare badly.[/]")
    warn_missing(record.missing)
    console.print(LEGEND, style="dim", highlight=False)


def status(record: Record, check: bool) -> int:
    failed = any(result.failures for result in record.results)
    if failed:
        console.print("[bold red]Some replies were wrong or missing: see FAILED above.[/]")
    if check and not all(result.targets_met for result in record.results):
        console.print("[bold red]Not every target was met.[/]")
        failed = True
    return 1 if failed or not record.results else 0


if __name__ == "__main__":
    main()

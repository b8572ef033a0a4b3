"""What a message costs the process that serves it: system calls, switches, allocations, and where the time goes.

    python loadtests/costs.py [--connections 1,64,1000,10000] [--kinds handlers,sessions] [--seconds 2] [--profile]

An echo of 64 bytes is served in a process of its own, on a core of its own, and loaded by the compiled client of
``compare/``, whose connections each wait for their reply before they send again. Each number is counted in a window of
its own under steady load, so that no way of counting disturbs another, and divided by the messages that the server has
read in that window:

- processor time and context switches of the serving thread: from /proc, with nothing attached
- system calls: counted by the kernel (perf stat), or where it does not let us, by strace, which makes each call much
  slower and leaves their number per turn of the loop to be taken with care
- greenlet switches, and greenlets that begin: by ``greenlet.settrace``
- allocations: calls of malloc and of realloc, in a process of its own in which Python takes each object from malloc
  (``PYTHONMALLOC=malloc``). What the interpreter keeps on free lists (floats, tuples, frames) is not seen.

Of the kinds, ``bare`` is a loop that does nothing but the two system calls, on gevent's watchers: the limit of Python.

``--profile`` samples the processor instead (perf record, no call graphs). ``--instructions`` counts what Python does
for a message of handlers while the kernel's part is replaced by nothing (valgrind), and how long that takes. Linux
and glibc only.
"""

from __future__ import annotations

import json
from collections import defaultdict
from pathlib import Path

import click
from rich.console import Console
from rich.table import Table

from _costs_windows import SIZE, Counts, allocations, can_use_perf, instructions, profile, serving, system_calls, window
from measure.client import Broken
from measure.cores import Cores
from measure.servers import raise_descriptor_limit


def measure(kind: str, cores: Cores, connections: int, seconds: float, perf: bool) -> dict[str, Counts]:
    def pick(counts: Counts, *names: str) -> Counts:
        return {name: counts[name] for name in ("messages", *names)}

    with serving(kind, cores) as served:
        undisturbed = window(served, connections, seconds)
        calls = system_calls(served, connections, seconds, perf)
        traced = window(served, connections, seconds, "trace")
    return {
        "undisturbed": pick(undisturbed, "µs", "voluntary", "involuntary"),
        "system calls": calls,
        "switches": pick(traced, "switches", "begun"),
        "allocations": pick(allocations(kind, cores, connections, seconds), "allocated", "resized", "freed"),
    }


def table(kind: str, columns: dict[int, dict[str, Counts]], how: str) -> Table:
    grid = Table("window", "for each message", title=f"{kind}: echo of {SIZE} bytes; system calls counted by {how}")
    for connections in columns:
        grid.add_column(f"{connections:,}", justify="right")
    names = {(run, name): None for runs in columns.values() for run, counts in runs.items() for name in counts}
    for run in dict.fromkeys(run for run, _ in names):
        for name in (name for of, name in names if of == run):
            cells = [runs[run].get(name, 0) for runs in columns.values()]
            label, digits = ("(messages)", 0) if name == "messages" else (name, 4)
            if run != "system calls" or any(round(cell, 4) for cell in cells):
                grid.add_row(run if name == "messages" else "", label, *(f"{cell:,.{digits}f}" for cell in cells))
        grid.add_section()
    return grid


def numbers(_context: click.Context, _option: click.Parameter, text: str) -> list[int]:
    try:
        return [int(word) for word in text.split(",")]
    except ValueError:
        raise click.BadParameter("numbers with commas between them") from None


@click.command()
@click.option("--connections", default="1,64,1000,10000", show_default=True, callback=numbers)
@click.option("--kinds", default="handlers,sessions", show_default=True, help="of service: also bare")
@click.option("--seconds", default=2.0, show_default=True, help="of each window")
@click.option("--strace", "with_strace", is_flag=True, help="count system calls by strace, also where perf can")
@click.option("--profile", "profiling", is_flag=True, help="say where the time goes instead (needs perf)")
@click.option("--instructions", "counting", is_flag=True, help="count those of Python alone instead (needs valgrind)")
@click.option(
    "--framed",
    type=click.IntRange(0),
    default=0,
    metavar="N",
    help="with --instructions: N messages after their lengths in a read",
)
@click.option("--json", "file", type=click.Path(dir_okay=False, path_type=Path), help="write all numbers there")
def main(
    connections: list[int],
    kinds: str,
    seconds: float,
    with_strace: bool,
    profiling: bool,
    counting: bool,
    framed: int,
    file: Path | None,
) -> None:
    """What a message costs the process that serves it. How each number is found is told at the top of this file."""
    perf = can_use_perf()
    if profiling and not perf:
        raise click.ClickException("perf (Debian: linux-perf) is missing, or may not be used by this user")
    cores = Cores.available()
    cores.claim()
    raise_descriptor_limit()
    results: dict[str, dict[int, dict[str, Counts]]] = defaultdict(dict)
    try:
        if counting:
            for count in connections:
                found = instructions(count, framed)
                print(f"{count:,} connections: {found['instructions']:,.0f} instructions, {found['ns']:,.0f} ns")
            return
        for kind in kinds.split(","):
            for count in connections:
                if profiling:
                    print(f"== {kind}, {count:,} connections: per cent of the samples")
                    with serving(kind, cores) as served:
                        print(*profile(served, count, seconds), sep="")
                else:
                    results[kind][count] = measure(kind, cores, count, seconds, perf and not with_strace)
    except Broken as error:
        raise click.ClickException(str(error)) from None
    for kind, columns in results.items():
        Console(width=100).print(table(kind, columns, "perf stat" if perf and not with_strace else "strace"))
    if file is not None:
        file.write_text(json.dumps(results, indent=1), encoding="utf-8")


if __name__ == "__main__":
    main()

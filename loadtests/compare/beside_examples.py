"""Measure two of the examples beside what else does their work.

\b
kv     examples/kv.py beside the same in asyncio on uvloop, by redis-benchmark: GETs a second, 16 in flight
proxy  examples/proxy.py beside socat, one connection: MiB/s one way

Each runs on one core, and the load, with the far end of the proxies, on the other. Rounds alternate; the ratios are
of the figures within one round.
"""

from __future__ import annotations

import contextlib
import csv
import json
import shutil
import socket
import statistics
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Sequence

import click
import psutil
from rich.table import Table

from measure.client import build_load_client
from measure.cores import Cores
from measure.servers import PEERS, PROJECT, Server, serving
from report.terminal import console

KV = {
    "greensock": (str(PROJECT / "examples" / "kv.py"), "127.0.0.1:0"),
    "uvloop, a write for each reply": (str(PEERS / "kv_asyncio.py"), "--replies", "each"),
    "uvloop, replies gathered by hand": (str(PEERS / "kv_asyncio.py"), "--replies", "gathered"),
}
REQUESTS = 400_000
MIB = 512


def needed(*programs: str) -> None:
    for program in programs:
        if shutil.which(program) is None:
            raise click.ClickException(f"{program} is not installed")


def gets_per_second(name: str, cores: Cores) -> float:
    with serving([sys.executable, *KV[name]], cores) as server:
        benchmark = ["redis-benchmark", "-p", str(server.port), "-P", "16", "-c", "50"]
        subprocess.run([*benchmark, "-t", "set", "-n", "1000", "-q"], check=True, capture_output=True)
        done = subprocess.run(
            [*benchmark, "-t", "get", "-n", str(REQUESTS), "--csv"], check=True, capture_output=True, text=True
        )
    rows = list(csv.reader(done.stdout.splitlines()))
    return float(rows[-1][1])


@contextlib.contextmanager
def socat(target: int, cores: Cores) -> Iterator[Server]:
    """socat as a forwarder, with a buffer as large as greensock's reads. It does not say when it listens."""
    with socket.create_server(("127.0.0.1", 0)) as reserved:
        port: int = reserved.getsockname()[1]
    with cores.for_server():
        listen = f"TCP-LISTEN:{port},bind=127.0.0.1,fork,reuseaddr"
        process = subprocess.Popen(["socat", "-b", "131072", listen, f"TCP:127.0.0.1:{target}"])
    try:
        inside = psutil.Process(process.pid)
        while process.poll() is None and not inside.net_connections("tcp"):
            time.sleep(0.01)
        yield Server(process.pid, port)
    finally:
        process.terminate()
        process.wait(5)


def mib_per_second(name: str, cores: Cores) -> float:
    load = str(build_load_client())
    with contextlib.ExitStack() as stack:
        far = stack.enter_context(serving([load, "sink", "127.0.0.1", "0"], cores, beside_load=True))
        if name == "socat":
            near = stack.enter_context(socat(far.port, cores))
        else:
            program = (str(PROJECT / "examples" / "proxy.py"), "127.0.0.1:0", f"127.0.0.1:{far.port}")
            near = stack.enter_context(serving([sys.executable, *program], cores))
        command = [load, "bulk", "127.0.0.1", str(near.port), "--connections", "1", "--bytes", str(MIB << 20)]
        done = subprocess.run(command, check=True, capture_output=True, text=True)
    return float(json.loads(done.stdout)["per_second"])


def compare(title: str, names: Sequence[str], measure: Callable[[str, Cores], float], rounds: int) -> None:
    """Measure all *names* in alternating rounds, and print a table."""
    cores = Cores.available()
    cores.claim()
    found: dict[str, list[float]] = {name: [] for name in names}
    for number in range(rounds):
        turn = number % len(names)
        for name in (*names[turn:], *names[:turn]):
            found[name].append(measure(name, cores))
        latest = ", ".join(f"{name} {figures[-1]:,.0f}" for name, figures in found.items())
        console.print(f"  round {number + 1}: {latest}", style="dim", highlight=False)
    table = Table(title=title, title_justify="left")
    for column in ("", "median", "min-max", "ours / theirs"):
        table.add_column(column, justify="left" if not column else "right")
    ours, *_ = found.values()
    for name, figures in found.items():
        ratios = [mine / other for mine, other in zip(ours, figures, strict=True)]
        spread = f"{min(figures):,.0f}-{max(figures):,.0f}"
        ratio = "" if figures is ours else f"{statistics.median(ratios):.2f} ({min(ratios):.2f}-{max(ratios):.2f})"
        table.add_row(name, f"{statistics.median(figures):,.0f}", spread, ratio)
    console.print(table)


@click.command(help=__doc__)
@click.argument("which", type=click.Choice(["kv", "proxy"]))
@click.option("--rounds", default=5, type=click.IntRange(1), show_default=True)
def main(which: str, rounds: int) -> None:
    if which == "kv":
        needed("redis-benchmark")
        compare("redis-benchmark -P 16 -c 50, GETs a second", list(KV), gets_per_second, rounds)
    else:
        needed("socat")
        compare(f"{MIB} MiB one way through a proxy, MiB/s", ["greensock", "socat"], mib_per_second, rounds)


if __name__ == "__main__":
    main()

"""Measure greensock beside the servers that its users would otherwise write.

One compiled load client (load.c) drives each server in turn: the server on one core, the client on
another, in alternating rounds, with every byte of every reply checked.  README.md in this folder
says what is measured, and what is fair about it and what is not.
"""

from __future__ import annotations

import contextlib
import json
import os
import platform
import resource
import shutil
import signal
import statistics
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import asdict, dataclass, field
from importlib import metadata
from pathlib import Path
from typing import Any

import click
import psutil
from rich import box
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn
from rich.table import Table

HERE = Path(__file__).resolve().parent
PROJECT = HERE.parents[1]
BUILD = HERE / "build"
COMPILER_FLAGS = ("-std=c11", "-O2", "-Wall", "-Wextra")

BUSY = 0.90  # from this share of a core on, a process is what the other one waits for
DISTURBED = 0.03  # a run is disturbed when other processes had one of its cores for a larger share of it
RETRIES = 2  # how often a disturbed run is repeated; the least disturbed one counts
MEMORY_CONNECTIONS = 10_000
MEMORY_SETTLES = 5.0  # seconds that a server gets to come to rest before its memory is read

console = Console()
if not console.is_terminal:
    console.width = 120  # a log file has no right edge


# ---- what is compared ---------------------------------------------------------------------------


@dataclass(frozen=True)
class Peer:
    name: str
    script: str
    args: tuple[str, ...] = ()
    module: str = ""  # what the Python interpreter must be able to import


OURS = "greensock"
PEERS = {
    peer.name: peer
    for peer in (
        Peer(OURS, "peer_greensock.py", module="greensock"),
        Peer("gevent", "peer_gevent.py", module="gevent"),
        Peer("asyncio", "peer_asyncio.py", module="asyncio"),
        Peer("asyncio streams", "peer_asyncio.py", ("--style", "streams"), module="asyncio"),
        Peer("uvloop", "peer_asyncio.py", ("--loop", "uvloop"), module="uvloop"),
        Peer("uvloop streams", "peer_asyncio.py", ("--loop", "uvloop", "--style", "streams"), module="uvloop"),
        Peer("bun", "peer_bun.js"),
    )
}


@dataclass(frozen=True)
class Case:
    key: str
    title: str
    unit: str
    peers: tuple[str, ...]
    targets: dict[str, float]  # peer: the least ratio greensock / peer
    server: tuple[str, ...] = ("--mode", "echo")
    load: tuple[str, ...] = ()
    ceiling: float | None = None  # the most that greensock may need, where less is better

    @property
    def is_memory(self) -> bool:
        return self.ceiling is not None

    @property
    def logs(self) -> bool:
        return "log" in self.server


def echo_load(connections: int, size: int) -> tuple[str, ...]:
    return ("echo", "--connections", str(connections), "--size", str(size))


CASES = {
    case.key: case
    for case in (
        Case(
            "echo",
            "echo, 64 bytes, 64 connections",
            "messages/s",
            tuple(PEERS),
            {"uvloop": 0.92, "gevent": 1.7, "bun": 0.9},
            load=echo_load(64, 64),
        ),
        Case(
            "echo-1000",
            "echo, 64 bytes, 1,000 connections",
            "messages/s",
            (OURS, "gevent", "uvloop", "bun"),
            {"uvloop": 0.95, "gevent": 1.6},
            load=echo_load(1000, 64),
        ),
        Case(
            "echo-large",
            "echo, 256 KiB, 8 connections",
            "messages/s",
            (OURS, "gevent", "uvloop", "bun"),
            {"uvloop": 0.95},
            load=echo_load(8, 256 * 1024),
        ),
        Case(
            "small",
            "five 1-byte writes for each message, 64 connections",
            "messages/s",
            (OURS, "gevent", "uvloop", "bun"),
            {"uvloop": 2.5, "bun": 2.5},
            server=("--mode", "small"),
            load=echo_load(64, 5),
        ),
        Case(
            "sleep",
            "a handler that sleeps 10 ms for each message, 1,000 connections",
            "messages/s",
            (OURS, "gevent", "uvloop streams"),
            {"uvloop streams": 1.0, "gevent": 1.4},
            server=("--mode", "sleep"),
            load=echo_load(1000, 64),
        ),
        Case(
            "log",
            "monkey-patched, one logging line to a file for each message, 64 connections",
            "messages/s",
            (OURS, "gevent"),
            {"gevent": 1.3},
            server=("--mode", "log", "--patched"),
            load=echo_load(64, 64),
        ),
        Case(
            "churn",
            "connect, echo 64 bytes once, close; 64 at a time",
            "connections/s",
            (OURS, "gevent", "uvloop", "bun"),
            {"bun": 0.8, "uvloop": 1.0},
            load=("churn", "--connections", "64", "--size", "64", "--sources", "64"),
        ),
        Case(
            "memory",
            f"memory for each idle connection, {MEMORY_CONNECTIONS:,} connections",
            "bytes",
            (OURS, "gevent", "uvloop", "bun"),
            {},
            ceiling=1250,
            load=("idle", "--connections", str(MEMORY_CONNECTIONS), "--size", "64", "--sources", "4"),
        ),
    )
}


# ---- results ------------------------------------------------------------------------------------


@dataclass
class Run:
    """One server under one load: the figure, and what is needed to judge it."""

    value: float = 0.0
    p50_us: float = 0.0
    p99_us: float = 0.0
    client_cpu: float = 0.0  # shares of one core
    server_cpu: float = 0.0
    waited: float = 0.0  # the share of the time in which other processes had one of the two cores
    failures: int = 0
    error: str = ""

    @property
    def disturbed(self) -> bool:
        return self.waited > DISTURBED

    @property
    def cpu_us(self) -> float:
        """The server's CPU time for one message, in microseconds: hardly touched by what else runs."""
        return self.server_cpu / self.value * 1e6 if self.value else 0.0


@dataclass
class Result:
    case: Case
    missing: dict[str, str]
    runs: dict[str, list[Run]] = field(default_factory=dict)

    def counted(self, peer: str) -> list[Run]:
        """The runs that a figure rests on: disturbed ones only where there are no others."""
        runs = [run for run in self.runs.get(peer, ()) if not run.failures]
        return [run for run in runs if not run.disturbed] or runs

    def values(self, peer: str) -> list[float]:
        return [run.value for run in self.counted(peer)]

    def ratios(self, peer: str) -> list[float]:
        """greensock / peer, each pair from the same round, so that slow drifts of the machine cancel out."""
        rounds = zip(self.runs.get(OURS, ()), self.runs.get(peer, ()), strict=False)
        pairs = [(ours, theirs) for ours, theirs in rounds if not (ours.failures or theirs.failures)]
        quiet = [(ours, theirs) for ours, theirs in pairs if not (ours.disturbed or theirs.disturbed)]
        return [ours.value / theirs.value for ours, theirs in quiet or pairs]

    @property
    def failures(self) -> list[tuple[str, Run]]:
        return [(peer, run) for peer, runs in self.runs.items() for run in runs if run.failures]

    def verdict(self, peer: str) -> bool | None:
        """Was the target met that the table sets for this row?  None where it sets none, or nothing was measured."""
        if self.case.ceiling is not None:
            values = self.values(OURS) if peer == OURS else []
            return statistics.median(values) <= self.case.ceiling if values else None
        ratios = self.ratios(peer)
        return statistics.median(ratios) >= self.case.targets[peer] if peer in self.case.targets and ratios else None

    @property
    def targets_met(self) -> bool:
        rows = (OURS,) if self.case.is_memory else tuple(self.case.targets)
        return all(self.verdict(peer) for peer in rows)


# ---- programs -----------------------------------------------------------------------------------


def build_load_client() -> Path:
    """Compile load.c when it is newer than the program made from it."""
    source, program = HERE / "load.c", BUILD / "load"
    if not program.exists() or program.stat().st_mtime < source.stat().st_mtime:
        compiler = shutil.which("cc") or shutil.which("gcc")
        if compiler is None:
            raise click.ClickException("a C compiler (cc) is needed for the load client")
        BUILD.mkdir(exist_ok=True)
        # Under a name of its own first: another bench may be running the old one.
        fresh = BUILD / f"load.{os.getpid()}"
        subprocess.run([compiler, *COMPILER_FLAGS, "-o", str(fresh), str(source)], check=True)
        fresh.replace(program)
    return program


def find_bun() -> str | None:
    return shutil.which("bun") or shutil.which("bun", path=HERE / "node_modules" / ".bin")


def environment() -> dict[str, str]:
    """The servers import the greensock of this checkout, installed or not."""
    path = os.pathsep.join(filter(None, (str(PROJECT), os.environ.get("PYTHONPATH"))))
    return {**os.environ, "PYTHONPATH": path}


def why_missing(peer: Peer) -> str | None:
    """None for a peer that can run."""
    if not peer.module:
        return None if find_bun() else f"no bun on PATH; try: npm install --prefix {os.path.relpath(HERE)}"
    probe = subprocess.run(
        [sys.executable, "-c", f"import {peer.module}"], env=environment(), capture_output=True, text=True, check=False
    )
    return None if probe.returncode == 0 else (probe.stderr.strip().splitlines() or ["it cannot be imported"])[-1]


def command(peer: Peer) -> list[str]:
    runtime = sys.executable if peer.module else find_bun() or "bun"
    return [runtime, str(HERE / peer.script), *peer.args]


class Broken(Exception):
    """A server or the load client that did not do its part."""


@dataclass(frozen=True)
class Cores:
    """Server and load client have a core each, and the bench, which mostly waits, is on the client's."""

    server: int
    load: int

    @classmethod
    def available(cls) -> Cores:
        cores = sorted(os.sched_getaffinity(0))
        return cls(cores[0], cores[1] if len(cores) > 1 else cores[0])

    @property
    def shared(self) -> bool:
        return self.server == self.load

    @contextlib.contextmanager
    def for_server(self) -> Iterator[None]:
        # A child inherits the mask of the thread that starts it, from its first instruction on.
        os.sched_setaffinity(0, {self.server})
        try:
            yield
        finally:
            os.sched_setaffinity(0, {self.load})


@dataclass
class Server:
    pid: int
    port: int

    def private_bytes(self) -> int:
        """Memory of this process alone, from the kernel's smaps_rollup."""
        return int(psutil.Process(self.pid).memory_full_info().uss)

    def settled_bytes(self) -> int:
        """The same once it has stopped changing: allocators and garbage collectors tidy up behind the traffic."""
        deadline = time.monotonic() + MEMORY_SETTLES
        last = -1
        while (size := self.private_bytes()) != last and time.monotonic() < deadline:
            last = size
            time.sleep(0.5)
        return size


@contextlib.contextmanager
def serving(peer: Peer, args: Sequence[str], cores: Cores) -> Iterator[Server]:
    with tempfile.TemporaryFile("w+") as stderr:
        with cores.for_server():
            process = subprocess.Popen(
                [*command(peer), *args], env=environment(), stdout=subprocess.PIPE, stderr=stderr, text=True
            )
        assert process.stdout is not None
        watchdog = threading.Timer(15, process.kill)
        watchdog.start()
        try:
            word, _, port = process.stdout.readline().partition(" ")
            watchdog.cancel()
            if word != "listening":
                process.wait(5)
                stderr.seek(0)
                raise Broken(f"the server did not start: {stderr.read().strip()[-400:] or 'no message'}")
            yield Server(process.pid, int(port))
            if process.poll() is not None:
                stderr.seek(0)
                raise Broken(f"the server ended with status {process.returncode}: {stderr.read().strip()[-400:]}")
        finally:
            watchdog.cancel()
            process.terminate()
            try:
                process.wait(5)
            except subprocess.TimeoutExpired:
                process.kill()
                process.wait()
            process.stdout.close()


# ---- measuring ----------------------------------------------------------------------------------


@dataclass(frozen=True)
class Bench:
    load_client: Path
    cores: Cores
    seconds: float
    warmup: float

    def load_command(self, server: Server, load: Sequence[str], *more: str) -> list[str]:
        mode, *options = load
        return [str(self.load_client), mode, "127.0.0.1", str(server.port), *options, *more]

    def measure(self, case: Case, peer: Peer) -> Run:
        """One run; repeated when something else on the machine took part of a core from it."""
        best: Run | None = None
        for _ in range(1 + RETRIES):
            try:
                run = self.memory(case, peer) if case.is_memory else self.rate(case, peer)
            except (Broken, psutil.Error) as error:
                run = Run(failures=1, error=str(error))
            if run.failures:
                return run
            if best is None or run.waited < best.waited:
                best = run
            # Memory does not depend on the time a core had, and cores that are shared are always disturbed.
            if not best.disturbed or case.is_memory or self.cores.shared:
                break
        assert best is not None
        return best

    def rate(self, case: Case, peer: Peer) -> Run:
        with tempfile.TemporaryDirectory() as folder:
            log_file = Path(folder) / "peer.log"
            args = (*case.server, "--log-file", str(log_file)) if case.logs else case.server
            with serving(peer, args, self.cores) as server:
                options = (
                    "--seconds",
                    str(self.seconds),
                    "--warmup",
                    str(self.warmup),
                    "--server-pid",
                    str(server.pid),
                )
                answer = self.run_load(self.load_command(server, case.load, *options))
            run = Run(
                value=answer["per_second"],
                p50_us=answer["p50_us"],
                p99_us=answer["p99_us"],
                client_cpu=answer["client_cpu"],
                server_cpu=answer["server_cpu"],
                waited=max(answer["client_waited"], answer["server_waited"]),
                failures=answer["failures"],
                error=answer["error"],
            )
            if case.logs and (lines := count_lines(log_file)) < answer["messages"]:
                run.failures, run.error = 1, f"{answer['messages']} messages, but only {lines} lines in the log"
            return run

    def run_load(self, load: list[str]) -> dict[str, Any]:
        # It opens for at most 30 s and drains for at most 5 s; beyond that it hangs.
        limit = self.seconds + self.warmup + 45
        try:
            done = subprocess.run(load, capture_output=True, text=True, timeout=limit, check=False)
        except subprocess.TimeoutExpired:
            raise Broken(f"the load client was not done after {limit:.0f} s") from None
        return parse_answer(done.stdout, done.stderr)

    def memory(self, case: Case, peer: Peer) -> Run:
        with serving(peer, case.server, self.cores) as server:
            # What is made once, for the first connection, is not the price of the next 10,000.
            with self.idle(server, ("idle", "--connections", "1")):
                pass
            before = server.settled_bytes()
            with self.idle(server, case.load):
                used = server.settled_bytes() - before
            return Run(value=used / MEMORY_CONNECTIONS)

    @contextlib.contextmanager
    def idle(self, server: Server, load: Sequence[str]) -> Iterator[None]:
        """Holds connections that have each echoed one message, and checks at the end that none was lost."""
        pipe = subprocess.PIPE
        process = subprocess.Popen(self.load_command(server, load), stdin=pipe, stdout=pipe, stderr=pipe, text=True)
        assert process.stdout is not None
        watchdog = threading.Timer(60 + MEMORY_SETTLES, process.kill)
        watchdog.start()
        try:
            ready = process.stdout.readline()
            if ready.strip() == "ready":
                yield
                ready = ""
            out, err = process.communicate(timeout=30)  # closes its standard input: let go
            answer = parse_answer(ready + out, err)
            if answer["failures"]:
                raise Broken(f"{answer['failures']} connections failed; {answer['error']}")
        finally:
            watchdog.cancel()
            process.kill()
            process.wait()


def parse_answer(out: str, err: str) -> dict[str, Any]:
    try:
        answer: dict[str, Any] = json.loads(out)
    except ValueError:
        raise Broken(f"the load client failed: {err.strip() or out.strip() or 'it said nothing'}") from None
    return answer


def count_lines(path: Path) -> int:
    with path.open("rb") as file:
        return sum(chunk.count(b"\n") for chunk in iter(lambda: file.read(1 << 20), b""))


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


def describe(run: Run) -> str:
    return "FAILED" if run.failures else f"{run.value:,.0f}" + ("~" if run.disturbed else "")


# ---- telling ------------------------------------------------------------------------------------


def spread(values: list[float], show: Callable[[float], str]) -> str:
    return f"{show(min(values))}-{show(max(values))}" if len(values) > 1 else ""


LEGEND = (
    "server / load: the share of a core that each used; µs each: the server's CPU time for one of them; "
    "ours / peer: greensock's figure over the peer's, round by round, the median of that"
)


def print_result(result: Result) -> None:
    case = result.case
    table = Table(
        title=f"{case.title}: {case.unit}",
        title_justify="left",
        title_style="bold",
        box=box.SIMPLE_HEAD,
        padding=(0, 1),
        collapse_padding=True,
        pad_edge=False,
    )
    table.add_column("peer", no_wrap=True)
    headings = ["median", "min-max"]
    if not case.is_memory:
        headings += ["p50 / p99 ms", "server / load", "µs each"]
    for heading in (*headings, "ours / peer", "target"):
        table.add_column(heading, justify="right", no_wrap=True)
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
    cells = [f"[bold]{peer}[/]" if peer == OURS else peer, figure, spread(values, "{:,.0f}".format)]
    if not result.case.is_memory:
        cells += costs(runs, notes)
    ratios = [] if peer == OURS else result.ratios(peer)
    bounds = spread(ratios, "{:.2f}".format)
    cells.append(f"{statistics.median(ratios):.2f}" + (f" ({bounds})" if bounds else "") if ratios else "")
    cells.append(f"{target(result.case, peer)} {VERDICTS[result.verdict(peer)]}".strip())
    return cells


def costs(runs: list[Run], notes: set[str]) -> list[str]:
    """Latencies and CPU time, medians of the runs, and whether the load client was the limit."""
    p50, p99 = (statistics.median(us) / 1000 for us in zip(*((run.p50_us, run.p99_us) for run in runs), strict=True))
    server = statistics.median(run.server_cpu for run in runs)
    client = statistics.median(run.client_cpu for run in runs)
    load = f"{client:.0%}"
    if client > BUSY > server:
        load = f"[bold red]{load} ![/]"
        notes.add("! the load client was the limit, not this server, which is at least this fast")
    each = statistics.median(run.cpu_us for run in runs)
    return [f"{p50:.2f} / {p99:.2f}", f"{server:.0%} / {load}", f"{each:.1f}"]


VERDICTS = {True: "[green]met[/]", False: "[bold red]missed[/]", None: ""}


def target(case: Case, peer: str) -> str:
    if case.ceiling is not None:
        return f"≤ {case.ceiling:,.0f}" if peer == OURS else ""
    return f"≥ {case.targets[peer]:.2f}" if peer in case.targets else ""


def machine() -> dict[str, str]:
    def read(path: str) -> str:
        try:
            return Path(path).read_text().strip().replace("\t", " ")
        except OSError:
            return "unknown"

    cpu = next((line.partition(": ")[2] for line in read("/proc/cpuinfo").splitlines() if "model name" in line), "?")
    sysctl = "/proc/sys/net/"
    return {
        "cpu": f"{cpu}, {os.cpu_count()} cores",
        "kernel": f"{platform.system()} {platform.release()}",
        "load average": " ".join(f"{load:.2f}" for load in os.getloadavg()),
        "somaxconn": read(sysctl + "core/somaxconn"),
        "tcp_tw_reuse": read(sysctl + "ipv4/tcp_tw_reuse"),
        "tcp_max_tw_buckets": read(sysctl + "ipv4/tcp_max_tw_buckets"),
        "ip_local_port_range": read(sysctl + "ipv4/ip_local_port_range"),
        "descriptors": str(resource.getrlimit(resource.RLIMIT_NOFILE)[0]),
        "flags of load.c": " ".join(COMPILER_FLAGS),
    }


def versions() -> dict[str, str]:
    found = {"python": platform.python_version()}
    for package in ("gevent", "greenlet", "uvloop"):
        with contextlib.suppress(metadata.PackageNotFoundError):
            found[package] = metadata.version(package)
    if bun := find_bun():
        found["bun"] = subprocess.run([bun, "--version"], capture_output=True, text=True, check=False).stdout.strip()
    probe = [sys.executable, "-c", "import greensock; print(greensock.__version__)"]
    ours = subprocess.run(probe, env=environment(), capture_output=True, text=True, check=False)
    if ours.returncode == 0:
        found[OURS] = ours.stdout.strip()
    return found


def as_json(results: list[Result], settings: dict[str, Any]) -> dict[str, Any]:
    cases = {}
    for result in results:
        peers = {}
        for peer, runs in result.runs.items():
            values, ratios = result.values(peer), result.ratios(peer)
            peers[peer] = {
                "median": statistics.median(values) if values else None,
                "min": min(values, default=None),
                "max": max(values, default=None),
                "ratio": statistics.median(ratios) if ratios else None,
                "ratios": ratios,
                "target": result.case.targets.get(peer),
                "met": result.verdict(peer),
                "runs": [{**asdict(run), "cpu_us": run.cpu_us, "disturbed": run.disturbed} for run in runs],
            }
        missing = {peer: why for peer, why in result.missing.items() if peer in result.case.peers}
        cases[result.case.key] = {
            "title": result.case.title,
            "unit": result.case.unit,
            "ceiling": result.case.ceiling,
            "missing": missing,
            "peers": peers,
        }
    return {"settings": settings, "machine": machine(), "versions": versions(), "cases": cases}


# ---- the command --------------------------------------------------------------------------------


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


def raise_descriptor_limit() -> None:
    """For the servers, which inherit it: 10,000 connections are 10,000 descriptors."""
    _, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
    if hard != resource.RLIM_INFINITY and hard < MEMORY_CONNECTIONS + 100:
        console.print(f"[bold red]The hard limit of descriptors is {hard}: the memory case will fail.[/]")


@click.command(context_settings={"help_option_names": ["-h", "--help"], "show_default": True})
@click.option("--cases", callback=one_of(CASES), help=f"Some of: {', '.join(CASES)}.")
@click.option("--peers", callback=one_of(PEERS), help=f"Some of: {', '.join(PEERS)}.")
@click.option("--rounds", type=click.IntRange(min=1), default=5, help="Alternating rounds of each case.")
@click.option("--seconds", type=click.FloatRange(min=0.1), default=3.0, help="Measured in each run.")
@click.option("--warmup", type=click.FloatRange(min=0.0), default=1.0, help="Seconds before that, not measured.")
@click.option("--quick", is_flag=True, help="One round of one second: does it work, not how fast is it.")
@click.option("--json", "json_file", type=click.Path(dir_okay=False, path_type=Path), help="Write all results there.")
@click.option("--check", is_flag=True, help="Fail also when a target is missed or could not be measured.")
def main(
    cases: list[str],
    peers: list[str],
    rounds: int,
    seconds: float,
    warmup: float,
    quick: bool,
    json_file: Path | None,
    check: bool,
) -> None:
    """Compare greensock with gevent, asyncio, uvloop and Bun.

    The exit status is 0 when every reply of every server was right; with --check only if every
    target was met as well.
    """
    if quick:
        rounds, seconds, warmup = 1, 1.0, 0.3
    raise_descriptor_limit()
    cores = Cores.available()
    os.sched_setaffinity(0, {cores.load})
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))  # by way of every `finally`: no server outlives the bench
    bench = Bench(build_load_client(), cores, seconds, warmup)
    settings = {
        "rounds": rounds,
        "seconds": seconds,
        "warmup": warmup,
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


def warn_missing(missing: dict[str, str]) -> None:
    for name, why in missing.items():
        console.print(f"[bold white on red] MISSING [/] [bold]{name}[/] takes no part: ", end="")
        console.print(why, markup=False, highlight=False)


if __name__ == "__main__":
    main()

"""Serve what a load test is made for, drive it with that test, and print in one table what both sides counted.

    python loadtests/demo.py [echo|pipeline|push|connect_storm|tls|slow_reader] [--seconds 10] [--users 50]

With ``--ui`` locust's web UI is left open instead, with the server's numbers in its tab ``Server``, until an interrupt.

The exit status is 0 only if messages came and went, none failed, and both sides counted the same.
"""

import argparse
import json
import math
import os
import shlex
import subprocess
import sys
import tempfile
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from time import monotonic
from typing import Any

import gevent
from rich.console import Console
from rich.table import Table

from greensock.loadstats import Endpoint

HERE = Path(__file__).resolve().parent
SERVICES = HERE / "_services.py"

#: What each load test is made for.
SCENARIOS = {
    "echo": "Echo",
    "pipeline": "Echo",
    "push": "Chat",
    "connect_storm": "Echo",
    "tls": "Echo",
    "slow_reader": "Bulk",
}

#: Seconds for users to finish the task they are in, and for the service to come and go.
PATIENCE = 10

CERTIFICATE = (
    "openssl req -x509 -newkey ec -pkeyopt ec_paramgen_curve:P-256 -nodes -days 1 -keyout key.pem -out cert.pem "
    "-subj /CN=localhost -addext subjectAltName=DNS:localhost"
)


def main() -> int:
    parser = argparse.ArgumentParser(description="Drive a service of greensock's with locust.")
    parser.add_argument("scenario", nargs="?", choices=SCENARIOS, default="echo")
    parser.add_argument("--seconds", type=positive(int), default=10)
    parser.add_argument("--users", type=positive(int), default=50)
    parser.add_argument("--processes", type=positive(int), help="so many locust processes, and a master")
    parser.add_argument("--ui", action="store_true", help="leave locust's web UI open")
    args = parser.parse_args()

    with tempfile.TemporaryDirectory() as name:
        try:
            return run(args, Path(name))
        except KeyboardInterrupt:
            print("interrupted", file=sys.stderr)
            return 130


def positive(number: type[float]) -> Callable[[str], float]:
    """An argument type: a *number* greater than 0."""

    def parse(text: str) -> float:
        try:
            value = number(text)
        except ValueError:
            value = 0
        if not 0 < value < math.inf:
            raise argparse.ArgumentTypeError(f"{text!r} is not a number greater than 0")
        return value

    return parse


def run(args: argparse.Namespace, folder: Path) -> int:
    secure = args.scenario == "tls"
    if secure:
        subprocess.run(shlex.split(CERTIFICATE), cwd=folder, check=True, capture_output=True)
    stats = f"unix:{folder}/stats"
    with serving(args.scenario, stats, folder) as url:
        command = [
            *(sys.executable, "-m", "locust", "-f", str(HERE / f"{args.scenario}.py")),
            *("--users", str(args.users), "--spawn-rate", str(min(args.users, 100)), "--stop-timeout", str(PATIENCE)),
            *("--host", url, "--gs-stats", stats),
            *(("--ca", str(folder / "cert.pem")) if secure else ()),
            *(("--processes", str(args.processes)) if args.processes else ()),
        ]
        print(f"{SCENARIOS[args.scenario]} of {SERVICES.name} serves at {url}", flush=True)
        if args.ui:
            return subprocess.run([*command, "--autostart"], check=False).returncode
        print(f"{args.scenario}.py: {args.users} users for {args.seconds} s", flush=True)
        status = drive(command, args.seconds, Endpoint(stats), folder)
        load = Load.read(folder / "locust.json")
        server = Endpoint(stats).fetch()[0]
    show(args.scenario, load, server)
    return status or (0 if load.sent and same(load, server) else 1)


@contextmanager
def serving(scenario: str, stats: str, folder: Path) -> Iterator[str]:
    """A service of its own process; its url."""
    secure = scenario == "tls"
    command = [
        *(sys.executable, "-m", "greensock", "serve", f"{SERVICES}:{SCENARIOS[scenario]}"),
        *("--framing", "lines", "--stats", stats, "--bind", f"{'tls' if secure else 'tcp'}://127.0.0.1:0"),
        *(("--tls-cert", f"{folder}/cert.pem", "--tls-key", f"{folder}/key.pem") if secure else ()),
    ]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as service:
        try:
            assert service.stdout
            line = service.stdout.readline()
            if not line.startswith("listening on "):
                sys.exit(f"the service did not start; its exit status is {service.wait(PATIENCE)}")
            url = line.split()[-1]
            yield url.replace("127.0.0.1", "localhost") if secure else url  # which is what the certificate is for
            service.terminate()
            if service.wait(PATIENCE) != 0:
                sys.exit(f"the service left with exit status {service.returncode}")
        finally:
            service.kill()  # nothing happens to one that has already left


def drive(command: list[str], seconds: int, service: Endpoint, folder: Path) -> int:
    """Run locust for so many *seconds*, with a line of progress for each by the server's count; its exit status."""
    log = folder / "locust.log"
    options = ["--headless", "--only-summary", "--run-time", str(seconds), "--json-file", str(folder / "locust")]
    with (
        open(log, "w", encoding="utf-8") as file,
        subprocess.Popen([*command, *options], stdout=file, stderr=subprocess.STDOUT) as locust,
    ):
        try:
            report_progress(locust, service)
        finally:
            locust.terminate()
    if locust.returncode:
        print(log.read_text(encoding="utf-8"), file=sys.stderr)
    return locust.returncode


def report_progress(locust: subprocess.Popen[str], service: Endpoint) -> None:
    began = last = monotonic()
    seen = 0
    while locust.poll() is None:
        gevent.sleep(1)
        now = monotonic()
        server = service.fetch()[0]
        done = server["messages_read"]
        rate = (done - seen) / (now - last)
        last, seen = now, done
        connections = server["connections"]
        print(f"{now - began:6.1f} s {connections:6,} connections {rate:10,.0f} messages/s", flush=True)


# -- what both sides counted -----------------------------------------------------------------------------


@dataclass
class Load:
    """What the clients counted."""

    rows: list[dict[str, Any]]

    @classmethod
    def read(cls, path: Path) -> "Load":
        return cls(json.loads(path.read_text(encoding="utf-8")))

    @property
    def failures(self) -> int:
        return sum(row["num_failures"] for row in self.rows)

    @property
    def connections(self) -> int:
        return sum(row["num_requests"] - row["num_failures"] for row in self.rows if row["name"].startswith("connect "))

    @property
    def sent(self) -> int:
        """Messages to the server."""
        return sum(row["num_requests"] for row in self.rows if row["method"] not in ("CONN", "DISC", "PUSH"))

    @property
    def received(self) -> int:
        """Messages from the server: answers, and what nobody had asked for."""
        mine = ("CONN", "DISC", "SEND")
        return sum(row["num_requests"] - row["num_failures"] for row in self.rows if row["method"] not in mine)

    @property
    def seconds(self) -> float:
        return max(row["last_request_timestamp"] for row in self.rows) - min(row["start_time"] for row in self.rows)


def percentile(row: dict[str, Any], share: float) -> str:
    """Of the response times of *row*, which locust keeps as a histogram; nothing if none is known."""
    counts = Counter({float(time): count for time, count in row["response_times"].items()})
    left = share * counts.total()
    for time, count in sorted(counts.items()):
        left -= count
        if left <= 0:
            return f"{time:.2f} ms"
    return ""


def same(load: Load, server: dict[str, Any]) -> bool:
    return (load.sent, load.received) == (server["messages_read"], server["messages_written"])


def show(scenario: str, load: Load, server: dict[str, Any]) -> None:
    table = Table(title=f"greensock and locust: {scenario}", min_width=70)
    table.add_column()
    for heading in ("number", "per second", "p50", "p99", "failures"):
        table.add_column(heading, justify="right")
    for row in load.rows:
        rate = f"{row['num_requests'] / load.seconds:,.0f}" if load.seconds else ""
        times = (percentile(row, 0.5), percentile(row, 0.99))
        failures = f"{row['num_failures']:,}"
        style = "bold red" if row["num_failures"] else None
        table.add_row(f"{row['method']} {row['name']}", f"{row['num_requests']:,}", rate, *times, failures, style=style)
    table.add_section()
    for text, clients, count in (
        ("messages to the server", load.sent, server["messages_read"]),
        ("messages from the server", load.received, server["messages_written"]),
    ):
        agrees = "the same" if clients == count else "NOT THE SAME"
        table.add_row(f"{text}, by the clients' count", f"{clients:,}")
        table.add_row(f"{text}, by its own ({agrees})", f"{count:,}")
    table.add_row("connections", f"{server['accepted']:,}")
    table.add_row("bytes buffered at the peak", f"{server['buffered_peak']:,}")
    table.add_row("drains", f"{server['drains']:,}")
    table.add_row("slow consumers", f"{server['slow_consumers']:,}")
    table.caption = "The locust processes set this pace; make bench measures the server's own."
    Console(width=None if sys.stdout.isatty() else max(100, int(os.environ.get("COLUMNS", 0)))).print(table)


if __name__ == "__main__":
    sys.exit(main())

"""Serve what a load test is made for, drive it with that test, and print in one table what both sides counted.

    python loadtests/demo.py [echo|pipeline|push|connect_storm|tls|slow_reader|open_loop] [--seconds 10] [--users 50]

With ``--ui`` locust's web UI is left open instead, with the server's numbers in its tab ``Server``, until an interrupt.

The exit status is 0 only if messages went and came, none failed, and both sides counted the same.
"""

import argparse
import json
import subprocess
import sys
import tempfile
from dataclasses import dataclass
from pathlib import Path
from time import monotonic
from typing import Any

import gevent
from rich.console import Console
from rich.table import Table

from _serving import HERE, PATIENCE, positive, serving
from greensock.load.stats import Endpoint

#: What each load test is made for.
SCENARIOS = {
    "echo": "Echo",
    "pipeline": "Echo",
    "push": "Chat",
    "connect_storm": "Echo",
    "tls": "Echo",
    "slow_reader": "Bulk",
    "open_loop": "Stalling",
}


def main() -> int:
    parser = argparse.ArgumentParser(description="Drive a service of greensock's with locust.")
    parser.add_argument("scenario", nargs="?", choices=SCENARIOS, default="echo")
    parser.add_argument("--seconds", type=positive(int), default=10)
    parser.add_argument("--users", type=positive(int), default=50)
    parser.add_argument("--processes", type=positive(int), help="so many locust processes, and a master")
    parser.add_argument("--ui", action="store_true", help="leave locust's web UI open")
    parser.add_argument("--web-port", type=int, default=8089, help="where that is (default: %(default)s)")
    args = parser.parse_args()
    gevent.get_hub().NOT_ERROR = (*gevent.get_hub().NOT_ERROR, KeyboardInterrupt)  # which needs no traceback
    with tempfile.TemporaryDirectory() as folder:
        try:
            return run(args, Path(folder))
        except KeyboardInterrupt:
            print("interrupted", file=sys.stderr)
            return 130


def run(args: argparse.Namespace, folder: Path) -> int:
    stats = f"unix:{folder}/stats"
    certificate = folder if args.scenario == "tls" else None
    with serving(SCENARIOS[args.scenario], stats, certificate=certificate) as url:
        command = [
            *(sys.executable, "-m", "locust", "-f", str(HERE / f"{args.scenario}.py")),
            *("--users", str(args.users), "--spawn-rate", str(min(args.users, 100)), "--stop-timeout", str(PATIENCE)),
            *("--host", url, "--gs-stats", stats),
            *(("--ca", str(folder / "cert.pem")) if certificate else ()),
            *(("--processes", str(args.processes)) if args.processes else ()),
        ]
        if args.ui:
            print(f"{args.scenario}.py: {args.users} users of {url}", flush=True)
            return leave_open(command, args.web_port)
        print(f"{args.scenario}.py: {args.users} users of {url} for {args.seconds} s", flush=True)
        status = drive(command, args.seconds, Endpoint(stats), folder)
        load = Load.read(folder / "locust.json")
        server = Endpoint(stats).fetch()[0]
    show(args.scenario, load, server)
    return status or (0 if load.sent and same(load, server) else 1)


def leave_open(command: list[str], port: int) -> int:
    """Run locust with its web UI, and have it begin at once, until an interrupt."""
    print(f"http://127.0.0.1:{port}/?tab=greensock has the server's numbers; interrupt to end", flush=True)
    options = ["--autostart", "--web-host", "127.0.0.1", "--web-port", str(port)]
    with subprocess.Popen([*command, *options], stdin=subprocess.DEVNULL) as locust:
        try:
            return locust.wait()
        finally:
            locust.terminate()


def drive(command: list[str], seconds: int, service: Endpoint, folder: Path) -> int:
    """Run locust for so many *seconds*, with a line of progress for each by the server's count; its exit status."""
    log = folder / "locust.log"
    options = ["--headless", "--only-summary", "--run-time", str(seconds), "--json-file", str(folder / "locust")]
    with (
        open(log, "w", encoding="utf-8") as file,
        subprocess.Popen([*command, *options], stdin=subprocess.DEVNULL, stdout=file, stderr=file) as locust,
    ):
        try:
            report_progress(locust, service)
        finally:
            locust.terminate()
    if locust.returncode:
        print(log.read_text(encoding="utf-8"), file=sys.stderr)
    return locust.returncode


def report_progress(locust: "subprocess.Popen[bytes]", service: Endpoint) -> None:
    began = last = monotonic()
    seen = 0
    while locust.poll() is None:
        gevent.sleep(1)
        now = monotonic()
        server = service.fetch()[0]
        rate = (server["messages_read"] - seen) / (now - last)
        last, seen = now, server["messages_read"]
        connections = server["connections"]
        print(f"{now - began:6.1f} s {connections:6,} connections {rate:10,.0f} messages/s", flush=True)


# -- what both sides counted -----------------------------------------------------------------------------


@dataclass
class Load:
    """What the clients counted: the rows of ``locust --json-file``."""

    rows: list[dict[str, Any]]

    @classmethod
    def read(cls, path: Path) -> "Load":
        return cls(json.loads(path.read_text(encoding="utf-8")))

    @property
    def failures(self) -> int:
        return sum(row["num_failures"] for row in self.rows)

    @property
    def sent(self) -> int:
        """Messages to the server."""
        return sum(row["num_requests"] for row in self.rows if row["method"] not in ("CONN", "DISC", "PUSH"))

    @property
    def received(self) -> int:
        """Messages from the server: answers, and what nobody had asked for."""
        one_way = ("CONN", "DISC", "SEND")
        return sum(row["num_requests"] - row["num_failures"] for row in self.rows if row["method"] not in one_way)

    @property
    def connected(self) -> int:
        attempts = [row for row in self.rows if row["name"].startswith("connect ")]
        return sum(row["num_requests"] - row["num_failures"] for row in attempts)

    @property
    def seconds(self) -> float:
        end = max((row["last_request_timestamp"] for row in self.rows), default=0.0)
        return max(end - min((row["start_time"] for row in self.rows), default=0.0), 0.001)


def same(load: Load, server: dict[str, Any]) -> bool:
    return (load.sent, load.received) == (server["messages_read"], server["messages_written"])


def percentile(row: dict[str, Any], share: float) -> str:
    """Of the response times of *row*, which locust keeps as a histogram."""
    left = share * sum(row["response_times"].values())
    for time, count in sorted((float(time), count) for time, count in row["response_times"].items()):
        left -= count
        if left <= 0:
            return f"{time:.2f} ms"
    return ""


def show(scenario: str, load: Load, server: dict[str, Any]) -> None:
    clients = Table(title=f"loadtests/{scenario}.py: what locust measured", min_width=78)
    clients.add_column("")
    for heading in ("number", "per second", "p50", "p99", "failures"):
        clients.add_column(heading, justify="right")
    for row in load.rows:
        clients.add_row(
            f"{row['method']} {row['name']}",
            f"{row['num_requests']:,}",
            f"{row['num_requests'] / load.seconds:,.0f}",
            percentile(row, 0.5),
            percentile(row, 0.99),
            f"{row['num_failures']:,}",
            style="bold red" if row["num_failures"] else None,
        )
    clients.add_section()
    for text, mine, its in (
        ("messages to the server", load.sent, server["messages_read"]),
        ("messages from the server", load.received, server["messages_written"]),
        ("connections", load.connected, server["accepted"]),
    ):
        count = "counted the same" if mine == its else f"IT COUNTED {its:,}"
        clients.add_row(text, f"{mine:,}", "", "", "", count, style=None if mine == its else "bold red")
    clients.add_section()
    for name in ("buffered_peak", "drains", "slow_consumers", "errors"):
        clients.add_row(f"server: {name.replace('_', ' ')}", f"{server[name]:,}")
    clients.caption = "The locust processes set this pace; make bench measures the server's own."
    Console(width=None if sys.stdout.isatty() else 100).print(clients)


if __name__ == "__main__":
    sys.exit(main())

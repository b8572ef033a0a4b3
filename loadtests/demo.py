"""Serve examples/echo.py, drive it with loadtests/echo.py, and print what both sides saw in one table.

    python loadtests/demo.py [--seconds 10] [--users 50]

The exit status is 0 only if at least one reply came, every one was right, and the server left with 0.
"""

import argparse
import json
import math
import signal
import subprocess
import sys
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from time import perf_counter
from typing import Any

import gevent
import locust.stats
from locust.env import Environment
from locust.runners import LocalRunner
from locust.util.load_locustfile import load_locustfile
from rich.console import Console
from rich.table import Table

HERE = Path(__file__).resolve().parent
SERVER = HERE.parent / "examples" / "echo.py"
LOCUSTFILE = HERE / "echo.py"

#: Seconds for a user to finish the task it is in, and for the server to drain.
PATIENCE = 10


@dataclass
class Load:
    """What the clients saw."""

    messages: int
    failures: int
    messages_per_second: float
    p50: float
    p99: float


def main() -> int:
    parser = argparse.ArgumentParser(description="Drive an echo server with locust.")
    parser.add_argument("--seconds", type=positive(float), default=10.0)
    parser.add_argument("--users", type=positive(int), default=50)
    args = parser.parse_args()

    # Python would raise KeyboardInterrupt in whichever greenlet runs: mostly a user, which would report it as its own.
    for number in (signal.SIGINT, signal.SIGTERM):
        gevent.signal_handler(number, gevent.kill, gevent.getcurrent(), KeyboardInterrupt)

    command = [sys.executable, str(SERVER), "127.0.0.1:0", "--stats"]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as server:
        try:
            url = address_of(server)
            print(f"{SERVER.name} serves at {url}; {args.users} users for {args.seconds:g} s", flush=True)
            load = drive(url, args.users, args.seconds)
            counted = stop(server)
        except KeyboardInterrupt:
            print("interrupted", file=sys.stderr)
            return 130
        finally:
            server.kill()  # nothing happens to one that has already left

    show(load, counted)
    return 0 if load.messages and not load.failures else 1


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


def address_of(server: subprocess.Popen[str]) -> str:
    """Wait until the server says where it listens."""
    assert server.stdout
    line = server.stdout.readline()
    if not line.startswith("listening on "):
        sys.exit(f"{SERVER.name} did not start; its exit status is {server.wait(PATIENCE)}")
    return line.split()[-1]


def drive(url: str, users: int, seconds: float) -> Load:
    """Let *users* exchange messages for so many *seconds*, with a line of progress for each."""
    locust.stats.bucket_response_time = fine_bucket  # type: ignore[assignment]
    user_classes, _ = load_locustfile(str(LOCUSTFILE))
    # With time to finish no exchange is cut in half, so that both sides count the same messages.
    environment = Environment(user_classes=list(user_classes.values()), host=url, stop_timeout=PATIENCE)
    runner = environment.create_local_runner()
    started = perf_counter()
    try:
        runner.start(users, spawn_rate=min(users, 100))
        report_progress(environment, runner, seconds)
    finally:
        runner.quit()
    elapsed = perf_counter() - started
    echo = exchanges(environment)
    return Load(
        messages=echo.num_requests - echo.num_failures,
        failures=environment.stats.total.num_failures + len(runner.exceptions),
        messages_per_second=echo.num_requests / elapsed,
        p50=echo.get_response_time_percentile(0.50),
        p99=echo.get_response_time_percentile(0.99),
    )


def report_progress(environment: Environment, runner: LocalRunner, seconds: float) -> None:
    started = last = perf_counter()
    seen = 0
    while (left := started + seconds - last) > 0:
        gevent.sleep(min(1.0, left))
        now = perf_counter()
        done = exchanges(environment).num_requests
        rate = (done - seen) / (now - last)
        last, seen = now, done
        failures = environment.stats.total.num_failures
        print(
            f"{now - started:6.1f} s {runner.user_count:6,} users {rate:10,.0f} messages/s {failures:6,} failures",
            flush=True,
        )


def exchanges(environment: Environment) -> locust.stats.StatsEntry:
    return environment.stats.get("echo", "TCP")  # afresh each time: a run that starts forgets its old entries


def fine_bucket(response_time: float) -> float:
    """Keep hundredths of a millisecond while they matter; locust's own buckets are whole milliseconds."""
    if response_time < 10:
        return round(response_time, 2)
    return round(response_time, 1) if response_time < 100 else round(response_time)


def stop(server: subprocess.Popen[str]) -> dict[str, Any]:
    """Drain the server and read what it has counted."""
    server.terminate()
    last_line, _ = server.communicate(timeout=PATIENCE)
    if server.returncode != 0:
        sys.exit(f"{SERVER.name} left with exit status {server.returncode}")
    counted: dict[str, Any] = json.loads(last_line)
    return counted


def show(load: Load, counted: dict[str, Any]) -> None:
    same = "the same" if counted["messages_read"] == load.messages else "NOT THE SAME"
    table = Table(title="greensock echo, 64-byte messages, each reply checked", min_width=60, show_header=False)
    table.add_column()
    table.add_column(justify="right")
    table.add_row("messages/s", f"{load.messages_per_second:,.0f}")
    table.add_row("p50", f"{load.p50:.2f} ms")
    table.add_row("p99", f"{load.p99:.2f} ms")
    table.add_row("connections", f"{counted['accepted']:,}")
    table.add_row("bytes buffered at the peak", f"{counted['buffered_peak']:,}")
    table.add_row("drains", f"{counted['drains']:,}")
    table.add_row("failures", f"{load.failures:,}", style="bold red" if load.failures else None)
    table.add_section()
    table.add_row("messages, by the server's count", f"{counted['messages_read']:,}")
    table.add_row("messages, by the clients' count", f"{load.messages:,} ({same})")
    table.caption = "One locust process sets this pace; make bench measures the server's own."
    Console().print(table)


if __name__ == "__main__":
    sys.exit(main())

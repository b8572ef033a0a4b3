"""http.server's own handler on greensock, beside the same on ThreadingHTTPServer, in threads and monkey-patched.

    python loadtests/http_handler.py [--rounds 5] [--seconds 5] [--protocol HTTP/1.0]

Driven by wrk(1) with 64 connections from another core, in alternating rounds. Each server answers a GET of a file of
1,000 bytes. What a shared machine disturbs least is the CPU time of a request.
"""

import argparse
import re
import shutil
import statistics
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Final

import psutil

CONNECTIONS: Final = 64

PRELUDE: Final = """
import http.server, sys
class Handler(http.server.SimpleHTTPRequestHandler):
    protocol_version = sys.argv[1]
    def log_message(self, *arguments): pass  # a line on the terminal for each request would be all that is measured
"""
STANDARD: Final = """
class Server(http.server.ThreadingHTTPServer):
    request_queue_size = 128  # its default of 5 makes the kernel drop connections for a second
    def handle_error(self, *arguments): pass  # so would a traceback for each connection that wrk ends with
server = Server(("127.0.0.1", 0), Handler)
print(server.server_port, flush=True)
server.serve_forever()
"""
OURS: Final = """
import greensock
from greensock import legacy
server = greensock.listen(("127.0.0.1", 0), legacy.request_handler(Handler))
print(server.port, flush=True)
server.serve_forever()
"""
STAND_IN: Final = """
from greensock import legacy
class Server(legacy.ThreadingTCPServer, http.server.HTTPServer):
    request_queue_size = 128
server = Server(("127.0.0.1", 0), Handler)
print(server.server_port, flush=True)
server.serve_forever()
"""
PATCH: Final = "from gevent import monkey; monkey.patch_all()\n"

SERVERS: Final = {
    "greensock.listen": PRELUDE + OURS,
    "greensock.listen, patched": PATCH + PRELUDE + OURS,
    "legacy.ThreadingTCPServer": PRELUDE + STAND_IN,
    "ThreadingHTTPServer": PRELUDE + STANDARD,
    "ThreadingHTTPServer, patched": PATCH + PRELUDE + STANDARD,
}


def pinned(core: int) -> list[str]:
    """What has a command run on one core, where there are two and taskset(1)."""
    return ["taskset", "-c", str(core)] if shutil.which("taskset") and (psutil.cpu_count() or 1) > 1 else []


def measure(program: str, protocol: str, seconds: int, directory: str) -> tuple[float, float]:
    """Requests per second, and microseconds of CPU time for each."""
    command = [*pinned(0), sys.executable, "-c", program, protocol]
    with subprocess.Popen(
        command, cwd=directory, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True
    ) as server:
        try:
            assert server.stdout
            url = f"http://127.0.0.1:{server.stdout.readline().strip()}/file"
            load(url, 1)
            process = psutil.Process(server.pid)
            before = process.cpu_times()
            served, rate = load(url, seconds)
            after = process.cpu_times()
            spent = after.user + after.system - before.user - before.system
            return rate, spent / served * 1e6
        finally:
            server.kill()


def load(url: str, seconds: int) -> tuple[int, float]:
    """How many requests were served, and how many per second."""
    command = [*pinned(1), "wrk", "--threads", "1", "--connections", str(CONNECTIONS), "--duration", f"{seconds}s", url]
    report = subprocess.run(command, check=True, capture_output=True, text=True).stdout
    served, rate = re.search(r"(\d+) requests in", report), re.search(r"Requests/sec: +([\d.]+)", report)
    if served is None or rate is None or "Non-2xx" in report:
        raise RuntimeError(f"wrk failed:\n{report}")
    if errors := re.search(r"Socket errors: .*", report):
        print(f"  {errors[0]}", file=sys.stderr)
    return int(served[1]), float(rate[1])


def main() -> None:
    """Measure, and print a table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--seconds", type=int, default=5)
    parser.add_argument("--protocol", choices=["HTTP/1.0", "HTTP/1.1"], default="HTTP/1.0")
    args = parser.parse_args()
    if shutil.which("wrk") is None:
        parser.error("wrk is not installed (Debian: wrk)")
    results: dict[str, list[tuple[float, float]]] = {name: [] for name in SERVERS}
    with tempfile.TemporaryDirectory() as directory:
        Path(directory, "file").write_bytes(b"x" * 1000)
        for number in range(args.rounds):
            print(f"round {number + 1} of {args.rounds}", file=sys.stderr, flush=True)
            for name, program in SERVERS.items():
                results[name].append(measure(program, args.protocol, args.seconds, directory))
    print(f"{args.protocol}, {CONNECTIONS} connections, medians of {args.rounds} rounds")
    print(f"{'':30}{'requests/s':>12}{'µs CPU each':>14}")
    for name, runs in results.items():
        rate, cpu = (statistics.median(values) for values in zip(*runs, strict=True))
        print(f"{name:30}{rate:12,.0f}{cpu:14.0f}")


if __name__ == "__main__":
    main()

"""Measuring one server at one case."""

from __future__ import annotations

import contextlib
import json
import subprocess
import tempfile
import threading
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import psutil

from cases import MEMORY_CONNECTIONS, Case, Peer
from cores import Cores
from programs import MEMORY_SETTLES, Broken, Server, command, serving
from results import Run

RETRIES = 2  # how often a disturbed run is repeated; the least disturbed one counts


@dataclass(frozen=True)
class Bench:
    load_client: Path
    cores: Cores
    seconds: float
    warmup: float
    amount: int  # bytes, where a case measures how long they take

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
            with serving([*command(peer), *args], self.cores) as server:
                answer = self.run_load(server, case.load)
            run = as_run(answer)
            if case.logs and (lines := count_lines(log_file)) < answer["messages"]:
                run.failures, run.error = 1, f"{answer['messages']} messages, but only {lines} lines in the log"
            return run

    def run_load(self, server: Server, load: Sequence[str]) -> dict[str, Any]:
        settings = {
            "--seconds": self.seconds,
            "--warmup": self.warmup,
            "--bytes": self.amount,
            "--server-pid": server.pid,
        }
        options = [str(word) for pair in settings.items() for word in pair]
        # It opens for at most 30 s and drains for at most 5 s; beyond that it hangs.
        limit = self.seconds + self.warmup + 45
        try:
            done = subprocess.run(
                self.load_command(server, load, *options), capture_output=True, text=True, timeout=limit, check=False
            )
        except subprocess.TimeoutExpired:
            raise Broken(f"the load client was not done after {limit:.0f} s") from None
        return parse_answer(done.stdout, done.stderr)

    def memory(self, case: Case, peer: Peer) -> Run:
        with serving([*command(peer), *case.server], self.cores) as server:
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


def as_run(answer: dict[str, Any]) -> Run:
    return Run(
        value=answer["per_second"],
        p50_us=answer["p50_us"],
        p99_us=answer["p99_us"],
        client_cpu=answer["client_cpu"],
        server_cpu=answer["server_cpu"],
        waited=max(answer["client_waited"], answer["server_waited"]),
        failures=answer["failures"],
        error=answer["error"],
    )


def parse_answer(out: str, err: str) -> dict[str, Any]:
    try:
        answer: dict[str, Any] = json.loads(out)
    except ValueError:
        raise Broken(f"the load client failed: {err.strip() or out.strip() or 'it said nothing'}") from None
    return answer


def count_lines(path: Path) -> int:
    with path.open("rb") as file:
        return sum(chunk.count(b"\n") for chunk in iter(lambda: file.read(1 << 20), b""))

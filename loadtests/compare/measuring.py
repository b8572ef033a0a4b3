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

from cases import Case
from certificate import Certificate
from cores import Cores
from peers import Peer
from programs import MEMORY_SETTLES, Broken, Server, command, serving
from results import Run

BEFORE = 64  # connections that a TLS server has seen come and go before it is measured: see README.md, "Used servers"
RETRIES = 2  # how often a disturbed run is repeated; the least disturbed one counts


@dataclass(frozen=True)
class Bench:
    load_client: Path
    cores: Cores
    seconds: float
    warmup: float
    amount: int  # bytes, where a case measures how long they take
    certificate: Certificate

    def server_command(self, case: Case, peer: Peer) -> list[str]:
        return [*command(peer, case.server), *(self.certificate.server if case.tls else ())]

    def load_command(self, server: Server, case: Case, load: Sequence[str]) -> list[str]:
        mode, *options = load
        tls = self.certificate.load if case.tls else ()
        return [str(self.load_client), mode, "127.0.0.1", str(server.port), *options, *tls]

    def measure(self, case: Case, peer: Peer, limit: float | None = None) -> Run:
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
            log = ("--log-file", str(log_file)) if case.logs else ()
            with serving([*self.server_command(case, peer), *log], self.cores) as server:
                if case.tls and not case.fresh:
                    self.come_and_go(server, case, BEFORE)
                answer = self.run_load(server, case)
            run = as_run(case, answer)
            if case.logs and (lines := count_lines(log_file)) < answer["messages"]:
                run.failures, run.error = 1, f"{answer['messages']} messages, but only {lines} lines in the log"
            return run

    def run_load(self, server: Server, case: Case) -> dict[str, Any]:
        settings = {
            "--seconds": self.seconds,
            "--warmup": self.warmup,
            "--bytes": self.amount,
            "--server-pid": server.pid,
        }
        load = (*case.load, *(str(word) for pair in settings.items() for word in pair))
        # It opens for at most 30 s and drains for at most 5 s; beyond that it hangs.
        limit = self.seconds + self.warmup + 45
        try:
            done = subprocess.run(
                self.load_command(server, case, load), capture_output=True, text=True, timeout=limit, check=False
            )
        except subprocess.TimeoutExpired:
            raise Broken(f"the load client was not done after {limit:.0f} s") from None
        return parse_answer(done.stdout, done.stderr)

    def memory(self, case: Case, peer: Peer) -> Run:
        with serving(self.server_command(case, peer), self.cores) as server:
            # What is made once, for the first connection, is not the price of the next thousands.
            self.come_and_go(server, case, 1)
            before = server.settled_bytes()
            with self.idle(server, case, case.load):
                used = server.settled_bytes() - before
            return Run(value=used / case.connections)

    def come_and_go(self, server: Server, case: Case, connections: int) -> None:
        with self.idle(server, case, ("idle", "--connections", str(connections))):
            pass

    @contextlib.contextmanager
    def idle(self, server: Server, case: Case, load: Sequence[str]) -> Iterator[None]:
        """Holds connections that have each echoed one message, and checks at the end that none was lost."""
        pipe = subprocess.PIPE
        process = subprocess.Popen(
            self.load_command(server, case, load), stdin=pipe, stdout=pipe, stderr=pipe, text=True
        )
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


def as_run(case: Case, answer: dict[str, Any]) -> Run:
    rate, busy = answer["per_second"], answer["server_cpu"]
    return Run(
        value=rate / busy if case.per_cpu and busy else rate,
        p50_us=answer["p50_us"],
        p99_us=answer["p99_us"],
        cpu_us=busy / rate * 1e6 if rate else 0.0,
        client_cpu=answer["client_cpu"],
        server_cpu=busy,
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

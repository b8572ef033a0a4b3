"""How much a server does, and how long it lets its clients wait."""

from __future__ import annotations

import tempfile
from pathlib import Path
from typing import Any

from cases.case import Case
from cases.peers import Peer
from measure.client import Broken
from measure.loads import Loads
from measure.servers import serving
from results.runs import Run

BEFORE = 64  # connections that a TLS server has seen come and go before it is measured: see README.md, "Used servers"


def measure_rate(loads: Loads, case: Case, peer: Peer) -> Run:
    """As much as it can do."""
    with tempfile.TemporaryDirectory() as folder:
        log_file = Path(folder) / "peer.log"
        log = ("--log-file", str(log_file)) if case.logs else ()
        answer = _answer(loads, case, peer, case.load, log)
        run = as_run(case, answer)
        if case.logs and (lines := count_lines(log_file)) < answer["messages"]:
            run.failures, run.error = 1, f"{answer['messages']} messages, but only {lines} lines in the log"
        return run


def measure_latency(loads: Loads, case: Case, peer: Peer, limit: float | None) -> Run:
    """A share of what it can do, on a schedule that does not wait for it."""
    if not limit:
        raise Broken("it is not known what this peer can do, and so not what a share of that is")
    load = (*case.load, "--rate", f"{case.share * limit:.3f}")
    answer = _answer(loads, case, peer, load)
    run = as_run(case, answer)
    run.value = run.p99_us
    run.offered, run.late_us = answer["offered"], answer["late_us"]
    return run


def _answer(
    loads: Loads, case: Case, peer: Peer, load: tuple[str, ...], options: tuple[str, ...] = ()
) -> dict[str, Any]:
    with serving([*loads.server_command(case, peer), *options], loads.cores) as server:
        if case.tls and not case.fresh:
            loads.come_and_go(server, case, BEFORE)
        return loads.run_load(server, case, load)


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
        percentiles_us=[(percent, us) for percent, us in answer["percentiles"]],
    )


def count_lines(path: Path) -> int:
    with path.open("rb") as file:
        return sum(chunk.count(b"\n") for chunk in iter(lambda: file.read(1 << 20), b""))

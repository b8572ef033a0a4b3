"""Results of the comparison, made up: for tests of what is written about them."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from cases import CASES
from report.plots import plots
from results.recording import Record
from results.runs import DISTURBED, Result, Run

NOISE = DISTURBED * 2  # of `waited`: a run with it is disturbed


def run(value: float, **more: Any) -> Run:
    return Run(value, **{"server_cpu": 1.0, "client_cpu": 0.5, "p50_us": 100.0, "p99_us": 900.0, "cpu_us": 4.0} | more)


def result(key: str, missing: dict[str, str] | None = None, /, **figures: Sequence[float | Run]) -> Result:
    """Peers by their names, in which an underscore is a space."""
    runs = {
        peer.replace("_", " "): [one if isinstance(one, Run) else run(one) for one in values]
        for peer, values in figures.items()
    }
    return Result(CASES[key], missing or {}, runs)


def record(*results: Result, missing: dict[str, str] | None = None) -> Record:
    return Record(
        began="2026-01-02 03:04 UTC",
        took=100.0,
        settings={"rounds": 3, "seconds": 2.0, "warmup": 0.5, "retries": 2, "MiB": 1024},
        machine={"cpu": "a processor, 2 cores", "kernel": "Linux 6"},
        versions={"python": "3.11.7 (OpenSSL 3)", "gevent": "26.9.0", "greensock": "0.1.0"},
        missing=missing or {},
        left_out=[],
        results=list(results),
    )


def open_fonts(folder: Path) -> None:
    """matplotlib keeps the files of fonts that it has needed once; so no test is to blame that they stay open."""
    for plot in plots(of_every_kind()):
        plot.save(folder)


def of_every_kind() -> Record:
    """Each measure and each chart, with all peers of its cases, every figure another one."""
    found = []
    for number, key in enumerate(("echo", "echo-1k", "echo-1000", "frames", "frames-4", "memory", "bulk")):
        peers = CASES[key].peers
        figures = {
            peer: [1000.0 * (at + 1) + number + wobble for wobble in (0, 30, 90)] for at, peer in enumerate(peers)
        }
        found.append(result(key, None, **figures))
    for key in ("latency-30", "latency-60"):
        runs = {}
        for at, peer in enumerate(CASES[key].peers):
            nines = [(50.0, 10.0 + at), (99.0, 90.0 + at), (100.0, 400.0 + at)]
            runs[peer] = [run(90.0 + at, percentiles_us=nines, offered=1000.0, late_us=7.0) for _ in range(3)]
        found.append(result(key, None, **runs))
    samples = [(0.0, 0.0), (1.0, 1e6), (2.0, 3e6)]
    growth = {peer: [run(3e6 + at * 1e6, memory=samples)] * 3 for at, peer in enumerate(CASES["slow-reader"].peers)}
    found.append(result("slow-reader", None, **growth))
    return record(*found)

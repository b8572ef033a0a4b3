"""Measuring one server at one case."""

from __future__ import annotations

from dataclasses import dataclass

import psutil

from cases.case import Case, Measure
from cases.peers import Peer
from measure.client import Broken
from measure.loads import Loads
from measure.memories import measure_idle, measure_slow_reader
from measure.rates import measure_latency, measure_rate
from results.runs import Run

RETRIES = 2  # how often a disturbed run is repeated; the least disturbed one counts


@dataclass(frozen=True)
class Bench(Loads):
    retries: int = RETRIES

    def measure(self, case: Case, peer: Peer, limit: float | None = None) -> Run:
        """One run; repeated when something else on the machine took part of a core from it.

        Args:
            limit: the messages a second that this peer can do, of which LATENCY offers it a share.
        """
        best: Run | None = None
        for _ in range(1 + self.retries):
            try:
                run = self._once(case, peer, limit)
            except (Broken, psutil.Error) as error:
                run = Run(failures=1, error=str(error))
            if run.failures:
                return run
            if best is None or run.waited < best.waited:
                best = run
            # Cores that are shared are always disturbed.
            if not best.disturbed or self.cores.shared:
                break
        assert best is not None
        return best

    def _once(self, case: Case, peer: Peer, limit: float | None) -> Run:
        match case.measure:
            case Measure.RATE:
                return measure_rate(self, case, peer)
            case Measure.LATENCY:
                return measure_latency(self, case, peer, limit)
            case Measure.MEMORY:
                return measure_idle(self, case, peer)
            case Measure.SLOW_READER:
                return measure_slow_reader(self, case, peer)

"""What a case is: the work that several servers are given, and what is asked of greensock there."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import StrEnum

from cases.peers import CEILING, OURS, SESSIONS


class Measure(StrEnum):
    """What the figure of a case is."""

    RATE = "rate"
    MEMORY = "memory"
    LATENCY = "latency"
    SLOW_READER = "slow reader"


class Chart(StrEnum):
    """The curves that cases are points of, by what varies along them."""

    SIZE = "size"
    CONNECTIONS = "connections"
    PIPELINING = "pipelining"


@dataclass(frozen=True)
class Case:
    key: str
    title: str
    unit: str
    peers: tuple[str, ...]  # the first is greensock
    targets: Mapping[str, float]  # peer: the least ratio greensock / peer; where lower is better the greatest
    server: tuple[str, ...] = ("--mode", "echo")
    load: tuple[str, ...] = ()
    measure: Measure = Measure.RATE
    amount: bool = False  # the load is an amount, however long it takes
    tls: bool = False
    fresh: bool = False  # TLS: on a server from which no connection has gone yet
    per_cpu: bool = False  # of each second of the server's CPU time: where the load client would be the limit
    share: float = 0.0  # LATENCY: how much of the peer's own limit is offered to it
    connections: int = 0  # MEMORY: how many hold what is measured
    ceiling: float | None = None  # the most of it that greensock may need for one
    charts: Mapping[Chart, int] = field(default_factory=dict)  # where on which curve this is a point
    quick: bool = False  # stands for its kind in a quick run
    why: str = ""  # the known reason where greensock loses, for people

    @property
    def ours(self) -> str:
        """The peer that is compared with the others."""
        return self.peers[0]

    @property
    def rivals(self) -> list[str]:
        """Those that greensock can win or lose against: not itself in another style, and not the bare kernel."""
        return [peer for peer in self.peers if peer not in (OURS, SESSIONS, CEILING)]

    @property
    def is_memory(self) -> bool:
        return self.measure == Measure.MEMORY

    @property
    def lower_is_better(self) -> bool:
        return self.measure != Measure.RATE

    @property
    def has_costs(self) -> bool:
        """Are there latencies and CPU times?"""
        return self.measure in (Measure.RATE, Measure.LATENCY)

    @property
    def logs(self) -> bool:
        return "log" in self.server


def echo_load(connections: int, size: int) -> tuple[str, ...]:
    return ("echo", "--connections", str(connections), "--size", str(size))


def idle_load(connections: int) -> tuple[str, ...]:
    return ("idle", "--connections", str(connections), "--size", "64", "--sources", "4")

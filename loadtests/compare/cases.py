"""What is compared: the peers, the cases, and the targets."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum

from peers import OURS, PEERS, SESSIONS

MEMORY_CONNECTIONS = 10_000
TLS_MEMORY_CONNECTIONS = 2_000  # asyncio and uvloop keep 256 KiB and more for each


class Measure(StrEnum):
    """What the figure of a case is."""

    RATE = "rate"
    MEMORY = "memory"
    LATENCY = "latency"
    SLOW_READER = "slow reader"


@dataclass(frozen=True)
class Case:
    key: str
    title: str
    unit: str
    peers: tuple[str, ...]  # the first is greensock
    targets: dict[str, float]  # peer: the least ratio greensock / peer; of memory the greatest
    server: tuple[str, ...] = ("--mode", "echo")
    load: tuple[str, ...] = ()
    amount: bool = False  # the load is an amount, however long it takes
    tls: bool = False
    fresh: bool = False  # TLS: on a server from which no connection has gone yet
    per_cpu: bool = False  # of each second of the server's CPU time: where the load client would be the limit
    measure: Measure = Measure.RATE
    share: float = 0.0  # LATENCY: how much of the peer's own limit is offered to it
    connections: int = 0  # MEMORY: how many hold what is measured
    ceiling: float | None = None  # the most of it that greensock may need for one

    @property
    def ours(self) -> str:
        """The peer that is compared with the others."""
        return self.peers[0]

    @property
    def is_memory(self) -> bool:
        return self.measure == Measure.MEMORY

    @property
    def lower_is_better(self) -> bool:
        return self.measure != Measure.RATE

    @property
    def logs(self) -> bool:
        return "log" in self.server


def echo_load(connections: int, size: int) -> tuple[str, ...]:
    return ("echo", "--connections", str(connections), "--size", str(size))


def churn_load() -> tuple[str, ...]:
    return ("churn", "--connections", "64", "--size", "64", "--sources", "64")


TLS_PEERS = (OURS, "gevent", "asyncio", "uvloop", "node", "bun")
CASES = {
    case.key: case
    for case in (
        Case(
            "echo",
            "echo, 64 bytes, 64 connections",
            "messages/s",
            (OURS, *(peer for peer in PEERS if peer not in (OURS, SESSIONS, "bun sink"))),
            {"uvloop": 0.92, "gevent": 1.7, "bun": 0.9},
            load=echo_load(64, 64),
        ),
        Case(
            "echo-1000",
            "echo, 64 bytes, 1,000 connections",
            "messages/s",
            (OURS, "gevent", "uvloop", "bun"),
            {"uvloop": 0.95, "gevent": 1.6},
            load=echo_load(1000, 64),
        ),
        Case(
            "echo-large",
            "echo, 256 KiB, 8 connections",
            "messages/s",
            (OURS, "gevent", "uvloop", "bun"),
            {"uvloop": 0.95},
            load=echo_load(8, 256 * 1024),
        ),
        Case(
            "small",
            "five 1-byte writes for each message, 64 connections",
            "messages/s",
            (OURS, "gevent", "uvloop", "bun"),
            {"uvloop": 2.5, "bun": 2.5},
            server=("--mode", "small"),
            load=echo_load(64, 5),
        ),
        Case(
            "broadcast",
            "100 bytes to all of 1,000 connections, from 4 of them at a time",
            "deliveries/s",
            (OURS, "gevent", "asyncio", "uvloop", "bun"),
            {"uvloop": 1.5},
            server=("--mode", "broadcast"),
            load=("broadcast", "--connections", "1000", "--size", "100", "--publishers", "4"),
        ),
        Case(
            "frames",
            "echo of messages after their length, 64 bytes, 16 per read, 64 connections",
            "messages/s",
            (OURS, "gevent", "uvloop", "uvloop streams", "bun"),
            {"uvloop": 1.5, "uvloop streams": 3.0},
            server=("--mode", "frames"),
            load=(*echo_load(64, 64), "--frame", "length", "--pipeline", "16"),
        ),
        Case(
            "lines",
            "echo of lines, 64 bytes, 16 per read, 64 connections",
            "messages/s",
            (OURS, "gevent", "uvloop", "uvloop streams", "bun"),
            {"uvloop": 1.5, "uvloop streams": 3.0},
            server=("--mode", "lines"),
            load=(*echo_load(64, 64), "--frame", "line", "--pipeline", "16"),
        ),
        Case(
            "bulk",
            "one way through one connection, counted",
            "MiB/s",
            (OURS, "gevent", "uvloop", "bun"),
            {"uvloop": 0.95},
            server=("--mode", "bulk"),
            load=("bulk",),
            amount=True,
        ),
        Case(
            "sleep",
            "a handler that sleeps 10 ms for each message, 1,000 connections",
            "messages/s",
            (OURS, "gevent", "uvloop streams"),
            {"uvloop streams": 1.0, "gevent": 1.4},
            server=("--mode", "sleep"),
            load=echo_load(1000, 64),
        ),
        Case(
            "log",
            "monkey-patched, one logging line to a file for each message, 64 connections",
            "messages/s",
            (OURS, "gevent"),
            {"gevent": 1.3},
            server=("--mode", "log", "--patched"),
            load=echo_load(64, 64),
        ),
        Case(
            "churn",
            "connect, echo 64 bytes once, close; 64 at a time",
            "connections/s",
            (OURS, "gevent", "uvloop", "bun"),
            {"bun": 0.8, "uvloop": 1.0},
            load=churn_load(),
        ),
        *(
            Case(
                f"{key}{'' if connections == 64 else '-1000'}",
                f"{title} in blocking style, 64 bytes, {connections:,} connections",
                "messages/s",
                (SESSIONS, "gevent", "uvloop streams"),
                {"uvloop streams": 1.3, "gevent": 1.5},
                server=("--mode", mode),
                load=(*echo_load(connections, 64), *more),
            )
            for key, title, mode, more in (
                ("session", "echo", "echo", ()),
                ("session-line", "echo of lines, one per read", "lines", ("--frame", "line")),
                ("session-lines", "echo of lines, 16 per read", "lines", ("--frame", "line", "--pipeline", "16")),
            )
            for connections in (64, 1000)
        ),
        Case(
            "session-memory",
            f"memory for each idle session, {MEMORY_CONNECTIONS:,} connections",
            "bytes",
            (SESSIONS, "gevent", "uvloop streams"),
            {"gevent": 1.0},
            measure=Measure.MEMORY,
            connections=MEMORY_CONNECTIONS,
            load=("idle", "--connections", str(MEMORY_CONNECTIONS), "--size", "64", "--sources", "4"),
        ),
        Case(
            "memory",
            f"memory for each idle connection, {MEMORY_CONNECTIONS:,} connections",
            "bytes",
            (OURS, "gevent", "uvloop", "bun"),
            {},
            measure=Measure.MEMORY,
            connections=MEMORY_CONNECTIONS,
            ceiling=1250,
            load=("idle", "--connections", str(MEMORY_CONNECTIONS), "--size", "64", "--sources", "4"),
        ),
        Case(
            "tls-echo",
            "TLS 1.3, echo, 64 bytes, 64 connections",
            "messages/s",
            TLS_PEERS,
            {"uvloop": 2.8, "gevent": 1.6, "bun": 0.88},
            tls=True,
            load=echo_load(64, 64),
        ),
        Case(
            "tls-echo-16k",
            "TLS 1.3, echo, 16 KiB, 64 connections",
            "messages/s",
            TLS_PEERS,
            {"uvloop": 2.8, "gevent": 1.6, "bun": 0.88},
            tls=True,
            load=echo_load(64, 16 * 1024),
        ),
        Case(
            "tls-echo-fresh",
            "TLS 1.3, echo, 64 bytes, 64 connections, on a server that none has left yet",
            "messages/s",
            (OURS, "asyncio", "uvloop"),
            {"uvloop": 2.8},
            tls=True,
            fresh=True,
            load=echo_load(64, 64),
        ),
        Case(
            "tls-churn",
            "TLS 1.3, connect, full handshake, echo 64 bytes once, close; 64 at a time",
            "handshakes per second of CPU",
            TLS_PEERS,
            {"uvloop": 1.0, "gevent": 1.5},
            tls=True,
            per_cpu=True,
            load=churn_load(),
        ),
        Case(
            "tls-resume",
            "TLS 1.3, the same with each handshake resumed from a ticket",
            "handshakes per second of CPU",
            TLS_PEERS,
            {},
            tls=True,
            per_cpu=True,
            load=(*churn_load(), "--resume"),
        ),
        Case(
            "tls-memory",
            f"TLS 1.3, memory for each idle connection, {TLS_MEMORY_CONNECTIONS:,} connections",
            "bytes",
            TLS_PEERS,
            {"gevent": 1.0, "asyncio": 1.0, "uvloop": 1.0},
            tls=True,
            measure=Measure.MEMORY,
            connections=TLS_MEMORY_CONNECTIONS,
            load=("idle", "--connections", str(TLS_MEMORY_CONNECTIONS), "--size", "64", "--sources", "4"),
        ),
    )
}

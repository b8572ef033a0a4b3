"""What is compared: the peers, the cases, and the targets."""

from __future__ import annotations

from dataclasses import dataclass

MEMORY_CONNECTIONS = 10_000


@dataclass(frozen=True)
class Peer:
    name: str
    script: str
    args: tuple[str, ...] = ()
    module: str = ""  # what the Python interpreter must be able to import


OURS = "greensock"
SESSIONS = "greensock sessions"
PEERS = {
    peer.name: peer
    for peer in (
        Peer(OURS, "peer_greensock.py", module="greensock"),
        Peer(SESSIONS, "peer_greensock_sessions.py", module="greensock"),
        Peer("gevent", "peer_gevent.py", module="gevent"),
        Peer("asyncio", "peer_asyncio.py", module="asyncio"),
        Peer("asyncio streams", "peer_asyncio.py", ("--style", "streams"), module="asyncio"),
        Peer("uvloop", "peer_asyncio.py", ("--loop", "uvloop"), module="uvloop"),
        Peer("uvloop streams", "peer_asyncio.py", ("--loop", "uvloop", "--style", "streams"), module="uvloop"),
        Peer("bun", "peer_bun.js"),
    )
}


@dataclass(frozen=True)
class Case:
    key: str
    title: str
    unit: str
    peers: tuple[str, ...]  # the first is greensock
    targets: dict[str, float]  # peer: the least ratio greensock / peer
    server: tuple[str, ...] = ("--mode", "echo")
    load: tuple[str, ...] = ()
    amount: bool = False  # the load is an amount, however long it takes
    ceiling: float | None = None  # the most that greensock may need, where less is better

    @property
    def ours(self) -> str:
        """The peer that is compared with the others."""
        return self.peers[0]

    @property
    def is_memory(self) -> bool:
        return self.ceiling is not None

    @property
    def logs(self) -> bool:
        return "log" in self.server


def echo_load(connections: int, size: int) -> tuple[str, ...]:
    return ("echo", "--connections", str(connections), "--size", str(size))


CASES = {
    case.key: case
    for case in (
        Case(
            "echo",
            "echo, 64 bytes, 64 connections",
            "messages/s",
            tuple(peer for peer in PEERS if peer != SESSIONS),
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
            load=("churn", "--connections", "64", "--size", "64", "--sources", "64"),
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
                ("session-lines", "echo of lines", "lines", ("--frame", "line")),
            )
            for connections in (64, 1000)
        ),
        Case(
            "session-memory",
            f"memory for each idle session, {MEMORY_CONNECTIONS:,} connections",
            "bytes",
            (SESSIONS, "gevent", "uvloop streams"),
            {},
            ceiling=9_600,  # gevent's own
            load=("idle", "--connections", str(MEMORY_CONNECTIONS), "--size", "64", "--sources", "4"),
        ),
        Case(
            "memory",
            f"memory for each idle connection, {MEMORY_CONNECTIONS:,} connections",
            "bytes",
            (OURS, "gevent", "uvloop", "bun"),
            {},
            ceiling=1250,
            load=("idle", "--connections", str(MEMORY_CONNECTIONS), "--size", "64", "--sources", "4"),
        ),
    )
}

"""The cases in which servers do more than echo, or hold on: messages, many receivers, amounts, blocking, opening."""

from __future__ import annotations

from cases.case import Case, Chart, Measure, echo_load, idle_load
from cases.peers import OURS, SESSIONS

MEMORY_CONNECTIONS = 10_000
PIPELINES = (1, 4, 16, 64)

MESSAGES = (
    "greensock calls a handler and makes a write for each message, in Python: order, backpressure and errors are kept "
    "between any two of them. Bun parses in compiled code, and its sink gathers the replies of a read into one write."
)
GREENLETS = "A handler that blocks has a greenlet of its own for as long as it does, and each wake-up is a switch."


def churn_load() -> tuple[str, ...]:
    return ("churn", "--connections", "64", "--size", "64", "--sources", "64")


def framed(key: str, title: str, mode: str, frame: str, pipeline: int) -> Case:
    return Case(
        key,
        f"{title}, 64 bytes, {pipeline} per read, 64 connections",
        "messages/s",
        (OURS, "gevent", "uvloop", "uvloop writelines", "uvloop streams", "twisted", "node", "bun", "bun sink"),
        {"uvloop": 1.5, "uvloop streams": 3.0} if pipeline == 16 else {},
        server=("--mode", mode),
        load=(*echo_load(64, 64), "--frame", frame, "--pipeline", str(pipeline)),
        charts={Chart.PIPELINING: pipeline} if mode == "frames" else {},
        quick=mode == "frames" and pipeline == 16,
        why=MESSAGES,
    )


FRAMES = "echo of messages after their length"
STYLES = (
    ("session", "echo", "echo", ()),
    ("session-line", "echo of lines, one per read", "lines", ("--frame", "line")),
    ("session-lines", "echo of lines, 16 per read", "lines", ("--frame", "line", "--pipeline", "16")),
)

WORK_CASES = (
    Case(
        "small",
        "five 1-byte writes for each message, 64 connections",
        "messages/s",
        (OURS, "gevent", "uvloop", "uvloop writelines", "twisted", "node", "bun", "bun sink"),
        {"uvloop": 2.5, "bun": 2.5},
        server=("--mode", "small"),
        load=echo_load(64, 5),
        quick=True,
        why="By a sink or writelines, as by greensock, five writes become one send; theirs is made in compiled code.",
    ),
    Case(
        "broadcast",
        "100 bytes to all of 1,000 connections, from 4 of them at a time",
        "deliveries/s",
        (OURS, "gevent", "asyncio", "uvloop", "twisted", "node", "bun"),
        {"uvloop": 1.5},
        server=("--mode", "broadcast"),
        load=("broadcast", "--connections", "1000", "--size", "100", "--publishers", "4"),
        quick=True,
    ),
    *(
        framed("frames" if pipeline == 16 else f"frames-{pipeline}", FRAMES, "frames", "length", pipeline)
        for pipeline in PIPELINES
    ),
    framed("lines", "echo of lines", "lines", "line", 16),
    *(
        Case(
            key,
            title,
            "MiB/s",
            (OURS, "gevent", "uvloop", "twisted", "node", "bun"),
            targets,
            server=("--mode", mode),
            load=(load,),
            amount=True,
            quick=True,
        )
        for key, title, mode, load, targets in (
            ("bulk", "one way to the server through one connection, counted", "bulk", "bulk", {"uvloop": 0.95}),
            ("bulk-down", "one way from the server through one connection", "source", "download", {}),
        )
    ),
    Case(
        "sleep",
        "a handler that sleeps 10 ms for each message, 1,000 connections",
        "messages/s",
        (OURS, "gevent", "uvloop streams", "twisted", "node", "bun"),
        {"uvloop streams": 1.0, "gevent": 1.4},
        server=("--mode", "sleep"),
        load=echo_load(1000, 64),
        quick=True,
        why=GREENLETS,
    ),
    Case(
        "log",
        "monkey-patched, one logging line to a file for each message, 64 connections",
        "messages/s",
        (OURS, "gevent"),
        {"gevent": 1.3},
        server=("--mode", "log", "--patched"),
        load=echo_load(64, 64),
        quick=True,
    ),
    Case(
        "churn",
        "connect, echo 64 bytes once, close; 64 at a time",
        "connections/s",
        (OURS, "gevent", "uvloop", "twisted", "node", "bun"),
        {"bun": 0.8, "uvloop": 1.0},
        load=churn_load(),
        quick=True,
        why="The kernel's share is the same; socket, queue and events of a connection are made and unmade in Python.",
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
            quick=key == "session" and connections == 64,
            why=GREENLETS,
        )
        for key, title, mode, more in STYLES
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
        load=idle_load(MEMORY_CONNECTIONS),
        why="Nearly all of it is the stack of the greenlet in which the session waits.",
    ),
    Case(
        "memory",
        f"memory for each idle connection, {MEMORY_CONNECTIONS:,} connections",
        "bytes",
        (OURS, "gevent", "uvloop", "twisted", "node", "bun"),
        {},
        measure=Measure.MEMORY,
        connections=MEMORY_CONNECTIONS,
        ceiling=1000,
        load=idle_load(MEMORY_CONNECTIONS),
        quick=True,
    ),
)

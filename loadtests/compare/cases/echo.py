"""The cases in which messages are echoed as they are: by size, by connections, at a fixed rate, to slow readers."""

from __future__ import annotations

from cases.case import Case, Chart, Measure, echo_load
from cases.peers import CEILING, OURS, SESSIONS

PEERS = (
    *(OURS, SESSIONS, "gevent", "asyncio", "asyncio streams", "uvloop", "uvloop streams", "twisted", "node", "bun"),
    CEILING,
)
AT_A_RATE = (OURS, SESSIONS, "gevent", "asyncio", "uvloop", "twisted", "node", "bun")
SIZES = {"16b": 16, "1k": 1024, "16k": 16 * 1024, "256k": 256 * 1024, "1m": 1024 * 1024}
TARGETS = {1000: {"uvloop": 1.0, "gevent": 1.6, "bun": 1.0}}
SHARES = (0.3, 0.6, 0.9)
READ_RATE = 1024 * 1024  # bytes a second that slow readers take, all together

SMALL = (
    "Four fifths of greensock's time for a small echo are the kernel's, in two system calls that all make. Its part "
    "around them (handlers, order, backpressure, isolation) is Python, that of uvloop, Node and Bun is compiled."
)


def in_words(size: int) -> str:
    if size < 1024:
        return f"{size} bytes"
    return f"{size >> 10} KiB" if size < 1 << 20 else f"{size >> 20} MiB"


def echo(connections: int) -> Case:
    """64 bytes on so many connections: one of a curve."""
    plural = "" if connections == 1 else "s"
    # One address has 28,000 ports by default, and those of the run before are still being forgotten.
    sources = ("--sources", "4") if connections > 1000 else ()
    return Case(
        f"echo-{connections}",
        f"echo, 64 bytes, {connections:,} connection{plural}",
        "messages/s",
        PEERS,
        TARGETS.get(connections, {}),
        load=(*echo_load(connections, 64), *sources),
        charts={Chart.CONNECTIONS: connections},
        why=SMALL,
    )


ECHO_CASES = (
    Case(
        "echo",
        "echo, 64 bytes, 64 connections",
        "messages/s",
        PEERS,
        {"uvloop": 0.92, "gevent": 1.7, "bun": 1.0},
        load=echo_load(64, 64),
        charts={Chart.SIZE: 64, Chart.CONNECTIONS: 64},
        quick=True,
        why=SMALL,
    ),
    *(
        Case(
            f"echo-{name}",
            f"echo, {in_words(size)}, 64 connections",
            "messages/s",
            PEERS,
            {},
            load=echo_load(64, size),
            charts={Chart.SIZE: size},
            why=SMALL if size <= 1024 else "",
        )
        for name, size in SIZES.items()
    ),
    *(echo(connections) for connections in (1, 8, 1000, 10_000)),
    Case(
        "echo-large",
        "echo, 256 KiB, 8 connections",
        "messages/s",
        (OURS, "gevent", "uvloop", "twisted", "node", "bun", CEILING),
        {"uvloop": 0.95},
        load=echo_load(8, 256 * 1024),
    ),
    *(
        Case(
            f"latency-{share * 100:.0f}",
            f"latency at {share:.0%} of each server's own limit, 64 bytes, 64 connections",
            "µs, p99 from the schedule",
            AT_A_RATE,
            {},
            load=echo_load(64, 64),
            measure=Measure.LATENCY,
            share=share,
            quick=share == 0.6,
        )
        for share in SHARES
    ),
    Case(
        "slow-reader",
        f"memory while 8 clients send echoes of 64 KiB and read {in_words(READ_RATE)}/s in all",
        "bytes, greatest growth",
        AT_A_RATE,
        {},
        load=("slow", "--connections", "8", "--size", str(64 * 1024), "--read-rate", str(READ_RATE)),
        measure=Measure.SLOW_READER,
        quick=True,
    ),
)

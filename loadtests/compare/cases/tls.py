"""The cases over TLS."""

from __future__ import annotations

from cases.case import Case, Measure, echo_load, idle_load
from cases.peers import OURS
from cases.work import churn_load

CONNECTIONS = 2_000  # of the memory case: asyncio and uvloop keep 256 KiB and more for each
PEERS = (OURS, "gevent", "asyncio", "uvloop", "twisted", "node", "bun")

RECORDS = "Every Python server calls the interpreter's OpenSSL, several times for each record; Bun has BoringSSL, in C."
HANDSHAKES = "Most of a handshake is OpenSSL's own time, the same for all Python servers; Bun's BoringSSL needs less."

TLS_CASES = (
    Case(
        "tls-echo",
        "TLS 1.3, echo, 64 bytes, 64 connections",
        "messages/s",
        PEERS,
        {"uvloop": 2.8, "gevent": 1.6, "bun": 1.0},
        tls=True,
        load=echo_load(64, 64),
        quick=True,
        why=RECORDS,
    ),
    Case(
        "tls-echo-16k",
        "TLS 1.3, echo, 16 KiB, 64 connections",
        "messages/s",
        PEERS,
        {"uvloop": 2.8, "gevent": 1.6, "bun": 0.88},
        tls=True,
        load=echo_load(64, 16 * 1024),
        why=RECORDS,
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
        PEERS,
        {"uvloop": 1.0, "gevent": 1.5},
        tls=True,
        per_cpu=True,
        load=churn_load(),
        quick=True,
        why=HANDSHAKES,
    ),
    Case(
        "tls-resume",
        "TLS 1.3, the same with each handshake resumed from a ticket",
        "handshakes per second of CPU",
        # Node takes a ticket, but gives no usable one in return: its third connection is not resumed.
        tuple(peer for peer in PEERS if peer != "node"),
        {},
        tls=True,
        per_cpu=True,
        load=(*churn_load(), "--resume"),
        why=HANDSHAKES,
    ),
    Case(
        "tls-memory",
        f"TLS 1.3, memory for each idle connection, {CONNECTIONS:,} connections",
        "bytes",
        PEERS,
        {"gevent": 1.0, "asyncio": 1.0, "uvloop": 1.0},
        measure=Measure.MEMORY,
        tls=True,
        connections=CONNECTIONS,
        load=idle_load(CONNECTIONS),
        why="Nearly all of it is what the TLS library keeps for a connection: OpenSSL for Python, BoringSSL for Bun.",
    ),
)

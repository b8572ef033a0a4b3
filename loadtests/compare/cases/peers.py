"""Who is measured: a program, how it is started, and what it needs."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum


class Runtime(StrEnum):
    PYTHON = "python"
    NODE = "node"
    BUN = "bun"
    C = "c"  # the load client itself, which can also serve


@dataclass(frozen=True)
class Peer:
    name: str
    script: str  # in the folder peers
    args: tuple[str, ...] = ()
    module: str = ""  # what the Python interpreter must be able to import
    runtime: Runtime = Runtime.PYTHON


CEILING = "C (the ceiling)"  # nobody can be faster: what the kernel and the load client leave to a server
OURS = "greensock"
SESSIONS = "greensock sessions"
PEERS = {
    peer.name: peer
    for peer in (
        Peer(CEILING, "", ("echo-server", "127.0.0.1", "0"), runtime=Runtime.C),
        Peer(OURS, "greensock_server.py", module="greensock"),
        Peer(SESSIONS, "greensock_sessions.py", module="greensock"),
        Peer("gevent", "gevent_server.py", module="gevent"),
        Peer("asyncio", "asyncio_server.py", module="asyncio"),
        Peer("asyncio streams", "asyncio_server.py", ("--style", "streams"), module="asyncio"),
        Peer("uvloop", "asyncio_server.py", ("--loop", "uvloop"), module="uvloop"),
        Peer("uvloop streams", "asyncio_server.py", ("--loop", "uvloop", "--style", "streams"), module="uvloop"),
        Peer("uvloop writelines", "asyncio_server.py", ("--loop", "uvloop", "--writelines"), module="uvloop"),
        Peer("twisted", "twisted_server.py", module="twisted"),
        Peer("node", "node.js", runtime=Runtime.NODE),
        Peer("bun", "bun.js", runtime=Runtime.BUN),
        Peer("bun sink", "bun.js", ("--sink",), runtime=Runtime.BUN),
    )
}

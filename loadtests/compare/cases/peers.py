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
    script: str
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
        Peer(OURS, "peer_greensock.py", module="greensock"),
        Peer(SESSIONS, "peer_greensock_sessions.py", module="greensock"),
        Peer("gevent", "peer_gevent.py", module="gevent"),
        Peer("asyncio", "peer_asyncio.py", module="asyncio"),
        Peer("asyncio streams", "peer_asyncio.py", ("--style", "streams"), module="asyncio"),
        Peer("uvloop", "peer_asyncio.py", ("--loop", "uvloop"), module="uvloop"),
        Peer("uvloop streams", "peer_asyncio.py", ("--loop", "uvloop", "--style", "streams"), module="uvloop"),
        Peer("uvloop writelines", "peer_asyncio.py", ("--loop", "uvloop", "--writelines"), module="uvloop"),
        Peer("twisted", "peer_twisted.py", module="twisted"),
        Peer("node", "peer_node.js", runtime=Runtime.NODE),
        Peer("bun", "peer_bun.js", runtime=Runtime.BUN),
        Peer("bun sink", "peer_bun.js", ("--sink",), runtime=Runtime.BUN),
    )
}

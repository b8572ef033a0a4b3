"""What a process is doing, as text for a person: its servers, what waits in them, and where its greenlets are.

Called in the loop, or by a thread of the system while the loop is stuck.
"""

import heapq
import os
from collections import Counter
from collections.abc import Iterable
from typing import Any, Final

from ..server import Server
from . import native, stacks

#: So many sockets are shown for each server: those with the most bytes queued.
SOCKETS: Final = 5

#: So many different stacks are shown: those that most greenlets have.
STACKS: Final = 50


def report(servers: Iterable[Server], thread: int) -> str:
    """The state of *servers*, which run in *thread*.

    Args:
        thread: its number; if it is another one than the caller's, what it runs now is told as well.
    """
    lines = [f"greensock: state of process {os.getpid()}"]
    for server in servers:
        lines += _server(server)
    if native.get_ident() != thread:
        lines += ["the loop is stuck in", *_calls(stacks.of_thread(thread))]
    found = Counter("\n".join(_calls(frames)) for frames in stacks.of_greenlets(roots=False))
    resting = found.pop("", 0)
    lines.append(f"greenlets: {found.total()} in handlers and other code of yours, {resting} at rest")
    for calls, count in found.most_common(STACKS):
        lines += [f"  {count} in", calls]
    return "\n".join(lines) + "\n"


def _server(server: Server) -> list[str]:
    for _ in range(10):  # another thread than the loop's may be interrupted by it
        try:
            stats = server.stats()
            break
        except RuntimeError:  # a set changed its size during iteration
            continue
    else:
        return [f"{server!r}"]
    lines = [
        f"{server!r}",
        f"  {stats.buffered} bytes buffered, {stats.handlers_running} handlers running, "
        f"{stats.accepted} accepted, {stats.errors} errors, {stats.bytes_read} bytes read, "
        f"{stats.bytes_written} bytes written",
    ]
    queued: list[Any] = heapq.nlargest(SOCKETS, list(server._shared.sockets), key=lambda socket: socket.buffered)
    return lines + [f"  {socket!r}" for socket in queued if socket.buffered]


def _calls(frames: Iterable[Any]) -> list[str]:
    """The innermost call first, without ours and gevent's."""
    return [f"    {stacks.describe(frame)}" for frame in reversed(list(frames)) if not stacks.is_ours(frame)]

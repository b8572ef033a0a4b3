"""Open and close many connections in five ways, and see that nothing grows.

    python loadtests/soak.py --connections 100000

Prints descriptors, watchers, greenlets, objects and private memory at checkpoints. The exit status is 0 only if all of
them stayed where they were after the first fifth, which warms up allocators and pools. It runs without the garbage
collector: what that would have to find is a leak here.
"""

import argparse
import contextlib
import ctypes
import gc
import os
import socket as sockets
import struct
import sys
from collections.abc import Callable
from typing import Any

import gevent
import gevent.pool
import gevent.socket
import psutil
from greenlet import greenlet

import greensock

#: What may differ between two checkpoints: a few parked runners and what hangs on them, and what the allocator or the
#: kernel (huge pages) keeps for later. One object left for each connection is over it.
SLACK = {"descriptors": 0, "watchers": 0, "greenlets": 8, "objects": 400, "memory": 10 << 20}
LINGER = struct.pack("ii", 1, 0)

LIBRARY = ctypes.CDLL(None)  # once: each is a class, which only the garbage collector would find


class Ends(greensock.Handlers[None]):
    """Echoes, and ends as it is told; every fourth message blocks its handler first."""

    def data(self, socket: Any, data: bytes) -> None:
        if data[1:] == b"0":
            gevent.sleep(0)
        socket.write(data)
        if data[:1] == b"c":
            socket.close()
        elif data[:1] == b"t":
            socket.flush()
            socket.terminate()


def close(client: Any) -> None:
    """The client closes."""


def finish(client: Any) -> None:
    """The client sends FIN and reads to the end."""
    client.shutdown(sockets.SHUT_WR)
    assert client.recv(10) == b""


def reset(client: Any) -> None:
    """The client resets."""
    client.setsockopt(sockets.SOL_SOCKET, sockets.SO_LINGER, LINGER)


def wait_for_fin(client: Any) -> None:
    """The server closes."""
    assert client.recv(10) == b""


def wait_for_reset(client: Any) -> None:
    """The server terminates."""
    try:
        client.recv(10)
    except ConnectionResetError:
        return
    raise AssertionError("no reset")


WAYS: list[tuple[bytes, Callable[[Any], None]]] = [
    (b"x", close),
    (b"f", finish),
    (b"r", reset),
    (b"c", wait_for_fin),
    (b"t", wait_for_reset),
]


def connect(address: Any, number: int) -> None:
    """One connection, from its beginning to one of its ends."""
    letter, ending = WAYS[number % len(WAYS)]
    message = letter + str(number % 4).encode()
    with gevent.socket.create_connection(address) as client:
        client.sendall(message)
        received = client.recv(10)
        assert received == message, (received, message)
        ending(client)


def measure() -> dict[str, int]:
    """What must not grow."""
    with contextlib.suppress(AttributeError):
        LIBRARY.malloc_trim(0)  # malloc_trim(3): have glibc give back what is free
    return {
        "descriptors": len(os.listdir("/proc/self/fd")),
        "watchers": gevent.get_hub().loop.activecnt,
        "greenlets": sum(isinstance(thing, greenlet) for thing in gc.get_objects()),
        "objects": len(gc.get_objects()),
        "memory": psutil.Process().memory_full_info().uss,  # what is this process's alone
    }


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--connections", type=int, default=100_000)
    parser.add_argument("--at-once", type=int, default=50)
    arguments = parser.parse_args()

    gc.disable()
    server = greensock.listen(("127.0.0.1", 0), Ends())
    clients = gevent.pool.Pool(arguments.at_once)
    parts = 5
    checkpoints = []
    for part in range(parts):
        share = arguments.connections // parts
        for _ in clients.imap_unordered(connect, [server.address] * share, range(part * share, (part + 1) * share)):
            pass
        while server.connections:
            gevent.sleep(0.01)
        gevent.sleep(1.5)  # spare runners are let go
        checkpoints.append(measure())
        print(f"{(part + 1) * share:9,} connections  {checkpoints[-1]}", flush=True)
    server.stop(1)

    stats = server.stats()
    first, last = checkpoints[0], checkpoints[-1]
    problems = [f"{name}: {first[name]} -> {last[name]}" for name in first if last[name] > first[name] + SLACK[name]]
    if not stats.accepted == stats.closed == share * parts:
        problems.append(f"accepted {stats.accepted}, closed {stats.closed}, connected {share * parts}")
    if stats.errors or stats.buffered:
        problems.append(f"errors {stats.errors}, buffered {stats.buffered}")
    for problem in problems:
        print(f"grew or differs: {problem}", file=sys.stderr)
    print("flat" if not problems else "NOT flat")
    return bool(problems)


if __name__ == "__main__":
    sys.exit(main())

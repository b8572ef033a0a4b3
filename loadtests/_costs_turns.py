"""Turns of the engine over sockets that are always readable, the kernel's part replaced by nothing: what Python does.

    python _costs_turns.py CONNECTIONS TURNS

prints the nanoseconds of processor time for each message, in the median turn. costs.py counts its instructions.
"""

import gc
import os
import socket as stdlib
import statistics
import sys
import time
from typing import Any

import gevent
from gevent.event import Event

import greensock
from _costs_server import Echo
from greensock.engine import Engine

SIZE = 64


class Nothing:
    """A wire that has always come with one message, and takes whatever it is given."""

    tls = backlog = None
    more = False
    write = staticmethod(len)

    @staticmethod
    def read(_size: int, message: bytes = b"x" * SIZE) -> bytes:
        return message


def main(connections: int, turns: int) -> None:
    server = greensock.listen(("127.0.0.1", 0), Echo())
    clients = [stdlib.create_connection(("127.0.0.1", server.server_port)) for _ in range(connections)]
    for client in clients:
        client.send(b"x" * SIZE)  # for each to have read and adapted to what is small
    while server.stats().bytes_written < connections * SIZE:
        gevent.sleep(0.001)
    sockets: list[Any] = list(server.sockets)
    wires = [socket._wire for socket in sockets]  # stay open
    for socket in sockets:
        socket._wire = Nothing()
    engine = Engine.of_this_hub()
    times: list[int] = []
    done = Event()

    def measure() -> None:
        for _ in range(turns):
            engine.ready.extend(sockets)
            begun = time.thread_time_ns()
            engine.turn()
            times.append(time.thread_time_ns() - begun)
        done.set()

    gc.disable()
    engine.loop.run_callback(measure)  # turns are the hub's
    done.wait()
    read = sum(socket.bytes_read for socket in sockets)
    assert read == (turns + 1) * connections * SIZE, "each turn serves each connection once"
    print(statistics.median(times) / connections, flush=True)
    del wires
    os._exit(0)  # there is no kernel left to close these connections with


if __name__ == "__main__":
    main(int(sys.argv[1]), int(sys.argv[2]))

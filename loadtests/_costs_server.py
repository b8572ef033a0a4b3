"""The echo that costs.py measures, which counts for itself what can be counted from within."""

import _socket
import ctypes
import json
import os
import socket as stdlib
import sys
import time
from collections import deque
from pathlib import Path
from typing import Any

import gevent
import greenlet

import greensock

#: counters of _allocations.c, where that is preloaded
ALLOCATIONS = ("allocated", "resized", "freed")


class Echo(greensock.Handlers[Any]):
    def data(self, socket: greensock.Socket[Any], data: bytes) -> None:
        socket.write(data)


def session(socket: greensock.Socket[Any]) -> None:
    for data in socket:
        socket.write(data)


class Bare:
    """The same two system calls for a message, on the same watchers, and nothing else: what Python could be at best."""

    def __init__(self) -> None:
        self.connections = self.bytes_read = 0
        self._loop = gevent.get_hub().loop
        self._ready: deque[Any] = deque()
        self._listener = stdlib.create_server(("127.0.0.1", 0), backlog=4096)
        self._listener.setblocking(False)
        self._listener.setsockopt(stdlib.IPPROTO_TCP, stdlib.TCP_NODELAY, 1)  # inherited
        self.server_port = self._listener.getsockname()[1]
        self._acceptor = self._loop.io(self._listener.fileno(), 1)
        self._turn = self._loop.prepare()

    def stats(self) -> "Bare":
        return self

    def serve_forever(self) -> None:
        self._acceptor.start(self._accept)
        self._turn.start(self._serve)
        gevent.get_hub().join()

    def _accept(self) -> None:
        try:
            while True:
                descriptor, _ = self._listener._accept()  # type: ignore[attr-defined]
                connection = _socket.socket(fileno=descriptor)
                connection.setblocking(False)
                watcher = self._loop.io(descriptor, 1)
                watcher.start(self._ready.append, (connection.recv, connection.send, watcher))
                self.connections += 1
        except BlockingIOError:
            pass

    def _serve(self) -> None:
        ready = self._ready
        while ready:
            receive, send, watcher = ready.popleft()
            try:
                data = receive(479)
            except ConnectionError:
                data = b""
            if data:
                self.bytes_read += len(data)
                send(data)
            else:
                watcher.close()
                self.connections -= 1


class Switches:
    """How often this thread switches, and how many greenlets begin.

    It keeps none of them: a runner that somebody holds on to is not used for the next message.
    """

    def __init__(self) -> None:
        self.switches = self.begun = 0

    def __call__(self, _event: str, _origin_and_target: object) -> None:
        self.switches += 1
        if sys._getframe().f_back is None:  # no other frame: its function is still to be called
            self.begun += 1


def allocations() -> dict[str, int]:
    preloaded = ctypes.CDLL(None)
    if not hasattr(preloaded, "costs_allocated"):
        return {}
    return {name: ctypes.c_ulong.in_dll(preloaded, f"costs_{name}").value for name in ALLOCATIONS}


def main(kind: str, size: int) -> None:
    server: Any
    if kind == "bare":
        server = Bare()
    else:
        server = greensock.listen(("127.0.0.1", 0), session if kind == "sessions" else Echo(), backlog=4096)
    switches = Switches()

    def answer() -> None:
        """Each line on standard input is answered with all counters: by the hub, and so without a switch."""
        asked = os.read(0, 100).strip()
        if asked in (b"trace", b"end"):
            greenlet.settrace(switches if asked == b"trace" else None)
        status = dict(line.split(":", 1) for line in Path("/proc/thread-self/status").read_text().splitlines())
        counts = {
            "connections": server.connections,
            "messages": server.stats().bytes_read / size,
            "µs": time.thread_time() * 1e6,
            "voluntary": int(status["voluntary_ctxt_switches"]),
            "involuntary": int(status["nonvoluntary_ctxt_switches"]),
            "switches": switches.switches,
            "begun": switches.begun,
            **allocations(),
        }
        print(json.dumps(counts), flush=True)
        if asked == b"hold":  # nothing is served, and so nothing to be counted, until the next line
            os.read(0, 100)
            print("{}", flush=True)  # so that nobody asks again before this line is read, which then would take both

    gevent.get_hub().loop.io(0, 1).start(answer)
    print(server.server_port, flush=True)
    server.serve_forever()


if __name__ == "__main__":
    main(sys.argv[1], int(sys.argv[2]))

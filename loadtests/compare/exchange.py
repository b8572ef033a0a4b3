"""What sharing one connection costs: Exchange beside a lock around request and reply.

Any number of greenlets call an echo server in another process, on the other core, over one connection each way. Rounds
alternate; the figures are calls per second and the client's CPU time for each call.

python loadtests/compare/exchange.py [callers] [rounds] [seconds]
"""

import statistics
import subprocess
import sys
import time
from collections.abc import Callable
from typing import Any

import gevent
from gevent.lock import BoundedSemaphore

import greensock
from greensock.framing import LengthPrefixed
from measure.cores import Cores
from measure.servers import environment

FRAMING = LengthPrefixed()
Call = Callable[[bytes], Any]


def serve() -> None:
    def echo(socket: greensock.Socket[Any], message: bytes) -> None:
        socket.write_message(message)

    server = greensock.listen(("127.0.0.1", 0), {"data": echo}, framing=FRAMING)
    print(server.port, flush=True)
    server.serve_forever()


def with_lock(socket: greensock.Socket[Any]) -> Call:
    lock = BoundedSemaphore()

    def call(message: bytes) -> Any:
        with lock:
            socket.write_message(message)
            return socket.read_message()

    return call


def measure(call: Call, callers: int, seconds: float) -> tuple[float, float]:
    """Calls per second, and microseconds of this process's CPU time for each."""
    count = 0
    end = time.perf_counter() + seconds

    def work(number: int) -> None:
        nonlocal count
        message = b"%064d" % number
        while time.perf_counter() < end:
            if call(message) != message:
                raise SystemExit("a caller got the reply of another")
            count += 1

    cpu = time.process_time()
    gevent.joinall([gevent.spawn(work, number) for number in range(callers)], raise_error=True)
    return count / seconds, (time.process_time() - cpu) / count * 1e6


def main(callers: int = 64, rounds: int = 5, seconds: float = 1.0) -> None:
    cores = Cores.available()
    cores.claim()
    with cores.for_server():
        server = subprocess.Popen([sys.executable, __file__, "--serve"], stdout=subprocess.PIPE, env=environment())
    with server:
        assert server.stdout is not None
        try:
            address = "127.0.0.1", int(server.stdout.readline())
            shared, locked = (greensock.connect(address, framing=FRAMING) for _ in range(2))
            ways = {"Exchange": greensock.Exchange(shared).call, "a lock": with_lock(locked)}
            runs: dict[str, list[tuple[float, float]]] = {way: [] for way in ways}
            for _ in range(rounds):
                for way, call in ways.items():
                    runs[way].append(measure(call, callers, seconds))
        finally:
            server.kill()
    for way, figures in runs.items():
        rate, cpu = (statistics.median(column) for column in zip(*figures, strict=True))
        print(f"{way:10} {rate:10,.0f} calls/s {cpu:7.1f} us each")
    ratio = statistics.median(ours[0] / theirs[0] for ours, theirs in zip(*runs.values(), strict=True))
    print(f"{ratio:.1f} times as many, {callers} callers on one connection, the median of {rounds} rounds")


if __name__ == "__main__":
    if sys.argv[1:] == ["--serve"]:
        serve()
    else:
        main(*map(int, sys.argv[1:3]), *map(float, sys.argv[3:4]))

"""How much memory a server needs: for connections that rest, and for clients that do not read."""

from __future__ import annotations

import subprocess
import time

from cases.case import Case
from cases.peers import Peer
from measure.client import check_connections, holding, parse_answer
from measure.loads import PATIENCE, Loads
from measure.servers import Server, serving
from results.runs import Run

SAMPLES = 20  # a second
REST = 9  # times as long as a look at the memory took: it walks through all pages, on the load client's core


def measure_idle(loads: Loads, case: Case, peer: Peer) -> Run:
    """Bytes for each of many connections that do nothing."""
    with serving(loads.server_command(case, peer), loads.cores) as server:
        # What is made once, for the first connection, is not the price of the next thousands.
        loads.come_and_go(server, case, 1)
        before = server.settled_bytes()
        with loads.idle(server, case, case.load):
            used = server.settled_bytes() - before
        return Run(value=used / case.connections)


def measure_slow_reader(loads: Loads, case: Case, peer: Peer) -> Run:
    """The most by which its memory grows while clients send much and read little, and how it got there."""
    with serving(loads.server_command(case, peer), loads.cores) as server:
        loads.come_and_go(server, case, 1)
        before = server.settled_bytes()
        start = time.monotonic()
        with holding(loads.full_command(server, case, case.load), loads.seconds + PATIENCE) as process:
            memory = watch_memory(server, process, before, start)
            out, err = process.communicate()
    answer = parse_answer(out.removeprefix("ready\n"), err)
    check_connections(answer)
    return Run(
        value=max(size for _, size in memory),
        client_cpu=answer["client_cpu"],
        server_cpu=answer["server_cpu"],
        waited=answer["server_waited"],  # what the client waited is the time in which this looked at the memory
        memory=memory,
    )


def watch_memory(
    server: Server, process: subprocess.Popen[str], before: int, start: float
) -> list[tuple[float, float]]:
    """Seconds since the start and bytes above what there was before, from then until the load client has ended."""
    memory = [(0.0, 0.0)]
    while process.poll() is None:
        begun = time.monotonic()
        size = server.private_bytes()
        looked = time.monotonic() - begun
        memory.append((round(begun - start, 3), float(size - before)))
        time.sleep(max(1 / SAMPLES - looked, REST * looked))
    return memory

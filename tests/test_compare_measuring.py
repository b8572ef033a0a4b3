"""``loadtests/compare`` beside its rates: latency at a share of a server's limit, memory under a slow reader."""

import os
from collections.abc import Iterator
from pathlib import Path

import pytest

from cases.case import Case, Measure, echo_load
from cases.peers import CEILING, OURS, PEERS, Peer
from measure.certificate import Certificate
from measure.client import build_load_client
from measure.cores import Cores
from measure.measuring import Bench
from results.runs import Run

LATENCY = Case("latency", "latency", "µs", (CEILING,), {}, load=echo_load(4, 64), measure=Measure.LATENCY, share=0.6)
SLOW_READER = Case(
    "slow reader",
    "slow reader",
    "bytes",
    (CEILING,),
    {},
    load=("slow", "--connections", "4", "--size", "16384", "--read-rate", "1000000"),
    measure=Measure.SLOW_READER,
)

#: More than a server with backpressure keeps of four connections, and far less than comes to it.
MUCH = 16 << 20

#: An echo server that never stops reading, and keeps what it cannot send.
HOARDER = """
import asyncio

class Echo(asyncio.Protocol):
    def connection_made(self, transport):
        self.transport = transport

    def data_received(self, data):
        self.transport.write(data)

async def main():
    server = await asyncio.get_running_loop().create_server(Echo, "127.0.0.1", 0)
    print("listening", server.sockets[0].getsockname()[1], flush=True)
    await server.serve_forever()

asyncio.run(main())
"""


@pytest.fixture(scope="session")
def load_client() -> Path:
    return build_load_client()


@pytest.fixture
def bench(load_client: Path) -> Iterator[Bench]:
    cores = os.sched_getaffinity(0)  # the bench stays on the load client's
    yield Bench(load_client, Cores.available(), 0.3, 0.1, 1 << 20, Certificate(Path("unused"), Path("unused")))
    os.sched_setaffinity(0, cores)


def test_latency_is_that_of_a_share_of_the_limit(bench: Bench) -> None:
    run = bench.measure(LATENCY, PEERS[CEILING], limit=2000.0)
    assert (run.failures, run.error) == (0, "")
    assert run.offered == pytest.approx(1200, abs=1 / 0.3)  # to the message
    latencies = dict(run.percentiles_us)
    assert list(latencies) == [50, 75, 90, 95, 99, 99.9, 99.99, 100]
    assert run.value == run.p99_us == latencies[99] > 0


def test_without_a_limit_there_is_no_share_of_it(bench: Bench) -> None:
    for limit in (None, 0.0):
        run = bench.measure(LATENCY, PEERS[CEILING], limit)
        assert run.failures and "a share" in run.error


@pytest.mark.parametrize("name", [CEILING, OURS])
def test_a_slow_reader_costs_a_server_with_backpressure_next_to_nothing(bench: Bench, name: str) -> None:
    run = bench.measure(SLOW_READER, PEERS[name])
    check_samples(run)
    assert run.value < MUCH


def test_a_slow_reader_shows_the_memory_of_a_server_without_backpressure(bench: Bench, tmp_path: Path) -> None:
    script = tmp_path / "hoarder.py"
    script.write_text(HOARDER)
    run = bench.measure(SLOW_READER, Peer("hoarder", str(script)))
    check_samples(run)
    assert run.value > MUCH


def check_samples(run: Run) -> None:
    assert (run.failures, run.error) == (0, "")
    assert run.memory[0] == (0.0, 0.0), "from before the load"
    assert len(run.memory) > 2
    times = [at for at, _ in run.memory]
    assert times == sorted(times)
    assert run.value == max(size for _, size in run.memory)


def test_a_server_that_dies_under_its_load_has_no_figure(bench: Bench, tmp_path: Path) -> None:
    script = tmp_path / "mortal.py"
    script.write_text(HOARDER.replace("self.transport.write(data)", "self.transport.abort()"))
    for case in (LATENCY, SLOW_READER):
        run = bench.measure(case, Peer("mortal", str(script)), limit=2000.0)
        assert run.failures and run.value == 0.0

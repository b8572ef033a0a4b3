"""A service that is watched by locust: from the beginning of a test to its end, in files, and when it is not there."""

import csv
import logging
from argparse import Namespace
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import gevent
import pytest

import greensock
from greensock.framing import Lines
from greensock.load.stats import Endpoint
from greensock.serve.monitor import Monitor
from greensock.testing import Dial, Serve, wait_until

import loadlab
from locust.env import Environment
from greensock.load.watch import Watch

assert loadlab


class Service:
    """An echo, and where it tells its numbers."""

    def __init__(self, serve: Serve) -> None:
        self.server = serve({"data": lambda socket, line: socket.write_message(line)}, framing=Lines())
        self.monitor = Monitor("127.0.0.1:0", [self.server], more=dict, ready=lambda: True)
        self.endpoint = Endpoint(self.monitor.server.url)


@pytest.fixture
def service(serve: Serve) -> Iterator[Service]:
    made = Service(serve)
    yield made
    made.monitor.close()


@pytest.fixture
def environment(no_leaks: None, tmp_path: Path) -> Iterator[Environment]:
    """One with a runner that has begun nothing."""
    made = Environment(parsed_options=Namespace(csv_prefix=str(tmp_path / "run")))
    runner = made.create_local_runner()
    yield made
    runner.quit()


def begin(environment: Environment) -> None:
    environment.events.test_start.fire(environment=environment)


def end(environment: Environment) -> None:
    environment.events.quitting.fire(environment=environment, reverse=True)
    environment.events.quit.fire(exit_code=0)


def test_it_asks_by_itself_and_counts_from_the_beginning_of_the_test(
    environment: Environment, service: Service, dial: Dial
) -> None:
    watch = Watch(environment, service.endpoint)
    peer = dial(service.server)
    peer.exchange(b"before\n")
    watch.start()
    wait_until(lambda: watch.latest)
    begin(environment)
    for _ in range(3):
        peer.exchange(b"hello\n")
    environment.events.test_stop.fire(environment=environment)
    assert watch.latest is not None
    numbers = watch.latest.servers[service.server.url]
    assert (numbers["messages_read"], numbers["messages_written"], numbers["connections"]) == (3, 3, 1)
    [line] = watch.summary()
    assert line.startswith(
        f"Server {service.server.url}: 0 connections accepted, 3 messages in, 3 out, at most 0 bytes"
    )
    end(environment)


@pytest.mark.parametrize("how", ["reset_stats", "spawning_complete", "test_start"])
def test_it_begins_anew_when_locust_does(environment: Environment, service: Service, dial: Dial, how: str) -> None:
    environment.reset_stats = True
    watch = Watch(environment, service.endpoint)
    watch.start()
    begin(environment)
    dial(service.server).exchange(b"hello\n")
    getattr(environment.events, how).fire(environment=environment, user_count=1)
    assert watch.latest is not None and watch.latest.total()["messages_read"] == 1, "asked, and put down, before"
    watch.poll()
    assert watch.latest.total()["messages_read"] == 0
    end(environment)


def test_the_files_beside_locusts_own(environment: Environment, service: Service, dial: Dial, tmp_path: Path) -> None:
    watch = Watch(environment, service.endpoint)
    watch.start()
    begin(environment)
    dial(service.server).exchange(b"hello\n")
    watch.poll()
    end(environment)
    heading, *rows = csv.reader((tmp_path / "run_server_history.csv").read_text().splitlines())
    assert heading[:3] == ["Timestamp", "Server", "connections"] and heading[-1] == "client_messages_per_s"
    assert len(rows) >= 2
    told = dict(zip(heading, rows[-1], strict=True))
    assert (told["Server"], told["messages_read"], told["client_messages_per_s"]) == (service.server.url, "1", "0.0")
    [summary] = csv.DictReader((tmp_path / "run_server.csv").read_text().splitlines())
    assert (summary["Server"], summary["messages_read"], summary["buffered_peak"]) == (service.server.url, "1", "0")
    table = list(watch.history_rows())
    assert [row[1] for row in table] == ["Server", *[service.server.url] * (len(table) - 1)]


def test_the_rate_of_the_clients_is_put_to_the_second(environment: Environment, service: Service) -> None:
    watch = Watch(environment, service.endpoint)
    watch.start()
    watch.poll()
    assert watch.client_per_s is None, "it is not known yet"
    sample = watch.history.samples[0]
    for second in range(-3, 3):
        environment.stats.get("echo", "TCP").num_reqs_per_sec[int(sample.time) + second] = 50
    end(environment)
    assert sample.client_per_s == watch.client_per_s == 50


def test_a_service_that_does_not_answer_is_told_once(
    environment: Environment, serve: Serve, caplog: pytest.LogCaptureFixture
) -> None:
    closed = serve({"data": print})
    port = closed.port
    closed.stop(0)
    watch = Watch(environment, Endpoint(f"127.0.0.1:{port}"))
    with caplog.at_level(logging.INFO, "greensock.locust"):
        watch.start()
        begin(environment)
        watch.poll()
        assert watch.problem is not None and "refused" in watch.problem
        assert list(watch.summary()) == [f"Server: {watch.problem}"]
        server = greensock.listen(("127.0.0.1", 0), {"data": print})
        monitor = Monitor(f"127.0.0.1:{port}", [server], more=dict, ready=lambda: True)
        watch.poll()
        assert watch.problem is None
        end(environment)
        monitor.close()
        server.stop(0)
    told = [record.getMessage() for record in caplog.records]
    assert [text.partition(":")[0] for text in told][:2] == ["the server's numbers are missing", "http"]


def test_questions_that_overlap_are_asked_one_after_the_other(environment: Environment, service: Service) -> None:
    watch = Watch(environment, service.endpoint)
    gevent.joinall([gevent.spawn(watch.poll) for _ in range(5)], timeout=10, raise_error=True)
    times = [sample.time for sample in watch.history.samples]
    assert times == sorted(times) and len(times) == 5


def test_without_files(service: Service, no_leaks: None, tmp_path: Path, monkeypatch: Any) -> None:
    monkeypatch.chdir(tmp_path)
    environment = Environment()
    runner = environment.create_local_runner()
    watch = Watch(environment, service.endpoint)
    watch.start()
    begin(environment)
    end(environment)
    runner.quit()
    assert list(tmp_path.iterdir()) == []

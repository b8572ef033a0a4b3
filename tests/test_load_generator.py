"""How busy the generator is, and what it tells of itself. What else workers and masters do is in ``test_locust.py``."""

from collections.abc import Iterator
from time import perf_counter, process_time
from typing import Any

import gevent
import pytest

import loadlab
from locust.env import Environment
from greensock.load.generator import REPORT, Effort, Generator, effort_of
from program import Launch

assert loadlab


def test_efforts_of_processes_are_added() -> None:
    effort = Effort(scheduled=10, late=1, aborted=2, busiest=0.5)
    effort.add(Effort(scheduled=5, late=2, aborted=0, busiest=0.25))
    assert effort == Effort(scheduled=15, late=3, aborted=2, busiest=0.5)
    effort.add(Effort(busiest=0.75))
    assert effort.busiest == 0.75
    effort.clear()
    assert effort == Effort()


def test_each_environment_has_one() -> None:
    first, second = Environment(), Environment()
    assert effort_of(first) is effort_of(first) is not effort_of(second)


def test_the_summary_says_what_there_is_to_say() -> None:
    assert list(Effort(busiest=0.256).summary()) == ["Generator: at most 26% of a core used by a locust process"]
    busy, unanswered = Effort(scheduled=1000, late=5, aborted=7, busiest=0.99).summary()
    assert (
        busy == "Generator: at most 99% of a core used by a locust process, 5 of 1,000 messages of stream() sent late"
    )
    assert unanswered.startswith("Generator: 7 requests unanswered when their users were killed, which are in no row")


@pytest.fixture
def measured(no_leaks: None, monkeypatch: pytest.MonkeyPatch) -> Iterator[Environment]:
    """An environment whose generator is measured, as one in which users run."""
    monkeypatch.setattr("greensock.load.generator.WINDOW", 0.2)
    environment = Environment()
    runner = environment.create_local_runner()
    Generator(environment).start()
    gevent.sleep(0)  # it begins to measure
    environment.events.test_start.fire(environment=environment)
    runner.state = "running"
    yield environment
    runner.state = "stopped"
    runner.quit()


def test_it_is_measured_how_busy_the_process_is(measured: Environment) -> None:
    began, used = perf_counter(), process_time()
    while perf_counter() - began < 0.5:
        gevent.sleep(0)
    share = (process_time() - used) / (perf_counter() - began)  # of which others on this machine leave more or less
    measured.events.test_stopping.fire(environment=measured)
    assert share / 2 < effort_of(measured).busiest < 1.3


def test_an_idle_process_is_not_busy(measured: Environment) -> None:
    gevent.sleep(0.5)
    measured.events.test_stopping.fire(environment=measured)
    assert 0 < effort_of(measured).busiest < 0.3


def test_a_window_that_is_hardly_begun_says_nothing(measured: Environment) -> None:
    measured.events.test_stopping.fire(environment=measured)
    assert effort_of(measured).busiest == 0


def test_a_report_of_a_worker_is_added_by_the_master_once() -> None:
    worker, master = Generator(Environment()), Generator(Environment())
    worker._effort.aborted = 3
    data: dict[str, Any] = {}
    worker._report(data=data, client_id="w")
    master._reported(data=data, client_id="w")
    master._reported(data={}, client_id="a worker without install()")
    worker._report(data=data, client_id="w")
    master._reported(data=data, client_id="w")
    assert (worker._effort.aborted, master._effort.aborted) == (0, 3)
    assert set(data) == {REPORT}


def test_a_worker_that_is_interrupted_with_its_master_reports_before_it_leaves(launch: Launch) -> None:
    """As Ctrl-C does it in a terminal, which all processes of a test hear."""
    done = launch("""
        import os
        os.environ["LOCUST_SKIP_MONKEY_PATCH"] = "1"
        import gevent
        from locust import User, constant, task
        from locust.env import Environment
        from greensock.load.generator import Generator

        class Caller(User):
            wait_time = constant(60)

            @task
            def call(self):
                told = dict(request_type="TCP", name="call", response_time=1, response_length=0, exception=None)
                self.environment.events.request.fire(context={}, **told)

        def leave(environment):
            environment.events.quitting.fire(environment=environment, reverse=True)
            environment.runner.quit()

        master, worker = (Environment(user_classes=[Caller]) for _ in range(2))
        runner = master.create_master_runner("127.0.0.1", 0)
        worker.create_worker_runner("127.0.0.1", runner.server.port)
        for environment in (master, worker):
            Generator(environment).start()
        while not runner.clients.ready:
            gevent.sleep(0.01)
        runner.start(3, 100)
        while worker.stats.total.num_requests < 3:
            gevent.sleep(0.01)
        gevent.joinall([gevent.spawn(leave, environment) for environment in (master, worker)])
        print(master.stats.total.num_requests, flush=True)
        os._exit(0)  # without waiting for anything of theirs
    """)
    status, output, errors = done.finish()
    assert (status, output) == (0, "3\n"), errors
    assert "have not ended" not in errors

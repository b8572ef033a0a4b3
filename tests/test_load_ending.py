"""What there is to say at the end of a run: when it is put together, and when it is written."""

import logging
from typing import Any

import gevent
import pytest

from greensock.testing import wait_until
from program import Launch

import loadlab
from locust import User, task
from locust.env import Environment
from greensock.load.ending import console, tell_at_the_end

assert loadlab


@pytest.fixture
def written(caplog: pytest.LogCaptureFixture) -> Any:
    """A function that gives the lines so far."""
    caplog.set_level(logging.INFO, console.name)
    return lambda: [record.getMessage() for record in caplog.records if record.name == console.name]


def quitting(environment: Environment) -> None:
    """As locust ends: this first, then it writes its files and tables."""
    environment.events.quitting.fire(environment=environment, reverse=True)


def quit_for_good(environment: Environment) -> None:
    environment.events.quit.fire(exit_code=0)


def test_lines_are_written_at_the_very_end_in_the_order_in_which_they_were_announced(written: Any) -> None:
    environment = Environment()
    tell_at_the_end(environment, lambda: ["first", "second"])
    tell_at_the_end(environment, lambda: iter(()))
    tell_at_the_end(environment, lambda: ("third",))
    quitting(environment)
    assert written() == [], "locust's own tables come before"
    quit_for_good(environment)
    assert written() == ["first", "second", "third"]


def test_what_they_say_is_put_together_before_locust_empties_its_statistics(written: Any) -> None:
    environment = Environment()
    environment.stats.log_request("TCP", "echo", 1, 5)
    tell_at_the_end(environment, lambda: [f"{environment.stats.total.num_requests} requests"])
    quitting(environment)
    environment.stats.clear_all()
    quit_for_good(environment)
    assert written() == ["1 requests"]


def test_what_they_say_is_put_together_after_all_users_have_ended(written: Any) -> None:
    ended: list[User] = []

    class Sleeper(User):
        @task
        def sleep(self) -> None:
            gevent.sleep(60)

        def on_stop(self) -> None:
            ended.append(self)

    environment = Environment(user_classes=[Sleeper])
    runner = environment.create_local_runner()
    tell_at_the_end(environment, lambda: [f"{len(ended)} ended, {runner.user_count} left"])
    runner.start(3, spawn_rate=100)
    wait_until(lambda: runner.user_count == 3)
    quitting(environment)
    quit_for_good(environment)
    assert written() == ["3 ended, 0 left"]


def test_each_environment_says_its_own(written: Any) -> None:
    one, other = Environment(), Environment()
    tell_at_the_end(one, lambda: ["one"])
    tell_at_the_end(other, lambda: ["other"])
    quitting(one)
    quit_for_good(one)
    assert written() == ["one"]
    quitting(other)
    quit_for_good(other)
    assert written() == ["one", "other"]


def test_the_master_says_it_and_its_workers_do_not(launch: Launch) -> None:
    done = launch("""
        import logging, os, sys
        os.environ["LOCUST_SKIP_MONKEY_PATCH"] = "1"
        from locust.env import Environment
        from greensock.load.ending import console, tell_at_the_end

        console.addHandler(logging.StreamHandler(sys.stdout))
        console.setLevel(logging.INFO)
        environments = {"master": Environment(), "worker": Environment()}
        master = environments["master"].create_master_runner("127.0.0.1", 0)
        environments["worker"].create_worker_runner("127.0.0.1", master.server.port)
        for name in ("worker", "master"):
            tell_at_the_end(environments[name], lambda: [f"the {name} says it"])
        for name, environment in environments.items():
            print(name, flush=True)
            environment.events.quitting.fire(environment=environment, reverse=True)
            environment.events.quit.fire(exit_code=0)
        os._exit(0)  # without waiting for anything of theirs
    """)
    status, output, errors = done.finish()
    assert (status, output) == (0, "master\nthe master says it\nworker\n"), errors

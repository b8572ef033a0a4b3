"""Thresholds: which are crossed, in which words, and what locust's exit status becomes."""

from typing import Any

import pytest

from greensock.load.stats import Endpoint
from test_load_stats import counted

import loadlab
import locust.log
from locust.argument_parser import get_empty_argument_parser
from locust.env import Environment
from greensock.load.checks import Checks, add_options
from greensock.load.generator import effort_of
from greensock.load.watch import Watch

assert loadlab


def ran(*arguments: str) -> Environment:
    """An environment with these options, and 200 requests, of which those named ``slow`` took 50 ms and more."""
    parser = get_empty_argument_parser(add_help=False)
    add_options(parser)
    environment = Environment(parsed_options=parser.parse_args(list(arguments)))
    for number in range(100):
        environment.stats.log_request("TCP", "quick", 1 + number // 50, 64)
        environment.stats.log_request("TCP", "slow", 50 + number // 2, 64)
    environment.stats.log_request("SEND", "tell", None, 0)  # type: ignore[arg-type]
    return environment


def crossed(*arguments: str, watch: Watch | None = None) -> list[str]:
    return list(Checks(ran(*arguments), watch).crossed())


@pytest.mark.parametrize(
    ("arguments", "sentences"),
    [
        (["100"], []),
        (["60"], ["99 % of TCP slow took up to 99 ms, more than 60"]),
        (["quick=2"], []),
        (["quick=1.5"], ["99 % of TCP quick took up to 2 ms, more than 1.5"]),
        (
            ["quick=2", "slow=60", "slow=98"],
            ["99 % of TCP slow took up to 99 ms, more than 60", "99 % of TCP slow took up to 99 ms, more than 98"],
        ),
        (["a=b=1"], ["there were no requests named 'a=b' whose time is known"]),
        (["tell=1"], ["there were no requests named 'tell' whose time is known"]),
    ],
)
def test_the_latency_of_a_name_or_of_each(arguments: list[str], sentences: list[str]) -> None:
    assert crossed(*(part for limit in arguments for part in ("--gs-check-p99", limit))) == sentences


@pytest.mark.parametrize(
    ("option", "value"),
    [
        *[("--gs-check-p99", value) for value in ("", "x", "echo=", "echo=x", "0", "-1", "nan", "inf")],
        *[("--gs-check-failures", value) for value in ("", "x", "-0.1", "1.1", "nan")],
        *[("--gs-check-server-buffered", value) for value in ("", "x", "-1", "inf")],
    ],
)
def test_a_threshold_that_cannot_be_is_refused_when_it_is_said(option: str, value: str, capsys: Any) -> None:
    with pytest.raises(SystemExit):
        ran(f"{option}={value}")
    assert f"argument {option}: {value.rpartition('=')[2]!r} is not a" in capsys.readouterr().err


def test_a_test_without_requests_has_not_held_anything() -> None:
    environment = ran("--gs-check-failures", "1")
    environment.stats.clear_all()
    assert list(Checks(environment, None).crossed()) == ["there were no requests"]


@pytest.mark.parametrize(
    ("allowed", "sentences"), [("0.02", []), ("0.001", ["0.50% of the requests failed, more than 0.10%"])]
)
def test_the_share_of_failures(allowed: str, sentences: list[str]) -> None:
    environment = ran("--gs-check-failures", allowed)
    environment.stats.log_error("TCP", "quick", KeyError())
    assert list(Checks(environment, None).crossed()) == sentences


def test_what_the_server_buffered() -> None:
    environment = ran("--gs-check-server-buffered", "1000")
    watch = Watch(environment, Endpoint("127.0.0.1:1"))
    watch.problem = "nobody answers"
    assert list(Checks(environment, watch).crossed()) == [
        "nothing is known of what the server buffered: nobody answers"
    ]
    watch.history.add(1.0, [counted()])
    watch.history.add(2.0, [counted(buffered=1000)])
    assert list(Checks(environment, watch).crossed()) == []
    watch.history.add(3.0, [counted(buffered_peak=1001)])
    assert list(Checks(environment, watch).crossed()) == ["tcp://127.0.0.1:1 had 1,001 bytes buffered, more than 1,000"]


def test_the_servers_numbers_are_needed_for_that() -> None:
    with pytest.raises(ValueError, match="--gs-check-server-buffered needs .* --gs-stats"):
        Checks(ran("--gs-check-server-buffered", "1"), None)


def test_a_generator_without_time() -> None:
    environment = ran("--gs-check-generator")
    effort = effort_of(environment)
    effort.busiest, effort.scheduled, effort.late = 0.9, 1000, 10
    assert list(Checks(environment, None).crossed()) == []
    effort.busiest, effort.late = 0.97, 11
    assert list(Checks(environment, None).crossed()) == [
        "a locust process used 97% of its core, more than 90%: give it --processes",
        "11 of 1,000 messages were sent late, more than 1%",
    ]


@pytest.mark.parametrize(
    ("arguments", "failed", "before", "status"),
    [
        ([], True, None, None),  # locust's own rule holds
        (["--gs-check-p99", "1000"], True, None, None),
        (["--gs-check-p99", "60"], False, None, 3),
        (["--gs-check-p99", "60"], False, 2, 2),
        (["--gs-check-failures", "0.5"], True, None, 0),
        (["--gs-check-failures", "0.5"], True, 4, 4),
        (["--gs-check-failures", "0"], True, None, 3),
        (["--gs-check-failures", "0", "--gs-check-p99", "60"], True, None, 3),
    ],
)
def test_the_exit_status(
    arguments: list[str], failed: bool, before: int | None, status: int | None, caplog: Any
) -> None:
    environment = ran(*arguments)
    environment.process_exit_code = before
    if failed:
        environment.stats.log_error("TCP", "quick", KeyError())
    checks = Checks(environment, None)
    checks.start()
    environment.events.quitting.fire(environment=environment, reverse=True)
    assert environment.process_exit_code == status
    told = [record.getMessage() for record in caplog.records if "threshold crossed" in record.getMessage()]
    assert told == [f"threshold crossed: {sentence}" for sentence in checks.crossed()] or not arguments


def test_few_failures_do_not_hide_that_users_have_raised(monkeypatch: pytest.MonkeyPatch) -> None:
    environment = ran("--gs-check-failures", "0.5")
    runner = environment.create_local_runner()
    runner.log_exception("local", "mistake", "traceback")
    Checks(environment, None).start()
    environment.events.quitting.fire(environment=environment, reverse=True)
    assert environment.process_exit_code is None
    environment = ran("--gs-check-failures", "0.5")
    monkeypatch.setattr(locust.log, "unhandled_greenlet_exception", True)
    Checks(environment, None).start()
    environment.events.quitting.fire(environment=environment, reverse=True)
    assert environment.process_exit_code is None

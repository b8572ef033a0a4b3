"""What is logged, how it reads, and that it stays little."""

import logging
from typing import Any

import pytest

from greensock import log


def fail(error: BaseException) -> BaseException:
    try:
        raise error
    except BaseException as raised:
        return raised


@pytest.fixture(autouse=True)
def fresh(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(log, "_seen", {})


def test_a_failed_handler_is_named_with_place_and_peer(caplog: pytest.LogCaptureFixture) -> None:
    error = fail(ValueError("bad input"))
    log.handler_failed("data", error, "127.0.0.1:5")
    (record,) = caplog.records
    assert (record.name, record.levelno) == ("greensock", logging.ERROR)
    message = record.getMessage()
    assert "data handler of 127.0.0.1:5 raised ValueError: bad input at " in message
    assert f"test_log.py:{fail.__code__.co_firstlineno + 2}" in message
    assert record.exc_info is not None
    assert record.exc_info[1] is error


def test_an_error_that_was_never_raised_is_logged_as_well(caplog: pytest.LogCaptureFixture) -> None:
    log.handler_failed("data", ValueError("from nowhere"), "unix")
    assert "from nowhere" in caplog.text


def test_one_place_speaks_ten_times_a_second_and_then_tells_what_was_left_out(
    caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    now = 1000.0
    monkeypatch.setattr(log, "monotonic", lambda: now)
    for _ in range(100):
        log.handler_failed("data", fail(ValueError()), "peer")
    assert len(caplog.records) == log.LINES_PER_SECOND == 10
    log.handler_failed("open", fail(ValueError()), "peer")
    assert len(caplog.records) == 11, "another event has lines of its own"
    now += 1.0
    log.handler_failed("data", fail(ValueError()), "peer")
    assert "(90 more like this were not logged)" in caplog.records[-1].getMessage()


def test_a_finished_connection_is_one_line_of_access(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.INFO, "greensock.access")
    log.connection_finished("127.0.0.1:5", 1.5, 10, 20, "eof")
    (record,) = caplog.records
    assert (record.name, record.levelno) == ("greensock.access", logging.INFO)
    assert record.getMessage() == "127.0.0.1:5 1.500s read=10 written=20 eof"


def test_line_ends_in_an_exception_make_no_lines_in_the_log(caplog: pytest.LogCaptureFixture) -> None:
    log.handler_failed("data", fail(ValueError("one\ntwo")), "peer")
    message: Any = caplog.records[0].getMessage()
    assert "\n" not in message

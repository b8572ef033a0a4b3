"""What is logged, how it reads, and that it stays little."""

import logging
from pathlib import Path

import pytest

from greensock import log
from greensock.framing import Lines


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


def test_the_place_is_in_the_program_also_if_greensock_raised(caplog: pytest.LogCaptureFixture) -> None:
    def handler() -> None:
        Lines(delimiter=b"")

    with pytest.raises(ValueError) as caught:
        handler()
    log.handler_failed("data", caught.value, "peer")
    assert f"test_log.py:{handler.__code__.co_firstlineno + 1}" in caplog.text.splitlines()[0]


def test_without_a_line_of_the_program_the_place_is_greensocks(caplog: pytest.LogCaptureFixture) -> None:
    with pytest.raises(ValueError) as caught:
        Lines(delimiter=b"")
    assert caught.value.__traceback__ is not None
    log.handler_failed("data", caught.value.with_traceback(caught.value.__traceback__.tb_next), "peer")
    assert f"{Path('greensock', 'framing.py')}:" in caplog.text.splitlines()[0]


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


def test_a_failed_handshake_is_one_line_for_those_who_look_closely(caplog: pytest.LogCaptureFixture) -> None:
    log.handshake_failed("127.0.0.1:5", OSError("wrong version number"))
    assert caplog.records == []
    caplog.set_level(logging.DEBUG, "greensock")
    log.handshake_failed("127.0.0.1:5", OSError("wrong version number"))
    assert caplog.record_tuples == [
        ("greensock", logging.DEBUG, "TLS handshake with 127.0.0.1:5 failed: wrong version number")
    ]


def test_a_finished_connection_is_one_line_of_access(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.INFO, "greensock.access")
    log.connection_finished("127.0.0.1:5", 1.5, 10, 20, "eof")
    (record,) = caplog.records
    assert (record.name, record.levelno) == ("greensock.access", logging.INFO)
    assert record.getMessage() == "127.0.0.1:5 1.500s read=10 written=20 eof"


def test_line_ends_in_an_exception_make_no_lines_in_the_log(caplog: pytest.LogCaptureFixture) -> None:
    log.handler_failed("data", fail(ValueError("one\r\n\ntwo")), "peer")
    message = caplog.records[0].getMessage()
    assert "raised ValueError: one two at " in message
    assert len(message.splitlines()) == 1


def test_the_line_is_short_whatever_the_peer_sent(caplog: pytest.LogCaptureFixture) -> None:
    log.handler_failed("data", fail(KeyError(bytes(120_000))), "peer")
    message = caplog.records[0].getMessage()
    assert "raised KeyError: b'\\x00" in message
    assert "test_log.py:" in message
    assert len(message) < 500


def test_an_exception_that_cannot_be_printed_is_logged(caplog: pytest.LogCaptureFixture) -> None:
    class Unprintable(Exception):
        def __str__(self) -> str:
            raise RuntimeError

    log.handler_failed("data", fail(Unprintable()), "peer")
    assert "Unprintable" in caplog.records[0].getMessage()


def test_the_place_is_told_when_the_working_directory_is_gone(
    caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    (tmp_path / "gone").mkdir()
    monkeypatch.chdir(tmp_path / "gone")
    (tmp_path / "gone").rmdir()
    log.handler_failed("data", fail(ValueError()), "peer")
    assert f"{Path(__file__)}:" in caplog.records[0].getMessage()


def test_code_that_came_from_no_file_has_a_place_of_its_own(caplog: pytest.LogCaptureFixture) -> None:
    try:
        exec("\n\nraise ValueError")
    except ValueError as error:
        log.handler_failed("data", error, "peer")
    assert " at <string>:3" in caplog.records[0].getMessage()


def test_every_place_has_lines_of_its_own(caplog: pytest.LogCaptureFixture) -> None:
    for line in range(1, 4):
        for _ in range(20):
            try:
                exec("\n" * line + "raise ValueError")
            except ValueError as error:
                log.handler_failed("data", error, "peer")
    assert len(caplog.records) == 3 * log.LINES_PER_SECOND

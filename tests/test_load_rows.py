"""What is recorded: by the event, or past it when nobody listens, to the same effect; in few words, in fine buckets."""

import random
from time import time
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from greensock import FrameError, FrameTooLarge, IncompleteRead
from greensock.framing import Lines
from greensock.state import CloseReason
from loadlab import host, lab

import locust.stats
from locust.env import Environment
from locust.stats import RequestStats, StatsEntry
from greensock.load.rows import fine_bucket, length_of, loss, messages_per_s, response_times
from greensock.locust import SocketUser

__all__ = ["host", "lab"]


# -- past the event --------------------------------------------------------------------------------------


class Quiet(SocketUser):
    framing = Lines()


@pytest.fixture
def quiet(host: str) -> Any:
    """A user of an environment with a runner, where only locust's own statistics listen."""
    environment = Environment(host=host)
    runner = environment.create_local_runner()
    Quiet.host = host
    user = Quiet(environment)
    yield user
    user.client.close()
    runner.quit()


def numbers(entry: StatsEntry) -> tuple[Any, ...]:
    return entry.num_requests, entry.num_failures, entry.total_content_length, entry.num_none_requests


@pytest.mark.parametrize("listened_to", [False, True])
def test_statistics_are_the_same_whether_or_not_others_listen(quiet: Quiet, listened_to: bool) -> None:
    heard: list[dict[str, Any]] = []
    if listened_to:
        quiet.environment.events.request.add_listener(lambda **request: heard.append(request))
    client, stats = quiet.client, quiet.environment.stats
    client.exchange(b"hello", name="one")
    client.exchange_many([b"x" * 10] * 500, depth=20, name="many")
    client.send(b"silence")
    assert numbers(stats.get("one", "TCP")) == (1, 0, 5, 0)
    assert numbers(stats.get("many", "TCP")) == (500, 0, 5000, 0)
    assert numbers(stats.get("send", "SEND")) == (1, 0, 0, 1)
    assert numbers(stats.total) == (503, 0, 5005, 1)
    many = stats.get("many", "TCP")
    assert sum(many.num_reqs_per_sec.values()) == sum(many.response_times.values()) == 500
    assert many.min_response_time is not None
    assert 0 < many.min_response_time <= many.avg_response_time <= many.max_response_time < 5000
    assert abs((many.last_request_timestamp or 0) - time()) < 5
    assert len(heard) == (503 if listened_to else 0)


def test_who_begins_to_listen_hears_the_next(quiet: Quiet) -> None:
    heard: list[dict[str, Any]] = []
    quiet.client.exchange(b"one")
    quiet.environment.events.request.add_listener(lambda **request: heard.append(request))
    quiet.client.exchange(b"two")
    quiet.client.exchange_many([b"three", b"four"])
    assert [request["response"] for request in heard] == [b"two", b"three", b"four"]
    assert quiet.environment.stats.total.num_requests == 5


def test_many_are_recorded_while_they_go_on(quiet: Quiet) -> None:
    """A pipeline may take minutes, and its statistics must not come in one piece at the end."""
    seen = []

    def messages() -> Any:
        for number in range(6):
            seen.append(quiet.environment.stats.total.num_requests)
            yield b"wait 0.06 %d" % number

    quiet.client.exchange_many(messages(), depth=1)
    assert seen[-1] > 1


def test_failures_are_always_told_by_the_event(quiet: Quiet) -> None:
    for call in (lambda: quiet.client.exchange(b"silence"), lambda: quiet.client.exchange_many([b"silence"])):
        quiet.response_timeout = 0.02
        with pytest.raises(Exception, match="no reply in time"):
            call()
        quiet.client.close()
    assert quiet.environment.stats.total.num_failures == 2
    [error] = quiet.environment.stats.errors.values()
    assert (error.occurrences, repr(error.error)) == (2, "TimeoutError('no reply in time')")


# -- words -----------------------------------------------------------------------------------------------


class Malformed(FrameError):
    """As a framing of one's own may have it."""

    def __init__(self, byte: int, where: int) -> None:
        super().__init__(f"byte {byte} at {where}")


@pytest.mark.parametrize(
    ("error", "reason", "told"),
    [
        (None, CloseReason.EOF, "SocketClosed('the connection ended: eof')"),
        (
            ConnectionResetError(104, "reset by 1.2.3.4:5678"),
            CloseReason.RESET,
            "SocketClosed('the connection ended: reset')",
        ),
        (
            IncompleteRead("after 5 bytes", b"12345"),
            CloseReason.PROTOCOL,
            "SocketClosed('the connection ended inside a message')",
        ),
        (OSError(), CloseReason.TRUNCATED, "SocketClosed('the connection ended inside a message')"),
        (FrameError("byte 0x17 at 4711"), CloseReason.PROTOCOL, "FrameError('what came is no message')"),
        (FrameTooLarge("5000 bytes"), CloseReason.PROTOCOL, "FrameTooLarge('a message over the limit of the framing')"),
        (Malformed(17, 4711), CloseReason.PROTOCOL, "FrameError('what came is no message')"),
        (None, None, "SocketClosed('the connection ended: nobody knows why')"),
    ],
)
def test_losses_are_told_in_few_words(error: Any, reason: Any, told: str) -> None:
    assert repr(loss(error, reason)) == told
    assert loss(error, reason).__cause__ is error


@pytest.mark.parametrize(
    ("message", "length"),
    [(b"abc", 3), (bytearray(4), 4), (memoryview(b"ab"), 2), ("äö", 4), ([b"abc"], 0), (None, 0), (7, 0)],
)
def test_lengths_are_in_bytes(message: Any, length: int) -> None:
    assert length_of(message) == length


# -- numbers ---------------------------------------------------------------------------------------------


@given(st.floats(0, 1e6))
def test_fine_buckets_are_near_and_few(milliseconds: float) -> None:
    bucket = fine_bucket(milliseconds)
    if milliseconds < 10:
        assert abs(bucket - milliseconds) <= 0.0051
    elif milliseconds < 100:
        assert abs(bucket - milliseconds) <= 0.051
    else:
        assert bucket == locust.stats.bucket_response_time(milliseconds)


def test_there_are_no_more_fine_buckets_than_a_report_can_carry() -> None:
    assert (
        len(
            {fine_bucket(random.uniform(0, 60_000)) for _ in range(100_000)}
            | {fine_bucket(n / 1000) for n in range(100_000)}
        )
        < 2500
    )


def test_percentiles_are_told_in_hundredths() -> None:
    stats = RequestStats()
    before, locust.stats.bucket_response_time = locust.stats.bucket_response_time, fine_bucket  # type: ignore[assignment]
    try:
        for number in range(1, 101):
            stats.log_request("TCP", "echo", number / 100, 1)  # type: ignore[arg-type]
        stats.log_request("SEND", "tell", None, 1)  # type: ignore[arg-type]
    finally:
        locust.stats.bucket_response_time = before
    _, heading, line, _ = response_times(stats)
    assert heading.split() == ["Response", "times,", "ms", "p50", "p90", "p99", "p99.9", "max"]
    assert line.split() == ["TCP", "echo", "0.51", "0.91", "1.00", "1.00", "1.00"], "as locust counts them"


def test_messages_of_a_second_that_begins_in_the_middle_of_one() -> None:
    stats = RequestStats()
    for kind, second, count in (("TCP", 10, 100), ("TCP", 11, 200), ("PUSH", 11, 20), ("CONN", 11, 5), ("DISC", 10, 5)):
        stats.get(kind.lower(), kind).num_reqs_per_sec[second] = count
    assert messages_per_s(stats, 11.0) == 100
    assert messages_per_s(stats, 11.25) == 100 * 0.75 + 220 * 0.25
    assert messages_per_s(stats, 12.0) == 220
    assert messages_per_s(stats, 14.0) == 0

"""The client of a locust user: what it records of requests and replies, whatever becomes of them."""

import itertools
from collections.abc import Iterator
from time import perf_counter, time
from typing import Any

import gevent
import pytest

from connections import attempt
from greensock.framing import Fixed, LengthPrefixed, Lines
from greensock.testing import Serve, wait_until
from loadlab import CONNECTED, Lab, Slow, echo, host, lab

from greensock.locust import RequestFailed
from locust.exception import RescheduleTask

__all__ = ["host", "lab"]


# -- exchange --------------------------------------------------------------------------------------------


def test_an_exchange_is_one_row_and_the_connection_another(lab: Lab, host: str) -> None:
    user = lab.user(host)
    assert lab.requests == [] and user.client.socket is None, "nothing is connected before it is needed"
    before = time()
    assert user.client.exchange(b"hello", name="greet") == b"hello"
    assert user.client.exchange(b"again") == b"again"
    assert lab.rows == [CONNECTED, ("TCP", "greet", True), ("TCP", "exchange", True)]
    told = lab.requests[1]
    assert (told["response"], told["response_length"], told["context"]) == (b"hello", 5, {})
    assert 0 < told["response_time"] < 5000
    assert before <= told["start_time"] <= time()
    assert user.client.socket is not None and not user.client.socket.closed


def test_connecting_takes_no_time_of_the_exchange(lab: Lab, serve: Serve) -> None:
    def open_late(socket: Any) -> None:
        gevent.sleep(0.1)

    server = serve({"open": open_late, "data": echo}, framing=Lines())
    user = lab.user(server.url)
    user.client.connect()
    gevent.sleep(0.15)  # so that the server has opened it
    user.client.exchange(b"hello")
    assert lab.requests[1]["response_time"] < 100


def test_names_and_contexts(lab: Lab, host: str) -> None:
    user = lab.user(host, context=lambda self: {"user": 1, "both": "user"})
    client = user.client
    with client.rename_request("outer"):
        client.exchange(b"a", name="said")
        with client.rename_request("inner"):
            client.send(b"silence")
    client.exchange(b"c", name="said", context={"call": 2, "both": "call"})
    assert [row[1] for row in lab.rows] == ["connect tcp", "outer", "inner", "said"]
    assert lab.requests[1]["context"] == {"user": 1, "both": "user"}
    assert lab.requests[3]["context"] == {"user": 1, "call": 2, "both": "call"}
    with pytest.raises(ZeroDivisionError), client.rename_request("x"):
        raise ZeroDivisionError
    client.exchange(b"d", name="said")
    assert lab.rows[-1][1] == "said"


@pytest.mark.parametrize("message", [b"two\nlines", 5])
def test_what_cannot_be_encoded_was_not_sent_and_is_no_row(lab: Lab, host: str, message: Any) -> None:
    client = lab.user(host).client
    for call in (client.exchange, client.send, lambda message: client.exchange_many([b"x", message])):
        with pytest.raises((ValueError, TypeError)):
            call(message)
    assert client.exchange(b"hello") == b"hello", "nothing is out of step"
    assert lab.rows == [CONNECTED, ("TCP", "exchange", True)]


# -- no reply --------------------------------------------------------------------------------------------


def test_no_reply_in_time_is_a_failure_and_ends_the_task(lab: Lab, host: str) -> None:
    client = lab.user(host).client
    with pytest.raises(RequestFailed, match="no reply in time") as caught:
        client.exchange(b"silence", timeout=0.05)
    assert isinstance(caught.value, RescheduleTask), "which is how locust goes on with the next task"
    assert isinstance(caught.value.__cause__, TimeoutError)
    assert lab.failures("TCP") == ["TimeoutError('no reply in time')"]
    assert 50 <= lab.requests[1]["response_time"] < 5000
    assert lab.requests[1]["response"] is None


def test_a_lost_connection_fails_each_that_waits_once_and_the_next_has_a_new_one(lab: Lab, host: str) -> None:
    client = lab.user(host).client
    client.connect()
    calls = [gevent.spawn(attempt, client.exchange, message) for message in (b"die", b"a", b"b")]
    gevent.joinall(calls, timeout=10, raise_error=True)
    assert [type(call.value) for call in calls] == [RequestFailed] * 3
    assert lab.failures("TCP") == ["SocketClosed('the connection ended: reset')"] * 3
    assert client.exchange(b"hello") == b"hello"
    assert lab.rows.count(CONNECTED) == 2
    assert len(lab.rows) == 2 + 3 + 1


def test_a_killed_user_is_neither_a_success_nor_a_failure(lab: Lab, host: str) -> None:
    client = lab.user(host).client
    client.connect()
    asking = gevent.spawn(client.exchange, b"wait 0.1")
    gevent.sleep(0.01)
    asking.kill()
    assert client.exchange(b"mine") == b"mine", "the reply to the killed one is not for this"
    assert lab.rows == [CONNECTED, ("TCP", "exchange", True)]
    assert lab.effort.aborted == 1


def test_a_timeout_of_the_tests_own_is_a_failure(lab: Lab, host: str) -> None:
    client = lab.user(host).client
    with pytest.raises(gevent.Timeout), gevent.Timeout(0.02):
        client.exchange(b"wait 0.1")
    with pytest.raises(KeyError), gevent.Timeout(0.02, KeyError()):
        client.exchange(b"wait 0.1")
    assert lab.failures("TCP") == ["TimeoutError('no reply in time')"] * 2
    assert client.exchange(b"hello") == b"hello"


def test_what_is_no_message_ends_the_connection_in_few_words(lab: Lab, serve: Serve) -> None:
    server = serve({"data": lambda socket, data: socket.write(b"\xff" * 8)})
    client = lab.user(server.url, framing=LengthPrefixed(max_size=100)).client
    with pytest.raises(RequestFailed):
        client.exchange(b"hello")
    assert lab.failures("TCP") == ["FrameTooLarge('a message over the limit of the framing')"]


def test_an_end_inside_a_reply_is_told_without_numbers(lab: Lab, serve: Serve) -> None:
    def half(socket: Any, data: bytes) -> None:
        socket.end(data[:5])

    client = lab.user(serve({"data": half}).url, framing=Fixed(8)).client
    with pytest.raises(RequestFailed):
        client.exchange(b"12345678")
    assert lab.failures("TCP") == ["SocketClosed('the connection ended inside a message')"]


def test_killed_while_the_peer_takes_nothing(lab: Lab, serve: Serve) -> None:
    server = serve({"open": lambda socket: socket.pause()}, framing=Lines(max_size=10_000_000))
    client = lab.user(server.url, framing=Lines(max_size=10_000_000)).client
    client.connect()
    asking = gevent.spawn(client.exchange, b"x" * 9_999_999)
    gevent.sleep(0.1)
    assert client.socket is not None and client.socket.buffered > 65536
    asking.kill()
    assert lab.effort.aborted == 1
    client.socket.terminate()
    wait_until(lambda: client.socket is None)
    assert [row[0] for row in lab.rows] == ["CONN", "DISC"], "nobody waited any more"


# -- many under way --------------------------------------------------------------------------------------


def test_many_are_under_way_and_never_more_than_depth(lab: Lab, serve: Serve) -> None:
    slow = Slow()
    client = lab.user(serve(slow, framing=Lines()).url).client
    messages = [b"%d" % number for number in range(100)]
    assert client.exchange_many(iter(messages), depth=7, name="many") == messages
    assert slow.most == 7
    assert lab.rows == [CONNECTED, *[("TCP", "many", True)] * 100]
    assert all(1 < told["response_time"] < 5000 for told in lab.requests[1:])


@pytest.mark.parametrize("messages", [[], iter(())])
def test_of_nothing_there_are_no_replies(lab: Lab, host: str, messages: Any) -> None:
    assert lab.user(host).client.exchange_many(messages) == []
    assert lab.rows == []


def test_a_depth_below_one_is_refused(lab: Lab, host: str) -> None:
    with pytest.raises(ValueError, match="depth must be at least 1"):
        lab.user(host).client.exchange_many([b"x"], depth=0)


def test_when_one_of_many_fails_no_more_are_sent_and_each_is_recorded_once(lab: Lab, host: str) -> None:
    client = lab.user(host).client
    with pytest.raises(RequestFailed):
        client.exchange_many([b"a", b"silence", b"wait 0.1", b"c", b"d"], depth=3, timeout=0.05)
    outcomes = [row[2] for row in lab.rows if row[0] == "TCP"]
    # Replies are told apart by their order alone, so that of "wait" is taken for that of "silence", and one is missing.
    assert outcomes.count(False) >= 1 and len(outcomes) <= 4
    client.close()


def test_many_on_a_connection_that_is_lost_fail_once_each(lab: Lab, host: str) -> None:
    client = lab.user(host).client
    with pytest.raises(RequestFailed, match="reset"):
        client.exchange_many([b"a", b"b", b"die", b"c", b"d", b"e"], depth=5)
    assert len(lab.rows) == 1 + 5, "the sixth was not sent"
    assert set(lab.failures("TCP")) == {"SocketClosed('the connection ended: reset')"}
    assert client.exchange(b"hello") == b"hello"


def test_an_iterator_that_raises_leaves_what_is_under_way_alone(lab: Lab, host: str) -> None:
    def messages() -> Iterator[bytes]:
        yield from (b"a", b"b", b"c")
        raise KeyError("mistake")

    client = lab.user(host).client
    with pytest.raises(KeyError, match="mistake"):
        client.exchange_many(messages(), depth=2)
    recorded = [row for row in lab.rows if row[0] == "TCP"]
    assert len(recorded) + lab.effort.aborted in (2, 3), "those that were sent, whatever was seen of them"
    client.close()


def test_killed_in_the_middle_of_many(lab: Lab, host: str) -> None:
    client = lab.user(host).client
    client.connect()
    asking = gevent.spawn(client.exchange_many, [b"a", b"wait 0.2", b"b"], depth=3)
    gevent.sleep(0.05)
    asking.kill()
    assert len(lab.rows) == 1 + 3 - lab.effort.aborted
    assert lab.effort.aborted == 2
    assert client.exchange(b"mine") == b"mine"


# -- an open loop ----------------------------------------------------------------------------------------


def test_a_stream_keeps_its_schedule_and_counts(lab: Lab, host: str) -> None:
    client = lab.user(host).client
    began = perf_counter()
    assert client.stream(100, (b"%d" % number for number in range(20)), name="flow") == 20
    assert 0.19 <= perf_counter() - began < 5
    assert lab.rows == [CONNECTED, *[("TCP", "flow", True)] * 20]
    assert lab.effort.scheduled == 20


def test_a_stream_ends_after_its_seconds(lab: Lab, host: str) -> None:
    assert lab.user(host).client.stream(200, itertools.repeat(b"x"), seconds=0.1) == 20


def test_a_stream_measures_a_stall_from_when_each_was_to_be_sent(lab: Lab, serve: Serve) -> None:
    """What a closed loop hides: one request waits, and those that are not sent meanwhile are not measured."""
    stalls = iter([0.2])

    def stall(socket: Any, message: bytes) -> None:
        if message == b"stall":
            gevent.sleep(next(stalls))
        socket.write_message(message)

    client = lab.user(serve({"data": stall}, framing=Lines()).url).client
    messages = [b"stall", *[b"x"] * 39]  # 40 in 0.4 s: those of the first half are held up, less and less
    assert client.stream(100, messages, most=5) == 40
    times = [told["response_time"] for told in lab.requests[1:]]
    for number in range(18):
        assert times[number] == pytest.approx(200 - 10 * number, abs=30), number
    assert sum(time < 30 for time in times[22:]) >= 15
    assert lab.effort.late >= 10, "no more than five were under way, and the others went out when there was room"


def test_a_stream_records_what_is_not_answered(lab: Lab, host: str) -> None:
    client = lab.user(host).client
    assert client.stream(1000, [b"a", b"silence", b"silence"], timeout=0.05) == 1
    assert [row[2] for row in lab.rows[1:]] == [True, False, False]


def test_a_stream_ends_when_the_user_is_to_stop(lab: Lab, host: str) -> None:
    user = lab.user(host)
    streaming = gevent.spawn(user.client.stream, 50, itertools.repeat(b"x"))
    wait_until(lambda: len(lab.rows) > 3)
    user._state = "stopping"
    answered = streaming.get(timeout=10)
    assert answered == len(lab.rows) - 1 == lab.effort.scheduled


def test_a_stream_that_is_killed_counts_what_it_left_behind(lab: Lab, host: str) -> None:
    client = lab.user(host).client
    streaming = gevent.spawn(client.stream, 1000, [b"a", *[b"silence"] * 5, *[b"x"] * 100], timeout=10)
    wait_until(lambda: lab.effort.scheduled > 10)
    streaming.kill()
    assert lab.effort.aborted == lab.effort.scheduled - (len(lab.rows) - 1)
    client.close()
    assert not lab.failures("TCP")


def test_a_bound_below_one_is_refused(lab: Lab, host: str) -> None:
    with pytest.raises(ValueError, match="most must be at least 1"):
        lab.user(host).client.stream(1, [b"x"], most=0)


@pytest.mark.parametrize("rate", [0, -1, float("nan")])
def test_a_rate_that_cannot_be(lab: Lab, host: str, rate: float) -> None:
    with pytest.raises(ValueError, match="rate must be"):
        lab.user(host).client.stream(rate, [b"x"])

"""Requests that the test judges, whatever it says of them."""

from typing import Any, assert_type

import pytest

from loadlab import CONNECTED, Lab, host, lab

from greensock.load.answer import Answer
from greensock.locust import RequestFailed
from locust.exception import CatchResponseError, LocustError, RescheduleTask, StopUser

__all__ = ["host", "lab"]


def test_an_answer_is_recorded_when_its_block_ends(lab: Lab, host: str) -> None:
    client = lab.user(host).client
    with client.exchange(b"hello", catch_response=True, name="a") as answer:
        assert (answer.message, answer.error) == (b"hello", None)
        assert lab.rows == [CONNECTED]
        answer.request_meta["name"] = "b"
    assert lab.rows == [CONNECTED, ("TCP", "b", True)]


@pytest.mark.parametrize("why", ["busy", ValueError("busy")])
def test_an_answer_may_be_a_failure_after_all(lab: Lab, host: str, why: Any) -> None:
    client = lab.user(host).client
    with client.exchange(b"hello", catch_response=True) as answer:
        answer.failure(why)
    with client.exchange(b"hello", catch_response=True) as answer:
        answer.failure(why)
        answer.success()
    [failed] = [told["exception"] for told in lab.requests if told["exception"] is not None]
    assert failed is why if isinstance(why, Exception) else (type(failed), str(failed)) == (CatchResponseError, why)
    assert [row[2] for row in lab.rows] == [True, False, True]


def test_a_block_that_raises_makes_a_failure_and_raises_on(lab: Lab, host: str) -> None:
    client = lab.user(host).client
    with pytest.raises(AssertionError), client.exchange(b"hello", catch_response=True) as answer:
        assert answer.message == b"another"
    assert lab.rows[-1] == ("TCP", "exchange", False)


@pytest.mark.parametrize("leaves", [RescheduleTask, StopUser])
def test_a_block_that_leaves_the_task_makes_no_failure(lab: Lab, host: str, leaves: type[Exception]) -> None:
    client = lab.user(host).client
    with pytest.raises(leaves), client.exchange(b"hello", catch_response=True):
        raise leaves
    assert lab.rows[-1] == ("TCP", "exchange", True)


def test_no_answer_is_no_success_whatever_the_block_says(lab: Lab, host: str) -> None:
    client = lab.user(host).client
    with pytest.raises(RequestFailed), client.exchange(b"silence", catch_response=True, timeout=0.02) as answer:
        assert (answer.message, type(answer.error)) == (None, TimeoutError)
        with pytest.raises(LocustError, match="not answered"):
            answer.success()
    with pytest.raises(RequestFailed), client.exchange(b"silence", catch_response=True, timeout=0.02) as answer:
        _ = answer.message[0]  # a test that does not look
    assert lab.failures("TCP") == ["TimeoutError('no reply in time')"] * 2


def test_an_answer_outside_a_block_is_a_mistake(lab: Lab, host: str) -> None:
    answer = assert_type(lab.user(host).client.exchange(b"hello", catch_response=True), Answer)
    for judge in (answer.success, lambda: answer.failure("x")):
        with pytest.raises(LocustError, match="with-block"):
            judge()

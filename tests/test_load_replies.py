"""Those who wait for replies: for one, for many in a pipeline, and for those of a stream that goes on meanwhile."""

from time import perf_counter
from typing import Any

import gevent
import pytest
from gevent.event import Event

from connections import few_turns, turns
from greensock.testing import wait_until
from loadlab import Converse, converse, host

from greensock.load.replies import Replies, Reply, Scheduled
from greensock.load.talk import Request, Talk

__all__ = ["converse", "host"]

LONG = 10.0


@pytest.fixture
def talk(converse: Converse, host: str) -> Talk:
    """One with an echo."""
    return converse(host).talk


def lost(owner: Any, place: int = 0) -> Request:
    """A request of *owner*'s that gets no reply."""
    request = Request(owner, perf_counter(), 0.0, place)
    request.fail(KeyError(place))
    return request


# -- one -------------------------------------------------------------------------------------------------


def test_a_reply_is_waited_for_and_is_there_then(talk: Talk) -> None:
    reply = Reply(gevent.get_hub())
    request = talk.ask(b"wait 0.02", reply, LONG)
    assert reply.under_way == 1
    reply.wait()
    assert (reply.message, reply.error, reply.under_way) == (b"wait 0.02", None, 0)
    assert request.began + 0.02 <= reply.arrived <= perf_counter()


def test_a_reply_that_does_not_come_ends_the_wait_with_the_reason(talk: Talk) -> None:
    reply = Reply(gevent.get_hub())
    request = talk.ask(b"silence", reply, 0.02)
    reply.wait()
    assert (reply.message, reply.under_way, repr(reply.error)) == (None, 0, "TimeoutError('no reply in time')")
    assert request.deadline <= reply.arrived <= perf_counter(), "when it was given up"


def test_who_comes_after_the_reply_does_not_wait(talk: Talk) -> None:
    reply = Reply(gevent.get_hub())
    talk.ask(b"hello", reply, LONG)
    wait_until(lambda: talk.idle)
    others: list[int] = []
    gevent.spawn(others.append, 1)
    reply.wait()
    assert (others, reply.message) == ([], b"hello"), "nobody else had a turn"


def test_who_is_switched_to_by_mistake_waits_on(talk: Talk) -> None:
    reply = Reply(gevent.get_hub())
    waiting = gevent.spawn(reply.wait)
    gevent.sleep(0)
    for _ in range(3):
        talk.hub.loop.run_callback(waiting.switch)
        turns()
    assert not waiting.ready()
    talk.ask(b"hello", reply, LONG)
    waiting.get(timeout=LONG)
    assert reply.message == b"hello"


@pytest.mark.parametrize("kind", [Reply, Replies])
def test_who_was_killed_is_not_woken_once_more(talk: Talk, kind: Any) -> None:
    replies, go_on, woken = kind(gevent.get_hub()), Event(), []

    def wait() -> None:
        try:
            replies.wait()
        except gevent.GreenletExit:
            go_on.wait()
            woken.append(go_on.is_set())

    waiting = gevent.spawn(wait)
    gevent.sleep(0)
    waiting.kill(block=False)
    talk.ask(b"late", replies, LONG)
    wait_until(lambda: talk.idle)
    turns()
    assert woken == [] and not waiting.ready()
    go_on.set()
    waiting.get(timeout=LONG)
    assert woken == [True]


# -- many ------------------------------------------------------------------------------------------------


def test_all_that_have_come_are_taken_together_in_their_order(talk: Talk) -> None:
    replies = Replies(gevent.get_hub())
    talk.ask_all([b"%d" % number for number in range(10)], replies, LONG, 0)
    assert replies.under_way == 10
    wait_until(lambda: talk.idle)
    came = replies.take()
    assert [(request.place, message, error) for request, _, message, error in came] == [
        (number, b"%d" % number, None) for number in range(10)
    ]
    times = [arrived for _, arrived, _, _ in came]
    assert came[0][0].began <= times[0] and times == sorted(times)
    assert (replies.under_way, replies.error) == (0, None)


def test_who_takes_waits_for_the_next_and_no_longer(talk: Talk) -> None:
    replies = Replies(gevent.get_hub())
    talk.ask_all([b"a", b"wait 0.03", b"wait 9"], replies, LONG, 0)
    assert [message for _, _, message, _ in replies.take()] == [b"a"]
    assert [message for _, _, message, _ in replies.take()] == [b"wait 0.03"]
    assert replies.under_way == 1


def test_nothing_is_taken_twice_nor_is_anybody_woken_for_nothing() -> None:
    replies = Replies(gevent.get_hub())
    first = lost(replies, 1)
    assert [request for request, *_ in replies.take()] == [first], "at once, before the loop has woken anybody"
    taking = gevent.spawn(replies.take)
    turns()
    assert not taking.ready()
    second, third = lost(replies, 2), lost(replies, 3)
    assert [request for request, *_ in taking.get(timeout=LONG)] == [second, third]


def test_the_first_error_stays_and_each_is_taken() -> None:
    replies = Replies(gevent.get_hub())
    before = perf_counter()
    for place in (1, 2):
        lost(replies, place)
    assert repr(replies.error) == "KeyError(1)"
    for _, arrived, message, error in replies.take():
        assert before <= arrived <= perf_counter()
        assert (message, type(error)) == (None, KeyError)


def test_who_gives_up_is_told_how_many_nobody_has_seen(talk: Talk) -> None:
    replies = Replies(gevent.get_hub())
    assert replies.give_up() == 0
    talk.ask(b"seen", replies, LONG)
    replies.take()
    talk.ask_all([b"came", b"came, too", b"silence"], replies, LONG, 0)
    wait_until(lambda: replies.under_way == 1)
    assert replies.give_up() == 3


# -- those of a stream -----------------------------------------------------------------------------------


class Record:
    """What a stream has recorded."""

    def __init__(self) -> None:
        self.log: list[tuple[Any, ...]] = []
        self.replies = Scheduled(lambda *entry: self.log.append(entry))


def test_each_is_recorded_as_it_comes_or_fails_and_only_answers_are_counted(talk: Talk) -> None:
    record = Record()
    requests = [talk.ask(text, record.replies, timeout) for text, timeout in ((b"a", LONG), (b"silence", 0.03))]
    assert record.replies.under_way == 2
    record.replies.wait(0)
    assert [(request, message, repr(error)) for request, _, message, error in record.log] == [
        (requests[0], b"a", "None"),
        (requests[1], None, "TimeoutError('no reply in time')"),
    ]
    for request, arrived, *_ in record.log:
        assert request.began <= arrived <= perf_counter()
    assert (record.replies.answers, record.replies.under_way) == (1, 0)


def test_who_waits_goes_on_when_few_enough_are_under_way(talk: Talk) -> None:
    record = Record()
    record.replies.wait(0)  # for nothing
    talk.ask_all([b"a", b"b", b"wait 0.05", b"silence"], record.replies, LONG, 0)
    record.replies.wait(4)
    assert record.log == [], "nobody had to wait for anything"
    record.replies.wait(2)
    assert len(record.log) == 2
    record.replies.wait(1)
    assert [message for _, _, message, _ in record.log] == [b"a", b"b", b"wait 0.05"]


def test_who_waits_sleeps_between_two_replies(talk: Talk) -> None:
    record = Record()
    talk.ask(b"a", record.replies, LONG)
    record.replies.wait(0)
    talk.ask_all([b"b", b"silence"], record.replies, LONG, 0)
    waiting = gevent.spawn(record.replies.wait, 0)
    wait_until(lambda: record.replies.answers == 2)
    with few_turns():
        turns()
    assert not waiting.ready()
    waiting.kill()


def test_who_gives_up_has_no_more_recorded(talk: Talk) -> None:
    record = Record()
    talk.ask(b"a", record.replies, LONG)
    record.replies.wait(0)
    talk.ask_all([b"b", b"silence"], record.replies, 0.03, 0)
    assert record.replies.give_up() == 2
    wait_until(lambda: talk.idle)
    assert [message for _, _, message, _ in record.log] == [b"a"]

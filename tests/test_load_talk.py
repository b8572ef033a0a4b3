"""Which reply belongs to which request on one connection, when it came, and what becomes of those that get none."""

from collections.abc import Callable
from time import perf_counter
from typing import Any

import gevent
import pytest
from gevent.event import Event
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from connections import attempt, turns
from greensock import FrameTooLarge, IncompleteRead, SocketClosed
from greensock.framing import Fixed, LengthPrefixed, Lines
from greensock.testing import Recorder, Serve, wait_until
from loadlab import CONNECTED, Converse, Lab, Notes, Slow, converse, host, lab

from greensock.load.talk import Request
from greensock.locust import RequestFailed, SocketUser

__all__ = ["converse", "host", "lab"]

LONG = 10.0


def first_byte(message: bytes) -> bytes | None:
    """The key of a message, if it has one."""
    return message[:1] if message[:1].isdigit() else None


# -- in order --------------------------------------------------------------------------------------------


def test_replies_go_to_those_who_asked_in_their_order(converse: Converse, host: str) -> None:
    talk = converse(host).talk
    one, other = Notes(), Notes()
    first, second, third = (talk.ask(b"%d" % number, (one, other)[number % 2], LONG) for number in range(3))
    assert (one.under_way, other.under_way, talk.idle) == (2, 1, False)
    wait_until(lambda: talk.idle)
    assert one.answers == [(first, b"0"), (third, b"2")]
    assert other.answers == [(second, b"1")]
    assert (one.under_way, other.under_way, one.failures, other.failures) == (0, 0, [], [])


def test_times_are_those_of_asking_and_of_arrival(converse: Converse, host: str) -> None:
    talk, notes = converse(host).talk, Notes()
    before = perf_counter()
    request = talk.ask(b"wait 0.02", notes, LONG)
    after = perf_counter()
    assert before <= request.began <= after
    assert request.deadline == request.began + LONG
    planned = talk.ask(b"x", notes, LONG, before - 1.0)
    assert planned.began == before - 1.0, "when it was to be sent"
    assert before + LONG <= planned.deadline <= perf_counter() + LONG, "the reply has its time from now on"
    wait_until(lambda: talk.idle)
    assert before + 0.02 <= notes.arrived[0] <= notes.arrived[1] <= perf_counter()


def test_several_are_sent_together_and_numbered(converse: Converse, serve: Serve) -> None:
    recorder = Recorder()
    talk, notes = converse(serve(recorder.handlers).url).talk, Notes()
    talk.ask_all([b"a", b"b", b"c"], notes, LONG, 7)
    assert notes.under_way == 3
    _, data = recorder.wait_for("data")
    assert data == b"a\nb\nc\n", "in one write"
    recorder.sockets[0].write(b"1\n2\n3\n")
    wait_until(lambda: talk.idle)
    assert [(request.place, message) for request, message in notes.answers] == [(7, b"1"), (8, b"2"), (9, b"3")]
    assert len({request.began for request, _ in notes.answers}) == 1
    talk.ask_all([], notes, LONG, 10)
    assert talk.idle


def test_what_comes_when_nobody_has_asked_is_no_reply(converse: Converse, serve: Serve) -> None:
    def greet(socket: Any) -> None:
        socket.write_message(b"welcome")

    began = perf_counter()
    conversation = converse(serve({"open": greet}, framing=Lines()).url)
    wait_until(lambda: conversation.pushed)
    [(message, arrived)] = conversation.pushed
    assert message == b"welcome"
    assert began <= arrived <= perf_counter()


def test_who_has_left_keeps_its_place_and_its_reply_is_nobodys(converse: Converse, host: str) -> None:
    conversation = converse(host)
    talk, left, stays = conversation.talk, Notes(), Notes()
    talk.ask(b"wait 0.02", left, LONG).owner = None
    assert talk.idle, "nobody waits"
    talk.ask(b"mine", stays, LONG)
    wait_until(lambda: stays.answers)
    assert [message for _, message in stays.answers] == [b"mine"]
    assert (left.answers, left.failures, conversation.pushed) == ([], [], [])


def test_greenlets_share_the_connection_and_each_gets_its_own_reply(lab: Lab, host: str) -> None:
    client = lab.user(host).client
    calls = [gevent.spawn(client.exchange, b"%d" % number) for number in range(50)]
    gevent.joinall(calls, timeout=10, raise_error=True)
    assert [call.value for call in calls] == [b"%d" % number for number in range(50)]
    assert lab.rows.count(CONNECTED) == 1
    assert len(lab.rows) == 51


def test_a_late_reply_is_given_to_nobody(lab: Lab, host: str) -> None:
    client = lab.user(host).client
    with pytest.raises(RequestFailed):
        client.exchange(b"wait 0.1", timeout=0.02)
    assert client.exchange(b"mine") == b"mine"
    assert lab.rows == [CONNECTED, ("TCP", "exchange", False), ("TCP", "exchange", True)]


@settings(max_examples=20, suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow])
@given(st.lists(st.tuples(st.integers(0, 8), st.integers(1, 8), st.booleans()), min_size=1, max_size=12))
def test_replies_are_never_mixed_up(lab: Lab, host: str, calls: list[tuple[int, int, bool]]) -> None:
    """Whatever is slow, given up or killed: who gets a reply gets his own (redis-py's CVE-2023-28858)."""
    client = lab.user(host).client

    def call(number: int, delay: int, timeout: int) -> Any:
        message = b"wait %.3f %d" % (delay / 1000, number)
        try:
            return client.exchange(message, timeout=timeout / 1000) == message
        except RequestFailed:
            return None

    running = [gevent.spawn(call, number, delay, timeout) for number, (delay, timeout, _) in enumerate(calls)]
    gevent.sleep(0.002)
    for greenlet, (_, _, killed) in zip(running, calls, strict=True):
        if killed:
            greenlet.kill()
    gevent.joinall(running, timeout=10)
    assert all(greenlet.ready() for greenlet in running)
    assert not any(greenlet.value is False for greenlet in running), "somebody has the reply of another"
    assert client.exchange(b"last", timeout=5) == b"last"
    client.close()


# -- by key ----------------------------------------------------------------------------------------------


def test_replies_with_a_key_find_their_request_and_others_nobody(converse: Converse, serve: Serve) -> None:
    recorder = Recorder()
    conversation, notes = converse(serve(recorder.handlers).url, first_byte), Notes()
    talk = conversation.talk
    one, two = talk.ask(b"1?", notes, LONG), talk.ask(b"2?", notes, LONG)
    recorder.wait_for("open")
    recorder.sockets[0].write(b"news\n2!\n3!\n2 again\n1!\n")
    wait_until(lambda: talk.idle)
    assert notes.answers == [(two, b"2!"), (one, b"1!")]
    assert [message for message, _ in conversation.pushed] == [b"news", b"3!", b"2 again"]


@pytest.mark.parametrize(
    ("messages", "why"),
    [
        ([b"x"], r"a request has no key: correlate\(\) gives None for it"),
        ([b"1 again"], "a request with the key b'1' is under way already"),
        ([b"2", b"x"], "a request has no key"),
        ([b"2", b"3", b"2 again"], "a request with the key b'2' is under way already"),
        ([b"2", b"3\n"], "the delimiter .* is in the message"),
    ],
)
def test_what_cannot_be_asked_was_not_sent_at_all(
    converse: Converse, serve: Serve, messages: list[bytes], why: str
) -> None:
    recorder = Recorder()
    talk = converse(serve(recorder.handlers).url, first_byte).talk
    first, notes = Notes(), Notes()
    talk.ask(b"1", first, LONG)
    calls: list[Callable[[], object]] = [lambda: talk.ask_all(messages, notes, LONG, 0)]
    if len(messages) == 1:
        calls.append(lambda: talk.ask(messages[0], notes, LONG))
    for call in calls:
        with pytest.raises(ValueError, match=why):
            call()
    assert notes.under_way == 0
    talk.ask(b"2 and last", notes, LONG)
    wait_until(lambda: recorder.received.endswith(b"last\n"))
    assert recorder.received == b"1\n2 and last\n"
    assert (first.under_way, notes.under_way) == (1, 1)


def test_a_key_is_free_again_when_its_reply_has_come(converse: Converse, host: str) -> None:
    talk, notes = converse(host, first_byte).talk, Notes()
    for _ in range(2):
        talk.ask_all([b"1", b"2"], notes, LONG, 0)
        wait_until(lambda: talk.idle)
    assert [message for _, message in notes.answers] == [b"1", b"2"] * 2


def key(self: SocketUser, message: bytes) -> bytes | None:
    return message[:1] if message[:1].isdigit() else None


def test_replies_with_a_key_may_come_in_any_order(lab: Lab, serve: Serve) -> None:
    server = serve(Slow(lambda waiting: waiting[::-1]), framing=Lines())
    client = lab.user(server.url, correlate=key, on_push=lambda self, message: "news").client
    messages = [b"%d" % number for number in range(10)]
    assert client.exchange_many(messages, depth=5) == messages
    calls = [gevent.spawn(client.exchange, message) for message in messages]
    client.send(b"news")
    gevent.joinall(calls, timeout=10, raise_error=True)
    assert [call.value for call in calls] == messages
    assert lab.rows.count(("PUSH", "news", True)) == 1
    assert lab.rows.count(("TCP", "exchange", True)) == 20


def test_keys_that_cannot_be(lab: Lab, host: str) -> None:
    client = lab.user(host, correlate=key).client
    with pytest.raises(ValueError, match="has no key"):
        client.exchange(b"x")
    waiting = gevent.spawn(client.exchange, b"1 waits a little")
    gevent.sleep(0)
    for call in (lambda: client.exchange(b"1"), lambda: client.exchange_many([b"2", b"3", b"2"])):
        with pytest.raises(ValueError, match="under way already"):
            call()
    assert waiting.get(timeout=10) == b"1 waits a little"
    assert client.exchange(b"2") == b"2"


def test_a_late_reply_with_a_key_is_given_to_nobody(lab: Lab, serve: Serve) -> None:
    client = lab.user(serve(Slow(), framing=Lines()).url, correlate=key, response_timeout=5.0).client
    client.connect()
    with pytest.raises(RequestFailed):
        client.exchange(b"1", timeout=0.0001)
    assert client.exchange(b"2") == b"2"
    assert [row[0] for row in lab.rows] == ["CONN", "TCP", "TCP"], "it is no push either"


def test_a_correlate_that_fails_for_what_came_is_a_mistake_of_the_test_and_fails_who_waits(lab: Lab, host: str) -> None:
    def fussy(self: SocketUser, message: bytes) -> bytes:
        if message == b"x" and lab.requests:  # when it comes back
            raise KeyError("mistake")
        return message

    client = lab.user(host, correlate=fussy).client
    client.exchange(b"hello")
    waiting = gevent.spawn(attempt, client.exchange, b"silence")
    gevent.sleep(0)
    client.send(b"x")
    assert isinstance(waiting.get(timeout=10), RequestFailed)
    assert [type(error) for error in lab.errors] == [KeyError]
    assert client.exchange(b"hello") == b"hello", "on a new connection"


# -- no reply in time ------------------------------------------------------------------------------------


@pytest.mark.parametrize("key_of", [None, first_byte])
def test_no_reply_in_time_is_told_and_a_late_one_is_nobodys(converse: Converse, serve: Serve, key_of: Any) -> None:
    recorder = Recorder()
    conversation, notes = converse(serve(recorder.handlers).url, key_of), Notes()
    talk = conversation.talk
    late = talk.ask(b"1?", notes, 0.02)
    wait_until(lambda: notes.failures)
    assert perf_counter() >= late.deadline
    assert (notes.failures[0][0], notes.errors) == (late, ["TimeoutError('no reply in time')"])
    assert (notes.under_way, talk.idle) == (0, True)
    mine = talk.ask(b"2?", notes, LONG)
    recorder.sockets[0].write(b"1!\n2!\n")
    wait_until(lambda: talk.idle)
    assert notes.answers == [(mine, b"2!")]
    assert conversation.pushed == [], "it is no push either"


@pytest.mark.parametrize("key_of", [None, first_byte])
def test_who_has_less_time_fails_before_who_asked_first(converse: Converse, host: str, key_of: Any) -> None:
    conversation = converse(host, key_of and (lambda message: message))
    talk, notes = conversation.talk, Notes()
    texts = [b"wait 9 %d" % number for number in range(4)]
    longest, long, short, shorter = (
        talk.ask(text, notes, timeout) for text, timeout in zip(texts, (LONG, 0.09, 0.06, 0.03), strict=True)
    )
    wait_until(lambda: len(notes.failures) == 3)
    assert [request for request, _ in notes.failures] == [shorter, short, long]
    assert (notes.under_way, longest.owner) == (1, notes)


def test_all_that_have_run_out_of_time_are_told_together(converse: Converse, host: str) -> None:
    talk, notes = converse(host).talk, Notes()
    talk.ask_all([b"silence"] * 5, notes, 0.02, 0)
    wait_until(lambda: notes.failures)
    assert [request.place for request, _ in notes.failures] == [0, 1, 2, 3, 4]


def test_there_is_a_timer_only_while_something_is_under_way(converse: Converse, host: str) -> None:
    talk, notes = converse(host).talk, Notes()
    assert talk._timer is None
    talk.ask(b"a", notes, 0.02)
    talk.ask_all([b"b"], notes, LONG, 0)
    assert talk._timer is not None
    wait_until(lambda: talk._timer is None)
    assert (len(notes.answers), notes.failures) == (2, [])
    talk.ask(b"silence", notes, LONG)
    talk.socket.terminate()
    wait_until(lambda: notes.failures)
    assert talk._timer is None


# -- the end of the connection ---------------------------------------------------------------------------


@pytest.mark.parametrize("how", ["close", "terminate"])
def test_an_end_is_told_once_to_each_who_waits(converse: Converse, serve: Serve, how: str) -> None:
    server = serve({"data": lambda socket, message: None}, framing=Lines())
    conversation = converse(server.url)
    talk, one, other, left = conversation.talk, Notes(), Notes(), Notes()
    first, second = talk.ask(b"a", one, LONG), talk.ask(b"b", other, LONG)
    talk.ask(b"c", left, LONG).owner = None
    wait_until(lambda: server.stats().messages_read == 3)
    getattr(next(iter(server.sockets)), how)()
    assert talk.over.wait(LONG)
    assert [type(error) for error in conversation.lost] == [type(None) if how == "close" else ConnectionResetError]
    assert (one.failures[0][0], other.failures[0][0]) == (first, second)
    assert one.errors == other.errors == ["SocketClosed('the connection ended')"]
    assert (one.under_way, other.under_way, left.failures, talk.idle) == (0, 0, [], True)


def test_nothing_can_be_asked_on_a_connection_that_is_over(converse: Converse, host: str) -> None:
    talk, notes = converse(host).talk, Notes()
    talk.socket.terminate()
    for call in (lambda: talk.ask(b"x", notes, LONG), lambda: talk.ask_all([b"x"], notes, LONG, 0)):
        with pytest.raises(SocketClosed):
            call()
    turns()
    assert (notes.under_way, notes.failures, talk.idle) == (0, [], True)


def test_a_failure_is_told_once() -> None:
    notes = Notes()
    request = Request(notes, 0.0, 0.0, 0)
    assert notes.under_way == 1
    for _ in range(2):
        request.fail(KeyError())
    assert (notes.under_way, notes.errors) == (0, ["KeyError()"])


def test_what_is_no_message_is_a_loss_and_no_mistake(converse: Converse, serve: Serve) -> None:
    server = serve({"open": lambda socket: socket.write(b"\xff" * 8)})
    conversation = converse(server.url, None, LengthPrefixed(max_size=100))
    assert conversation.talk.over.wait(LONG)
    assert [type(error) for error in conversation.lost] == [FrameTooLarge]
    half = converse(serve({"open": lambda socket: socket.end(b"half")}).url, None, Fixed(8))
    assert half.talk.over.wait(LONG)
    assert [type(error) for error in half.lost] == [IncompleteRead]
    assert conversation.mistakes == half.mistakes == []


def test_a_key_that_cannot_be_told_of_what_comes_is_a_mistake_and_ends_the_connection(
    converse: Converse, host: str
) -> None:
    def fussy(message: bytes) -> bytes:
        if message == b"unknown":
            raise KeyError(message)
        return message

    conversation, notes = converse(host, fussy), Notes()
    conversation.talk.ask(b"silence", notes, LONG)
    conversation.socket.write_message(b"unknown")  # which comes back
    assert conversation.talk.over.wait(LONG)
    assert [type(error) for error in conversation.mistakes] == [KeyError]
    assert notes.errors == ["SocketClosed('the connection ended')"]
    assert conversation.socket.closed


# -- a peer that takes too little ------------------------------------------------------------------------


BIG = b"x" * 9_999_999


@pytest.fixture
def stalled(converse: Converse, serve: Serve) -> Any:
    """A conversation whose peer does not read, and that server."""
    server = serve({"open": lambda socket: socket.pause()}, framing=Lines(max_size=len(BIG)))
    return converse(server.url, None, Lines(max_size=len(BIG))), server


def test_who_asks_waits_while_the_peer_takes_too_little(converse: Converse, serve: Serve) -> None:
    go_on = Event()

    def data(socket: Any, message: bytes) -> None:
        go_on.wait()
        socket.write_message(b"thanks")

    framing = Lines(max_size=len(BIG))
    talk, notes = converse(serve({"data": data}, framing=framing).url, None, framing).talk, Notes()
    talk.ask(b"first", notes, LONG)
    asking: list[Any] = [
        gevent.spawn(talk.ask, BIG, notes, LONG),
        gevent.spawn(talk.ask_all, [BIG, b"last"], notes, LONG, 0),
    ]
    gevent.sleep(0.05)
    assert not any(greenlet.ready() for greenlet in asking)
    assert notes.under_way == 4
    go_on.set()
    gevent.joinall(asking, timeout=LONG, raise_error=True)
    wait_until(lambda: talk.idle)
    assert [message for _, message in notes.answers] == [b"thanks"] * 4


def test_who_is_killed_while_asking_has_asked_all_the_same(stalled: Any) -> None:
    conversation, _ = stalled
    talk, notes = conversation.talk, Notes()
    asking = gevent.spawn(talk.ask, BIG, notes, LONG)
    gevent.sleep(0.05)
    assert not asking.ready()
    asking.kill()
    assert talk.idle
    assert len(talk._in_order) == 1, "its reply, if one comes, is nobody else's"
    conversation.socket.terminate()
    assert talk.over.wait(LONG)
    assert notes.failures == []


@pytest.mark.parametrize("many", [False, True])
def test_an_end_while_asking_is_told_to_the_owner(stalled: Any, many: bool) -> None:
    conversation, server = stalled
    talk, notes = conversation.talk, Notes()
    arguments: tuple[Any, ...] = (talk.ask_all, [BIG, b"x"], notes, LONG, 0) if many else (talk.ask, BIG, notes, LONG)
    asking = gevent.spawn(attempt, *arguments)
    gevent.sleep(0.05)
    assert not asking.ready()
    next(iter(server.sockets)).terminate()
    assert asking.get(timeout=LONG) is None, "it raises nothing"
    assert talk.over.wait(LONG)
    assert notes.errors == ["SocketClosed('the connection ended')"] * (2 if many else 1)

"""``Exchange``: many callers, one socket, and nobody ever gets the reply of another."""

import contextlib
import random
import socket as sockets
import threading
from collections.abc import Callable, Iterator
from typing import Any

import gevent
import gevent.socket
import pytest
from gevent import GreenletExit
from gevent.event import Event
from gevent.exceptions import BlockingSwitchOutError
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

import greensock
from connections import AnySocket, MakeByHand, attempt, narrow_listener, turns
from greensock import CloseReason, Exchange, FrameError, SocketClosed
from greensock.framing import LengthPrefixed, Lines
from greensock.testing import Dial, Recorder, Serve, wait_until

PATIENCE = 10.0

#: What serves the requests of one connection: it is given the connection, and may say when a request comes.
Answer = Callable[["Service", bytes], None]


class Service:
    """A peer that answers lines as it is told to, and the exchange with it."""

    def __init__(self, answer: Answer | None = None, **options: Any) -> None:
        ours, theirs = sockets.socketpair()
        self.peer = gevent.socket.socket(theirs.family, theirs.type, 0, theirs.detach())
        self.socket: AnySocket = greensock.connect(f"fd://{ours.detach()}", framing=Lines(max_size=1_000_000))
        self.exchange = Exchange(self.socket, **options)
        self.requests: list[bytes] = []
        self.serving = gevent.spawn(self.serve, answer or Service.reply)

    def serve(self, answer: Answer) -> None:
        decoder = Lines(max_size=1_000_000).decoder()
        with contextlib.suppress(OSError):
            while data := self.peer.recv(65536):
                for request in decoder.feed(data):
                    self.requests.append(request)
                    answer(self, request)

    def reply(self, message: bytes) -> None:
        self.peer.sendall(message + b"\n")

    def close(self) -> None:
        self.socket.terminate()
        self.serving.kill()
        self.peer.close()


@pytest.fixture
def make(no_leaks: None) -> Iterator[Callable[..., Service]]:
    services: list[Service] = []

    def make(*arguments: Any, **options: Any) -> Service:
        services.append(Service(*arguments, **options))
        return services[-1]

    yield make
    for service in services:
        service.close()


@pytest.fixture
def service(make: Callable[..., Service]) -> Service:
    return make()


def key_of(message: bytes) -> bytes | None:
    """``key:text``; a message without key is a push."""
    key, colon, _ = message.partition(b":")
    return key if colon else None


def silent(service: Service, request: bytes) -> None:
    """An answer that never comes."""


def say(service: Service, *messages: bytes) -> None:
    for message in messages:
        service.reply(message)


# -- calls -----------------------------------------------------------------------------------------------


def test_a_call_gives_the_reply(service: Service) -> None:
    assert service.exchange.call(b"one") == b"one"
    assert service.exchange.call("two", timeout=PATIENCE) == b"two"
    assert service.exchange.pending == 0


def test_many_greenlets_share_it(service: Service) -> None:
    callers = [gevent.spawn(service.exchange.call, b"%d" % n) for n in range(500)]
    assert [caller.get(timeout=PATIENCE) for caller in callers] == [b"%d" % n for n in range(500)]


def test_their_requests_are_on_their_way_together(make: Callable[..., Service]) -> None:
    service = make(silent)
    callers = [gevent.spawn(service.exchange.call, b"%d" % n) for n in range(50)]
    wait_until(lambda: len(service.requests) == 50)
    assert service.exchange.pending == 50
    say(service, *service.requests)
    assert [caller.get(timeout=PATIENCE) for caller in callers] == service.requests
    assert service.exchange.pending == 0


def test_replies_by_key_may_come_in_any_order(make: Callable[..., Service]) -> None:
    service = make(silent, key_of=key_of)
    callers = [gevent.spawn(service.exchange.call, b"%d:question" % (n % 40)) for n in range(50)]
    wait_until(lambda: len(service.requests) == 50)
    replies = [b"%d:%d" % (n % 40, n) for n in range(50)]
    rest = sorted(replies[10:40])  # of keys that were used once
    random.Random(3).shuffle(rest)
    say(service, *rest, *replies[:10], *replies[40:])
    assert [caller.get(timeout=PATIENCE) for caller in callers] == replies, "of one key, in the order of the requests"


def test_pushes_go_apart(make: Callable[..., Service]) -> None:
    pushes: list[bytes] = []
    service = make(silent, key_of=key_of, on_push=pushes.append)
    say(service, b"early")
    caller = gevent.spawn(service.exchange.call, b"1:?")
    wait_until(lambda: service.requests)
    say(service, b"between", b"1:!", b"late")
    assert caller.get(timeout=PATIENCE) == b"1:!"
    wait_until(lambda: len(pushes) == 3)
    assert pushes == [b"early", b"between", b"late"]


def test_pushes_that_nobody_wants_are_dropped(make: Callable[..., Service]) -> None:
    service = make(lambda service, request: say(service, b"push", request, b"push"), key_of=key_of)
    assert [service.exchange.call(b"%d:" % n) for n in range(5)] == [b"%d:" % n for n in range(5)]


def test_send_waits_for_no_reply(make: Callable[..., Service]) -> None:
    service = make(lambda service, request: None if request == b"note" else service.reply(request))
    service.exchange.send(b"note")
    assert service.exchange.pending == 0
    assert service.exchange.call(b"question") == b"question"
    assert service.requests == [b"note", b"question"]


def test_call_many_answers_in_order(service: Service) -> None:
    messages = [b"%d" % n for n in range(1000)]
    assert service.exchange.call_many(messages) == messages
    assert service.exchange.call_many([]) == []
    assert service.exchange.call_many(iter(messages), depth=1) == messages


def test_call_many_by_key_answers_in_the_order_of_the_messages(make: Callable[..., Service]) -> None:
    held: list[bytes] = []

    def reversed_by_ten(service: Service, request: bytes) -> None:
        held.append(request)
        if len(held) == 10:
            say(service, *held[::-1])
            held.clear()

    service = make(reversed_by_ten, key_of=key_of)
    messages = [b"%d:" % n for n in range(100)]
    assert service.exchange.call_many(messages, depth=10) == messages


def test_call_many_has_no_more_than_so_many_on_their_way(make: Callable[..., Service]) -> None:
    most = 0
    taken = 0

    def messages() -> Iterator[bytes]:
        nonlocal taken
        for number in range(100):
            taken += 1
            yield b"%d" % number

    def answer(service: Service, request: bytes) -> None:
        nonlocal most
        most = max(most, service.exchange.pending)
        service.reply(request)

    service = make(answer)
    assert len(service.exchange.call_many(messages(), depth=7)) == 100
    assert most == 7
    service = make(silent)
    taken = 0
    with pytest.raises(TimeoutError):
        service.exchange.call_many(messages(), depth=7, timeout=0.01)
    assert taken == 8, "messages are taken as they are needed"


# -- giving up -------------------------------------------------------------------------------------------


@pytest.mark.parametrize("keyed", [False, True])
@pytest.mark.parametrize("way", ["timeout", "kill", "gevent.Timeout"])
def test_a_late_reply_is_thrown_away(way: str, keyed: bool, make: Callable[..., Service]) -> None:
    service = make(silent, key_of=key_of if keyed else None)
    exchange = service.exchange
    if way == "timeout":
        with pytest.raises(TimeoutError, match=r"no reply came in 0\.01 s"):
            exchange.call(b"1:old", timeout=0.01)
    elif way == "kill":
        caller = gevent.spawn(exchange.call, b"1:old")
        turns()
        caller.kill()
    else:
        with pytest.raises(gevent.Timeout), gevent.Timeout(0.01):
            exchange.call(b"1:old")
    assert exchange.pending == 1, "it keeps its place"
    caller = gevent.spawn(exchange.call, b"1:new")
    wait_until(lambda: len(service.requests) == 2)
    say(service, b"1:to the old one")
    turns()
    assert not caller.ready() and exchange.pending == 1
    say(service, b"1:to the new one")
    assert caller.get(timeout=PATIENCE) == b"1:to the new one"
    assert exchange.pending == 0


plans = st.lists(
    st.tuples(
        st.sampled_from([0.0, 0.0005, 0.002]),  # after which the caller comes
        st.sampled_from([None, 0.0, 0.0005, 0.001, 0.003]),  # his timeout
        st.sampled_from([None, None, 0.0, 0.0005, 0.002]),  # after which he is killed
        st.sampled_from([0.0, 0.0, 0.0005, 0.002]),  # that his reply takes
    ),
    min_size=1,
    max_size=30,
)


@pytest.mark.parametrize("keyed", [False, True])
@given(plan=plans)
@settings(max_examples=60, suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow])
def test_nobody_ever_gets_the_reply_of_another(
    plan: list[tuple[float, float | None, float | None, float]], keyed: bool, make: Callable[..., Service]
) -> None:
    """The class of CVE-2023-28858: whoever gives up, however and whenever, leaves no reply to somebody else."""

    def answer(service: Service, request: bytes) -> None:
        delay = plan[int(request.partition(b":")[0])][3]
        if keyed and delay:
            gevent.spawn_later(delay, attempt, service.reply, request)
        else:
            gevent.sleep(delay)
            service.reply(request)

    service = make(answer, key_of=key_of if keyed else None)
    outcomes: list[Any] = [None] * len(plan)

    def call(number: int, timeout: float | None) -> None:
        request = b"%d:%d" % (number, number * number)
        try:
            outcomes[number] = service.exchange.call(request, timeout) == request
        except (TimeoutError, GreenletExit) as error:
            outcomes[number] = type(error)

    callers = []
    for number, (pause, timeout, kill, _) in enumerate(plan):
        gevent.sleep(pause)
        callers.append(gevent.spawn(call, number, timeout))
        if kill is not None:
            gevent.spawn_later(kill, callers[-1].kill)
    gevent.joinall(callers, timeout=PATIENCE, raise_error=True)
    for (_, timeout, kill, _), outcome in zip(plan, outcomes, strict=True):
        if outcome is None:
            assert kill is not None, "killed before it had begun"
        elif outcome is not True:
            assert outcome is (TimeoutError if kill is None else outcome) and (timeout, kill) != (None, None)
    assert service.exchange.call(b"0:last") == b"0:last"
    wait_until(lambda: service.exchange.pending == 0)
    service.close()


def test_writers_that_wait_for_room_keep_their_order(serve: Serve) -> None:
    """Requests that together are far too much for the queue: who is written first is answered first."""
    recorder = Recorder(data=lambda socket, message: socket.write_message(message[:10]))
    server = serve(recorder.handlers, narrow_listener(), framing=LengthPrefixed())
    with greensock.connect(server.address, framing=LengthPrefixed(), max_buffered=100_000) as client:
        exchange = Exchange(client)
        requests = [b"%010d" % n + bytes(50_000) for n in range(100)]
        callers = [gevent.spawn(exchange.call, request) for request in requests]
        assert [caller.get(timeout=PATIENCE) for caller in callers] == [request[:10] for request in requests]


@pytest.mark.parametrize("way", ["call", "call_many"])
def test_a_call_that_finds_no_room_waits_no_longer_than_its_timeout(way: str, by_hand: MakeByHand) -> None:
    pair = by_hand(framing=LengthPrefixed(), max_buffered=100_000)
    exchange = Exchange(pair.socket)
    with gevent.Timeout(PATIENCE), pytest.raises(TimeoutError, match="no reply"):
        exchange.call(bytes(1_000_000), timeout=0.01)
    with gevent.Timeout(PATIENCE), pytest.raises(TimeoutError, match="no room"):
        exchange.call(b"x", timeout=0.01) if way == "call" else exchange.call_many([b"x"], timeout=0.01)
    assert exchange.pending == 1, "what was not sent is not answered"


# -- the end ---------------------------------------------------------------------------------------------


def half_a_message(service: Service) -> None:
    service.peer.sendall(b"half")
    service.peer.shutdown(sockets.SHUT_WR)


def ends(service: Service) -> dict[str, Callable[[], object]]:
    return {
        "own close": service.socket.close,
        "own terminate": service.socket.terminate,
        "peer's end": lambda: service.peer.shutdown(sockets.SHUT_WR),
        "peer's reset": service.peer.close,
        "no message": lambda: service.peer.sendall(bytes(1_000_001)),
        "half a message": lambda: half_a_message(service),
    }


@pytest.mark.parametrize(
    "end", ["own close", "own terminate", "peer's end", "peer's reset", "no message", "half a message"]
)
def test_the_end_of_the_connection_fails_all_that_wait_once(end: str, make: Callable[..., Service]) -> None:
    service = make(silent)
    errors: list[BaseException | None] = []

    def call(number: int) -> None:
        errors.append(attempt(service.exchange.call, b"%d" % number))

    callers = [gevent.spawn(call, number) for number in range(5)]
    with pytest.raises(TimeoutError):
        service.exchange.call(b"given up", timeout=0.01)
    service.serving.kill()
    ends(service)[end]()
    gevent.joinall(callers, timeout=PATIENCE)
    assert len(errors) == 5 and all(isinstance(error, SocketClosed) for error in errors)
    assert len(set(map(id, errors))) == 5, "each has an exception of its own"
    assert service.exchange.pending == 0
    for later in (service.exchange.call, service.exchange.send, lambda message: service.exchange.call_many([message])):
        with pytest.raises(SocketClosed):
            later(b"later")
    cause = errors[0] and errors[0].__cause__
    if end == "no message":
        assert isinstance(cause, FrameError) and service.socket.close_reason is CloseReason.PROTOCOL
    elif end == "half a message":
        assert isinstance(cause, EOFError) and service.socket.close_reason is CloseReason.PROTOCOL
    elif end == "peer's end":
        assert service.socket.close_reason is CloseReason.EOF


def test_that_the_peer_has_gone_is_known_before_the_next_call(service: Service) -> None:
    assert service.exchange.call(b"x") == b"x"
    service.serving.kill()
    service.peer.close()
    wait_until(lambda: service.socket.closed)
    with pytest.raises(SocketClosed):
        service.exchange.call(b"y")


@pytest.mark.parametrize("keyed", [False, True])
def test_a_reply_that_nobody_waits_for_ends_it(keyed: bool, make: Callable[..., Service]) -> None:
    service = make(silent, key_of=key_of if keyed else None)
    say(service, b"7:unasked")
    wait_until(lambda: service.exchange._over)
    with pytest.raises(SocketClosed, match="a reply came that nobody waits for"):
        service.exchange.call(b"7:late")
    assert service.socket.close_reason is CloseReason.PROTOCOL
    assert service.requests == []


def test_replies_that_came_before_the_end_are_delivered(make: Callable[..., Service]) -> None:
    def answer(service: Service, request: bytes) -> None:
        if request == b"2":
            say(service, b"1", b"2")
            service.peer.close()

    service = make(answer)
    callers = [gevent.spawn(service.exchange.call, b"%d" % n) for n in (1, 2)]
    assert [caller.get(timeout=PATIENCE) for caller in callers] == [b"1", b"2"]


# -- what users do wrong ---------------------------------------------------------------------------------


def test_it_needs_blocking_style_and_a_framing(serve: Serve) -> None:
    server = serve({"data": lambda socket, data: None})
    with pytest.raises(TypeError, match=r"one of greensock's sockets, not over a 'object'"):
        Exchange(object())  # type: ignore[arg-type]
    with greensock.connect(server.address) as client, pytest.raises(TypeError, match="option framing="):
        Exchange(client)
    with (
        greensock.connect(server.address, {"data": print}, framing=Lines()) as client,
        pytest.raises(TypeError, match="has handlers for its input"),
    ):
        Exchange(client)


@pytest.mark.parametrize("name", ["key_of", "on_push"])
def test_what_cannot_be_called_is_refused(name: str, serve: Serve) -> None:
    server = serve({"data": lambda socket, data: None})
    with (
        greensock.connect(server.address, framing=Lines()) as client,
        pytest.raises(TypeError, match=f"{name} cannot be called: 3"),
    ):
        Exchange(client, **{name: 3})  # type: ignore[arg-type]


def test_a_second_one_over_a_socket_is_refused_and_harms_nothing(serve: Serve) -> None:
    server = serve({"data": lambda socket, message: socket.write_message(message)}, framing=Lines())
    with greensock.connect(server.address, framing=Lines()) as client:
        first = Exchange(client)
        with pytest.raises(RuntimeError, match="an exchange over this socket already"):
            Exchange(client)
        assert first.call(b"hello", timeout=PATIENCE) == b"hello"
        with pytest.raises(RuntimeError, match="another greenlet reads this socket"):
            Exchange(client)
        assert first.call(b"again", timeout=PATIENCE) == b"again"


def test_a_request_that_cannot_be_sent_takes_no_place(make: Callable[..., Service]) -> None:
    service = make(key_of=lambda message: [] if message == b"unhashable" else key_of(message))
    for message, error in ((b"1:two\nlines", ValueError), (5, AttributeError), (b"no key", ValueError)):
        with pytest.raises(error):
            service.exchange.call(message)
    with pytest.raises(TypeError, match="unhashable"):
        service.exchange.call(b"unhashable")
    with pytest.raises(ValueError, match="timeout must be"):
        service.exchange.call(b"1:", timeout=-1)
    with pytest.raises(ValueError, match="depth must be at least 1"):
        service.exchange.call_many([b"1:"], depth=0)
    assert service.exchange.pending == 0
    assert service.exchange.call(b"1:") == b"1:"
    assert service.requests == [b"1:"]


def test_nobody_else_reads_its_socket(service: Service) -> None:
    turns()
    with pytest.raises(RuntimeError, match="another greenlet reads this socket"):
        service.socket.read_message()
    with pytest.raises(RuntimeError, match="another greenlet reads this socket"):
        Exchange(service.socket)


def test_a_push_handler_that_raises_ends_it(make: Callable[..., Service], caplog: pytest.LogCaptureFixture) -> None:
    def on_push(message: bytes) -> None:
        raise LookupError("oh no")

    service = make(silent, key_of=key_of, on_push=on_push)
    errors: list[BaseException | None] = []
    caller = gevent.spawn(lambda: errors.append(attempt(service.exchange.call, b"1:")))
    wait_until(lambda: service.requests)
    say(service, b"push")
    caller.join(timeout=PATIENCE)
    assert isinstance(errors[0], SocketClosed) and isinstance(errors[0].__cause__, LookupError)
    assert service.socket.closed and service.socket.close_reason is CloseReason.HANDLER_ERROR
    assert len([record for record in caplog.records if "oh no" in record.getMessage()]) == 1


def test_a_push_handler_may_send_but_not_call(make: Callable[..., Service]) -> None:
    errors: list[BaseException | None] = []
    made: list[Service] = []

    def on_push(message: bytes) -> None:
        made[0].exchange.send(b"thanks")
        errors.append(attempt(made[0].exchange.call, b"1:"))

    made.append(make(silent, key_of=key_of, on_push=on_push))
    say(made[0], b"push")
    wait_until(lambda: made[0].requests)
    assert made[0].requests == [b"thanks"]
    assert isinstance(errors[0], RuntimeError) and "on_push cannot wait" in str(errors[0])


def test_a_push_handler_that_blocks_does_not_hold_back_the_replies_before_it(make: Callable[..., Service]) -> None:
    gate = Event()
    service = make(silent, key_of=key_of, on_push=lambda message: gate.wait())
    callers = [gevent.spawn(service.exchange.call, b"%d:" % n) for n in (1, 2)]
    wait_until(lambda: len(service.requests) == 2)
    service.peer.sendall(b"1:\npush\n2:\n")
    assert callers[0].get(timeout=PATIENCE) == b"1:"
    turns()
    assert not callers[1].ready()
    gate.set()
    assert callers[1].get(timeout=PATIENCE) == b"2:"


def test_another_thread_and_the_hub_may_not_call(service: Service) -> None:
    raised: list[BaseException | None] = []
    thread = threading.Thread(target=lambda: raised.append(attempt(service.exchange.call, b"x")))
    thread.start()
    wait_until(lambda: raised)
    thread.join()
    assert isinstance(raised[0], RuntimeError) and "another thread" in str(raised[0])
    gevent.get_hub().loop.run_callback(lambda: raised.append(attempt(service.exchange.call, b"y")))
    wait_until(lambda: len(raised) == 2)
    assert isinstance(raised[1], BlockingSwitchOutError)
    assert service.exchange.call(b"z") == b"z"


def test_a_switch_by_mistake_is_not_taken_for_a_reply(make: Callable[..., Service]) -> None:
    service = make(silent)
    caller = gevent.spawn(service.exchange.call, b"x")
    wait_until(lambda: service.requests)
    gevent.get_hub().loop.run_callback(caller.switch)
    turns()
    assert not caller.ready()
    say(service, b"x")
    assert caller.get(timeout=PATIENCE) == b"x"


@pytest.mark.leaks  # what a raw greenlet raises is reported by the hub
def test_a_caller_that_dies_does_not_keep_the_others_from_their_replies(make: Callable[..., Service]) -> None:
    service = make(silent)

    def die() -> None:
        service.exchange.call(b"die")
        raise LookupError("a raw greenlet has died")

    gevent.spawn_raw(die)
    turns()
    callers = [gevent.spawn(service.exchange.call, b"%d" % n) for n in range(3)]
    wait_until(lambda: len(service.requests) == 4)
    service.peer.sendall(b"die\n0\n1\n2\n")
    assert [caller.get(timeout=PATIENCE) for caller in callers] == [b"0", b"1", b"2"]


# -- elsewhere -------------------------------------------------------------------------------------------


def test_a_session_may_call_its_client(serve: Serve) -> None:
    answers: list[Any] = []

    def handle(socket: AnySocket) -> None:
        exchange = Exchange(socket)
        answers.append(exchange.call_many([b"1", b"2", b"3"]))
        exchange.call(b"bye")

    recorder = Recorder(handle=handle)
    server = serve(recorder.handlers, framing=Lines())

    def answer(socket: AnySocket, message: bytes) -> None:
        if message == b"bye":
            socket.close()
        else:
            socket.write_message(message * 2)

    greensock.connect(server.address, {"data": answer}, framing=Lines())
    _, error = recorder.wait_for("close")
    assert answers == [[b"11", b"22", b"33"]]
    assert error is None and server.stats().errors == 0, "that the peer has gone is not the session's fault"


def test_one_of_a_session_ends_when_its_server_drains(serve: Serve, dial: Dial) -> None:
    recorder = Recorder(handle=lambda socket: Exchange(socket).call(b"anybody?"))
    server = serve(recorder.handlers, framing=Lines())
    peer = dial(server)
    assert peer.read_exactly(9) == b"anybody?\n"
    server.stop(close_active=True)
    assert peer.read_to_end() == b""
    peer.close()
    socket, error = recorder.wait_for("close")
    assert error is None and socket.close_reason is CloseReason.STOPPED

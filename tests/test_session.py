"""Sessions: one function from beginning to end, and what happens beside it, to it and after it."""

import contextvars
import gc
import logging
import os
import random
import signal
import socket as sockets
import ssl
import weakref
from collections.abc import Callable
from types import SimpleNamespace
from typing import Any

import gevent
import pytest
from gevent import GreenletExit
from gevent.event import Event
from gevent.local import local
from gevent.lock import BoundedSemaphore
from gevent.pool import Pool

import greensock
from connections import AnySocket, attempt, leave, narrow_listener, stream, turns
from greensock import CloseReason, FrameTooLarge, IncompleteRead, SocketClosed, log
from greensock.framing import LengthPrefixed, Lines
from greensock.testing import Dial, Peer, Recorder, Serve, wait_until
from program import Launch
from tls_peer import SecurePeer, credentials, trust

PATIENCE = 10.0

EXCEPTIONS = [
    LookupError,
    SystemExit,
    MemoryError,
    RecursionError,
    gevent.Timeout,
    GreenletExit,
    EOFError,
    TimeoutError,
]

Log = Callable[[], list[logging.LogRecord]]


@pytest.fixture
def lines(caplog: pytest.LogCaptureFixture) -> Log:
    """A function that tells all lines of the log so far, except those of finished connections."""
    log._seen.clear()  # each place may say only so much in a second, and here many tests share one
    caplog.set_level(logging.DEBUG, "greensock")
    return lambda: [record for record in caplog.records if record.name != "greensock.access"]


def net_name(peer: Peer) -> str:
    host, port = peer.address
    return f"{host}:{port}"


def spawn_by(server: greensock.Server, spawn: Callable[..., Any]) -> None:
    """What gevent's StreamServer does when it is given ``spawn=``."""
    setattr(server, "_spawn", spawn)  # noqa: B010 - gevent's types do not know it


def shout(socket: AnySocket) -> None:
    for line in socket.lines():
        socket.write(line.upper() + b"\n")


def forever(socket: AnySocket) -> None:
    gevent.sleep(1000)


# -- from beginning to end -------------------------------------------------------------------------------


def test_it_serves_from_open_to_close(serve: Serve, dial: Dial) -> None:
    recorder = Recorder(handle=shout)
    server = serve(recorder.handlers)
    peer = dial(server)
    assert peer.exchange(b"one\ntwo\n") == b"ONE\nTWO\n"
    assert server.connections == server.stats().handlers_running == 1
    peer.finish()
    assert peer.read_to_end() == b""
    socket, error = recorder.wait_for("close")
    assert recorder.events == ["open", "handle", "close"]
    assert error is None and socket.close_reason is CloseReason.EOF
    stats = server.stats()
    assert (stats.connections, stats.accepted, stats.closed, stats.errors, stats.handlers_running) == (0, 1, 1, 0, 0)


class Shout:
    def handle(self, socket: AnySocket) -> None:
        shout(socket)


class Called:
    def __call__(self, socket: AnySocket) -> None:
        shout(socket)


@pytest.mark.parametrize("handlers", [shout, {"handle": shout}, Shout, Shout(), Called(), Called, Shout().handle])
def test_every_way_to_declare_it(handlers: object, serve: Serve, dial: Dial) -> None:
    assert dial(serve(handlers)).exchange(b"one\n") == b"ONE\n"


def test_it_may_speak_first_and_return(serve: Serve, dial: Dial) -> None:
    sent = stream(2_000_000)
    recorder = Recorder(handle=lambda socket: socket.write(sent))
    peer = dial(serve(recorder.handlers))
    assert peer.read_to_end() == sent, "what is queued when it returns is sent"
    peer.close()
    socket, _ = recorder.wait_for("close")
    assert socket.close_reason is CloseReason.LOCAL and socket.unsent == 0


def test_many_at_once_do_not_wait_for_each_other(serve: Serve, dial: Dial) -> None:
    gate = Event()

    def handle(socket: AnySocket) -> None:
        if socket.recv() == b"wait":
            gate.wait()
        socket.write("done")

    server = serve(handle)
    waiting, other = dial(server), dial(server)
    waiting.send(b"wait")
    other.send(b"go")
    assert other.read_to_end() == b"done"
    gate.set()
    assert waiting.read_to_end() == b"done"


@pytest.mark.parametrize("secure", [False, True])
def test_on_the_connecting_side(secure: bool, serve: Serve) -> None:
    server = serve(shout, tls=credentials() if secure else None)
    heard: list[bytes] = []

    def handle(socket: AnySocket) -> None:
        assert socket.data == "mine"
        socket.write("hello\n")
        heard.append(socket.read_until(b"\n"))

    recorder = Recorder(handle=handle)
    client = greensock.connect(server.address, recorder.handlers, data="mine", tls=trust() if secure else None)
    assert "open" in recorder.events, "it has begun before connect() returns"
    recorder.wait_for("close")
    assert heard == [b"HELLO\n"] and client.closed
    assert recorder.events == [*["handshake"] * secure, "open", "handle", "close"]


def test_with_tls(serve: Serve) -> None:
    recorder = Recorder(handle=shout)
    server = serve(recorder.handlers, tls=credentials())
    with SecurePeer(server.address) as peer:
        assert peer.exchange(b"one\n") == b"ONE\n"
    recorder.wait_for("close")
    assert recorder.events == ["handshake", "open", "handle", "close"]


def test_beside_events_in_the_same_turns(serve: Serve) -> None:
    """Sessions and event sockets that are ready together: each goes on where it was."""
    events = serve({"data": lambda socket, data: socket.write(data.upper())})
    sessions = serve(shout)

    def talk(server: greensock.Server, number: int) -> None:
        with Peer(server.address) as peer:
            for turn in range(20):
                words = b"%d %d words\n" % (number, turn)
                peer.send(words)
                assert peer.read_exactly(len(words)) == words.upper()

    talking = [gevent.spawn(talk, server, number) for number in range(20) for server in (events, sessions)]
    gevent.joinall(talking, timeout=PATIENCE, raise_error=True)
    assert all(greenlet.ready() for greenlet in talking)


def test_a_handler_of_events_may_read_a_client(serve: Serve, dial: Dial) -> None:
    """Its runner is what waits for the client's input, and is left behind like that of any handler that blocks."""
    upstream = serve(shout)
    client = greensock.connect(upstream.address)
    lock = BoundedSemaphore()

    def data(socket: AnySocket, line: bytes) -> None:
        with lock:
            socket.write("asking ")
            client.write(line)
            answer = client.read_until(b"\n")
            client.write(b"again " + line)
            socket.write(answer + client.read_until(b"\n"))

    server = serve({"data": data})
    peers = [dial(server) for _ in range(5)]
    for turn in range(3):
        for number, peer in enumerate(peers):
            peer.send(b"%d.%d\n" % (number, turn))
        for number, peer in enumerate(peers):
            expected = b"asking %d.%d\nAGAIN %d.%d\n" % (number, turn, number, turn)
            assert peer.read_exactly(len(expected)) == expected
    client.close()


def test_with_a_framing(serve: Serve, dial: Dial) -> None:
    def handle(socket: AnySocket) -> None:
        for message in socket.messages():
            socket.write_message(message[::-1])

    server = serve(handle, framing=LengthPrefixed(1))
    assert dial(server).exchange(b"\x03abc\x02de") == b"\x03cba\x02ed"
    assert server.stats().messages_read == 2


# -- its greenlet ----------------------------------------------------------------------------------------


def test_all_its_events_see_what_those_before_left_on_the_greenlet(serve: Serve, dial: Dial) -> None:
    variable: contextvars.ContextVar[list[str]] = contextvars.ContextVar("variable")
    place = local()
    seen: dict[AnySocket, list[Any]] = {}

    def note(socket: AnySocket, event: str) -> None:
        if event == "open":
            assert variable.get(None) is None and not hasattr(place, "value")
            variable.set([])
            place.value = []
            seen[socket] = [gevent.getcurrent()]
        variable.get().append(event)
        place.value.append(event)
        assert gevent.getcurrent() is seen[socket][0]
        if event == "close":
            seen[socket] += [variable.get(), place.value]

    def handle(socket: AnySocket) -> None:
        note(socket, "handle")
        assert isinstance(gevent.getcurrent(), gevent.Greenlet)
        socket.recv()
        raise LookupError

    recorder = Recorder(
        open=lambda socket: note(socket, "open"),
        handle=handle,
        error=lambda socket, error: note(socket, "error"),
        close=lambda socket, error: note(socket, "close"),
    )
    server = serve(recorder.handlers)
    for peer in [dial(server), dial(server), dial(server)]:
        peer.send(b"x")
    recorder.wait_for("close", 3)
    turns()
    assert len(seen) == 3
    for greenlet, *notes in seen.values():
        assert notes == [["open", "handle", "error", "close"]] * 2
        assert greenlet.dead
    assert len({id(greenlet) for greenlet, *_ in seen.values()}) == 3


def test_what_runs_beside_it_sees_its_context_and_the_other_way_round(serve: Serve, dial: Dial) -> None:
    variable: contextvars.ContextVar[str] = contextvars.ContextVar("variable", default="nothing")
    seen: list[str] = []

    def handle(socket: AnySocket) -> None:
        if socket.recv() == b"set":
            variable.set("by handle")
        try:
            socket.recv()
        except SocketClosed:
            seen.append(variable.get())

    def timeout(socket: AnySocket) -> None:
        seen.append(variable.get())
        variable.set("by timeout")

    recorder = Recorder(handle=handle, timeout=timeout)
    server = serve(recorder.handlers, idle_timeout=0.05)
    for words, first in ((b"set", "by handle"), (b"x", "nothing")):
        dial(server).send(words)
        wait_until(lambda: len(seen) == 2)
        assert seen == [first, "by timeout"]
        seen.clear()


def test_nothing_is_left_of_it(serve: Serve, dial: Dial) -> None:
    server = serve(shout)
    peer = dial(server)
    peer.exchange(b"x\n")
    (socket,) = server.sockets
    reference = weakref.ref(socket)
    greenlet = weakref.ref(socket._running)
    gc.collect()
    gc.disable()
    try:
        del socket
        peer.close()
        wait_until(lambda: reference() is None and greenlet() is None)
    finally:
        gc.enable()


@pytest.mark.parametrize("spawn", [gevent.spawn_raw, Pool(5).spawn])
def test_other_kinds_of_greenlets(spawn: Any, serve: Serve, dial: Dial) -> None:
    recorder = Recorder(handle=shout)
    server = serve(recorder.handlers)
    spawn_by(server, spawn)
    assert dial(server).exchange(b"x\n") == b"X\n"
    server.stop(0)
    assert recorder.events == ["open", "handle", "close"]


def test_one_that_is_stopped_before_it_has_begun_has_no_events(serve: Serve, dial: Dial) -> None:
    for spawn in (gevent.spawn, gevent.spawn_raw):
        recorder = Recorder(handle=shout)
        server = serve(recorder.handlers)
        spawned: list[Any] = []

        def spawn_and_stop(session: Any, spawn: Any = spawn, server: Any = server, spawned: Any = spawned) -> Any:
            greenlet = spawn(session)
            spawned.append(greenlet)
            server.loop.run_callback(server.close)
            gevent.spawn(server.stop, 0)
            return greenlet

        spawn_by(server, spawn_and_stop)
        peer = dial(server)
        assert peer.is_reset()
        assert recorder.events in ([], ["open", "handle", "close"])
        wait_until(lambda server=server: not server._shared.alive)  # type: ignore[misc]
        stats = server.stats()
        assert stats.accepted == stats.closed and stats.connections == 0


def test_one_that_is_killed_before_it_has_begun_has_no_events(serve: Serve, dial: Dial) -> None:
    recorder = Recorder(handle=shout)
    server = serve(recorder.handlers)

    def spawn_and_kill(session: Any) -> Any:
        greenlet = gevent.spawn(session)
        greenlet.kill(block=False)
        return greenlet

    spawn_by(server, spawn_and_kill)
    assert dial(server).is_reset()
    wait_until(lambda: not server._shared.alive)
    assert recorder.events == []
    stats = server.stats()
    assert (stats.accepted, stats.refused, stats.closed) == (0, 1, 0)


# -- that raise ------------------------------------------------------------------------------------------


@pytest.mark.parametrize("handled", [False, True])
@pytest.mark.parametrize("blocked", [False, True])
@pytest.mark.parametrize("exception", EXCEPTIONS)
def test_one_that_raises_is_terminated_after_error(
    exception: type[BaseException], blocked: bool, handled: bool, serve: Serve, dial: Dial, lines: Log
) -> None:
    def handle(socket: AnySocket) -> None:
        if socket.recv() == b"fail":
            if blocked:
                gevent.sleep(0.001)
            raise exception
        socket.write("fine")
        socket.recv()

    behaviour: dict[str, Any] = {"handle": handle}
    if handled:
        behaviour["error"] = lambda socket, error: socket.write("sorry")
    recorder = Recorder(**behaviour)
    server = serve(recorder.handlers)
    canary, peer = dial(server), dial(server)
    peer.send(b"fail")
    socket, error = recorder.wait_for("close")
    assert recorder.of(socket) == ["open", "handle", *["error"] * handled, "close"]
    assert isinstance(error, exception) and socket.close_reason is CloseReason.HANDLER_ERROR
    assert peer.is_reset()
    assert canary.exchange(b"fine") == b"fine"
    assert server.stats().errors == 1
    logged = [record for record in lines() if record.levelno >= logging.WARNING]
    assert len(logged) == (not handled)
    if not handled:
        assert f"handle handler of {net_name(peer)} raised" in logged[0].getMessage()


def test_an_open_that_raises_keeps_it_from_running(serve: Serve, dial: Dial, lines: Log) -> None:
    def fail(socket: AnySocket) -> None:
        raise LookupError

    recorder = Recorder(open=fail, handle=shout)
    assert dial(serve(recorder.handlers)).is_reset()
    recorder.wait_for("close")
    assert recorder.events == ["open", "close"]
    recorder = Recorder(open=fail, error=lambda socket, error: None, handle=shout)
    assert dial(serve(recorder.handlers)).exchange(b"x\n") == b"X\n"
    assert recorder.events == ["open", "error", "handle"]


def test_a_keyboard_interrupt_goes_to_the_main_greenlet(launch: Launch) -> None:
    program = launch(
        """
        import gevent, greensock
        from greensock.testing import Peer, wait_until

        closed = []

        def handle(socket):
            for data in socket:
                if data == b"interrupt":
                    raise KeyboardInterrupt
                socket.write(data)

        handlers = {"handle": handle, "close": lambda socket, error: closed.append(error)}
        server = greensock.listen(("127.0.0.1", 0), handlers)
        canary, peer = Peer(server.address), Peer(server.address)
        print(canary.exchange(b"1"))
        try:
            peer.send(b"interrupt")
            gevent.sleep(10)
        except KeyboardInterrupt:
            print("interrupted")
        wait_until(lambda: closed)
        print(len(closed), canary.exchange(b"2"))
        server.stop(0)
        """
    )
    assert [program.line() for _ in range(3)] == ["b'1'", "interrupted", "1 b'2'"]
    assert program.finish()[0] == 0


@pytest.mark.parametrize("where", ["reading", "sleeping", "writing"])
def test_a_kill_reaches_error_and_close_once(where: str, serve: Serve, dial: Dial) -> None:
    def handle(socket: AnySocket) -> None:
        if where == "reading":
            socket.recv()
        elif where == "sleeping":
            gevent.sleep(1000)
        else:
            socket.write(bytes(50_000_000))
            socket.flush()

    recorder = Recorder(handle=handle, error=lambda socket, error: None)
    server = serve(recorder.handlers)
    peer = dial(server)
    (socket,) = recorder.wait_for("handle")
    turns()
    gevent.kill(socket._running)
    _, error = recorder.wait_for("close")
    assert isinstance(error, GreenletExit)
    assert recorder.events == ["open", "handle", "error", "close"]
    assert peer.is_reset()


# -- what the peer is to blame for -----------------------------------------------------------------------


def blame(
    handle: Callable[[AnySocket], object], serve: Serve, act: Callable[[Peer], None], **options: Any
) -> tuple[Recorder, AnySocket, BaseException | None, greensock.Server]:
    """Have a peer act upon a session without an ``error`` handler."""
    recorder = Recorder(handle=handle)
    server = serve(recorder.handlers, **options)
    with Peer(server.address) as peer:
        act(peer)
        socket, error = recorder.wait_for("close")
    return recorder, socket, error, server


def test_a_reset_is_told_to_close_alone(serve: Serve, lines: Log) -> None:
    _, socket, error, server = blame(lambda socket: socket.recv(), serve, lambda peer: peer.reset())
    assert isinstance(error, ConnectionResetError) and socket.close_reason is CloseReason.RESET
    assert server.stats().errors == 0
    assert not [record for record in lines() if record.levelno > logging.DEBUG]


def test_so_is_a_read_that_timed_out(serve: Serve, lines: Log) -> None:
    _, socket, error, server = blame(lambda socket: socket.recv(timeout=0.01), serve, lambda peer: None)
    assert isinstance(error, TimeoutError) and socket.close_reason is CloseReason.TIMEOUT
    assert server.stats().errors == 0
    assert not [record for record in lines() if record.levelno > logging.DEBUG]


def test_and_a_flush_that_timed_out_of_any_handler(serve: Serve, dial: Dial, lines: Log) -> None:
    def handle(socket: AnySocket, *_: object) -> None:
        socket.write(bytes(50_000_000))
        socket.flush(0.01)

    for handlers in ({"open": handle}, {"handle": handle}):
        recorder = Recorder(**handlers)
        server = serve(recorder.handlers)
        peer = dial(server)
        socket, error = recorder.wait_for("close")
        assert isinstance(error, TimeoutError) and socket.close_reason is CloseReason.TIMEOUT
        assert server.stats().errors == 0 and peer.is_reset()
    assert not [record for record in lines() if record.levelno > logging.DEBUG]


def test_an_end_where_more_was_expected_is_a_quiet_end_after_the_replies(serve: Serve, lines: Log) -> None:
    def handle(socket: AnySocket) -> None:
        while True:
            socket.write(socket.read_message())

    def act(peer: Peer) -> None:
        peer.send(b"one\ntwo\n")
        peer.finish()
        assert peer.read_to_end() == b"onetwo"

    _, socket, error, server = blame(handle, serve, act, framing=Lines())
    assert error is None and socket.close_reason is CloseReason.EOF
    assert server.stats().errors == 0
    assert not [record for record in lines() if record.levelno > logging.DEBUG]


@pytest.mark.parametrize(
    ("read", "data", "kind"),
    [
        (lambda socket: socket.read_exactly(5), b"half", IncompleteRead),
        (lambda socket: socket.read_until(b"\n"), b"half", IncompleteRead),
        (lambda socket: list(socket.lines()), b"half", IncompleteRead),
        (lambda socket: list(socket.messages()), b"half", IncompleteRead),
        (lambda socket: socket.read_until(b"\n", 3), b"half", FrameTooLarge),
        (lambda socket: list(socket.lines(3)), b"half", FrameTooLarge),
        (lambda socket: list(socket.messages()), b"h" * 11, FrameTooLarge),
    ],
)
@pytest.mark.parametrize("handled", [False, True])
def test_what_is_no_message_is_told_and_closes_after_the_replies(
    read: Callable[[AnySocket], object],
    data: bytes,
    kind: type[BaseException],
    handled: bool,
    serve: Serve,
    dial: Dial,
    lines: Log,
) -> None:
    def handle(socket: AnySocket) -> None:
        socket.write("reply ")
        read(socket)

    behaviour: dict[str, Any] = {"handle": handle}
    if handled:
        behaviour["error"] = lambda socket, error: socket.write("sorry")
    recorder = Recorder(**behaviour)
    server = serve(recorder.handlers, framing=Lines(max_size=10))
    peer = dial(server)
    peer.send(data)
    peer.finish()
    assert peer.read_to_end() == b"reply " + b"sorry" * handled
    socket, error = recorder.wait_for("close")
    assert isinstance(error, kind) and socket.close_reason is CloseReason.PROTOCOL
    assert recorder.events == ["open", "handle", *["error"] * handled, "close"]
    assert server.stats().errors == 0
    assert not [record for record in lines() if record.levelno > logging.DEBUG]


class Cut(IncompleteRead):
    def __init__(self, _text: str) -> None:
        pass


@pytest.mark.parametrize("kind", [IncompleteRead, Cut])
def test_a_decoder_need_not_say_what_of_a_message_has_come(
    kind: type[IncompleteRead], serve: Serve, dial: Dial
) -> None:
    def close() -> None:
        raise kind("inside a message")

    framing = SimpleNamespace(decoder=lambda: SimpleNamespace(feed=lambda data: [], close=close), encode=bytes)
    recorder = Recorder(handle=lambda socket: list(socket.messages()), error=lambda socket, error: None)
    peer = dial(serve(recorder.handlers, framing=framing))
    peer.send(b"half")
    peer.finish()
    assert peer.read_to_end() == b""
    assert isinstance(recorder.wait_for("close")[1], kind)
    assert recorder.events == ["open", "handle", "error", "close"]


@pytest.mark.parametrize("handled", [False, True])
def test_what_is_no_tls_is_told(handled: bool, serve: Serve, lines: Log) -> None:
    behaviour: dict[str, Any] = {"error": lambda socket, error: None} if handled else {}
    recorder = Recorder(handle=shout, **behaviour)
    server = serve(recorder.handlers, tls=credentials())
    with SecurePeer(server.address) as peer:
        peer.send_raw(b"\x17\x03\x03\x00\x20" + bytes(32))
        socket, error = recorder.wait_for("close")
    assert isinstance(error, ssl.SSLError) and socket.close_reason is CloseReason.PROTOCOL
    assert recorder.events == ["handshake", "open", "handle", *["error"] * handled, "close"]
    assert all(entry[2] is error for entry in recorder.log if entry[0] == "error")
    assert [record.levelno for record in lines()] == [logging.DEBUG] * (not handled)
    assert server.stats().errors == 0


def test_one_that_catches_it_may_answer(serve: Serve, dial: Dial) -> None:
    def handle(socket: AnySocket) -> None:
        try:
            list(socket.lines(3))
        except FrameTooLarge:
            socket.write("too long")

    recorder = Recorder(handle=handle)
    peer = dial(serve(recorder.handlers))
    peer.send(b"a long line")
    peer.finish()
    assert peer.read_to_end() == b"too long"
    socket, error = recorder.wait_for("close")
    assert socket.close_reason is CloseReason.LOCAL and error is None


def test_writing_after_its_own_end_is_its_own_fault(serve: Serve, dial: Dial) -> None:
    def handle(socket: AnySocket) -> None:
        socket.close()
        socket.write("x")

    recorder = Recorder(handle=handle, error=lambda socket, error: None)
    dial(serve(recorder.handlers))
    _, error = recorder.wait_for("error")
    assert isinstance(error, SocketClosed)
    recorder.wait_for("close")


@pytest.mark.parametrize("event", ["reset", "timeout", "stop"])
def test_what_ends_it_after_its_own_end_is_not(event: str, serve: Serve, dial: Dial) -> None:
    def handle(socket: AnySocket) -> None:
        socket.end(b"all")
        socket.recv()

    recorder = Recorder(handle=handle, error=lambda socket, error: None)
    server = serve(recorder.handlers)
    peer = dial(server)
    assert peer.read_to_end() == b"all"
    if event == "reset":
        peer.reset()
    elif event == "timeout":
        recorder.sockets[0].idle_timeout = 0.02
        recorder.wait_for("timeout")
        peer.close()
    else:
        server.stop(0)
    socket, error = recorder.wait_for("close")
    assert (socket.close_reason, error) == (CloseReason.LOCAL, None)
    assert "error" not in recorder.events


def test_a_failure_of_another_socket_is_its_own_fault(serve: Serve, dial: Dial) -> None:
    upstream = serve({"open": lambda socket: None})

    def handle(socket: AnySocket) -> None:
        with greensock.connect(upstream.address) as other:
            other.recv(timeout=0.01)

    recorder = Recorder(handle=handle, error=lambda socket, error: None)
    dial(serve(recorder.handlers))
    _, error = recorder.wait_for("error")
    assert isinstance(error, TimeoutError)
    recorder.wait_for("close")


# -- draining --------------------------------------------------------------------------------------------


def test_a_kill_that_comes_as_what_runs_beside_has_ended_is_no_error(serve: Serve, dial: Dial) -> None:
    def handle(socket: AnySocket) -> None:
        sessions.append(gevent.getcurrent())
        socket.recv()
        raise ValueError

    def stopping(socket: AnySocket) -> None:
        failed.wait()
        gevent.sleep(0)
        gevent.kill(sessions[0])

    sessions: list[Any] = []
    failed = Event()
    recorder = Recorder(handle=handle, stopping=stopping, error=lambda socket, error: failed.set())
    server = serve(recorder.handlers)
    dial(server)
    recorder.wait_for("handle")
    server.stop(close_active=True)
    recorder.wait_for("close")
    assert recorder.events == ["open", "handle", "stopping", "error", "close"]


def test_one_that_waits_and_one_that_is_told_when_it_opens(serve: Serve, dial: Dial) -> None:
    recorder = Recorder(handle=shout, stopping=lambda socket: socket.write("goodbye"))
    server = serve(recorder.handlers)
    waiting = dial(server)
    recorder.wait_for("handle")
    with Peer(server.address) as fresh:  # in the backlog
        server.stop(close_active=True)
        for peer in (waiting, fresh):
            assert peer.read_to_end() == b"goodbye"
    waiting.close()
    recorder.wait_for("close", 2)
    for socket in recorder.sockets:
        assert sorted(recorder.of(socket)) == ["close", "handle", "open", "stopping"]


def test_a_goodbye_that_takes_its_time_is_waited_for(serve: Serve, dial: Dial) -> None:
    def goodbye(socket: AnySocket) -> None:
        socket.write("good")
        gevent.sleep(0.05)
        socket.write("bye")

    recorder = Recorder(handle=shout, stopping=goodbye)
    server = serve(recorder.handlers)
    peer = dial(server)
    recorder.wait_for("handle")
    server.stop(close_active=True)
    assert peer.read_to_end() == b"goodbye"
    peer.close()
    recorder.wait_for("close")
    assert recorder.events == ["open", "handle", "stopping", "close"]


@pytest.mark.parametrize("close_active", [False, True])
@pytest.mark.parametrize("handle", [shout, forever])
def test_one_that_still_runs_at_the_deadline_is_killed(
    handle: Any, close_active: bool, serve: Serve, dial: Dial, lines: Log
) -> None:
    recorder = Recorder(handle=handle)
    server = serve(recorder.handlers)
    peer = dial(server)
    recorder.wait_for("handle")
    server.stop(0.05, close_active=close_active)
    assert recorder.events.count("close") == 1 and server.stats().handlers_running == 0
    if not (close_active and handle is shout):
        assert peer.is_reset()
        socket, error = recorder.wait_for("close")
        assert error is None and socket.close_reason is CloseReason.STOPPED
    assert not [record for record in lines() if record.levelno > logging.DEBUG]


@pytest.mark.parametrize("where", ["handle", "stopping"])
def test_its_server_can_be_stopped_from_within(where: str, serve: Serve, dial: Dial) -> None:
    def stop(socket: AnySocket) -> None:
        socket.server.stop(PATIENCE, close_active=True)
        socket.write("stopped")

    def handle(socket: AnySocket) -> None:
        if socket.recv() == b"stop":
            if where == "handle":
                stop(socket)
            else:
                socket.server.stop(close_active=True)
                assert socket.recv() == b""
        else:
            socket.recv()

    behaviour: dict[str, Any] = {"handle": handle}
    if where == "stopping":
        behaviour["stopping"] = lambda socket: stop(socket) if socket is opened[0] else None
    opened: list[AnySocket] = []
    behaviour["open"] = opened.append
    recorder = Recorder(**behaviour)
    server = serve(recorder.handlers)
    one = dial(server)
    recorder.wait_for("handle")
    with Peer(server.address) as other, gevent.Timeout(PATIENCE / 2):
        other.send(b"x")
        wait_until(lambda: server.stats().bytes_read)
        leaving = gevent.spawn(leave, other)
        one.send(b"stop")
        assert one.read_to_end() == b"stopped"
        one.close()
        leaving.get()
    recorder.wait_for("close", 2)


def test_run_drains_it(launch: Launch) -> None:
    program = launch(
        """
        import greensock

        def handle(socket):
            for line in socket.lines():
                socket.write(line.upper() + b"\\n")
            socket.write("bye")

        server = greensock.listen(("127.0.0.1", 0), handle)
        print(f"listening on {server.url}")
        greensock.run(server)
        print("ended", server.stats().closed)
        """
    )
    with Peer(program.address()) as peer:
        assert peer.exchange(b"x\n") == b"X\n"
        program.send(signal.SIGTERM)
        assert peer.read_to_end() == b"bye"
    assert program.finish()[:2] == (0, "ended 1\n")


# -- the idle clock --------------------------------------------------------------------------------------


def test_the_idle_clock_closes_one_that_waits(serve: Serve, dial: Dial) -> None:
    recorder = Recorder(handle=shout)
    server = serve(recorder.handlers, idle_timeout=0.05)
    peer = dial(server)
    assert peer.read_to_end() == b""
    peer.close()
    socket, error = recorder.wait_for("close")
    assert recorder.events == ["open", "handle", "timeout", "close"]
    assert error is None and socket.close_reason is CloseReason.TIMEOUT
    assert server.stats().errors == 0 and server.stats().timeouts == 1


def test_reads_in_vain_beside_its_handler_do_not_keep_it(serve: Serve, dial: Dial) -> None:
    def handle(socket: AnySocket) -> None:
        while True:
            try:
                socket.recv(timeout=0.01)
            except TimeoutError:
                polled.set()

    def timeout(socket: AnySocket) -> None:
        for _ in range(2):  # the first was on its way
            polled.clear()
            polled.wait()

    polled = Event()
    recorder = Recorder(handle=handle, timeout=timeout)
    peer = dial(serve(recorder.handlers, idle_timeout=0.05))
    assert peer.read_to_end() == b""
    peer.close()
    recorder.wait_for("close")
    assert recorder.events == ["open", "handle", "timeout", "close"]


@pytest.mark.parametrize("way", ["sends", "sets"])
def test_its_handler_may_keep_it(way: str, serve: Serve, dial: Dial) -> None:
    def timeout(socket: AnySocket) -> None:
        if len(recorder.events) == 3:
            if way == "sends":
                socket.write("still there?\n")
            else:
                socket.idle_timeout = 0.05

    recorder = Recorder(handle=shout, timeout=timeout)
    server = serve(recorder.handlers, idle_timeout=0.05)
    peer = dial(server)
    recorder.wait_for("timeout")
    if way == "sends":
        assert peer.read_exactly(13) == b"still there?\n"
    recorder.wait_for("timeout", 2)
    assert peer.read_to_end() == b""
    peer.close()
    recorder.wait_for("close")


# -- others ----------------------------------------------------------------------------------------------


def test_max_connections_counts_it_until_it_is_over(serve: Serve, dial: Dial) -> None:
    server = serve(shout, max_connections=1)
    first = dial(server)
    assert first.exchange(b"1\n") == b"1\n"
    second = dial(server)
    second.send(b"2\n")
    turns()
    assert server.connections == 1
    first.close()
    assert second.read_exactly(2) == b"2\n"


def test_reload_is_for_later_connections(serve: Serve, dial: Dial) -> None:
    def say(word: str) -> Callable[[AnySocket], None]:
        def handle(socket: AnySocket) -> None:
            for _ in socket:
                socket.write(word)

        return handle

    server = serve(say("old"))
    old = dial(server)
    assert old.exchange(b"??\n") == b"old"
    server.reload(say("new"))
    assert old.exchange(b"??\n") == b"old"
    assert dial(server).exchange(b"??\n") == b"new"
    with pytest.raises(TypeError, match="cannot go from a session to events"):
        server.reload({"data": print})
    assert dial(server).exchange(b"??\n") == b"new"


def test_reload_replaces_its_other_handlers_at_once(serve: Serve, dial: Dial) -> None:
    old, new, own = Recorder(handle=shout), Recorder(handle=shout), Recorder(handle=shout)
    server = serve(old.handlers)
    peers = [dial(server), dial(server)]
    old.wait_for("handle", 2)
    server.reload(new.handlers)
    old.sockets[0].reload(own.handlers)
    with pytest.raises(TypeError, match="cannot go from a session to events"):
        old.sockets[0].reload({"close": print})
    for peer in peers:
        peer.close()
    new.wait_for("close")
    own.wait_for("close")
    assert (new.events, own.events) == (["close"], ["close"])


def test_events_do_not_become_a_session(serve: Serve, dial: Dial) -> None:
    recorder = Recorder()
    server = serve(recorder.handlers)
    dial(server)
    (socket,) = recorder.wait_for("open")
    for reload in (server.reload, socket.reload):
        with pytest.raises(TypeError, match="cannot go from events to a session"):
            reload(shout)


def test_a_writer_that_ignores_its_peer_uses_bounded_memory(serve: Serve) -> None:
    """A session keeps reading while its queue is over the mark, and waits in ``write`` at ``max_buffered``."""
    reply = bytes(10_000)

    def handle(socket: AnySocket) -> None:
        for _ in socket.lines():
            socket.write(reply)

    server = serve(handle, narrow_listener(), high_water_mark=20_000, max_buffered=100_000)
    with Peer(server.address, receive_buffer=4096) as peer:
        peer.send(b"x\n" * 1000)
        wait_until(lambda: server.stats().buffered > 100_000)
        peak = 0
        received = 0
        while received < 1000 * len(reply):
            peak = max(peak, *(socket.buffered for socket in server.sockets))
            received += len(peer.read())
        assert 100_000 < peak <= 100_000 + len(reply)
    assert server.stats().slow_consumers == 0


def test_others_that_write_to_it_do_not_wait(serve: Serve, dial: Dial) -> None:
    recorder = Recorder(handle=shout)
    server = serve(recorder.handlers, narrow_listener(), max_buffered=100_000)
    dial(server, receive_buffer=4096)
    (socket,) = recorder.wait_for("handle")
    while socket.write(bytes(10_000)) or not socket.closed:
        pass
    _, error = recorder.wait_for("close")
    assert isinstance(error, greensock.SlowConsumer)
    assert recorder.events == ["open", "handle", "close"]


def test_the_child_of_a_fork_leaves_it_to_the_parent(serve: Serve, dial: Dial) -> None:
    server = serve(shout)
    peers = [dial(server) for _ in range(3)]
    for peer in peers:
        assert peer.exchange(b"x\n") == b"X\n"
    descriptors = {socket.fileno() for socket in server.sockets}
    child = os.fork()
    if child == 0:
        status = 1
        try:
            status = 0 if all(isinstance(attempt(os.fstat, fd), OSError) for fd in descriptors) else 2
        finally:
            os._exit(status)
    assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0
    for peer in peers:
        assert peer.exchange(b"y\n") == b"Y\n"


def test_many_that_end_in_all_ways(serve: Serve) -> None:
    """Whatever happens, each has ``open`` and ``close`` once, ``close`` last, and nothing is left."""
    rng = random.Random(11)

    def handle(socket: AnySocket) -> None:
        match rng.randrange(7):
            case 0:
                shout(socket)
            case 1:
                raise LookupError
            case 2:
                socket.recv(timeout=rng.choice([0.001, 0.01]))
            case 3:
                socket.write(bytes(rng.choice([10, 300_000])))
            case 4:
                socket.close()
                socket.recv()
            case 5:
                socket.terminate()
            case 6:
                gevent.sleep(rng.choice([0, 0.001, 0.01]))
                shout(socket)

    recorder = Recorder(handle=handle, error=lambda socket, error: gevent.sleep(0))
    server = serve(recorder.handlers, idle_timeout=0.05)

    def visit() -> None:
        with Peer(server.address) as peer:
            for _ in range(rng.randrange(4)):
                peer.send(b"hello\n")
                gevent.sleep(rng.choice([0, 0.001]))
            match rng.randrange(4):
                case 0:
                    peer.reset()
                case 1:
                    peer.finish()
                    peer.read_to_end()
                case 2:
                    peer.read_to_end()

    visits = []
    for _ in range(200):
        visits.append(gevent.spawn(attempt, visit))
        if rng.random() < 0.2:
            running = [socket._running for socket in server.sockets if socket._running is not None]
            if running:
                gevent.kill(rng.choice(running))
            gevent.sleep(0)
    gevent.joinall(visits)
    wait_until(lambda: not server._shared.alive)
    opened = set(recorder.sockets)
    for socket in opened:
        events = recorder.of(socket)
        assert events[0] == "open" and events[-1] == "close"
        assert events.count("open") == events.count("close") == 1 and events.count("handle") <= 1
    stats = server.stats()
    assert stats.accepted == stats.closed == len(opened)
    assert stats.handlers_running == stats.connections == stats.buffered == 0


def test_a_session_on_a_unix_socket(serve: Serve, tmp_path: Any) -> None:
    server = serve(shout, f"unix:{tmp_path}/s")
    with sockets.socket(sockets.AF_UNIX) as raw:
        raw.connect(f"{tmp_path}/s")
        raw.sendall(b"x\n")
        gevent.sleep(0.05)
        assert raw.recv(10) == b"X\n"
    assert server.stats().accepted == 1

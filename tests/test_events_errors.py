"""Handlers that raise: whom it harms, what ``error`` is told, and what is logged; and the line of access."""

import gc
import logging
import re
import weakref
from collections.abc import Callable
from pathlib import Path
from typing import Any

import gevent
import pytest
from gevent import GreenletExit
from gevent.event import Event

from connections import AnySocket, attempt, narrow_listener, open_narrow, turns, wait_for_kernel
from greensock import CloseReason, SocketClosed, SocketState, WriteQueueFull, log
from greensock.testing import Dial, Peer, Recorder, Serve, wait_until
from program import Launch

EVENTS = ["open", "data", "drain", "timeout", "end", "stopping"]

EXCEPTIONS = [LookupError, SystemExit, MemoryError, RecursionError, SystemError, gevent.Timeout, GreenletExit]


Lines = Callable[[], list[logging.LogRecord]]


@pytest.fixture
def lines(caplog: pytest.LogCaptureFixture) -> Lines:
    """A function that tells all lines of the log so far, except those of finished connections."""
    caplog.set_level(logging.DEBUG, "greensock")
    return lambda: [record for record in caplog.records if record.name != "greensock.access"]


def raising(exception: BaseException | type[BaseException], *, late: bool = False) -> Callable[..., None]:
    """A handler that raises, *late*: after it has blocked."""

    def handle(socket: AnySocket, *_: object) -> None:
        if late:
            gevent.sleep(0)
        raise exception

    return handle


def cause(event: str, recorder: Recorder, serve: Serve, dial: Dial) -> Peer:
    """Have *event* happen on a new connection of a new server, and nothing else that was not needed."""
    server = serve(recorder.handlers, narrow_listener(), allow_half_open=True)
    peer = dial(server, receive_buffer=4096)
    (socket,) = recorder.wait_for("open")
    if event == "data":
        peer.send(b"?")
    elif event == "drain":
        socket.write(bytes(500_000))
        while "drain" not in recorder.events:
            peer.read(10_000)
            turns()
    elif event == "timeout":
        socket.idle_timeout = 0.05
    elif event == "end":
        peer.finish()
    elif event == "stopping":
        server.stop(close_active=True)
    recorder.wait_for(event)
    return peer


# -- without an error handler ----------------------------------------------------------------------------------


@pytest.mark.parametrize("exception", EXCEPTIONS)
@pytest.mark.parametrize("event", EVENTS)
@pytest.mark.parametrize("late", [False, True], ids=["at-once", "late"])
def test_a_handler_that_raises_ends_its_own_connection_and_no_other(
    event: str,
    exception: type[BaseException],
    late: bool,
    serve: Serve,
    dial: Dial,
    lines: Lines,
) -> None:
    canary = dial(serve({"data": lambda socket, data: socket.write(data)}))
    assert canary.exchange(b"1") == b"1"
    recorder = Recorder(**{event: raising(exception, late=late)})
    peer = cause(event, recorder, serve, dial)
    socket, error = recorder.wait_for("close")
    assert type(error) is exception
    assert socket.close_reason is CloseReason.HANDLER_ERROR
    assert recorder.events[-2:] == [event, "close"]
    assert peer.is_reset()
    assert socket.server.stats().errors == 1
    assert canary.exchange(b"2") == b"2"


@pytest.mark.parametrize("event", EVENTS)
def test_it_is_logged_once_with_event_file_line_and_peer(event: str, serve: Serve, dial: Dial, lines: Lines) -> None:
    def fail(socket: AnySocket, *_: object) -> None:
        raise LookupError("what was wrong")

    recorder = Recorder(**{event: fail})
    cause(event, recorder, serve, dial)
    socket, _ = recorder.wait_for("close")
    (record,) = lines()
    host, port = socket.remote_address
    line = fail.__code__.co_firstlineno + 1
    assert record.levelno >= logging.WARNING
    assert record.name == "greensock"
    text = record.getMessage()
    assert re.search(rf"\b{event}\b", text)
    assert f"{host}:{port}" in text
    assert f"{Path(__file__).name}:{line}" in text
    assert "LookupError: what was wrong" in text
    assert record.exc_info


def test_what_was_queued_when_a_handler_raised_is_lost_and_counted(serve: Serve, dial: Dial) -> None:
    def answer(socket: AnySocket, data: bytes) -> None:
        socket.write(b"never sent")
        raise LookupError

    recorder = Recorder(data=answer)
    peer = cause("data", recorder, serve, dial)
    socket, _ = recorder.wait_for("close")
    assert socket.unsent == 10
    assert peer.is_reset()


def test_a_handler_that_is_killed_ends_its_own_connection(serve: Serve, dial: Dial) -> None:
    def answer(socket: AnySocket, data: bytes) -> None:
        running.append(gevent.getcurrent())
        Event().wait()

    running: list[Any] = []
    recorder = Recorder(data=answer)
    peer = cause("data", recorder, serve, dial)
    gevent.kill(running.pop())
    socket, error = recorder.wait_for("close")
    assert isinstance(error, GreenletExit)
    assert socket.close_reason is CloseReason.HANDLER_ERROR
    assert peer.is_reset()


def test_a_forgotten_timeout_of_a_handler_harms_its_own_connection_only(serve: Serve, dial: Dial) -> None:
    """It goes off while the handler's greenlet does something else, or nothing."""

    def answer(socket: AnySocket, data: bytes) -> None:
        if data == b"forget":
            timeouts.append(gevent.Timeout.start_new(0.1))
        else:
            socket.write(data)

    timeouts: list[gevent.Timeout] = []
    recorder = Recorder(data=answer)
    server = serve(recorder.handlers)
    canary, peer = dial(server), dial(server)
    assert canary.exchange(b"1") == b"1"
    peer.send(b"forget")
    socket, error = recorder.wait_for("close")
    assert error is timeouts[0]
    assert socket.remote_address != canary.address
    assert canary.exchange(b"2") == b"2"


def test_a_keyboard_interrupt_goes_to_the_main_greenlet(launch: Launch) -> None:
    program = launch(
        """
        import gevent, greensock
        from greensock.testing import Peer, wait_until

        closed = []

        def data(socket, data):
            if data == b"interrupt":
                raise KeyboardInterrupt
            socket.write(data)

        server = greensock.listen(("127.0.0.1", 0), {"data": data, "close": lambda socket, error: closed.append(error)})
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


@pytest.mark.parametrize("event", [*EVENTS, "error", "close"])
def test_an_interrupt_in_any_handler_goes_to_the_main_greenlet(event: str, serve: Serve, dial: Dial) -> None:
    canary = dial(serve({"data": lambda socket, data: socket.write(data)}))
    assert canary.exchange(b"1") == b"1"
    behaviour = {"data": raising(LookupError)} if event == "error" else {}
    recorder = Recorder(**behaviour, **{event: raising(KeyboardInterrupt)})
    with pytest.raises(KeyboardInterrupt):
        cause("data" if event in ("error", "close") else event, recorder, serve, dial)
        if event == "close":
            recorder.sockets[0].terminate()
        gevent.sleep(5)
    recorder.wait_for("close")
    socket = recorder.sockets[0]
    wait_until(lambda: not socket.server._shared.alive)
    assert recorder.events.count("close") == 1
    if event != "close":
        assert socket.close_reason is CloseReason.HANDLER_ERROR
    assert socket.server.stats().errors == (event == "error"), "an interrupt is no error of a handler"
    assert canary.exchange(b"2") == b"2"


# -- with one -----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("exception", EXCEPTIONS)
def test_with_an_error_handler_the_connection_stays_open(
    exception: type[BaseException], serve: Serve, dial: Dial, lines: Lines
) -> None:
    def answer(socket: AnySocket, data: bytes) -> None:
        if data == b"fail":
            raise exception
        socket.write(data)

    recorder = Recorder(data=answer, error=lambda socket, error: None)
    peer = dial(serve(recorder.handlers))
    assert peer.exchange(b"1") == b"1"
    peer.send(b"fail")
    socket, error = recorder.wait_for("error")
    assert type(error) is exception
    assert peer.exchange(b"2") == b"2"
    assert socket.state is SocketState.OPEN
    assert socket.close_reason is None
    assert socket.server.stats().errors == 1
    assert not lines(), "the handler of it knows"


@pytest.mark.parametrize("event", EVENTS)
def test_errors_of_every_event_reach_it(event: str, serve: Serve, dial: Dial) -> None:
    failure = LookupError()
    recorder = Recorder(**{event: raising(failure)}, error=lambda socket, error: None)
    cause(event, recorder, serve, dial)
    socket, error = recorder.wait_for("error")
    assert error is failure
    socket.terminate()
    recorder.wait_for("close")
    assert recorder.events.count("error") == 1


@pytest.mark.parametrize("way", ["close", "terminate", "end"])
def test_it_may_close_the_connection(way: str, serve: Serve, dial: Dial) -> None:
    def close(socket: AnySocket, error: BaseException) -> None:
        socket.write(b"sorry")
        getattr(socket, way)()

    recorder = Recorder(data=raising(LookupError), error=close)
    peer = cause("data", recorder, serve, dial)
    received = attempt(peer.read_to_end) if way == "terminate" else peer.read_to_end()
    assert isinstance(received, ConnectionResetError) if way == "terminate" else received == b"sorry"
    peer.close()
    socket, error = recorder.wait_for("close")
    assert (error, socket.close_reason) == (None, CloseReason.LOCAL)
    assert [event for event in recorder.events if event != "end"] == ["open", "data", "error", "close"]


def test_if_it_raises_itself_the_connection_is_terminated(serve: Serve, dial: Dial, lines: Lines) -> None:
    recorder = Recorder(data=raising(LookupError), error=raising(ZeroDivisionError))
    peer = cause("data", recorder, serve, dial)
    socket, error = recorder.wait_for("close")
    assert isinstance(error, (LookupError, ZeroDivisionError))
    assert socket.close_reason is CloseReason.HANDLER_ERROR
    assert recorder.events == ["open", "data", "error", "close"]
    assert peer.is_reset()
    (record,) = lines()
    assert record.getMessage().startswith("error ")
    assert "ZeroDivisionError" in record.getMessage()


def test_it_may_block(serve: Serve, dial: Dial) -> None:
    def answer(socket: AnySocket, error: BaseException) -> None:
        gevent.sleep(0.05)
        socket.write(b"sorry")

    recorder = Recorder(data=raising(LookupError), error=answer)
    peer = cause("data", recorder, serve, dial)
    peer.send(b"again")
    assert peer.read_exactly(10) == b"sorrysorry"
    assert recorder.events == ["open", "data", "error", "data", "error"]


# -- failures of the network are none of handlers ---------------------------------------------------------------


def use_dead(socket: AnySocket, data: bytes) -> None:
    """Write until the socket's own method raises, and let that out."""
    wait_for_kernel(socket, reset=True)
    while True:
        socket.write(data)
        socket.flush()


@pytest.mark.parametrize("handled", [False, True], ids=["without-error-handler", "with-error-handler"])
def test_a_broken_connection_does_not_go_to_error(handled: bool, serve: Serve, dial: Dial, lines: Lines) -> None:
    def answer(socket: AnySocket, data: bytes) -> None:
        peer.reset()
        use_dead(socket, data)

    recorder = Recorder(data=answer, **({"error": lambda socket, error: None} if handled else {}))
    peer = dial(serve(recorder.handlers))
    peer.send(b"?")
    socket, error = recorder.wait_for("close")
    assert isinstance(error, ConnectionResetError)
    assert socket.close_reason is CloseReason.RESET
    assert recorder.events == ["open", "data", "close"]
    assert socket.server.stats().errors == 0
    assert all(record.levelno <= logging.DEBUG for record in lines())


@pytest.mark.parametrize("event", ["error", "timeout", "end"])
def test_nor_does_one_that_another_handler_finds_broken(event: str, serve: Serve, dial: Dial, lines: Lines) -> None:
    def answer(socket: AnySocket, *_: object) -> None:
        peer.reset()
        use_dead(socket, b".")

    recorder = Recorder(data=raising(LookupError), **{event: answer})
    peer = dial(serve(recorder.handlers))
    if event == "end":
        peer.finish()
    elif event == "error":
        peer.send(b"?")
    else:
        recorder.wait_for("open")[0].idle_timeout = 0.05
    socket, _ = recorder.wait_for("close")
    assert all(record.levelno <= logging.DEBUG for record in lines())
    assert socket.server.stats().errors == (event == "error"), "the one that came before"


@pytest.mark.parametrize("cause", ["write timeout", "slow consumer"])
def test_nor_do_a_write_timeout_and_a_slow_consumer(cause: str, serve: Serve, dial: Dial, lines: Lines) -> None:
    def answer(socket: AnySocket, data: bytes) -> None:
        socket.write(bytes(2_000_000))
        socket.flush()

    recorder = Recorder(data=answer, error=lambda socket, error: None)
    peer = dial(serve(recorder.handlers, narrow_listener(), write_timeout=0.2), receive_buffer=4096)
    peer.send(b"?")
    socket, _ = recorder.wait_for("data")
    if cause == "slow consumer":
        socket.write(b"one too many")
    recorder.wait_for("close")
    assert recorder.events == ["open", "data", "close"]
    assert not [record for record in lines() if record.levelno > logging.DEBUG]


def test_a_socket_that_ended_by_itself_under_its_handler_is_no_error(serve: Serve, dial: Dial, lines: Lines) -> None:
    """The server stopped, or the peer ended: not what the handler did."""

    def answer(socket: AnySocket, data: bytes) -> None:
        go_on.wait()
        socket.write(b"too late")

    go_on = Event()
    recorder = Recorder(data=answer, error=lambda socket, error: None)
    server = serve(recorder.handlers)
    dial(server).send(b"?")
    recorder.wait_for("data")
    stopping = gevent.spawn(server.stop, 0.05)
    wait_until(lambda: recorder.sockets[0].closed)
    go_on.set()
    stopping.get()
    recorder.wait_for("close")
    assert "error" not in recorder.events
    assert not lines()


@pytest.mark.parametrize("own", ["end", "close", "terminate"])
def test_writing_after_an_own_end_is_the_handlers_error(own: str, serve: Serve, dial: Dial, lines: Lines) -> None:
    def answer(socket: AnySocket, data: bytes) -> None:
        getattr(socket, own)()
        socket.write(b"too late")

    recorder = Recorder(data=answer, error=lambda socket, error: None)
    peer = dial(serve(recorder.handlers))
    peer.send(b"?")
    socket, error = recorder.wait_for("error")
    assert isinstance(error, SocketClosed)
    assert socket.server.stats().errors == 1
    peer.close()
    recorder.wait_for("close")
    assert [event for event in recorder.events if event != "end"] == ["open", "data", "error", "close"]

    silent = Recorder(data=answer)
    peer = dial(serve(silent.handlers))
    peer.send(b"?")
    silent.wait_for("data")
    peer.close()
    silent.wait_for("close")
    (record,) = lines()
    assert "SocketClosed" in record.getMessage()


@pytest.mark.parametrize("own", ["end", "close"])
def test_also_in_end_whose_cause_was_the_peer(own: str, serve: Serve, dial: Dial) -> None:
    def answer(socket: AnySocket) -> None:
        getattr(socket, own)()
        socket.write(b"too late")

    recorder = Recorder(end=answer, error=lambda socket, error: None)
    dial(serve(recorder.handlers)).finish()
    socket, _ = recorder.wait_for("close")
    assert recorder.events == ["open", "end", "error", "close"]
    assert socket.close_reason is CloseReason.EOF


@pytest.mark.parametrize("own, options", [("end", {"write_timeout": 0.05}), ("close", {"close_timeout": 0.05})])
def test_a_peer_that_does_not_take_the_last_bytes_is_no_error_of_the_handler(
    own: str, options: dict[str, float], serve: Serve, dial: Dial, lines: Lines
) -> None:
    def answer(socket: AnySocket, data: bytes) -> None:
        socket.write(bytes(500_000))
        getattr(socket, own)()
        socket.flush()

    recorder = Recorder(data=answer)
    server = serve(recorder.handlers, narrow_listener(), **options)
    dial(server, receive_buffer=4096).send(b"?")
    socket, error = recorder.wait_for("close")
    assert (socket.close_reason, error) == (CloseReason.LOCAL, None)
    assert socket.unsent
    assert server.stats().errors == 0
    assert not lines()


def test_a_failure_of_another_socket_is_the_handlers_error(serve: Serve, dial: Dial) -> None:
    recorder = Recorder(
        data=lambda socket, data: recorder.sockets[0].write(data), error=lambda socket, error: socket.write(b"!")
    )
    server = serve(recorder.handlers)
    one = dial(server)
    recorder.wait_for("open")
    one.reset()
    recorder.wait_for("close")
    other = dial(server)
    assert other.exchange(b"?") == b"!"
    socket, error = recorder.wait_for("error")
    assert isinstance(error, SocketClosed)
    assert error.socket is recorder.sockets[0]
    assert socket is recorder.sockets[1]


def test_a_full_queue_is_the_writers_error(serve: Serve, dial: Dial) -> None:
    """A child of the handler writes from elsewhere; the connection itself has nothing."""

    def answer(socket: AnySocket, data: bytes) -> None:
        socket.write(bytes(2_000_000))
        error = gevent.spawn(attempt, socket.write, b".").get()
        assert isinstance(error, BaseException)
        raise error

    recorder = Recorder(data=answer, error=lambda socket, error: None)
    peer = dial(serve(recorder.handlers, narrow_listener(), slow_consumer="raise"), receive_buffer=4096)
    peer.send(b"?")
    _, error = recorder.wait_for("error")
    assert isinstance(error, WriteQueueFull)


def test_connections_that_break_leave_no_line_above_debug(serve: Serve, dial: Dial, lines: Lines) -> None:
    recorder = Recorder(data=lambda socket, data: socket.write(data * 1000))
    server = serve(recorder.handlers, narrow_listener(), write_timeout=0.1, idle_timeout=0.3, close_timeout=0.1)
    for _ in range(5):
        for break_ in (Peer.reset, Peer.close, lambda peer: None):
            peer = dial(server, receive_buffer=4096)
            peer.send(b"x" * 1000)
            gevent.sleep(0.01)
            break_(peer)
    recorder.wait_for("close", 15)
    assert not [record for record in lines() if record.levelno > logging.DEBUG]


def test_a_timeout_that_a_handler_lets_out_keeps_no_socket_alive(serve: Serve, dial: Dial) -> None:
    """What ``close`` is told is a copy: the frames of the one that was raised hold the socket."""

    def answer(socket: AnySocket, data: bytes) -> None:
        seen.append(weakref.ref(socket))
        socket.write(bytes(2_000_000))
        socket.flush(timeout=0.02)

    def close(socket: AnySocket, error: BaseException | None) -> None:
        told.append(error)

    seen: list[weakref.ref[AnySocket]] = []
    told: list[BaseException | None] = []
    peer = dial(serve({"data": answer, "close": close}, narrow_listener()), receive_buffer=4096)
    gc.collect()
    gc.disable()
    try:
        peer.send(b"?")
        wait_until(lambda: told)
        wait_until(lambda: seen[0]() is None, timeout=2)
    finally:
        gc.enable()
    assert isinstance(told[0], TimeoutError)
    assert "bytes are still queued after 0.02 s" in str(told[0])
    assert told[0].__traceback__ is None


# -- close that raises --------------------------------------------------------------------------------------------


@pytest.mark.parametrize("handled", [False, True], ids=["without-error-handler", "with-error-handler"])
def test_a_close_that_raises_is_logged_and_nothing_comes_after(
    handled: bool, serve: Serve, dial: Dial, lines: Lines
) -> None:
    recorder = Recorder(
        close=raising(LookupError("in close")), **({"error": lambda socket, error: None} if handled else {})
    )
    server = serve(recorder.handlers)
    peer = dial(server)
    (socket,) = recorder.wait_for("open")
    peer.finish()
    recorder.wait_for("close")
    turns(20)
    assert recorder.events == ["open", "end", "close"]
    (record,) = lines()
    assert record.levelno >= logging.WARNING
    assert "close" in record.getMessage()
    assert "in close" in record.getMessage()
    assert socket.close_reason is CloseReason.EOF
    assert (server.stats().errors, server.stats().closed) == (1, 1)


# -- the line of a finished connection ----------------------------------------------------------------------------


@pytest.mark.parametrize("reason", ["eof", "local", "reset", "handler-error"])
def test_a_finished_connection_is_one_line(
    reason: str, serve: Serve, dial: Dial, caplog: pytest.LogCaptureFixture
) -> None:
    def answer(socket: AnySocket, data: bytes) -> None:
        socket.write(b"12345")
        socket.flush()
        if reason == "handler-error":
            raise LookupError
        if reason == "local":
            socket.close()

    caplog.set_level(logging.INFO, "greensock.access")
    recorder = Recorder(data=answer)
    peer = dial(serve(recorder.handlers))
    host, port = peer.address
    peer.send(b"123")
    assert peer.read_exactly(5) == b"12345"
    peer.reset() if reason == "reset" else peer.close()
    recorder.wait_for("close")
    (record,) = [record for record in caplog.records if record.name == "greensock.access"]
    assert record.levelno == logging.INFO
    assert re.fullmatch(rf"{host}:{port} \d+\.\d+s read=3 written=5 {reason}", record.getMessage())


@pytest.mark.parametrize("reason", ["timeout", "stopped", "slow-consumer"])
def test_so_is_one_that_the_server_has_ended(
    reason: str, serve: Serve, dial: Dial, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO, "greensock.access")
    recorder = Recorder()
    socket, peer = open_narrow(serve, dial, recorder)
    host, port = peer.address
    if reason == "timeout":
        socket.idle_timeout = 0.05
    elif reason == "stopped":
        socket.server.stop(close_active=True)
    else:
        socket.write(bytes(4_000_000))
        socket.write(b"one too many")
    attempt(peer.read_to_end)
    peer.close()
    recorder.wait_for("close")
    (record,) = [record for record in caplog.records if record.name == "greensock.access"]
    written = socket.bytes_written
    assert re.fullmatch(rf"{host}:{port} \d+\.\d+s read=0 written={written} {reason}", record.getMessage())


@pytest.mark.parametrize("raised", [RuntimeError, GreenletExit, gevent.Timeout])
def test_what_a_log_handler_raises_harms_nobody(
    raised: type[BaseException],
    serve: Serve,
    dial: Dial,
    capfd: pytest.CaptureFixture[str],
    caplog: pytest.LogCaptureFixture,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """A kill while it blocks, or a timeout that was left running, say; and failures that logging is told to hide."""

    def broken(record: logging.LogRecord) -> bool:
        asked.append(record)
        raise raised

    asked: list[logging.LogRecord] = []
    caplog.set_level(logging.INFO, "greensock")
    monkeypatch.setattr(logging, "raiseExceptions", False)
    monkeypatch.setattr(log, "_seen", {})  # each place may say only so much in a second, and here many tests share one
    loggers = logging.getLogger("greensock"), logging.getLogger("greensock.access")
    recorder = Recorder(data=raising(LookupError))
    server = serve(recorder.handlers)
    for logger in loggers:
        logger.addFilter(broken)
    try:
        for count in (1, 2):
            peer = dial(server)
            peer.send(b"?")
            assert peer.is_reset()
            recorder.wait_for("close", count)
            wait_until(lambda: not server._shared.alive)
    finally:
        for logger in loggers:
            logger.removeFilter(broken)
    assert recorder.events == ["open", "data", "close"] * 2
    assert len(asked) == 4
    assert capfd.readouterr().err == ""


def test_an_interrupt_while_a_line_is_logged_goes_to_the_main_greenlet(
    serve: Serve, dial: Dial, caplog: pytest.LogCaptureFixture
) -> None:
    def interrupted(record: logging.LogRecord) -> bool:
        raise KeyboardInterrupt

    caplog.set_level(logging.INFO, "greensock.access")
    recorder = Recorder()
    server = serve(recorder.handlers)
    peer, canary = dial(server), dial(server)
    recorder.wait_for("open", 2)
    log.access.addFilter(interrupted)
    try:
        peer.close()
        with pytest.raises(KeyboardInterrupt):
            gevent.sleep(5)
    finally:
        log.access.removeFilter(interrupted)
    assert recorder.events == ["open", "open", "end", "close"]
    canary.send(b"still there?")
    recorder.wait_for("data")


def test_a_connection_that_is_open_has_no_line_yet(serve: Serve, dial: Dial, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.INFO, "greensock.access")
    recorder = Recorder()
    dial(serve(recorder.handlers))
    recorder.wait_for("open")
    turns()
    assert not caplog.records

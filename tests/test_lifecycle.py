"""How long a process lives, what signals do to it, and how other threads reach its servers and sockets."""

import gc
import inspect
import signal
import socket
import textwrap
import threading
import weakref
from collections.abc import Callable
from concurrent.futures import Future
from time import monotonic
from typing import Any

import gevent
import gevent.event
import pytest

import greensock
from greensock.engine import Engine
from greensock.testing import Dial, Recorder, Serve, wait_until
from program import Launch, Program


def echoing(**behaviour: Any) -> Recorder:
    return Recorder(data=lambda socket, data: socket.write(data), **behaviour)


def running(*servers: greensock.Server, **options: Any) -> "gevent.Greenlet[..., None]":
    """``greensock.run()`` in a greenlet, which has begun to wait."""
    greenlet = gevent.spawn(greensock.run, *servers, signals=False, **options)
    turn()
    return greenlet


def turn() -> None:
    """Let all that is due happen."""
    for _ in range(5):
        gevent.sleep(0)


# -- what holds a process --------------------------------------------------------------------------------


def test_without_servers_and_sockets_there_is_nothing_to_wait_for() -> None:
    greensock.run()
    greensock.run(signals=False)


def test_a_server_that_listens_holds_it(serve: Serve) -> None:
    server = serve(echoing().handlers)
    waiting = running(server)
    assert not waiting.ready()
    server.stop()
    waiting.get(timeout=10)


def test_a_stopped_server_holds_nothing(serve: Serve) -> None:
    server = serve(echoing().handlers)
    server.stop(0)
    greensock.run(server)


def test_a_socket_holds_it_until_its_close_handler_has_returned(serve: Serve, dial: Dial) -> None:
    gate = gevent.event.Event()
    recorder = echoing(close=lambda socket, error: gate.wait())
    server = serve(recorder.handlers)
    peer = dial(server)
    recorder.wait_for("open")
    server.stop()
    waiting = running(server)
    assert peer.exchange(b"hello") == b"hello"
    assert not waiting.ready()
    peer.close()
    recorder.wait_for("close")
    turn()
    assert not waiting.ready()
    gate.set()
    waiting.get(timeout=10)


def test_all_given_servers_are_waited_for_and_no_other(serve: Serve) -> None:
    first, second, other = (serve(echoing().handlers) for _ in range(3))
    waiting = running(first, second)
    first.stop()
    turn()
    assert not waiting.ready()
    second.stop()
    waiting.get(timeout=10)
    assert other.started


def test_without_servers_all_are_waited_for_also_those_that_come_later(serve: Serve, dial: Dial) -> None:
    first = serve(echoing().handlers)
    waiting = running()
    later = serve(echoing().handlers)
    first.stop()
    turn()
    assert not waiting.ready()
    assert dial(later).exchange(b"hello") == b"hello"
    later.stop(0)
    waiting.get(timeout=10)


def test_a_server_that_nobody_holds_serves_on(dial: Dial) -> None:
    def data(socket: Any, data: bytes) -> None:
        socket.server.stop(close_active=True)

    waiting = running()
    assert waiting.ready(), "nothing listens yet"
    greensock.listen(("127.0.0.1", 0), {"data": data})
    (server,) = [server for server in Engine.of_this_hub().owners if server.started]
    waiting = running()
    peer = dial(server)
    del server
    peer.send(b"stop")
    assert peer.read_to_end() == b""
    peer.close()
    waiting.get(timeout=10)


@pytest.mark.parametrize("end", ["stop", "stop_accepting"])
def test_connections_that_nobody_holds_live_on(dial: Dial, end: str) -> None:
    recorder = Recorder(open=lambda socket: socket.pause())
    server = greensock.listen(("127.0.0.1", 0), recorder.handlers)
    peer = dial(server)
    recorder.wait_for("open")
    (gone, socket) = (weakref.ref(server), weakref.ref(recorder.sockets[0]))
    getattr(server, end)()
    recorder.log.clear()
    del server
    gc.collect()
    waiting = running()
    assert not waiting.ready()
    held = socket()
    assert held is not None, "also a paused one, which waits for nothing"
    held.server.stop()
    held.resume()
    peer.close()
    waiting.get(timeout=10)
    recorder.wait_for("close")
    recorder.log.clear()
    del held
    wait_until(lambda: gc.collect() >= 0 and gone() is None)


def test_unref_takes_a_server_out_of_the_count_and_ref_brings_it_back(serve: Serve, dial: Dial) -> None:
    server, other = serve(echoing().handlers), serve(echoing().handlers)
    server.unref()
    greensock.run(server)
    waiting = running(server, other)
    server.ref()
    other.unref()
    turn()
    assert not waiting.ready()
    server.unref()
    waiting.get(timeout=10)
    assert dial(server).exchange(b"hello") == b"hello", "it serves all the same"


def test_the_sockets_of_an_unreferenced_server_count_all_the_same(serve: Serve, dial: Dial) -> None:
    recorder = echoing()
    server = serve(recorder.handlers)
    server.unref()
    peer = dial(server)
    recorder.wait_for("open")
    waiting = running(server)
    assert not waiting.ready()
    peer.close()
    waiting.get(timeout=10)
    assert server.started


def test_unref_takes_a_socket_out_of_the_count_and_ref_brings_it_back(serve: Serve, dial: Dial) -> None:
    recorder = echoing()
    server = serve(recorder.handlers)
    first, second = dial(server), dial(server)
    recorder.wait_for("open", 2)
    server.stop()
    for accepted in recorder.sockets:
        accepted.unref()
        accepted.unref()
    greensock.run(server)
    recorder.sockets[0].ref()
    recorder.sockets[0].ref()
    waiting = running(server)
    assert not waiting.ready()
    recorder.sockets[0].unref()
    waiting.get(timeout=10)
    recorder.sockets[1].ref()
    waiting = running(server)
    assert not waiting.ready()
    second.close()
    first.close()
    waiting.get(timeout=10)


def test_ref_and_unref_of_a_closed_socket_count_nothing(serve: Serve, dial: Dial) -> None:
    recorder = echoing()
    server = serve(recorder.handlers)
    dial(server).close()
    (accepted, _) = recorder.wait_for("close")
    turn()
    accepted.ref()
    accepted.unref()
    accepted.ref()
    server.stop()
    greensock.run(server)


def test_an_unreferenced_socket_that_closes_is_not_counted_twice(serve: Serve, dial: Dial) -> None:
    recorder = echoing()
    server = serve(recorder.handlers)
    peer, other = dial(server), dial(server)
    recorder.wait_for("open", 2)
    recorder.sockets[0].unref()
    server.stop()
    waiting = running(server)
    peer.close()
    recorder.wait_for("close")
    turn()
    assert not waiting.ready(), "the other one is still there"
    other.close()
    waiting.get(timeout=10)


def test_several_may_wait_at_once(serve: Serve) -> None:
    first, second = serve(echoing().handlers), serve(echoing().handlers)
    waiting = [running(first), running(second), running(), running(first, second)]
    first.stop()
    waiting[0].get(timeout=10)
    assert [greenlet.ready() for greenlet in waiting] == [True, False, False, False]
    second.stop()
    gevent.joinall(waiting, timeout=10, raise_error=True)
    assert all(greenlet.ready() for greenlet in waiting)


@pytest.mark.parametrize("timeout", [0, -1, "8", None, True, float("nan")])
def test_a_bad_drain_timeout_is_a_value_error_that_names_it(timeout: Any) -> None:
    with pytest.raises(ValueError, match="drain_timeout"):
        greensock.run(drain_timeout=timeout)


@pytest.mark.parametrize("wrong", [None, 8080, "127.0.0.1:0"])
def test_what_is_no_server_is_a_type_error_that_names_it(wrong: Any) -> None:
    with pytest.raises(TypeError, match=rf"listen\(\).*{type(wrong).__name__}"):
        greensock.run(wrong)


# -- signals ---------------------------------------------------------------------------------------------

#: The beginning of every program here. What a peer says is what its handler does.
PRELUDE = """
import os, signal, sys, threading
import gevent
import gevent.event
import greensock

def data(socket, data):
    print(data.decode())
    if data == b"wait for the drain":
        while not socket.stopping:
            gevent.sleep(0.005)
        socket.write(b"answer")
    elif data == b"hang":
        gevent.event.Event().wait()
    elif data == b"refuse to die":
        while True:
            try:
                gevent.event.Event().wait()
            except BaseException:
                pass

def listen():
    server = greensock.listen("127.0.0.1:0", {"data": data, "stopping": lambda socket: print("stopping")})
    gevent.spawn(lambda: print(server.port))  # when run() waits
    return server

"""


def program(launch: Launch, text: str) -> Program:
    return launch(PRELUDE + textwrap.dedent(text))


def connect(program: Program) -> socket.socket:
    """Connect to the port that it has printed."""
    return socket.create_connection(("127.0.0.1", int(program.line())), 10)


def again(peer: socket.socket) -> socket.socket:
    """Connect to where *peer* is connected to."""
    return socket.create_connection(peer.getpeername(), 10)


def say(program: Program, peer: socket.socket, what: str) -> None:
    """Have the handler of *peer* do that, and wait until it has begun."""
    peer.sendall(what.encode())
    assert program.line() == what


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
@pytest.mark.parametrize("servers", ["", "server"])
def test_a_signal_drains(launch: Launch, number: signal.Signals, servers: str) -> None:
    serving = program(launch, f"server = listen(); greensock.run({servers}); print('ended')")
    with connect(serving) as idle, again(idle) as busy:
        say(serving, idle, "anything")
        say(serving, busy, "wait for the drain")
        serving.send(number)
        assert idle.recv(100) == b"", "a clean end"
        assert busy.recv(100) == b"answer"
        assert busy.recv(100) == b""
        with pytest.raises(ConnectionRefusedError):
            again(idle)
    assert serving.finish() == (0, "stopping\nstopping\nended\n", "")


def test_a_signal_without_connections_ends_at_once(launch: Launch) -> None:
    serving = program(launch, "listen(); listen(); greensock.run(); print('ended')")
    serving.line()
    serving.line()
    assert serving.finish(signal.SIGTERM) == (0, "ended\n", "")


def test_a_second_term_while_it_drains_changes_nothing(launch: Launch) -> None:
    serving = program(launch, "listen(); greensock.run(); print('ended')")
    with connect(serving) as idle:
        say(serving, idle, "anything")
        serving.send(signal.SIGTERM)
        assert serving.line() == "stopping"
        serving.send(signal.SIGTERM)
        assert idle.recv(100) == b""
    assert serving.finish() == (0, "ended\n", "")


@pytest.mark.parametrize("what", ["hang", "refuse to die"])
def test_drain_timeout_is_all_that_handlers_get(launch: Launch, what: str) -> None:
    serving = program(launch, "listen(); greensock.run(drain_timeout=0.1); print('ended')")
    with connect(serving) as peer:
        say(serving, peer, what)
        before = monotonic()
        serving.send(signal.SIGTERM)
        with pytest.raises(ConnectionResetError):
            peer.recv(100)
        assert monotonic() - before >= 0.1
        assert serving.finish() == (0, "ended\n", "")


def test_drain_timeout_is_below_the_time_that_docker_gives() -> None:
    assert inspect.signature(greensock.run).parameters["drain_timeout"].default == 8


def test_the_second_interrupt_ends_at_once(launch: Launch) -> None:
    serving = program(
        launch,
        """
        listen()
        try:
            greensock.run(drain_timeout=1000)
        except KeyboardInterrupt:
            print("interrupted")
        """,
    )
    with connect(serving) as busy, again(busy) as idle:
        say(serving, busy, "hang")
        say(serving, idle, "anything")
        serving.send(signal.SIGINT)
        assert serving.line() == "stopping"
        serving.send(signal.SIGINT)
        assert serving.line() == "interrupted"
        assert serving.finish() == (0, "", "")


RETURNS = """
server = listen()
gevent.spawn(server.stop)
greensock.run()
"""


def test_old_handlers_come_back_and_work(launch: Launch) -> None:
    ended = program(
        launch,
        f"""
for number in (signal.SIGTERM, signal.SIGINT):
    signal.signal(number, lambda number, frame: print("old handler of", signal.Signals(number).name))
before = signal.getsignal(signal.SIGTERM), signal.getsignal(signal.SIGINT)
{RETURNS}
print(before == (signal.getsignal(signal.SIGTERM), signal.getsignal(signal.SIGINT)))
os.kill(os.getpid(), signal.SIGTERM)
os.kill(os.getpid(), signal.SIGINT)
""",
    )
    ended.line()
    assert ended.finish() == (0, "True\nold handler of SIGTERM\nold handler of SIGINT\n", "")


@pytest.mark.parametrize(
    ("before", "number", "status", "output"),
    [
        ("", "SIGTERM", -signal.SIGTERM, ""),
        ("", "SIGINT", 0, "KeyboardInterrupt\n"),
        ("signal.signal(signal.SIGTERM, signal.SIG_IGN)", "SIGTERM", 0, "ignored\n"),
        ("signal.signal(signal.SIGINT, signal.SIG_IGN)", "SIGINT", 0, "ignored\n"),
        ("signal.signal(signal.SIGINT, signal.SIG_DFL)", "SIGINT", -signal.SIGINT, ""),
    ],
)
def test_so_do_the_handlers_of_the_system(launch: Launch, before: str, number: str, status: int, output: str) -> None:
    ended = program(
        launch,
        f"""
{before}
{RETURNS}
try:
    os.kill(os.getpid(), signal.{number})
    print("ignored")
except KeyboardInterrupt:
    print("KeyboardInterrupt")
""",
    )
    ended.line()
    assert ended.finish() == (status, output, "")


@pytest.mark.parametrize("number", ["SIGTERM", "SIGINT"])
def test_so_do_those_that_the_loop_calls_for_somebody_else(launch: Launch, number: str) -> None:
    ended = program(
        launch,
        f"""
heard = gevent.event.Event()
gevent.signal_handler(signal.{number}, heard.set)
{RETURNS}
os.kill(os.getpid(), signal.{number})
print(heard.wait(10))
""",
    )
    ended.line()
    assert ended.finish() == (0, "True\n", "")


def test_old_handlers_come_back_after_an_interrupt_too(launch: Launch) -> None:
    serving = program(
        launch,
        """
        listen()
        before = signal.getsignal(signal.SIGTERM), signal.getsignal(signal.SIGINT)
        try:
            greensock.run(drain_timeout=1000)
        except KeyboardInterrupt:
            print(before == (signal.getsignal(signal.SIGTERM), signal.getsignal(signal.SIGINT)))
        signal.pause()
        """,
    )
    with connect(serving) as peer:
        say(serving, peer, "anything")
        serving.send(signal.SIGINT)
        assert serving.line() == "stopping"
        serving.send(signal.SIGINT)
        assert serving.line() == "True"
        assert serving.finish(signal.SIGTERM) == (-signal.SIGTERM, "", "")


@pytest.mark.parametrize(("number", "output"), [(signal.SIGTERM, ""), (signal.SIGINT, "KeyboardInterrupt\n")])
def test_without_signals_they_do_what_they_did(launch: Launch, number: signal.Signals, output: str) -> None:
    serving = program(
        launch,
        """
        listen()
        try:
            greensock.run(signals=False)
        except KeyboardInterrupt:
            print("KeyboardInterrupt")
        """,
    )
    serving.line()
    assert serving.finish(number)[:2] == (0 if output else -number, output)


def test_of_two_that_wait_the_one_that_returns_leaves_the_signals_to_the_other(launch: Launch) -> None:
    serving = program(
        launch,
        """
        first, second = listen(), listen()
        short = gevent.spawn(greensock.run, first)
        long = gevent.spawn(greensock.run, second)
        gevent.sleep(0)
        first.stop()
        short.get()
        print("waits")
        long.get()
        print("ended", second.closed)
        """,
    )
    serving.line()
    serving.line()
    assert serving.line() == "waits"
    assert serving.finish(signal.SIGINT) == (0, "ended True\n", "")


def test_in_another_thread_it_waits_and_takes_no_signals(launch: Launch) -> None:
    serving = program(
        launch,
        """
        def serve():
            servers.append(listen())
            greensock.run()
            print("ended in thread")
            gevent.get_hub().destroy()

        servers = []
        signal.signal(signal.SIGTERM, lambda *_: greensock.call_from_thread(servers[0], servers[0].stop))
        before = signal.getsignal(signal.SIGINT)
        thread = threading.Thread(target=serve)
        thread.start()
        thread.join()
        print(before is signal.getsignal(signal.SIGINT))
        """,
    )
    with connect(serving) as peer:
        say(serving, peer, "anything")
        serving.send(signal.SIGTERM)
    assert serving.finish() == (0, "ended in thread\nTrue\n", "")


# -- from other threads ----------------------------------------------------------------------------------


def in_thread(function: Callable[[], object]) -> Any:
    """What *function* returns or raises in another thread, while this one's loop goes on."""
    future: Future[object] = Future()

    def run() -> None:
        try:
            future.set_result(function())
        except BaseException as error:
            future.set_exception(error)

    thread = threading.Thread(target=run)
    thread.start()
    wait_until(future.done)
    thread.join()
    return future.result()


def test_call_from_thread_runs_a_function_in_a_greenlet_of_the_hub(serve: Serve) -> None:
    server = serve(echoing().handlers)

    def where() -> tuple[object, object, bool]:
        gevent.sleep(0)  # it may block
        return threading.get_ident(), gevent.get_hub(), gevent.getcurrent() is gevent.get_hub()

    assert in_thread(lambda: greensock.call_from_thread(server, where).result(10)) == (
        threading.get_ident(),
        gevent.get_hub(),
        False,
    )


def test_call_from_thread_passes_arguments_and_gives_the_result(serve: Serve) -> None:
    server = serve(echoing().handlers)
    assert in_thread(lambda: greensock.call_from_thread(server, divmod, 7, 3).result(10)) == (2, 1)


def test_call_from_thread_takes_a_socket_as_well(serve: Serve, dial: Dial) -> None:
    recorder = echoing()
    peer = dial(serve(recorder.handlers))
    (accepted,) = recorder.wait_for("open")
    with pytest.raises(RuntimeError, match="call_from_thread"):
        in_thread(lambda: accepted.write(b"from a thread"))
    assert in_thread(lambda: greensock.call_from_thread(accepted, accepted.write, b"from a thread").result(10)) is True
    assert peer.read_exactly(13) == b"from a thread"


@pytest.mark.parametrize("error", [ValueError, KeyboardInterrupt, SystemExit, gevent.GreenletExit])
def test_an_exception_is_that_of_the_future_and_of_nobody_else(serve: Serve, error: type[BaseException]) -> None:
    server = serve(echoing().handlers)

    def fails() -> None:
        raise error("on purpose")

    future = in_thread(lambda: greensock.call_from_thread(server, fails))
    wait_until(future.done)
    assert isinstance(future.exception(), error)


def test_a_future_that_was_cancelled_first_runs_nothing(serve: Serve) -> None:
    server = serve(echoing().handlers)
    called: list[str] = []
    cancelled = greensock.call_from_thread(server, called.append, "cancelled")
    assert cancelled.cancel()
    other = greensock.call_from_thread(server, called.append, "other")
    wait_until(other.done)
    assert called == ["other"]
    assert cancelled.cancelled()


def test_one_that_runs_cannot_be_cancelled(serve: Serve) -> None:
    gate = gevent.event.Event()
    future = greensock.call_from_thread(serve(echoing().handlers), gate.wait)
    wait_until(future.running)
    assert not future.cancel()
    gate.set()
    wait_until(future.done)
    assert future.result() is True


def test_calls_from_one_thread_begin_in_their_order(serve: Serve) -> None:
    server = serve(echoing().handlers)
    called: list[int] = []
    futures = in_thread(lambda: [greensock.call_from_thread(server, called.append, number) for number in range(100)])
    wait_until(lambda: all(future.done() for future in futures))
    assert called == list(range(100))


@pytest.mark.parametrize("target", [None, "server", print])
def test_what_is_neither_server_nor_socket_is_a_type_error_that_names_it(target: Any) -> None:
    with pytest.raises(TypeError, match=type(target).__name__):
        greensock.call_from_thread(target, print)


def test_to_wait_for_the_server_of_another_thread_is_a_runtime_error(serve: Serve) -> None:
    server = serve(echoing().handlers)
    with pytest.raises(RuntimeError, match="another thread"):
        in_thread(lambda: greensock.run(server))


def test_a_hub_that_is_gone_is_a_runtime_error() -> None:
    def serve_and_end() -> greensock.Server:
        server = greensock.listen(("127.0.0.1", 0), echoing().handlers)
        server.stop(0)
        Engine.of_this_hub().close()
        gevent.get_hub().destroy()
        return server

    gone = in_thread(serve_and_end)
    with pytest.raises(RuntimeError, match="gone"):
        greensock.call_from_thread(gone, print)

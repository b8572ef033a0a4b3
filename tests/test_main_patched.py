"""The same in programs that gevent has monkey-patched, before or after they import greensock, and in others."""

import signal
import textwrap
from typing import Final

import pytest

from program import Launch, Program

#: How each program begins.
BEGINNINGS: Final = {
    "unpatched": "patched = False",
    "patched first": "import gevent.monkey; gevent.monkey.patch_all(); patched = True",
    "patched later": "import greensock; import gevent.monkey; gevent.monkey.patch_all(); patched = True",
}
PATCHED: Final = ["patched first", "patched later"]

PRELUDE = """
import concurrent.futures, contextvars, io, logging, os, queue, signal, socket, sys, threading, time
import gevent
import gevent.local
import gevent.socket
import greensock

def listen(**handlers):
    return greensock.listen(("127.0.0.1", 0), handlers)

def ask(server, question=b"?"):
    with gevent.socket.create_connection(server.address, 10) as client:
        client.sendall(question)
        client.shutdown(socket.SHUT_WR)
        answer = b""
        while part := client.recv(1000):
            answer += part
        return answer

def all_at_once(server, *questions):
    asking = [gevent.spawn(ask, server, question) for question in questions]
    gevent.joinall(asking, timeout=20, raise_error=True)
    return [greenlet.value for greenlet in asking]

"""


def program(launch: Launch, how: str, text: str) -> Program:
    return launch(BEGINNINGS[how] + PRELUDE + textwrap.dedent(text))


every_way = pytest.mark.parametrize("how", BEGINNINGS)
patched = pytest.mark.parametrize("how", PATCHED)


@every_way
def test_it_serves(launch: Launch, how: str) -> None:
    done = program(
        launch,
        how,
        """
        with listen(data=lambda socket, data: socket.write(data)) as server:
            questions = [b"%d" % number * number for number in range(1, 100)]
            assert all_at_once(server, *questions) == questions
        """,
    )
    assert done.finish() == (0, "", "")


@patched
def test_what_blocks_in_the_standard_library_blocks_its_own_connection_only(launch: Launch, how: str) -> None:
    done = program(
        launch,
        how,
        """
        lock, event, messages = threading.Lock(), threading.Event(), queue.Queue()

        def data(socket, data):
            if data == b"sleep":
                time.sleep(0.01)
            elif data == b"wait":
                assert event.wait(10)
            elif data == b"get":
                data += messages.get(timeout=10)
            elif data == b"lock":
                with lock:
                    time.sleep(0.01)
            elif data == b"thread":
                thread = threading.Thread(target=socket.write, args=(b"written in ",))
                thread.start()
                thread.join()
            elif data == b"connect":
                with socket_module.create_connection(server.address, 10) as client:
                    client.sendall(b"sleep")
                    data += client.recv(100)
            elif data == b"free":
                event.set()
                messages.put(b" a message")
            socket.write(data)

        import socket as socket_module
        with listen(data=data) as server:
            answers = all_at_once(
                server, b"wait", b"get", b"lock", b"lock", b"sleep", b"thread", b"connect", b"wait", b"free"
            )
        assert answers == [
            b"wait", b"get a message", b"lock", b"lock", b"sleep", b"written in thread", b"connectsleep", b"wait",
            b"free",
        ], answers
        """,
    )
    assert done.finish() == (0, "", "")


@every_way
def test_locals_are_those_of_a_connection(launch: Launch, how: str) -> None:
    """``threading.local`` in a patched program, ``gevent.local`` in any, context variables everywhere."""
    done = program(
        launch,
        how,
        """
        mine = [gevent.local.local()] + [threading.local()] * patched
        variable = contextvars.ContextVar("variable")

        def opened(socket):
            assert not any(hasattr(local, "peer") for local in mine)
            assert variable.get(None) is None
            for local in mine:
                local.peer = socket.remote_address
            variable.set(socket.remote_address)
            gevent.sleep(0)

        def data(socket, data):
            gevent.sleep(0)
            assert all(local.peer == socket.remote_address for local in mine)
            assert variable.get() == socket.remote_address
            socket.write(data)

        def close(socket, error):
            assert all(local.peer == socket.remote_address for local in mine)
            closed.append(socket)

        closed = []
        server = listen(open=opened, data=data, close=close)
        with server:
            for _ in range(5):
                assert all_at_once(server, *[b"fine"] * 50) == [b"fine"] * 50
        stats = server.stats()
        assert (stats.errors, len(closed)) == (0, 250), stats
        """,
    )
    assert done.finish() == (0, "", "")


@every_way
def test_every_line_that_handlers_log_is_whole(launch: Launch, how: str) -> None:
    done = program(
        launch,
        how,
        """
        class Slow(io.StringIO):
            def write(self, text):
                gevent.sleep(0)  # with the lock of the log handler held
                return super().write(text)

        output = Slow()
        if patched:
            logging.basicConfig(level=logging.INFO, stream=output, format="%(name)s %(message)s")
        else:  # a lock of the operating system would hold up everybody
            logging.basicConfig(level=logging.INFO, stream=io.StringIO(), format="%(name)s %(message)s")
            output = logging.getLogger().handlers[0].stream

        def data(socket, data):
            for number in range(10):
                logging.info("line %d of %s", number, data.decode())
            socket.write(data)

        with listen(data=data) as server:
            all_at_once(server, *[b"%d" % number for number in range(20)])
        lines = output.getvalue().splitlines()
        said = [line for line in lines if line.startswith("root")]
        access = [line for line in lines if line.startswith("greensock.access 127.0.0.1:")]
        assert len(said) == len(set(said)) == 200, len(said)
        assert len(access) == 20 and len(lines) == 220, lines
        """,
    )
    assert done.finish() == (0, "", "")


@patched
def test_thread_objects_of_handlers_go_with_their_connections(launch: Launch, how: str) -> None:
    done = program(
        launch,
        how,
        """
        def data(socket, data):
            names.add(threading.current_thread().name)
            gevent.sleep(0)
            socket.write(data)

        names = set()
        before = threading.active_count()
        with listen(data=data) as server:
            for _ in range(10):
                all_at_once(server, *[b"?"] * 20)
        gevent.sleep(0)
        assert names
        assert threading.active_count() == before, threading.enumerate()
        """,
    )
    assert done.finish() == (0, "", "")


@every_way
def test_real_threads_call_in(launch: Launch, how: str) -> None:
    done = program(
        launch,
        how,
        """
        def call():
            future = greensock.call_from_thread(server, lambda: gevent.getcurrent() is not gevent.get_hub())
            return get_ident(), future.result(10)

        import gevent.monkey
        get_ident = gevent.monkey.get_original("_thread", "get_ident")
        with listen(data=print) as server:
            calling = [gevent.get_hub().threadpool.spawn(call) for _ in range(20)]
            answers = [result.get(timeout=10) for result in calling]
        assert all(thread != get_ident() and answer is True for thread, answer in answers)
        """,
    )
    assert done.finish() == (0, "", "")


@every_way
def test_use_from_another_thread_is_refused(launch: Launch, how: str) -> None:
    done = program(
        launch,
        how,
        """
        def write(socket):
            try:
                socket.write(b"from a thread")
            except RuntimeError as error:
                return str(error)

        def data(socket, data):
            socket.write(gevent.get_hub().threadpool.apply(write, (socket,)))

        with listen(data=data) as server:
            assert b"call_from_thread" in ask(server)
        """,
    )
    assert done.finish() == (0, "", "")


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
@pytest.mark.parametrize(
    ("how", "where"),
    [
        *((how, where) for how in BEGINNINGS for where in ("main", "greenlet")),
        *((how, "thread") for how in PATCHED),  # which is a greenlet, too
    ],
)
def test_run_drains_at_a_signal_wherever_it_runs_in_the_main_thread(
    launch: Launch, how: str, number: signal.Signals, where: str
) -> None:
    serving = program(
        launch,
        how,
        f"""
        server = listen(data=print)
        gevent.spawn_later(0.01, print, "runs")
        if {where!r} == "main":
            greensock.run()
        elif {where!r} == "greenlet":
            gevent.spawn(greensock.run).join()
        else:
            thread = threading.Thread(target=greensock.run)
            thread.start()
            thread.join()
        print("ended", server.closed)
        """,
    )
    assert serving.line() == "runs"
    assert serving.finish(number) == (0, "ended True\n", "")

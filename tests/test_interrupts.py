"""Ctrl-C while a handler blocks the loop, and who else watches for it. Other signals are in ``test_lifecycle``."""

import signal
import socket
import subprocess
import textwrap
from contextlib import suppress

import pytest

from program import Launch, Program

#: The beginning of every program here: a server whose handler does what its peer says, and tells of each INT.
PRELUDE = """
import signal, time
import gevent, gevent.event
import greensock
from greensock import interrupts

def data(socket, data):
    print(data.decode())
    while True:
        if data == b"sleep":
            time.sleep(0.001)

def listen():
    server = greensock.listen("127.0.0.1:0", {"data": data})
    gevent.spawn(lambda: print(server.port))  # when run() waits
    return server

def run(*servers):
    try:
        greensock.run(*servers)
    except KeyboardInterrupt:
        print("interrupted")

"""


def program(launch: Launch, text: str) -> Program:
    return launch(PRELUDE + textwrap.dedent(text))


@pytest.mark.parametrize("how", ["compute", "sleep"])
def test_a_further_interrupt_ends_a_handler_that_blocks_the_loop(launch: Launch, how: str) -> None:
    serving = program(launch, "listen(); run(); print(signal.getsignal(signal.SIGINT) is signal.default_int_handler)")
    with socket.create_connection(("127.0.0.1", int(serving.line())), 10) as peer:
        peer.sendall(how.encode())
        assert serving.line() == how
        serving.send(signal.SIGINT)
        ended = None
        while ended is None:  # as people do: again and again
            with suppress(subprocess.TimeoutExpired):
                ended = serving.process.wait(0.1)
            if ended is None:
                serving.send(signal.SIGINT)
        assert serving.finish() == (0, "interrupted\nTrue\n", "")


def test_those_who_watch_for_it_in_the_loop_hear_it_meanwhile_and_afterwards(launch: Launch) -> None:
    serving = program(
        launch,
        """
        def watch(name):
            gevent.signal_handler(signal.SIGINT, print, name)

        watch("first")
        server = listen()
        gevent.spawn(watch, "second")
        run(server)
        print("ended")
        again = gevent.event.Event()
        gevent.signal_handler(signal.SIGINT, again.set)
        signal.raise_signal(signal.SIGINT)
        print(again.wait(10))
        """,
    )
    serving.line()
    status, output, errors = serving.finish(signal.SIGINT)
    assert (status, errors) == (0, "")
    assert sorted(output.split()) == ["True", "ended", "first", "first", "second", "second"]


def test_whoever_took_it_from_the_loop_before_is_asked_and_has_it_again(launch: Launch) -> None:
    serving = program(
        launch,
        """
        def own(number, frame):
            print("own")
            greensock.call_from_thread(server, server.stop)

        gevent.signal_handler(signal.SIGINT, print, "never")
        signal.signal(signal.SIGINT, own)
        server = listen()
        run(server)
        print(signal.getsignal(signal.SIGINT) is own)
        signal.raise_signal(signal.SIGINT)
        """,
    )
    serving.line()
    assert serving.finish(signal.SIGINT) == (0, "own\nTrue\nown\n", "")


def test_one_that_is_ignored_stays_ignored_where_the_loop_does_not_take_it(launch: Launch) -> None:
    serving = program(
        launch,
        """
        gevent.signal_handler(signal.SIGINT, print, "never")
        signal.signal(signal.SIGINT, signal.SIG_IGN)
        listen()
        run()
        """,
    )
    serving.line()
    serving.send(signal.SIGINT)
    assert serving.finish(signal.SIGTERM) == (0, "", "")


def test_somebody_elses_wakeup_descriptor_stays(launch: Launch) -> None:
    serving = program(
        launch,
        """
        import os
        reader, writer = os.pipe()
        os.set_blocking(writer, False)
        signal.set_wakeup_fd(writer)
        listen()
        run()
        print(signal.set_wakeup_fd(-1) == writer, os.read(reader, 10))
        """,
    )
    serving.line()
    assert serving.finish(signal.SIGINT) == (0, "True b'\\x02'\n", "")


def test_nothing_is_left_behind(launch: Launch) -> None:
    serving = program(
        launch,
        """
        import os
        server = listen()
        gevent.spawn(server.stop)
        run()
        before = sorted(os.listdir("/dev/fd"))
        server.start()
        gevent.spawn(server.stop)
        run()
        print(sorted(os.listdir("/dev/fd")) == before, signal.set_wakeup_fd(-1), interrupts._current)
        """,
    )
    serving.line()
    assert serving.finish() == (0, "True -1 None\n", "")

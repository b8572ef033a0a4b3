"""The pytest plugin: what it lets pass, and that it does fail for each kind of leak."""

import itertools
import re
import socket as sockets
import threading
from pathlib import Path
from typing import Any

import gevent
import gevent.event
import pytest

from greensock.testing import Dial, Leaks, Peer, Recorder, Serve, wait_until
from program import Launch


def test_a_condition_that_holds_is_not_waited_for() -> None:
    wait_until(lambda: True, timeout=0)


def test_a_condition_is_noticed_when_it_comes_true() -> None:
    event = gevent.event.Event()
    gevent.spawn_later(0.01, event.set)
    wait_until(event.is_set)


def test_what_another_thread_does_is_noticed_as_well() -> None:
    done: list[bool] = []
    threading.Timer(0.01, done.append, [True]).start()
    wait_until(lambda: done)


def test_waiting_leaves_nothing_running_when_the_condition_raises() -> None:
    leaks = Leaks()
    asked = itertools.count()
    with pytest.raises(ZeroDivisionError):
        wait_until(lambda: next(asked) > 2 and 1 / 0)
    assert not leaks.find()


def test_a_condition_that_never_comes_true_is_named() -> None:
    with pytest.raises(AssertionError, match="never came true: the moon is full"):
        wait_until(lambda: False, 0.02, "the moon is full")


def test_what_was_there_before_is_no_leak() -> None:
    greenlet = gevent.spawn(gevent.sleep, 1000)
    gevent.sleep(0)
    Leaks().check(0)
    greenlet.kill()


def test_a_greenlet_is_a_leak() -> None:
    leaks = Leaks()
    greenlet = gevent.spawn(gevent.sleep, 1000)
    gevent.sleep(0)
    with pytest.raises(AssertionError, match="left behind:(.|\n)*greenlet"):
        leaks.check(0.02)
    greenlet.kill()
    leaks.check()


def test_a_descriptor_is_a_leak() -> None:
    leaks = Leaks()
    with open("/dev/null", "rb"), pytest.raises(AssertionError, match="descriptor .* -> /dev/null"):
        leaks.check(0.02)
    leaks.check()


def test_another_descriptor_of_the_loop_itself_is_no_leak(launch: Launch) -> None:
    """libev makes one when the kernel still tells of what was closed, because a copy of it is open."""
    done = launch("""
        import os, socket
        lower = os.open("/dev/null", os.O_RDONLY)  # the loop's next one gets its number
        import gevent
        from greensock.testing import Leaks, wait_until

        loop = gevent.get_hub().loop
        before = loop.fileno()
        leaks = Leaks()
        here, there = socket.socketpair()
        copy = os.dup(here.fileno())
        watcher = loop.io(copy, 1)
        watcher.start(print)
        gevent.sleep(0.001)
        watcher.stop()
        watcher.close()
        os.close(copy)
        os.close(lower)
        there.send(b"x")
        wait_until(lambda: loop.fileno() != before)
        here.close()
        there.close()
        print(leaks.find())
    """)
    assert done.finish() == (0, "[]\n", "")


def test_a_watcher_is_a_leak() -> None:
    leaks = Leaks()
    timer = gevent.get_hub().loop.timer(1000)
    timer.start(lambda: None)
    with pytest.raises(AssertionError, match="1 active watchers"):
        leaks.check(0.02)
    timer.stop()
    timer.close()
    leaks.check()


@pytest.mark.leaks
def test_an_exception_that_only_the_hub_saw_is_a_leak(capfd: pytest.CaptureFixture[str]) -> None:
    leaks = Leaks()
    with leaks.listening_for_hub_errors():
        gevent.spawn(int, "no number").join()
    with pytest.raises(AssertionError, match="hub error .*ValueError: invalid literal"):
        leaks.check(0.02)
    assert "ValueError" in capfd.readouterr().err, "it is still printed"


def test_an_open_connection_is_a_leak(serve: Serve, dial: Dial) -> None:
    recorder = Recorder()
    server = serve(recorder.handlers)
    leaks = Leaks()
    peer = Peer(server.address)
    recorder.wait_for("open")
    with pytest.raises(AssertionError, match="descriptor .*socket"):
        leaks.check(0.02)
    peer.close()
    leaks.check()


def test_a_blocked_handler_and_a_clock_are_leaks(serve: Serve, dial: Dial) -> None:
    gate = gevent.event.Event()
    recorder = Recorder(data=lambda socket, data: gate.wait())
    server = serve(recorder.handlers, idle_timeout=1000)
    leaks = Leaks()
    peer = dial(server)
    peer.send(b"x")
    recorder.wait_for("data")
    with pytest.raises(AssertionError, match="blocked handler of <Socket #(.|\n)*clock of <Socket #"):
        leaks.check(0.02)
    gate.set()
    peer.close()
    leaks.check()


def test_parked_runners_are_no_leak(serve: Serve, dial: Dial) -> None:
    gate = gevent.event.Event()
    recorder = Recorder(data=lambda socket, data: gate.wait())
    server = serve(recorder.handlers)
    leaks = Leaks()
    peers = [Peer(server.address) for _ in range(5)]
    for peer in peers:
        peer.send(b"x")
    recorder.wait_for("data", 5)
    gate.set()
    for peer in peers:
        peer.close()
    leaks.check()


SUITE = """
import gevent, pytest

kept = []

def leak():
    kept.extend([open("/dev/null"), gevent.spawn(gevent.sleep, 1000), gevent.get_hub().loop.timer(1000)])
    kept[-1].start(print)
    gevent.spawn(int, "no number").join()

def test_leaks():
    leak()

def test_is_clean(): pass

@pytest.mark.leaks
def test_leaks_on_purpose():
    leak()

def test_is_clean_again(serve, dial):
    server = serve({"data": lambda socket, data: socket.write(data)})
    assert dial(server).exchange(b"hello") == b"hello"

def test_fails(serve, dial):
    dial(serve({"data": print}))
    assert False
"""

RUN = """
    import sys, pytest
    sys.exit(pytest.main([sys.argv[1], "-p", "greensock.testing", "-c", "/dev/null", "-p", "no:cacheprovider", "-rA"]))
"""


def test_the_plugin_fails_what_leaks_and_nothing_else(launch: Launch, tmp_path: Path) -> None:
    (tmp_path / "test_suite.py").write_text(SUITE)
    status, output, _ = launch(RUN, str(tmp_path / "test_suite.py")).finish()
    assert status == 1
    outcomes = set(re.findall("^(PASSED|FAILED|ERROR) .*::(test_[a-z_]*)", output, re.MULTILINE))
    assert outcomes == {
        ("PASSED", "test_leaks"),  # the test itself
        ("ERROR", "test_leaks"),  # what it left
        ("PASSED", "test_is_clean"),
        ("PASSED", "test_leaks_on_purpose"),
        ("PASSED", "test_is_clean_again"),
        ("FAILED", "test_fails"),
    }
    for leak in ("descriptor .* -> /dev/null", "greenlet <Greenlet", r"\d active watchers", "hub error .*ValueError"):
        assert re.search(leak, output), leak


@pytest.mark.leaks
def test_a_test_may_say_that_it_leaks() -> None:
    leaked.append(gevent.spawn(gevent.sleep, 1000))
    gevent.sleep(0)


leaked: list["gevent.Greenlet[[float], None]"] = []


def test_and_the_next_one_does_not_pay_for_it() -> None:
    leaked.pop().kill()


def test_a_recorder_notes_events_in_order_and_does_what_it_was_told(serve: Serve, dial: Dial) -> None:
    recorder = Recorder(data=lambda socket, data: socket.write(data.upper()))
    with dial(serve(recorder.handlers)) as peer:
        assert peer.exchange(b"hello") == b"HELLO"
        peer.finish()
        assert peer.read_to_end() == b""
    socket, error = recorder.wait_for("close")
    assert error is None
    assert recorder.events == recorder.of(socket) == ["open", "data", "end", "close"]
    assert recorder.sockets == [socket]
    assert recorder.received == b"hello"


def test_a_recorder_refuses_an_event_that_does_not_exist() -> None:
    with pytest.raises(TypeError, match="unknown events: dta"):
        Recorder(dta=print)


def test_a_peer_can_send_byte_by_byte(serve: Serve, dial: Dial) -> None:
    recorder = Recorder()
    peer = dial(serve(recorder.handlers))
    recorder.wait_for("open")
    peer.send_bytewise(b"hello")
    wait_until(lambda: recorder.received == b"hello")
    assert recorder.events.count("data") == 5


def test_a_peer_can_reset(serve: Serve, dial: Dial) -> None:
    recorder = Recorder()
    peer = dial(serve(recorder.handlers))
    recorder.wait_for("open")
    peer.reset()
    _, error = recorder.wait_for("close")
    assert isinstance(error, ConnectionResetError)


def test_a_peer_tells_how_much_is_missing(serve: Serve, dial: Dial) -> None:
    recorder = Recorder(open=lambda socket: socket.end(b"abc"))
    with pytest.raises(EOFError, match="2 bytes are missing after 3"):
        dial(serve(recorder.handlers)).read_exactly(5)


def test_a_recorder_handles_error_only_when_told() -> None:
    assert "error" not in Recorder().handlers
    assert "error" in Recorder(error=print).handlers


def test_a_recorder_that_waits_in_vain_says_what_came_instead(serve: Serve, dial: Dial) -> None:
    recorder = Recorder()
    dial(serve(recorder.handlers))
    recorder.wait_for("open")
    with pytest.raises(AssertionError, match=r"never came true: 2 x 'open' in \['open'\]"):
        recorder.wait_for("open", 2, timeout=0.02)


def test_a_peer_reads_as_it_is_told(serve: Serve, dial: Dial) -> None:
    recorder = Recorder(open=lambda socket: socket.end(b"abcdef"))
    peer = dial(serve(recorder.handlers))
    assert peer.read_exactly(2) == b"ab"
    assert peer.read(1) == b"c"
    assert peer.read_to_end() == b"def"
    assert peer.address == recorder.wait_for("open")[0].remote_address
    assert not peer.is_reset()


def test_a_peer_can_tell_that_it_was_reset(serve: Serve, dial: Dial) -> None:
    assert dial(serve(Recorder(open=lambda socket: socket.terminate()).handlers)).is_reset()


def test_a_peer_with_a_small_buffer_stalls_its_server_early(serve: Serve, dial: Dial) -> None:
    queued: list[int] = []

    def write(socket: Any) -> None:
        socket.write(bytes(4 << 20))
        queued.append(socket.buffered)

    server = serve(Recorder(open=write).handlers)
    small, usual = dial(server, receive_buffer=4096), dial(server)
    wait_until(lambda: len(queued) == 2)
    assert queued[0] > queued[1]
    assert len(small.read_exactly(4 << 20)) == len(usual.read_exactly(4 << 20))


def test_a_peer_that_cannot_connect_leaves_no_descriptor() -> None:
    with sockets.socket() as bound:
        bound.bind(("127.0.0.1", 0))  # and does not listen
        with pytest.raises(ConnectionRefusedError):
            Peer(bound.getsockname())


def test_the_fixtures_end_what_they_started(launch: Launch, tmp_path: Path, serve: Serve, dial: Dial) -> None:
    gate = gevent.event.Event()
    peer = dial(serve({"data": lambda socket, data: gate.wait()}))
    peer.send(b"blocks for ever, unless its server ends with the test")

"""Each kind of leak is found, and what is there to stay is none."""

import gevent
import gevent.event
import gevent.socket
import pytest

from connections import stand_still
from greensock.testing import Dial, Leaks, Peer, Recorder, Serve
from program import Launch


def test_what_was_there_before_is_no_leak() -> None:
    greenlet = gevent.spawn(gevent.sleep, 1000)
    gevent.sleep(0)
    Leaks().check(0)
    greenlet.kill()


def test_what_ends_after_a_standstill_is_no_leak() -> None:
    leaks = Leaks()
    ours, theirs = gevent.socket.socketpair()

    def read_to_the_end() -> None:
        with ours:
            ours.recv(1)

    reading = gevent.spawn(read_to_the_end)
    gevent.sleep(0)
    theirs.close()
    stand_still(0.1)
    leaks.check(0.05)
    assert reading.successful()


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

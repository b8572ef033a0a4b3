"""The pytest plugin: what it lets pass, and that it does fail for each kind of leak."""

import gevent
import gevent.event
import pytest

from greensock.testing import Dial, Leaks, Peer, Recorder, Serve, wait_until


def test_a_condition_that_holds_is_not_waited_for() -> None:
    wait_until(lambda: True, timeout=0)


def test_a_condition_is_noticed_when_it_comes_true() -> None:
    event = gevent.event.Event()
    gevent.spawn_later(0.01, event.set)
    wait_until(event.is_set)


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

"""The greenlets of handlers: nothing passes from one connection to another on them, and only those in use are kept."""

import contextvars
import weakref
from typing import Any

import gevent
import gevent.event
import gevent.local
import gevent.socket
import pytest

from greensock import runners
from greensock.engine import Engine
from greensock.runners import KEEP_PARKED
from greensock.testing import Dial, Recorder, Serve, wait_until


def echo(socket: Any, data: bytes) -> None:
    socket.write(data)


# -- nothing passes from one connection to another -------------------------------------------------------

local = gevent.local.local()
variable: contextvars.ContextVar[str] = contextvars.ContextVar("variable", default="-")
kept: list[Any] = []


def set_local(value: str) -> None:
    local.value = value


def set_attribute(value: str) -> None:
    gevent.getcurrent().value = value  # type: ignore[attr-defined]


STATE = {
    "gevent.local": (set_local, lambda: getattr(local, "value", "-")),
    "a context variable": (variable.set, variable.get),
    "an attribute": (set_attribute, lambda: getattr(gevent.getcurrent(), "value", "-")),
}


@pytest.mark.parametrize("state", STATE)
@pytest.mark.parametrize("blocks", ["never", "before", "after", "around"])
def test_what_a_handler_leaves_is_seen_in_its_next_event_and_by_nobody_else(
    state: str, blocks: str, serve: Serve, dial: Dial
) -> None:
    leave, find = STATE[state]

    def handle(socket: Any, data: bytes) -> None:
        if blocks in ("before", "around"):
            gevent.sleep(0)
        socket.write(find().encode())
        if data != b"?":
            leave(data.decode())
        if blocks in ("after", "around"):
            gevent.sleep(0)

    server = serve({"data": handle})
    peers = [dial(server) for _ in range(4)]
    for index, peer in enumerate(peers):
        peer.send(str(index).encode())
        assert peer.read_exactly(1) == b"-"
    late = dial(server)
    for _ in range(3):
        assert late.exchange(b"?") == b"-"
        assert [peer.exchange(b"?") for peer in peers] == [b"0", b"1", b"2", b"3"]


@pytest.mark.parametrize("state", STATE)
def test_what_the_last_event_leaves_is_seen_by_nobody(state: str, serve: Serve, dial: Dial) -> None:
    leave, find = STATE[state]
    recorder = Recorder(
        data=lambda socket, data: socket.write(find().encode()), close=lambda socket, error: leave("left")
    )
    server = serve(recorder.handlers)
    dial(server).close()
    recorder.wait_for("close")
    assert dial(server).exchange(b"?") == b"-"


@pytest.mark.parametrize("blocks", [False, True])
def test_a_runner_whose_greenlet_is_kept_serves_nobody_else(blocks: bool, serve: Serve, dial: Dial) -> None:
    greenlets: list[Any] = []

    def handle(socket: Any, data: bytes) -> None:
        greenlets.append(gevent.getcurrent())
        if blocks:
            gevent.sleep(0)
        socket.write(data)

    server = serve({"data": handle})
    one, other = dial(server), dial(server)
    for _ in range(3):
        one.exchange(b"1")
        other.exchange(b"2")
    assert len({id(g) for g in greenlets[::2]}) == len({id(g) for g in greenlets[1::2]}) == 1
    assert greenlets[0] is not greenlets[1]
    greenlets.clear()


@pytest.mark.parametrize("blocks", [False, True])
def test_a_timeout_that_a_handler_forgot_strikes_its_own_connection(blocks: bool, serve: Serve, dial: Dial) -> None:
    errors: list[Any] = []

    def handle(socket: Any, data: bytes) -> None:
        if blocks:
            gevent.sleep(0)
        if data == b"t":
            gevent.Timeout.start_new(0.05)
        socket.write(data)

    recorder = Recorder(data=handle, error=lambda socket, error: errors.append((socket.data, error)))
    server = serve(recorder.handlers)
    forgetful, other = dial(server), dial(server)
    recorder.wait_for("open", 2)
    assert forgetful.exchange(b"t") == b"t"
    recorder.log[-1][1].data = "the forgetful one"
    assert other.exchange(b"o") == b"o"
    wait_until(lambda: errors)
    assert [(owner, type(error)) for owner, error in errors] == [("the forgetful one", gevent.Timeout)]
    assert [peer.exchange(b"x") for peer in (forgetful, other)] == [b"x", b"x"]


def test_one_that_strikes_after_the_close_is_nobodys_error(serve: Serve, dial: Dial) -> None:
    struck: list[gevent.Timeout] = []

    def handle(socket: Any, data: bytes) -> None:
        struck.append(gevent.Timeout.start_new(0.02))
        socket.close()

    recorder = Recorder(data=handle)
    with dial(serve(recorder.handlers)) as peer:
        peer.send(b"x")
        assert peer.read_to_end() == b""
    recorder.wait_for("close")
    wait_until(lambda: not struck[0].pending)
    assert recorder.events == ["open", "data", "close"], "and the leak proof has seen no error of the hub"


def test_a_child_that_still_runs_makes_no_runner_a_connections_own(serve: Serve, dial: Dial) -> None:
    """It has references to the greenlet that made it, which are gevent's and not the handler's."""
    children: list[Any] = []

    def handle(socket: Any, data: bytes) -> None:
        if data == b"b":
            gevent.sleep(0)
        children.append(gevent.spawn(gevent.sleep, 1000))
        socket.write(data)

    recorder = Recorder(data=handle)
    peer = dial(serve(recorder.handlers))
    for message in (b"a", b"b", b"a"):
        assert peer.exchange(message) == message
    gevent.sleep(0)
    assert recorder.sockets[0]._own is None
    gevent.killall(children)


# -- runners ---------------------------------------------------------------------------------------------


def test_parked_runners_are_used_again_and_not_kept_for_ever(serve: Serve, dial: Dial) -> None:
    gate = gevent.event.Event()
    server = serve({"data": lambda socket, data: (gate.wait(), socket.write(data))})
    engine = Engine.of_this_hub()
    peers = [dial(server) for _ in range(KEEP_PARKED + 60)]
    for peer in peers:
        peer.send(b"x")
    wait_until(lambda: len(engine.blocked) == len(peers))
    gate.set()
    assert [peer.read_exactly(1) for peer in peers] == [b"x"] * len(peers)
    wait_until(lambda: len(engine.runners.parked) >= len(peers))
    wait_until(lambda: len(engine.runners.parked) <= KEEP_PARKED, what="trimmed")
    for peer in peers:
        peer.close()
    wait_until(lambda: not engine.clocks.running, what="nothing is left to be looked at")


def test_no_more_runners_are_parked_than_the_limit(serve: Serve, dial: Dial, monkeypatch: pytest.MonkeyPatch) -> None:
    """Those above it end; the leak proof would find them."""
    engine = Engine.of_this_hub()
    monkeypatch.setattr("greensock.runners.MAX_PARKED", len(engine.runners.parked) + 3)
    gate = gevent.event.Event()
    server = serve({"data": lambda socket, data: (gate.wait(), socket.write(data))})
    peers = [dial(server) for _ in range(len(engine.runners.parked) + 10)]
    for peer in peers:
        peer.send(b"x")
    wait_until(lambda: len(engine.blocked) == len(peers))
    assert not engine.runners.parked
    refs = [weakref.ref(socket._running) for socket in engine.blocked]
    gate.set()
    assert [peer.read_exactly(1) for peer in peers] == [b"x"] * len(peers)
    wait_until(lambda: not engine.runners.returned)
    assert len(engine.runners.parked) <= runners.MAX_PARKED
    assert sum(runner() is not None for runner in refs) == len(engine.runners.parked)


def test_a_parked_runner_that_is_dropped_is_gone(serve: Serve, dial: Dial) -> None:
    server = serve({"data": echo})
    dial(server).exchange(b"x")
    engine = Engine.of_this_hub()
    wait_until(lambda: engine.runners.parked)
    refs = [weakref.ref(runner) for runner in engine.runners.parked]
    engine.runners.parked.clear()
    assert [runner() for runner in refs] == [None] * len(refs), "without a garbage collection"
    assert dial(server).exchange(b"x") == b"x"


@pytest.mark.parametrize("error", [gevent.GreenletExit, gevent.Timeout, ValueError])
def test_what_is_thrown_at_a_parked_runner_ends_it_and_nothing_else(
    error: type[BaseException], serve: Serve, dial: Dial
) -> None:
    server = serve({"data": echo})
    peer = dial(server)
    peer.exchange(b"x")
    engine = Engine.of_this_hub()
    wait_until(lambda: engine.runners.parked)
    for runner in list(engine.runners.parked):
        gevent.kill(runner, error)
    wait_until(lambda: not engine.runners.parked)
    assert peer.exchange(b"x") == b"x"


def test_a_runner_of_a_connections_own_that_was_killed_is_replaced(serve: Serve, dial: Dial) -> None:
    def handle(socket: Any, data: bytes) -> None:
        local.value = data
        socket.write(data)

    recorder = Recorder(data=handle)
    peer = dial(serve(recorder.handlers))
    peer.exchange(b"x")
    socket = recorder.sockets[0]
    wait_until(lambda: socket._own is not None)
    gevent.kill(socket._own)
    gevent.sleep(0)
    assert socket._own.dead
    assert peer.exchange(b"x") == b"x"
    assert not socket._own.dead

"""The ground of a socket: its watchers and its thread."""

import weakref
from collections.abc import Callable
from typing import Any

import gevent
import pytest
from gevent.event import Event

import greensock
from connections import AnySocket, Pair, attempt, few_turns, fill_kernel, narrow_listener, turns
from greensock.testing import Dial, Recorder, Serve

# -- watchers ------------------------------------------------------------------------------------------------


def test_a_peer_that_sends_while_a_handler_blocks_costs_no_turns(serve: Serve, dial: Dial) -> None:
    go_on = Event()
    recorder = Recorder(data=lambda socket, data: go_on.wait())
    peer = dial(serve(recorder.handlers))
    peer.send(b"1")
    socket, _ = recorder.wait_for("data")
    peer.send(b"2")
    with few_turns():
        turns()
    socket.pause()
    socket.resume()
    with few_turns():
        turns()
    socket.pause()
    go_on.set()
    turns()
    assert recorder.received == b"1"
    socket.resume()
    recorder.wait_for("data", 2)
    assert recorder.received == b"12"


def test_a_queue_that_empties_while_a_handler_blocks_costs_no_turns(serve: Serve, dial: Dial) -> None:
    def answer(socket: AnySocket, data: bytes) -> None:
        if data == b"1":
            socket.write(bytes(1_000_000))
            go_on.wait()

    go_on = Event()
    recorder = Recorder(data=answer)
    peer = dial(serve(recorder.handlers, narrow_listener()), receive_buffer=4096)
    peer.send(b"1")
    recorder.wait_for("data")
    turns()
    peer.send(b"2")
    peer.read_exactly(1_000_000)
    with few_turns():
        turns()
    assert recorder.received == b"1"
    go_on.set()
    recorder.wait_for("data", 2)


@pytest.mark.parametrize("state", ["paused", "over its mark", "reset while paused"])
def test_a_socket_that_is_not_read_costs_no_turns(state: str, serve: Serve, dial: Dial) -> None:
    recorder = Recorder()
    peer = dial(serve(recorder.handlers, narrow_listener()), receive_buffer=4096)
    (socket,) = recorder.wait_for("open")
    fill_kernel(socket) if state == "over its mark" else socket.pause()
    peer.send(b"?")
    if state == "reset while paused":
        peer.reset()
    with few_turns():
        turns()
    assert recorder.events == ["open"]


# -- threads -------------------------------------------------------------------------------------------------


def _with(socket: AnySocket) -> None:
    with socket:
        pass


USES: dict[str, Callable[[AnySocket], object]] = {
    "write": lambda socket: socket.write(b"."),
    "write str": lambda socket: socket.write("."),
    "writelines": lambda socket: socket.writelines([b"."]),
    "sendall": lambda socket: socket.sendall(b"."),
    "flush": lambda socket: socket.flush(),
    "cork": lambda socket: socket.cork(),
    "end": lambda socket: socket.end(),
    "close": lambda socket: socket.close(),
    "with": _with,
    "terminate": lambda socket: socket.terminate(),
    "pause": lambda socket: socket.pause(),
    "resume": lambda socket: socket.resume(),
    "reload": lambda socket: socket.reload({"open": print}),
    "ref": lambda socket: socket.ref(),
    "unref": lambda socket: socket.unref(),
    "idle_timeout": lambda socket: setattr(socket, "idle_timeout", 1),
    "no_delay": lambda socket: setattr(socket, "no_delay", False),
    "keepalive": lambda socket: setattr(socket, "keepalive", 1),
}


@pytest.mark.parametrize("use", USES)
def test_use_from_another_thread_is_refused_and_changes_nothing(use: str, pair: Pair) -> None:
    socket, peer, recorder = pair
    error = gevent.get_hub().threadpool.apply(attempt, (USES[use], socket))
    assert isinstance(error, RuntimeError)
    assert "call_from_thread" in str(error)
    assert (socket.state, socket.buffered, socket.no_delay) == (greensock.SocketState.OPEN, 0, True)
    assert (socket.idle_timeout, socket.keepalive) == (None, 60)
    socket.end(b"alive")
    assert peer.read_to_end() == b"alive"
    peer.finish()
    recorder.wait_for("close")


def test_another_thread_calls_by_call_from_thread(pair: Pair) -> None:
    def in_thread() -> Any:
        return greensock.call_from_thread(socket, socket.write, b"hello").result(5)

    socket, peer, _ = pair
    assert gevent.get_hub().threadpool.apply(in_thread) is True
    assert peer.read_exactly(5) == b"hello"


# -- what is left --------------------------------------------------------------------------------------------


def test_sockets_are_hashable_and_can_be_weakly_referenced(serve: Serve, dial: Dial) -> None:
    recorder = Recorder()
    server = serve(recorder.handlers)
    dial(server)
    dial(server)
    recorder.wait_for("open", 2)
    one, other = recorder.sockets
    assert len({one, other, one}) == 2
    assert {one: "one"}[one] == "one"
    assert one != other
    assert list(weakref.WeakSet([one])) == [one]

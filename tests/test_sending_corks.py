"""What goes out together: the corks of handlers and turns, which need no code, and explicit ones.

System calls are counted where they are made: on the wire.
"""

from collections.abc import Callable
from pathlib import Path
from time import monotonic
from typing import Any

import gevent
import pytest
from gevent.event import Event

from connections import AnySocket, Sends, attempt, fill_kernel, stream, turns
from greensock import SocketClosed
from greensock.testing import Dial, Peer, Recorder, Serve, wait_until


@pytest.fixture
def ask(serve: Serve, dial: Dial, sends: Sends) -> Callable[..., Peer]:
    """A function that has *answer* run as the ``data`` handler of a new connection, and returns its peer."""

    def ask(answer: Callable[[AnySocket], object], **options: Any) -> Peer:
        server = serve({"data": lambda socket, data: answer(socket)}, **options)
        peer = dial(server)
        peer.send(b"?")
        return peer

    return ask


@pytest.fixture
def pair(serve: Serve, dial: Dial, sends: Sends) -> tuple[AnySocket, Peer]:
    """An open socket of which no handler runs, and its peer."""
    recorder = Recorder()
    peer = dial(serve(recorder.handlers))
    (socket,) = recorder.wait_for("open")
    return socket, peer


Ask = Callable[..., Peer]
Pair = tuple[AnySocket, Peer]


def write_five(socket: AnySocket) -> None:
    for byte in (b"1", b"2", b"3", b"4", b"5"):
        assert socket.write(byte)


# -- without any code ------------------------------------------------------------------------------------


def test_five_writes_of_a_handler_are_one_system_call(ask: Ask, sends: Sends) -> None:
    assert ask(write_five).read_exactly(5) == b"12345"
    assert sends == [5]


def test_so_are_those_of_every_event(serve: Serve, dial: Dial, sends: Sends) -> None:
    five = write_five
    server = serve({"open": five, "timeout": five, "end": five, "data": lambda socket, data: five(socket)})
    peer = dial(server)
    assert peer.read_exactly(5) == b"12345"
    peer.send(b"?")
    assert peer.read_exactly(5) == b"12345"
    (socket,) = server.sockets
    socket.idle_timeout = 0.1
    assert peer.read_exactly(5) == b"12345"
    socket.idle_timeout = None
    peer.finish()
    assert peer.read_to_end() == b"12345"
    assert sends == [5] * 4


def test_what_a_handler_wrote_goes_out_when_it_first_blocks(ask: Ask, sends: Sends) -> None:
    def answer(socket: AnySocket) -> None:
        write_five(socket)
        go_on.wait()
        write_five(socket)

    go_on = Event()
    peer = ask(answer)
    assert peer.read_exactly(5) == b"12345"
    turns()
    assert sends == [5]
    go_on.set()
    assert peer.read_exactly(5) == b"12345"
    assert sends == [5, 5]


def test_five_writes_of_another_greenlet_are_one_system_call(pair: Pair, sends: Sends) -> None:
    socket, peer = pair
    write_five(socket)
    assert sends == []
    assert peer.read_exactly(5) == b"12345"
    assert sends == [5]


def test_writes_of_several_greenlets_in_one_turn_are_one_system_call(pair: Pair, sends: Sends) -> None:
    socket, peer = pair
    gevent.joinall([gevent.spawn(socket.write, byte) for byte in (b"a", b"b", b"c", b"d", b"e")])
    assert peer.read_exactly(5) == b"abcde"
    assert sends == [5]


def test_writes_to_another_connection_are_one_system_call(serve: Serve, dial: Dial, sends: Sends) -> None:
    recorder = Recorder(data=lambda socket, data: write_five(recorder.sockets[0]))
    server = serve(recorder.handlers)
    first, second = dial(server), dial(server)
    recorder.wait_for("open", 2)
    second.send(b"?")
    if recorder.sockets[0].remote_address == second.address:
        first = second
    assert first.read_exactly(5) == b"12345"
    assert sends == [5]


def test_a_write_that_nothing_else_follows_does_not_wait_for_the_next_event(pair: Pair) -> None:
    socket, peer = pair
    turns()
    socket.write(b"now")
    with gevent.Timeout(1):
        assert peer.read_exactly(3) == b"now"


def test_a_handler_that_raised_has_sent_what_it_wrote(serve: Serve, dial: Dial) -> None:
    def answer(socket: AnySocket, data: bytes) -> None:
        socket.write(b"before")
        raise LookupError

    peer = dial(serve(Recorder(data=answer, error=lambda socket, error: socket.write(b" after")).handlers))
    peer.send(b"?")
    with gevent.Timeout(1):
        assert peer.read_exactly(12) == b"before after"


def test_a_write_over_the_high_water_mark_is_sent_at_once(ask: Ask, sends: Sends) -> None:
    def answer(socket: AnySocket) -> None:
        socket.write(bytes(600))
        socket.write(bytes(400))
        seen.append((list(sends), socket.buffered))
        socket.write(b"1")
        seen.append((list(sends), socket.buffered))
        socket.write(b"2")
        seen.append((list(sends), socket.buffered))

    seen: list[tuple[list[int], int]] = []
    peer = ask(answer, high_water_mark=1000)
    peer.read_exactly(1002)
    assert seen == [([], 1000), ([1001], 0), ([1001], 1)]
    assert sends == [1001, 1]


def test_many_small_chunks_are_one_system_call(ask: Ask, sends: Sends) -> None:
    def answer(socket: AnySocket) -> None:
        for _ in range(60):
            socket.writelines([b"a"] * 1000)

    assert ask(answer).read_exactly(60_000) == b"a" * 60_000
    assert sends == [60_000]


# -- cork() ----------------------------------------------------------------------------------------------


def test_a_cork_holds_back_what_is_written_around_a_call_that_blocks(ask: Ask, sends: Sends) -> None:
    def answer(socket: AnySocket) -> None:
        with socket.cork():
            socket.write(b"a")
            turns()
            socket.write(b"b")
            turns()
            assert sends == []
        assert sends == [2], "at its end"
        socket.write(b"c")

    assert ask(answer).read_exactly(3) == b"abc"
    assert sends == [2, 1]


def test_a_cork_works_from_another_greenlet(pair: Pair, sends: Sends) -> None:
    socket, peer = pair
    with socket.cork():
        socket.write(b"a")
        turns()
        socket.write(b"b")
        turns()
        assert sends == []
    assert sends == [2]
    assert peer.read_exactly(2) == b"ab"


def test_corks_nest(pair: Pair, sends: Sends) -> None:
    socket, peer = pair
    again = socket.cork()
    with socket.cork():
        with again, again:
            socket.write(b"a")
            turns()
        socket.write(b"b")
        turns()
        assert sends == []
    assert sends == [2]
    assert peer.read_exactly(2) == b"ab"
    with again:
        socket.write(b"c")
    assert sends == [2, 1]


def test_corks_of_two_greenlets_hold_until_the_last_is_out(pair: Pair, sends: Sends) -> None:
    def hold(first: Event, last: Event) -> None:
        first.wait()
        with socket.cork():
            last.wait()

    socket, _ = pair
    events = [Event() for _ in range(4)]
    holding = [gevent.spawn(hold, events[0], events[2]), gevent.spawn(hold, events[1], events[3])]
    for event in events[:3]:
        event.set()
        turns()
        socket.write(b"a")
    assert sends == []
    events[3].set()
    gevent.joinall(holding, raise_error=True)
    assert sends == [3]


def test_a_cork_ends_also_when_its_block_raises(pair: Pair, sends: Sends) -> None:
    socket, _ = pair
    with pytest.raises(LookupError), socket.cork():
        socket.write(b"ab")
        raise LookupError
    assert sends == [2]


def test_an_empty_cork_sends_nothing(pair: Pair, sends: Sends) -> None:
    socket, _ = pair
    with socket.cork():
        pass
    assert sends == []


def test_a_cork_gives_way_to_the_high_water_mark(pair: Pair, sends: Sends) -> None:
    socket, peer = pair
    with socket.cork():
        assert socket.write(bytes(65_536))
        assert sends == []
        assert socket.write(b"1")
        assert (socket.buffered, sum(sends)) == (0, 65_537)
        socket.write(b"2")
        turns()
        assert socket.buffered == 1
    assert len(peer.read_exactly(65_538)) == 65_538


@pytest.mark.parametrize("inside", ["flush", "sendall", "close"])
def test_a_cork_gives_way_to(inside: str, pair: Pair, sends: Sends) -> None:
    socket, peer = pair
    with socket.cork():
        socket.write(b"abc")
        if inside == "flush":
            socket.flush()
        elif inside == "sendall":
            socket.sendall(b"")
        else:
            socket.close()
        assert sends == [3]
        assert peer.read_exactly(3) == b"abc"
    assert sends == [3]


@pytest.mark.parametrize("outer", ["idle timeout", "the peer's end"])
def test_a_cork_that_is_held_for_ever_does_not_hold_up_a_close(outer: str, serve: Serve, dial: Dial) -> None:
    recorder = Recorder()
    server = serve(recorder.handlers, idle_timeout=0.2 if outer == "idle timeout" else None, close_timeout=0.3)
    peer = dial(server)
    (socket,) = recorder.wait_for("open")
    with socket.cork():
        socket.write(b"held")
        if outer != "idle timeout":
            peer.finish()
        assert peer.read_to_end() == b"held"
        recorder.wait_for("close")


def test_a_close_that_the_peer_ignores_ends_also_in_a_cork(pair: Pair, serve: Serve, dial: Dial) -> None:
    recorder = Recorder()
    peer = dial(serve(recorder.handlers, close_timeout=0.2))
    (socket,) = recorder.wait_for("open")
    with socket.cork():
        socket.close()
        recorder.wait_for("close", timeout=1.5)
    assert peer.read_to_end() == b""


def test_end_in_a_cork_waits_for_its_end(pair: Pair, sends: Sends) -> None:
    socket, peer = pair
    with socket.cork():
        socket.write(b"a")
        socket.end(b"b")
        turns()
        assert sends == []
    assert peer.read_to_end() == b"ab"
    assert sends == [2]


@pytest.mark.parametrize("end", ["terminate", "reset"])
def test_a_cork_around_the_end_of_the_connection_is_harmless(end: str, serve: Serve, dial: Dial) -> None:
    recorder = Recorder()
    peer = dial(serve(recorder.handlers))
    (socket,) = recorder.wait_for("open")
    with socket.cork():
        socket.write(b"lost")
        socket.terminate() if end == "terminate" else peer.reset()
        _, error = recorder.wait_for("close")
    assert (error is None) == (end == "terminate")
    assert socket.unsent == 4
    error_of_use = attempt(socket.write, b"more")
    assert isinstance(error_of_use, SocketClosed)
    assert error_of_use.__cause__ is error


def test_a_cork_leaves_alone_what_the_kernel_could_not_take_before(serve: Serve, dial: Dial, tmp_path: Path) -> None:
    recorder = Recorder()
    peer = dial(serve(recorder.handlers, f"unix:{tmp_path}/s", max_buffered=2_000_000))
    (socket,) = recorder.wait_for("open")
    fill_kernel(socket)
    with socket.cork():
        socket.write(stream(10, 1_000_000))
        assert peer.read_exactly(1_000_000) == stream(1_000_000)
    socket.end()
    wait_until(lambda: socket.buffered == 0)
    assert peer.read_to_end() == stream(10, 1_000_000)


# -- and the clock of the write timeout ----------------------------------------------------------------


@pytest.mark.parametrize("hold", ["one cork", "many corks"])
def test_a_cork_stops_the_clock_of_the_write_timeout(hold: str, serve: Serve, dial: Dial, tmp_path: Path) -> None:
    recorder = Recorder()
    dial(serve(recorder.handlers, f"unix:{tmp_path}/s", write_timeout=0.3))
    (socket,) = recorder.wait_for("open")
    socket.write(bytes(1_000_000))
    began = monotonic()
    for _ in range(1 if hold == "one cork" else 10):
        with socket.cork():
            gevent.sleep(0.5 if hold == "one cork" else 0.05)
    assert not socket.closed
    recorder.wait_for("close")
    assert 0.8 <= monotonic() - began < 2


def test_short_corks_do_not_start_the_clock_of_the_write_timeout_anew(serve: Serve, dial: Dial, tmp_path: Path) -> None:
    recorder = Recorder()
    dial(serve(recorder.handlers, f"unix:{tmp_path}/s", write_timeout=0.3))
    (socket,) = recorder.wait_for("open")
    socket.write(bytes(1_000_000))
    began = monotonic()
    while not socket.closed and monotonic() - began < 3:
        with socket.cork():
            pass
        gevent.sleep(0.02)
    assert monotonic() - began < 1.3

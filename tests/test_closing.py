"""``close`` and ``terminate``: what still arrives, what is counted as lost, and how long it takes at most."""

from pathlib import Path
from time import monotonic

import gevent
import pytest
from gevent.event import Event

from connections import AnySocket, Pair, attempt, narrow_listener, stream, turns, wait_until_steady
from greensock import TLS, SocketClosed, SocketState
from greensock.engine import Engine
from greensock.testing import Dial, Peer, Recorder, Serve
from interrupts import everywhere, interrupted
from tls_peer import SecurePeer, credentials

MIB = 1024 * 1024


@pytest.fixture
def stalled(serve: Serve, dial: Dial) -> Pair:
    """The same, with 1,000,000 bytes written to a peer that does not read, and clocks of 0.3 s for closing."""
    recorder = Recorder()
    peer = dial(serve(recorder.handlers, narrow_listener(), close_timeout=0.3), receive_buffer=4096)
    (socket,) = recorder.wait_for("open")
    socket.write(stream(1_000_000))
    wait_until_steady(socket)
    return socket, peer, recorder


# -- close ---------------------------------------------------------------------------------------------------


def test_close_does_not_cut_off_the_reply_to_a_peer_that_has_sent_what_nobody_reads(serve: Serve, dial: Dial) -> None:
    def answer(socket: AnySocket, data: bytes) -> None:
        socket.write(stream(65_536))
        socket.close()

    server = serve({"data": answer})
    for _ in range(100):
        peer = dial(server)
        sending = gevent.spawn(attempt, peer.send, bytes(MIB))
        gevent.sleep(0)
        assert sending.get() is None
        assert peer.read_to_end() == stream(65_536)
        peer.close()


def test_close_delivers_all_that_is_queued_to_a_slow_reader(serve: Serve, dial: Dial) -> None:
    def answer(socket: AnySocket, data: bytes) -> None:
        for position in range(0, 5_000_000, 500_000):
            socket.write(stream(500_000, position))
        socket.close()

    recorder = Recorder(data=answer)
    peer = dial(serve(recorder.handlers, narrow_listener(), max_buffered=8 * MIB), receive_buffer=4096)
    peer.send(b"?" * 100)
    received = []
    while part := peer.read(50_000):
        received.append(part)
        gevent.sleep(0)
    assert b"".join(received) == stream(5_000_000)
    peer.close()
    socket, error = recorder.wait_for("close")
    assert (error, socket.unsent, socket.close_reason) == (None, 0, "local")


def test_close_waits_for_the_end_of_the_peer(pair: Pair) -> None:
    socket, peer, recorder = pair
    socket.close()
    assert peer.read_to_end() == b""
    peer.send(b"one more thing")
    turns()
    assert not socket.closed
    assert recorder.events == ["open"]
    peer.finish()
    assert recorder.wait_for("close") == (socket, None)
    assert recorder.events == ["open", "close"]


def test_a_socket_that_closes_delivers_nothing_and_takes_nothing(pair: Pair) -> None:
    socket, peer, recorder = pair
    socket.write(b"last")
    socket.close()
    assert socket.state is SocketState.CLOSING
    assert not socket.closed
    for use in (lambda: socket.write(b"."), lambda: socket.writelines([b"."]), lambda: socket.end(b".")):
        with pytest.raises(SocketClosed, match="is closing"):
            use()
    socket.pause()
    socket.resume()
    socket.end()
    socket.close()
    peer.send(bytes(100_000))
    assert peer.read_to_end() == b"last"
    peer.finish()
    recorder.wait_for("close")
    assert recorder.events == ["open", "close"]
    assert socket.bytes_read == 0


def test_a_paused_socket_closes_like_any_other(pair: Pair) -> None:
    socket, peer, recorder = pair
    socket.pause()
    peer.send(bytes(MIB // 8))
    socket.write(b"bye")
    socket.close()
    assert peer.read_to_end() == b"bye"
    peer.finish()
    recorder.wait_for("close")
    assert recorder.events == ["open", "close"]


def test_a_socket_that_is_not_read_because_its_peer_does_not_read_closes_like_any_other(stalled: Pair) -> None:
    socket, peer, recorder = stalled
    peer.send(b"unread")
    socket.close()
    assert peer.read_to_end() == stream(1_000_000)
    peer.finish()
    assert recorder.wait_for("close") == (socket, None)
    assert "data" not in recorder.events


def test_the_state_after_close(pair: Pair) -> None:
    socket, peer, recorder = pair
    socket.close()
    peer.finish()
    recorder.wait_for("close")
    assert socket.closed
    assert socket.state is SocketState.CLOSED
    assert socket.fileno() == -1
    assert socket.buffered == 0
    assert socket not in socket.server.sockets
    assert socket.server.connections == 0
    with pytest.raises(SocketClosed, match="is closed"):
        socket.write(b".")


def test_everything_that_ends_a_socket_may_be_done_again(pair: Pair) -> None:
    socket, peer, recorder = pair
    peer.close()
    recorder.wait_for("close")
    for _ in range(2):
        socket.end()
        socket.close()
        socket.terminate()
        socket.pause()
        socket.resume()
    turns()
    assert recorder.events == ["open", "end", "close"]
    assert socket.close_reason == "eof"


def test_close_comes_after_the_handler_that_closed(serve: Serve, dial: Dial) -> None:
    def answer(socket: AnySocket, data: bytes) -> None:
        getattr(socket, data.decode())()
        recorder.log.append(("still in data", socket))
        turns()
        recorder.log.append(("data is done", socket))

    recorder = Recorder(data=answer)
    server = serve(recorder.handlers)
    for way in (b"close", b"terminate"):
        recorder.log.clear()
        peer = dial(server)
        peer.send(way)
        with peer:
            attempt(peer.read_to_end)
        recorder.wait_for("close")
        assert recorder.events == ["open", "data", "still in data", "data is done", "close"]


def test_leaving_with_closes(pair: Pair) -> None:
    socket, peer, recorder = pair
    with socket as same:
        assert same is socket
        socket.write(b"bye")
    assert socket.state is SocketState.CLOSING
    assert peer.read_to_end() == b"bye"
    peer.finish()
    recorder.wait_for("close")


def test_leaving_with_by_an_exception_closes_and_hides_nothing(pair: Pair) -> None:
    socket, peer, _ = pair
    with pytest.raises(LookupError), socket:
        raise LookupError
    assert socket.state is SocketState.CLOSING
    assert peer.read_to_end() == b""


@pytest.mark.parametrize("queued", [0, 1_000_000])
@pytest.mark.parametrize("tls", [False, True])
def test_a_close_that_a_signal_interrupts_is_none_or_has_an_end(queued: int, tls: bool, serve: Serve) -> None:
    """The peer does not read, and does not end: nothing but this side's clock would end it."""
    options = {"tls": TLS(**credentials())} if tls else {}
    recorder = Recorder()
    server = serve(recorder.handlers, narrow_listener(), close_timeout=0.02, **options)

    def strike(number: int) -> str:
        recorder.log.clear()
        with (SecurePeer if tls else Peer)(server.address, receive_buffer=4096):
            (socket,) = recorder.wait_for("open")
            socket.write(stream(queued))
            turns()
            place = interrupted(socket.close, number)
            if socket.state is SocketState.OPEN:
                socket.close()
            assert not attempt(recorder.wait_for, "close"), f"{place} and then {socket}"
            if tls:
                buffers = Engine.of_this_hub().tls_buffers
                assert (buffers.incoming.pending, buffers.outgoing.pending) == (0, 0), place
        return place

    assert len(list(everywhere(strike))) > 10, "it has struck"


# -- close_timeout -------------------------------------------------------------------------------------------


def test_a_peer_that_takes_nothing_is_terminated(stalled: Pair) -> None:
    socket, peer, recorder = stalled
    left = socket.buffered
    began = monotonic()
    socket.close()
    assert recorder.wait_for("close") == (socket, None)
    assert 0.3 <= monotonic() - began < 1.3
    assert (socket.close_reason, socket.unsent) == ("local", left)
    assert socket.bytes_written + socket.unsent == 1_000_000
    assert peer.is_reset()


def test_a_peer_that_sends_no_fin_is_terminated(serve: Serve, dial: Dial) -> None:
    recorder = Recorder()
    peer = dial(serve(recorder.handlers, close_timeout=0.3))
    (socket,) = recorder.wait_for("open")
    began = monotonic()
    socket.write(b"all of it")
    socket.close()
    assert peer.read_to_end() == b"all of it"
    assert recorder.wait_for("close") == (socket, None)
    assert 0.3 <= monotonic() - began < 1.3
    assert (socket.close_reason, socket.unsent) == ("local", 0)
    with pytest.raises(ConnectionError):
        peer.send(b"?")


def test_a_peer_that_floods_instead_of_ending_is_terminated(serve: Serve, dial: Dial) -> None:
    recorder = Recorder()
    peer = dial(serve(recorder.handlers, close_timeout=0.3))
    (socket,) = recorder.wait_for("open")
    flood = gevent.spawn(attempt, peer.send, bytes(2000 * MIB))
    began = monotonic()
    socket.close()
    recorder.wait_for("close")
    assert 0.3 <= monotonic() - began < 1.8
    assert isinstance(flood.get(), ConnectionError)


def test_progress_keeps_a_socket_that_closes(serve: Serve, dial: Dial, tmp_path: Path) -> None:
    recorder = Recorder()
    peer = dial(serve(recorder.handlers, f"unix:{tmp_path}/s", close_timeout=0.4))
    (socket,) = recorder.wait_for("open")
    socket.write(stream(2_000_000))
    began = monotonic()
    socket.close()
    received = []
    while socket.buffered:
        received.append(peer.read_exactly(200_000))
        gevent.sleep(0.1)
    assert monotonic() - began > 0.6
    gevent.sleep(0.2)  # the time for the peer's FIN begins when the last byte is sent
    assert b"".join(received) + peer.read_to_end() == stream(2_000_000)
    peer.close()
    recorder.wait_for("close")
    assert socket.unsent == 0


def test_without_close_timeout_the_peer_is_waited_for(serve: Serve, dial: Dial) -> None:
    recorder = Recorder()
    peer = dial(serve(recorder.handlers, close_timeout=None))
    (socket,) = recorder.wait_for("open")
    socket.close()
    with pytest.raises(AssertionError):
        recorder.wait_for("close", timeout=0.7)
    peer.finish()
    recorder.wait_for("close")


# -- terminate -----------------------------------------------------------------------------------------------


def test_terminate_resets_at_once_and_tells_what_was_lost(stalled: Pair) -> None:
    socket, peer, recorder = stalled
    left = socket.buffered
    socket.terminate()
    assert socket.closed
    assert (socket.fileno(), socket.buffered, socket.unsent) == (-1, 0, left)
    assert recorder.events == ["open"], "`close` comes from a runner"
    assert recorder.wait_for("close") == (socket, None)
    assert socket.close_reason == "local"
    assert socket.bytes_written + socket.unsent == 1_000_000
    assert peer.is_reset()


def test_terminate_of_an_empty_queue_loses_nothing(pair: Pair) -> None:
    socket, peer, recorder = pair
    socket.terminate()
    recorder.wait_for("close")
    assert socket.unsent == 0
    assert peer.is_reset()


def test_terminate_drops_what_a_handler_wrote_just_before(serve: Serve, dial: Dial) -> None:
    def answer(socket: AnySocket, data: bytes) -> None:
        socket.write(b"never sent")
        socket.terminate()

    recorder = Recorder(data=answer)
    peer = dial(serve(recorder.handlers))
    peer.send(b"?")
    socket, _ = recorder.wait_for("close")
    assert (socket.bytes_written, socket.unsent) == (0, 10)
    assert peer.is_reset()


@pytest.mark.parametrize("before", ["end", "close"])
def test_terminate_after(before: str, stalled: Pair) -> None:
    socket, peer, recorder = stalled
    getattr(socket, before)()
    socket.terminate()
    assert socket.closed
    recorder.wait_for("close", timeout=0.25)
    assert socket.unsent > 0
    assert peer.is_reset()


def test_terminate_while_a_handler_sleeps(serve: Serve, dial: Dial) -> None:
    go_on = Event()
    recorder = Recorder(data=lambda socket, data: go_on.wait())
    peer = dial(serve(recorder.handlers))
    peer.send(b"?")
    socket, _ = recorder.wait_for("data")
    socket.terminate()
    assert peer.is_reset()
    turns()
    assert recorder.events == ["open", "data"]
    go_on.set()
    recorder.wait_for("close")


# -- half-open -----------------------------------------------------------------------------------------------


def test_the_end_of_the_peer_closes_gracefully(serve: Serve, dial: Dial) -> None:
    def answer(socket: AnySocket) -> None:
        assert socket.state is SocketState.OPEN
        turns()
        socket.write(stream(300_000))

    recorder = Recorder(end=answer)
    peer = dial(serve(recorder.handlers))
    peer.send(b"?")
    peer.finish()
    assert peer.read_to_end() == stream(300_000)
    socket, error = recorder.wait_for("close")
    assert (error, socket.close_reason, socket.unsent) == (None, "eof", 0)
    assert recorder.events == ["open", "data", "end", "close"]


@pytest.mark.parametrize("way", ["end", "close", "terminate"])
def test_the_end_handler_may_close_by_itself(way: str, serve: Serve, dial: Dial) -> None:
    recorder = Recorder(end=lambda socket: getattr(socket, way)())
    peer = dial(serve(recorder.handlers))
    peer.finish()
    socket, error = recorder.wait_for("close")
    assert recorder.events == ["open", "end", "close"]
    assert (error, socket.close_reason) == (None, "eof")
    assert peer.is_reset() == (way == "terminate")


def test_with_allow_half_open_the_socket_lives_on_after_the_end_of_the_peer(serve: Serve, dial: Dial) -> None:
    recorder = Recorder()
    peer = dial(serve(recorder.handlers, allow_half_open=True))
    peer.send(b"request")
    peer.finish()
    (socket,) = recorder.wait_for("end")
    turns()
    assert socket.state is SocketState.OPEN
    assert socket.close_reason is None
    for position in range(0, 500_000, 100_000):
        socket.write(stream(100_000, position))
        turns()
    socket.end()
    assert peer.read_to_end() == stream(500_000)
    assert recorder.wait_for("close") == (socket, None)
    assert [event for event in recorder.events if event != "drain"] == ["open", "data", "end", "close"]


def test_with_allow_half_open_a_socket_that_has_ended_closes_at_the_end_of_the_peer(serve: Serve, dial: Dial) -> None:
    recorder = Recorder()
    peer = dial(serve(recorder.handlers, allow_half_open=True))
    (socket,) = recorder.wait_for("open")
    socket.end(b"bye")
    assert peer.read_to_end() == b"bye"
    peer.send(b"you too")
    peer.finish()
    recorder.wait_for("close")
    assert recorder.events == ["open", "data", "close"]


def test_a_peer_that_ends_before_it_reads_gets_everything(stalled: Pair) -> None:
    socket, peer, recorder = stalled
    peer.finish()
    received = peer.read_exactly(900_000)
    turns()
    received += peer.read_to_end()
    assert received == stream(1_000_000)
    recorder.wait_for("close")
    assert (socket.close_reason, socket.unsent) == ("eof", 0)


def test_a_peer_that_has_ended_costs_no_turns(serve: Serve, dial: Dial) -> None:
    recorder = Recorder()
    peer = dial(serve(recorder.handlers, allow_half_open=True))
    peer.finish()
    recorder.wait_for("end")
    loop = gevent.get_hub().loop
    before = loop.iteration
    gevent.sleep(0.1)
    assert loop.iteration - before < 50


# -- the client of rule 5 ------------------------------------------------------------------------------------


def test_a_peer_that_sends_and_ends_gives_open_data_end_close(serve: Serve, dial: Dial) -> None:
    recorder = Recorder()
    server = serve(recorder.handlers)
    for _ in range(50):
        recorder.log.clear()
        with dial(server) as peer:
            peer.send(b"all")
            peer.finish()
            assert peer.read_to_end() == b""
        recorder.wait_for("close")
        assert recorder.events == ["open", "data", "end", "close"]
        assert recorder.received == b"all"

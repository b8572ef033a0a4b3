"""From the queue to the kernel in TLS, which has words of its own to send: session tickets, and its goodbye.

The kernel is filled behind the back of the socket, with bytes that are none of TLS and that the peer takes out again.
"""

import os
from pathlib import Path
from typing import Any

import pytest
from gevent.event import Event

import greensock
from connections import AnySocket, echoing, few_turns, turns
from greensock import CloseReason, SocketState
from greensock.state import EOF_READ
from greensock.testing import Recorder, Serve, wait_until
from tls_peer import SecurePeer, credentials, stuff, unstuff

Shaken = tuple[AnySocket, SecurePeer]


def listen(serve: Serve, path: Path, recorder: Recorder, **options: Any) -> greensock.Server:
    """Over a unix socket, whose capacity does not change as long as nobody reads."""
    return serve(recorder.handlers, f"unix:{path}/s", tls=greensock.TLS(**credentials()), **options)


@pytest.fixture
def recorder() -> Recorder:
    return echoing()


@pytest.fixture
def shaken(serve: Serve, tmp_path: Path, recorder: Recorder) -> tuple[AnySocket, SecurePeer]:
    """An open socket that TLS has nothing more to say to, and its peer."""
    server = listen(serve, tmp_path, recorder, close_timeout=None)
    peer = SecurePeer(server.address)
    assert peer.exchange(b"x") == b"x"
    return recorder.sockets[0], peer


def test_a_goodbye_waits_for_room_and_fin_for_the_goodbye(shaken: Shaken, recorder: Recorder) -> None:
    socket, peer = shaken
    with peer:
        stuffed = stuff(socket)
        socket.end()
        assert socket._wire.backlog is not None
        with few_turns():
            turns()
        unstuff(peer, stuffed)
        assert peer.read_to_end() == b"", "close_notify"
        assert peer.socket.recv(1) == b"", "FIN"
        with few_turns():
            turns()
        peer.finish()
        recorder.wait_for("close")
    assert socket.close_reason is CloseReason.LOCAL


def test_what_closes_because_its_peer_has_ended_says_goodbye_first(shaken: Shaken, recorder: Recorder) -> None:
    socket, peer = shaken
    with peer:
        stuffed = stuff(socket)
        peer.finish()
        recorder.wait_for("end")
        turns()
        assert socket.state is SocketState.CLOSING
        unstuff(peer, stuffed)
        assert peer.read_to_end() == b""
        assert peer.socket.recv(1) == b""
        recorder.wait_for("close")
    assert socket.close_reason is CloseReason.EOF


@pytest.mark.parametrize("way", ["end", "close"])
def test_a_peer_that_ends_while_the_goodbye_waits_for_room_gets_it(
    way: str, shaken: Shaken, recorder: Recorder
) -> None:
    """It would take what it has got for cut off, although all of it is there."""
    socket, peer = shaken
    with peer:
        stuffed = stuff(socket)
        getattr(socket, way)()
        peer.finish()
        wait_until(lambda: socket._flags & EOF_READ)
        with few_turns():
            turns()
        unstuff(peer, stuffed)
        assert peer.read_to_end() == b"", "close_notify"
        assert peer.socket.recv(1) == b"", "FIN"
        recorder.wait_for("close")
    assert socket.close_reason is CloseReason.LOCAL


@pytest.mark.parametrize("way", ["end", "close"])
@pytest.mark.parametrize("first", ["the peer", "this side"])
def test_a_goodbye_waits_for_room_no_longer_than_close_timeout(
    first: str, way: str, serve: Serve, tmp_path: Path, recorder: Recorder
) -> None:
    server = listen(serve, tmp_path, recorder, close_timeout=0.1, allow_half_open=True)
    with SecurePeer(server.address) as peer:
        assert peer.exchange(b"x") == b"x"
        (socket,) = recorder.sockets
        stuff(socket)
        if first == "the peer":
            peer.finish()
            recorder.wait_for("end")
        getattr(socket, way)()
        if first == "this side":
            peer.finish()
        recorder.wait_for("close")
    assert socket.close_reason is CloseReason.LOCAL


@pytest.mark.parametrize("first", ["the peer", "this side"])
def test_a_session_that_has_ended_leaves_no_goodbye_waiting_for_ever(first: str, serve: Serve, tmp_path: Path) -> None:
    def handle(socket: AnySocket) -> None:
        stuff(socket)
        if first == "this side":
            socket.end()
            peer.finish()
        assert socket.recv() == b""
        socket.end()
        gone.wait()

    gone = Event()
    recorder = Recorder(handle=handle)
    server = listen(serve, tmp_path, recorder, close_timeout=0.1)
    with SecurePeer(server.address, shake=False) as peer:
        peer.shake_hands()
        if first == "the peer":
            peer.finish()
        wait_until(lambda: not server.sockets and server.stats().accepted)
        gone.set()
        recorder.wait_for("close")


def test_a_peer_that_leaves_before_the_goodbye_has_room(shaken: Shaken, recorder: Recorder) -> None:
    socket, peer = shaken
    with peer:
        stuff(socket)
        socket.end()
    assert recorder.wait_for("close") == (socket, None)
    assert socket.close_reason is CloseReason.LOCAL


@pytest.mark.parametrize("corked", [False, True])
def test_what_is_written_while_the_tickets_wait_for_room_comes_once_and_after_them(
    corked: bool, serve: Serve, tmp_path: Path, recorder: Recorder
) -> None:
    server = listen(serve, tmp_path, recorder)
    with SecurePeer(server.address, shake=False) as peer:
        peer.send_raw(peer.hello())
        peer.feed()
        (socket,) = server._shared.handshaking
        stuffed = stuff(socket)
        peer.shake_hands()
        recorder.wait_for("open")
        turns()
        assert socket._wire.backlog is not None
        if corked:
            with socket.cork():
                socket.write(b"hel")
                unstuff(peer, stuffed)
                wait_until(lambda: socket._wire.backlog is None)
                turns()
                assert socket.bytes_written == 0, "a cork holds also what comes behind words of TLS"
                socket.write(b"lo")
        else:
            socket.write(b"hello")
            turns()
            unstuff(peer, stuffed)
        peer.finish()
        assert peer.read_to_end() == b"hello"
        recorder.wait_for("close")
    assert (socket.bytes_written, socket.unsent) == (5, 0)


def test_what_waits_behind_the_tickets_is_counted_as_the_kernel_takes_it(
    serve: Serve, tmp_path: Path, recorder: Recorder
) -> None:
    server = listen(serve, tmp_path, recorder)
    with SecurePeer(server.address, shake=False) as peer:
        peer.send_raw(peer.hello())
        peer.feed()
        (socket,) = server._shared.handshaking
        stuffed = stuff(socket)
        peer.shake_hands()
        recorder.wait_for("open")
        turns()
        text = os.urandom(1_000_000)
        assert not socket.write(text)
        turns()
        assert (socket.buffered, socket.bytes_written) == (len(text), 0)
        unstuff(peer, stuffed)
        assert peer.read_exactly(len(text)) == text
        recorder.wait_for("drain")
        assert (socket.buffered, socket.bytes_written) == (0, len(text))
        socket.end(b"end")
        assert peer.read_to_end() == b"end"
        peer.finish()
        recorder.wait_for("close")

"""A peer does exactly what it is told."""

import socket as sockets
from typing import Any

import pytest

from greensock.testing import Dial, Peer, Recorder, Serve, wait_until


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


def test_a_peer_that_waits_in_vain_tells_what_came(serve: Serve, dial: Dial) -> None:
    recorder = Recorder(open=lambda socket: socket.write(b"abc"))
    peer = dial(serve(recorder.handlers))
    assert peer.read(1) == b"a"
    peer.socket.settimeout(0.01)
    with pytest.raises(TimeoutError, match="2 bytes are missing after 2: b'bc'"):
        peer.read_exactly(4)


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

"""``examples/proxy.py``: what goes in at one end comes out at the other, no faster than it is taken."""

from collections.abc import Callable
from typing import Any

import gevent
import pytest

from connections import stream
from greensock.testing import Peer, Recorder, Serve, wait_until
from program import Launch

Through = Callable[..., Peer]


@pytest.fixture
def through(example: Launch, serve: Serve) -> Through:
    """A function that connects to a server of these handlers, through the proxy."""

    def connect(handlers: object, *, receive_buffer: int | None = None, **options: Any) -> Peer:
        server = serve(handlers, **options)
        proxy = example("proxy", "127.0.0.1:0", f"127.0.0.1:{server.port}")
        return Peer(proxy.address(), receive_buffer=receive_buffer)

    return connect


def test_both_directions_at_once(through: Through) -> None:
    size = 5_000_000
    with through({"data": lambda socket, data: socket.write(data)}) as peer:
        sending = gevent.spawn(peer.send, stream(size))
        assert peer.read_exactly(size) == stream(size)
        sending.get()


def test_a_half_closed_connection_goes_on_the_other_way(through: Through) -> None:
    got: list[bytes] = []

    def end(socket: Any) -> None:
        socket.end(b"%d bytes" % len(b"".join(got)))

    handlers = {"data": lambda socket, data: got.append(data), "end": end}
    with through(handlers, allow_half_open=True) as peer:
        peer.send(stream(100_000))
        peer.finish()
        assert peer.read_to_end() == b"100000 bytes"
    assert b"".join(got) == stream(100_000)


def test_the_targets_end_is_passed_on_too(through: Through) -> None:
    recorder = Recorder(open=lambda socket: socket.end(b"bye"))
    with through(recorder.handlers, allow_half_open=True) as peer:
        assert peer.read_to_end() == b"bye"
        peer.send(b"thanks")
        peer.finish()
        recorder.wait_for("close")
    assert recorder.received == b"thanks"


def test_a_target_that_does_not_read_stops_the_sender(through: Through) -> None:
    recorder = Recorder(open=lambda socket: socket.pause())
    with through(recorder.handlers) as peer:
        sent = 0
        peer.socket.settimeout(0.5)
        with pytest.raises(TimeoutError):
            while True:
                sent += peer.socket.send(stream(100_000, sent))
        assert sent < 40_000_000, "the kernel's buffers, and little more"
        recorder.wait_for("open")
        recorder.sockets[0].resume()
        wait_until(lambda: len(recorder.received) == sent)
        assert recorder.received == stream(sent)


def test_a_client_that_does_not_read_stops_the_target(through: Through) -> None:
    size = 50_000_000

    def data(socket: Any, data: bytes) -> None:
        for start in range(0, size, 1_000_000):
            socket.write(stream(1_000_000, start))

    recorder = Recorder(data=data)
    with through(recorder.handlers, receive_buffer=65536) as peer:
        peer.send(b"go")
        recorder.wait_for("data")
        (socket,) = recorder.sockets
        before = -1
        while before != socket.bytes_written:
            before = socket.bytes_written
            gevent.sleep(0.3)
        assert before < size, "the proxy has not taken all of it"
        assert peer.read_exactly(size) == stream(size)


@pytest.mark.parametrize("from_target", [False, True])
def test_a_reset_is_passed_on(from_target: bool, through: Through) -> None:
    recorder = Recorder(data=lambda socket, data: socket.terminate() if from_target else socket.write(data))
    with through(recorder.handlers) as peer:
        peer.send(b"x")
        if from_target:
            assert peer.is_reset()
        else:
            assert peer.read() == b"x"
            peer.reset()
        error = recorder.wait_for("close")[1]
    assert from_target or isinstance(error, ConnectionResetError)


def test_a_target_that_refuses_ends_the_connection_and_not_the_proxy(example: Launch, serve: Serve) -> None:
    server = serve({"data": print})
    proxy = example("proxy", "127.0.0.1:0", f"127.0.0.1:{server.port}")
    address = proxy.address()
    server.stop()
    for _ in range(2):
        try:
            with Peer(address) as peer:
                assert peer.is_reset()
        except ConnectionResetError:
            pass  # it came before the peer had seen that it was connected

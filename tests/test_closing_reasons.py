"""``close_reason`` and the argument of ``close``, for each way in which a connection ends."""

from collections.abc import Callable

import gevent
import pytest

from connections import AnySocket, narrow_listener, stream, turns, wait_for_kernel, wait_until_steady
from greensock import CloseReason, SlowConsumer, SocketClosed
from greensock.testing import Dial, Peer, Recorder, Serve, wait_until

#: What each option is for the ends below: short clocks, a small limit.
OPTIONS = {"write_timeout": 0.2, "close_timeout": 0.2, "max_buffered": 500_000}


def fail(socket: AnySocket, data: bytes) -> None:
    raise LookupError("on purpose")


def peer_resets(socket: AnySocket, peer: Peer) -> None:
    peer.reset()


def peer_resets_and_a_write_notices(socket: AnySocket, peer: Peer) -> None:
    socket.pause()
    peer.reset()
    wait_for_kernel(socket, reset=True)
    socket.write(b"?")


def own_end(socket: AnySocket, peer: Peer) -> None:
    socket.end()
    peer.read_to_end()
    peer.finish()


def own_close(socket: AnySocket, peer: Peer) -> None:
    socket.close()
    peer.finish()


def handler_raises(socket: AnySocket, peer: Peer) -> None:
    socket.reload({**recorder_of(socket).handlers, "data": fail})
    peer.send(b"?")


def idle(socket: AnySocket, peer: Peer) -> None:
    socket.idle_timeout = 0.1


def too_slow(socket: AnySocket, peer: Peer) -> None:
    socket.write(bytes(1_000_000))
    socket.write(b"one too many")


def takes_nothing(socket: AnySocket, peer: Peer) -> None:
    socket.write(bytes(1_000_000))


def server_drains(socket: AnySocket, peer: Peer) -> None:
    gevent.spawn(socket.server.stop, close_active=True).join()
    peer.finish()


def server_stops(socket: AnySocket, peer: Peer) -> None:
    socket.server.stop(0)


def recorder_of(socket: AnySocket) -> Recorder:
    recorder = socket.data
    assert isinstance(recorder, Recorder)
    return recorder


@pytest.mark.parametrize(
    ("end", "reason", "error"),
    [
        (lambda socket, peer: peer.finish(), CloseReason.EOF, None),
        (own_end, CloseReason.LOCAL, None),
        (own_close, CloseReason.LOCAL, None),
        (lambda socket, peer: socket.close(), CloseReason.LOCAL, None),
        (lambda socket, peer: socket.terminate(), CloseReason.LOCAL, None),
        (peer_resets, CloseReason.RESET, ConnectionResetError),
        (peer_resets_and_a_write_notices, CloseReason.RESET, ConnectionError),
        (idle, CloseReason.TIMEOUT, None),
        (takes_nothing, CloseReason.TIMEOUT, TimeoutError),
        (too_slow, CloseReason.SLOW_CONSUMER, SlowConsumer),
        (handler_raises, CloseReason.HANDLER_ERROR, LookupError),
        (server_drains, CloseReason.STOPPED, None),
        (server_stops, CloseReason.STOPPED, None),
    ],
    ids=[
        *("eof", "end", "close", "close-without-answer", "terminate", "reset", "reset-seen-by-a-write", "idle"),
        *("write-timeout", "slow-consumer", "handler-error", "drain", "stop"),
    ],
)
def test_reason_and_error(
    end: Callable[[AnySocket, Peer], None],
    reason: CloseReason,
    error: type[Exception] | None,
    serve: Serve,
    dial: Dial,
) -> None:
    recorder = Recorder(open=lambda socket: setattr(socket, "data", recorder))
    peer = dial(serve(recorder.handlers, narrow_listener(), **OPTIONS), receive_buffer=4096)
    (socket,) = recorder.wait_for("open")
    assert socket.close_reason is None
    end(socket, peer)
    _, given = recorder.wait_for("close")
    assert socket.close_reason is reason
    assert given is None if error is None else isinstance(given, error)
    assert recorder.events[-1] == "close"


def test_the_reasons_are_strings() -> None:
    assert [str(reason) for reason in CloseReason] == [
        *("eof", "local", "reset", "timeout", "truncated", "slow-consumer", "protocol", "handler-error", "stopped")
    ]


# -- the first cause ------------------------------------------------------------------------------------------


@pytest.mark.parametrize("own", ["end", "close"])
def test_a_reset_after_an_own_end_changes_nothing(own: str, serve: Serve, dial: Dial) -> None:
    recorder = Recorder()
    peer = dial(serve(recorder.handlers))
    (socket,) = recorder.wait_for("open")
    getattr(socket, own)()
    peer.reset()
    assert recorder.wait_for("close") == (socket, None)
    assert socket.close_reason is CloseReason.LOCAL


def test_a_reset_after_the_idle_timeout_changes_nothing(serve: Serve, dial: Dial) -> None:
    recorder = Recorder()
    server = serve(recorder.handlers, narrow_listener(), idle_timeout=0.2, close_timeout=None)
    peer = dial(server, receive_buffer=4096)
    (socket,) = recorder.wait_for("open")
    socket.write(bytes(1_000_000))
    recorder.wait_for("timeout")
    turns()
    peer.reset()
    assert recorder.wait_for("close") == (socket, None)
    assert socket.close_reason is CloseReason.TIMEOUT


def test_a_reset_after_the_end_of_the_peer_changes_nothing(serve: Serve, dial: Dial) -> None:
    def answer(socket: AnySocket) -> None:
        peer.reset()
        wait_for_kernel(socket, reset=True)
        socket.write(b"too late")

    recorder = Recorder(end=answer)
    peer = dial(serve(recorder.handlers))
    peer.finish()
    socket, error = recorder.wait_for("close")
    assert (error, socket.close_reason) == (None, CloseReason.EOF)
    assert socket.unsent == 8


def test_a_handler_that_raises_after_it_closed_changes_nothing(serve: Serve, dial: Dial) -> None:
    def answer(socket: AnySocket, data: bytes) -> None:
        socket.close()
        raise LookupError

    recorder = Recorder(data=answer)
    peer = dial(serve(recorder.handlers))
    peer.send(b"?")
    socket, error = recorder.wait_for("close")
    assert (error, socket.close_reason) == (None, CloseReason.LOCAL)


def test_a_write_timeout_after_an_own_end_changes_nothing(serve: Serve, dial: Dial) -> None:
    recorder = Recorder()
    peer = dial(serve(recorder.handlers, narrow_listener(), write_timeout=0.2), receive_buffer=4096)
    (socket,) = recorder.wait_for("open")
    socket.write(stream(1_000_000))
    wait_until_steady(socket)
    socket.end()
    assert recorder.wait_for("close") == (socket, None)
    assert socket.close_reason is CloseReason.LOCAL
    assert socket.unsent > 0
    assert peer.is_reset()


# -- what use of a socket raises afterwards --------------------------------------------------------------------


def test_what_the_network_ended_says_so(serve: Serve, dial: Dial) -> None:
    recorder = Recorder()
    peer = dial(serve(recorder.handlers))
    (socket,) = recorder.wait_for("open")
    peer.reset()
    _, error = recorder.wait_for("close")
    with pytest.raises(SocketClosed, match="reset by peer") as caught:
        socket.write(b".")
    assert caught.value.__cause__ is error
    assert caught.value.socket is socket
    assert isinstance(caught.value, ConnectionError)


def test_what_this_side_ended_says_so(serve: Serve, dial: Dial) -> None:
    recorder = Recorder()
    peer = dial(serve(recorder.handlers))
    (socket,) = recorder.wait_for("open")
    socket.end()
    peer.finish()
    wait_until(lambda: socket.closed)
    with pytest.raises(SocketClosed, match="is closed") as caught:
        socket.write(b".")
    assert caught.value.__cause__ is None
    assert caught.value.socket is None

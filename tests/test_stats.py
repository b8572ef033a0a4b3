"""``Server.stats()``: each number is caused, and then seen."""

import dataclasses
import json
from pathlib import Path
from time import time
from typing import Any

import gevent
import gevent.event
import pytest

import greensock
from greensock.testing import Dial, Peer, Recorder, Serve, wait_until

FIELDS = {
    *("connections", "accepted", "closed", "refused", "bytes_read", "bytes_written", "messages_read"),
    *("messages_written", "buffered", "buffered_peak", "drains", "timeouts", "errors", "slow_consumers"),
    *("handlers_running", "handshakes", "handshake_failures", "started_at"),
}


def echoing(**behaviour: Any) -> Recorder:
    return Recorder(data=lambda socket, data: socket.write(data), **behaviour)


def test_a_server_starts_to_count_at_zero(serve: Serve) -> None:
    before = time()
    server = serve(echoing().handlers)
    numbers = server.stats().as_dict()
    assert numbers.keys() == FIELDS
    assert before <= numbers.pop("started_at") <= time()
    assert set(numbers.values()) == {0}


def test_stats_are_a_dataclass_and_a_snapshot(serve: Serve, dial: Dial) -> None:
    recorder = echoing()
    server = serve(recorder.handlers)
    before = server.stats()
    assert dataclasses.is_dataclass(before)
    assert isinstance(before, greensock.Stats)
    dial(server)
    recorder.wait_for("open")
    assert (before.accepted, server.stats().accepted) == (0, 1)
    with pytest.raises(AttributeError):
        before.accepted = 5  # type: ignore[misc]


def test_as_dict_is_json(serve: Serve, dial: Dial) -> None:
    server = serve(echoing().handlers)
    dial(server).exchange(b"hello")
    stats = server.stats()
    assert json.loads(json.dumps(stats.as_dict())) == stats.as_dict() == dataclasses.asdict(stats)


def test_connections_accepted_and_closed(serve: Serve, dial: Dial) -> None:
    recorder = echoing()
    server = serve(recorder.handlers)
    peers = [dial(server) for _ in range(5)]
    recorder.wait_for("open", 5)
    for peer in peers[:3]:
        peer.close()
    recorder.wait_for("close", 3)
    stats = server.stats()
    assert (stats.connections, stats.accepted, stats.closed, stats.refused) == (2, 5, 3, 0)


def test_bytes_and_messages_of_open_and_of_closed_sockets(serve: Serve, dial: Dial) -> None:
    recorder = Recorder(data=lambda socket, data: [socket.write(b"ab"), socket.writelines([b"c", b"d", b"e"])])
    server = serve(recorder.handlers)
    for peers in (1, 2, 3):
        peer = dial(server)
        for _ in range(4):
            peer.send(b"question")
            assert peer.read_exactly(5) == b"abcde"
        stats = server.stats()
        assert (stats.bytes_read, stats.bytes_written) == (4 * peers * 8, 4 * peers * 5)
        assert (stats.messages_read, stats.messages_written) == (4 * peers, 4 * peers * 2)
        if peers == 2:
            peer.reset()
            recorder.wait_for("close")
            assert server.stats().bytes_read == stats.bytes_read


def test_bytes_that_could_not_be_delivered_are_not_written(serve: Serve, dial: Dial) -> None:
    size = 8 << 20
    recorder = Recorder(open=lambda socket: socket.write(bytes(size)))
    server = serve(recorder.handlers)
    dial(server, receive_buffer=4096)
    (accepted,) = recorder.wait_for("open")
    accepted.terminate()
    recorder.wait_for("close")
    stats = server.stats()
    assert 0 < stats.bytes_written == size - accepted.unsent < size
    assert stats.messages_written == 1


def test_buffered_its_peak_and_drains(serve: Serve, dial: Dial) -> None:
    size = 4 << 20
    recorder = Recorder(open=lambda socket: socket.write(bytes(size)))
    server = serve(recorder.handlers)
    peers = [dial(server, receive_buffer=4096), dial(server, receive_buffer=4096)]
    recorder.wait_for("open", 2)
    stats = server.stats()
    assert stats.buffered == sum(accepted.buffered for accepted in recorder.sockets) > 0
    assert stats.buffered_peak >= stats.buffered
    assert stats.drains == 0
    for peer in peers:
        peer.read_exactly(size)
    recorder.wait_for("drain", 2)
    later = server.stats()
    assert (later.buffered, later.drains) == (0, 2)
    assert later.buffered_peak == stats.buffered_peak
    assert later.bytes_written == 2 * size


def test_buffered_forgets_what_a_dead_connection_had_queued(serve: Serve, dial: Dial) -> None:
    recorder = Recorder(open=lambda socket: socket.write(bytes(8 << 20)))
    server = serve(recorder.handlers)
    peer = dial(server, receive_buffer=4096)
    wait_until(lambda: server.stats().buffered > 0)
    peer.reset()
    recorder.wait_for("close")
    assert server.stats().buffered == 0


def test_timeouts_of_the_idle_clock(serve: Serve, dial: Dial) -> None:
    recorder = echoing()
    server = serve(recorder.handlers, idle_timeout=0.02)
    with dial(server) as peer:
        assert peer.read() == b""
    recorder.wait_for("close")
    assert server.stats().timeouts == 1


def test_timeouts_of_writing(serve: Serve, dial: Dial) -> None:
    recorder = Recorder(open=lambda socket: socket.write(bytes(8 << 20)))
    server = serve(recorder.handlers, write_timeout=0.05)
    dial(server, receive_buffer=4096)
    recorder.wait_for("close")
    assert server.stats().timeouts == 1


@pytest.mark.parametrize("handled", [True, False])
def test_errors_are_exceptions_of_handlers(serve: Serve, dial: Dial, handled: bool) -> None:
    def fails(*args: object) -> None:
        raise ValueError("on purpose")

    behaviour: dict[str, Any] = {"open": fails, "data": fails, "close": fails}
    if handled:
        behaviour["error"] = lambda socket, error: None
    recorder = Recorder(**behaviour)
    server = serve(recorder.handlers)
    with dial(server) as peer:
        if handled:
            peer.send(b"hello")
            recorder.wait_for("data")
    recorder.wait_for("close")
    assert server.stats().errors == (3 if handled else 2)


def test_an_error_handler_that_raises_is_one_more_error(serve: Serve, dial: Dial) -> None:
    def fails(*args: object) -> None:
        raise ValueError("on purpose")

    recorder = Recorder(data=fails, error=fails)
    server = serve(recorder.handlers)
    dial(server).send(b"hello")
    recorder.wait_for("close")
    assert server.stats().errors == 2


def test_a_peer_that_resets_is_no_error(serve: Serve, dial: Dial) -> None:
    recorder = echoing()
    server = serve(recorder.handlers)
    peer = dial(server)
    recorder.wait_for("open")
    peer.reset()
    recorder.wait_for("close")
    assert server.stats().errors == 0


@pytest.mark.parametrize("slow_consumer", ["close", "raise"])
def test_slow_consumers(serve: Serve, dial: Dial, slow_consumer: str) -> None:
    recorder = Recorder()
    server = serve(recorder.handlers, slow_consumer=slow_consumer)
    dial(server, receive_buffer=4096)
    (accepted,) = recorder.wait_for("open")
    accepted.write(bytes(8 << 20))
    try:
        accepted.write(b"more")
    except greensock.WriteQueueFull:
        assert slow_consumer == "raise"
    assert server.stats().slow_consumers == 1


def test_handlers_running_are_those_that_block_and_the_one_that_asks(serve: Serve, dial: Dial) -> None:
    gate = gevent.event.Event()
    asked = []

    def data(socket: Any, data: bytes) -> None:
        if data == b"wait":
            gate.wait()
        else:
            asked.append(socket.server.stats().handlers_running)

    recorder = Recorder(data=data)
    server, other = serve(recorder.handlers), serve(recorder.handlers)
    for _ in range(3):
        dial(server).send(b"wait")
    recorder.wait_for("data", 3)
    assert server.stats().handlers_running == 3
    assert other.stats().handlers_running == 0, "each server counts its own"
    dial(server).send(b"ask")
    wait_until(lambda: asked)
    assert asked == [4]
    gate.set()
    wait_until(lambda: server.stats().handlers_running == 0)


def test_counters_that_need_tls_stay_at_zero_without_it(serve: Serve, dial: Dial) -> None:
    recorder = echoing()
    server = serve(recorder.handlers)
    with dial(server) as peer:
        peer.exchange(b"hello")
    recorder.wait_for("close")
    stats = server.stats()
    assert (stats.handshakes, stats.handshake_failures, stats.refused) == (0, 0, 0)


def test_started_at_is_the_last_start_and_the_totals_go_on(serve: Serve) -> None:
    recorder = echoing()
    server = serve(recorder.handlers)
    first = server.stats().started_at
    assert first
    with Peer(server.address) as peer:
        peer.exchange(b"hello")
    server.stop(0)
    assert server.stats().started_at == first
    server.start()
    assert (server.stats().started_at or 0) > first
    assert server.stats().bytes_read == 5


def test_unix_connections_are_counted_alike(serve: Serve, tmp_path: Path) -> None:
    recorder = echoing()
    server = serve(recorder.handlers, f"unix:{tmp_path}/socket")
    with Peer(server.address) as peer:
        peer.exchange(b"hello")
    recorder.wait_for("close")
    stats = server.stats()
    assert (stats.accepted, stats.closed, stats.bytes_read, stats.bytes_written) == (1, 1, 5, 5)

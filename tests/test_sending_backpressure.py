"""Peers that do not read, or slowly: memory stays bounded, fast loops wait, broadcasts go on, nothing is lost."""

from pathlib import Path

import gevent
import pytest
from gevent.event import Event

from connections import AnySocket, attempt, fill_kernel, open_narrow, stream, turns, wait_until_steady
from greensock import CloseReason, SlowConsumer, SocketClosed, WriteQueueFull
from greensock.testing import Dial, Recorder, Serve, wait_until

KIB = 1024
MIB = 1024 * 1024


# -- the socket's own queue stops its reading --------------------------------------------------------------


def test_while_the_queue_is_over_its_mark_nothing_is_delivered_or_read(serve: Serve, dial: Dial) -> None:
    recorder = Recorder(data=lambda socket, data: socket.write(bytes(200_000 if data == b"1" else 1)))
    socket, peer = open_narrow(serve, dial, recorder)
    peer.send(b"1")
    recorder.wait_for("data")
    peer.send(b"2")
    wait_until_steady(socket)
    assert socket.buffered > 65_536
    assert recorder.received == b"1"
    assert socket.bytes_read == 1, "nor was it taken from the kernel"
    while recorder.received == b"1":
        assert socket.buffered > 65_536
        peer.read_exactly(5000)
        turns(20)
    assert socket.buffered <= 65_537
    assert recorder.received == b"12"


def test_a_broadcast_over_the_mark_stops_the_reading_too(serve: Serve, dial: Dial) -> None:
    recorder = Recorder()
    socket, peer = open_narrow(serve, dial, recorder)
    socket.write(bytes(200_000))
    peer.send(b"1")
    wait_until_steady(socket)
    assert recorder.received == b""
    peer.read_exactly(200_000)
    recorder.wait_for("data")


def test_a_queue_at_its_mark_is_read_on(serve: Serve, dial: Dial, tmp_path: Path) -> None:
    recorder = Recorder()
    peer = dial(serve(recorder.handlers, f"unix:{tmp_path}/s", high_water_mark=MIB))
    (socket,) = recorder.wait_for("open")
    fill_kernel(socket)
    assert socket.write(bytes(MIB - socket.buffered))
    assert socket.buffered == MIB
    peer.send(b"1")
    recorder.wait_for("data")
    assert not socket.write(b".")
    peer.send(b"2")
    wait_until_steady(socket)
    assert recorder.received == b"1"


def test_a_peer_that_asks_and_never_reads_costs_bounded_memory(serve: Serve, dial: Dial) -> None:
    recorder = Recorder(data=lambda socket, data: socket.write(data * 100))
    socket, peer = open_narrow(serve, dial, recorder)
    flood = gevent.spawn(attempt, peer.send, bytes(20 * MIB))
    wait_until(lambda: socket.buffered > 65_536)
    wait_until_steady(socket)
    assert not flood.ready(), "the peer is held up"
    assert socket.server.stats().buffered_peak <= 65_536 + 100 * 120_000, "the mark and the answer to one read"
    assert socket.bytes_read < 10 * MIB
    socket.terminate()
    assert isinstance(flood.get(), ConnectionError)


def test_a_handler_that_ignores_the_answers_of_write_loses_nothing(serve: Serve, dial: Dial) -> None:
    def answer(socket: AnySocket, data: bytes) -> None:
        for _ in data:
            socket.write(stream(10_000, socket.bytes_written + socket.buffered))

    recorder = Recorder(data=answer)
    socket, peer = open_narrow(serve, dial, recorder)
    peer.send(b"?" * 500)
    assert peer.read_exactly(5_000_000) == stream(5_000_000)
    assert socket.buffered == 0


# -- a loop in a handler waits for its peer -----------------------------------------------------------------


@pytest.mark.parametrize("peer_is", ["fast", "slow"])
def test_a_plain_loop_over_26_megabytes_just_works(peer_is: str, serve: Serve, dial: Dial) -> None:
    size, chunk = 26_000_000, 65_000

    def answer(socket: AnySocket, data: bytes) -> None:
        for position in range(0, size, chunk):
            socket.write(stream(chunk, position))
            peaks.append(socket.buffered)
        socket.end()

    peaks: list[int] = []
    recorder = Recorder(data=answer)
    if peer_is == "slow":
        _, peer = open_narrow(serve, dial, recorder)
    else:
        peer = dial(serve(recorder.handlers))
    peer.send(b"?")
    received = 0
    while part := peer.read(65_536 if peer_is == "fast" else 20_000):
        assert part == stream(len(part), received)
        received += len(part)
        gevent.sleep(0)
    assert received == size
    assert max(peaks) <= MIB + chunk


@pytest.mark.parametrize("way", ["write", "writelines"])
def test_a_write_of_the_own_handler_over_max_buffered_waits_for_the_low_mark(
    way: str, serve: Serve, dial: Dial
) -> None:
    def write(socket: AnySocket) -> None:
        socket.write(b"x" * 10) if way == "write" else socket.writelines([b"x" * 4, b"x" * 6])

    def answer(socket: AnySocket, data: bytes) -> None:
        socket.write(bytes(200_000))
        write(socket)
        seen.append(socket.buffered)
        socket.write(bytes(200_000))
        seen.append(socket.buffered)
        write(socket)
        seen.append(socket.buffered)

    seen: list[int] = []
    recorder = Recorder(data=answer)
    _, peer = open_narrow(serve, dial, recorder, high_water_mark=100_000, low_water_mark=20_000, max_buffered=250_000)
    peer.send(b"?")
    wait_until(lambda: len(seen) == 2)
    assert seen[0] > 100_000, "over its high mark, a write does not wait"
    assert seen[1] > 250_000, "nor one that finds less than the limit, however large it is"
    while len(seen) == 2:
        peer.read_exactly(5000)
        turns()
    assert 10 <= seen[2] <= 20_010, "one that finds more waits until the low mark"


def test_a_handler_that_has_blocked_before_waits_as_well(serve: Serve, dial: Dial) -> None:
    def answer(socket: AnySocket, data: bytes) -> None:
        gevent.sleep(0)
        for _ in range(30):
            socket.write(bytes(100_000))
        done.set()

    done = Event()
    recorder = Recorder(data=answer)
    socket, peer = open_narrow(serve, dial, recorder)
    peer.send(b"?")
    wait_until(lambda: socket.buffered > MIB)
    turns()
    assert not done.is_set()
    assert socket.buffered <= MIB + 100_000
    peer.read_exactly(3_000_000)
    wait_until(done.is_set)
    assert socket.server.stats().slow_consumers == 0


def test_others_go_on_while_a_handler_waits_for_its_peer(serve: Serve, dial: Dial) -> None:
    def answer(socket: AnySocket, data: bytes) -> None:
        if data == b"much":
            for _ in range(30):
                socket.write(bytes(100_000))
        else:
            socket.write(data)

    recorder = Recorder(data=answer)
    socket, peer = open_narrow(serve, dial, recorder)
    other = dial(socket.server)
    peer.send(b"much")
    wait_until(lambda: socket.buffered > MIB)
    assert other.exchange(b"ping") == b"ping"


@pytest.mark.parametrize("end", ["reset", "terminate"])
def test_a_waiting_write_ends_with_the_connection(end: str, serve: Serve, dial: Dial) -> None:
    def answer(socket: AnySocket, data: bytes) -> None:
        socket.write(bytes(2 * MIB))
        raised.append(attempt(socket.write, b"more"))

    raised: list[BaseException | None] = []
    recorder = Recorder(data=answer)
    socket, peer = open_narrow(serve, dial, recorder)
    peer.send(b"?")
    wait_until(lambda: socket.buffered > MIB)
    peer.reset() if end == "reset" else socket.terminate()
    recorder.wait_for("close")
    (error,) = raised
    assert isinstance(error, SocketClosed)
    assert socket.bytes_written + socket.unsent == 2 * MIB


@pytest.mark.parametrize("ending", ["end", "close", "terminate"])
def test_a_waiting_write_queues_nothing_after_somebody_else_ended_the_socket(
    ending: str, serve: Serve, dial: Dial
) -> None:
    def answer(socket: AnySocket, data: bytes) -> None:
        socket.write(stream(2 * MIB))
        enders.append(gevent.spawn(end_when_there_is_room, socket))
        turns()
        raised.append(attempt(socket.write, b"more"))

    def end_when_there_is_room(socket: AnySocket) -> None:
        socket.flush()  # wakes in the same turn as the write, and before it, since it has waited for longer
        getattr(socket, ending)()

    enders: list[gevent.Greenlet[..., None]] = []
    raised: list[BaseException | None] = []
    recorder = Recorder(data=answer)
    socket, peer = open_narrow(serve, dial, recorder, low_water_mark=0)
    peer.send(b"?")
    assert peer.read_exactly(2 * MIB) == stream(2 * MIB)
    wait_until(lambda: raised)
    enders[0].get()
    assert isinstance(raised[0], SocketClosed)
    assert socket.bytes_written == 2 * MIB
    assert socket.unsent == 0


# -- slow_consumer -------------------------------------------------------------------------------------------


def test_a_broadcast_to_a_slow_consumer_closes_the_connection(serve: Serve, dial: Dial) -> None:
    recorder = Recorder()
    socket, peer = open_narrow(serve, dial, recorder, max_buffered=500_000)
    assert not socket.write(bytes(1_000_000))
    assert recorder.events == ["open"]
    assert not socket.write(b"one too many")
    assert socket.closed
    _, error = recorder.wait_for("close")
    assert isinstance(error, SlowConsumer)
    assert "500000" in str(error)
    assert socket.close_reason is CloseReason.SLOW_CONSUMER
    assert socket.bytes_written + socket.unsent == 1_000_012
    assert socket.server.stats().slow_consumers == 1
    assert peer.is_reset()
    error_of_use = attempt(socket.write, b"more")
    assert isinstance(error_of_use, SocketClosed)
    assert socket.unsent + socket.bytes_written == 1_000_012
    assert recorder.events == ["open", "close"]


def test_what_waits_for_a_slow_consumer_gets_to_know(serve: Serve, dial: Dial) -> None:
    recorder = Recorder()
    socket, _ = open_narrow(serve, dial, recorder, max_buffered=500_000)
    socket.write(bytes(1_000_000))
    flushing = gevent.spawn(attempt, socket.flush)
    turns()
    socket.write(b"one too many")
    assert isinstance(flushing.get(timeout=2), SocketClosed)


@pytest.mark.parametrize("way", ["write", "writelines"])
def test_slow_consumer_raise_queues_nothing_and_keeps_the_connection(way: str, serve: Serve, dial: Dial) -> None:
    def write(data: bytes) -> None:
        socket.write(data) if way == "write" else socket.writelines([data[:1], data[1:]])

    recorder = Recorder()
    socket, peer = open_narrow(serve, dial, recorder, max_buffered=500_000, slow_consumer="raise")
    write(stream(1_000_000))
    queued = wait_until_steady(socket)
    for _ in range(3):
        with pytest.raises(WriteQueueFull, match="500000") as caught:
            write(b"one too many")
        assert isinstance(caught.value, BlockingIOError)
    assert socket.buffered == queued
    assert (socket.unsent, socket.server.stats().slow_consumers) == (0, 3)
    assert peer.read_exactly(1_000_000) == stream(1_000_000)
    write(b"again")
    assert peer.read_exactly(5) == b"again"
    assert "close" not in recorder.events


def test_a_queue_at_max_buffered_still_takes_a_write(serve: Serve, dial: Dial, tmp_path: Path) -> None:
    recorder = Recorder()
    options = {"max_buffered": 2_000_000, "slow_consumer": "raise"}
    dial(serve(recorder.handlers, f"unix:{tmp_path}/s", **options))
    (socket,) = recorder.wait_for("open")
    fill_kernel(socket)
    socket.write(bytes(2_000_000 - socket.buffered))
    assert socket.buffered == 2_000_000
    socket.write(bytes(1_000_000))
    assert socket.buffered == 3_000_000
    with pytest.raises(WriteQueueFull):
        socket.write(b".")


def test_a_slow_consumer_that_has_just_made_room_is_none(serve: Serve, dial: Dial, tmp_path: Path) -> None:
    recorder = Recorder()
    peer = dial(serve(recorder.handlers, f"unix:{tmp_path}/s", max_buffered=700_000))
    (socket,) = recorder.wait_for("open")
    assert fill_kernel(socket) > 700_000
    peer.socket.setblocking(False)
    while attempt(peer.socket.recv, 1_000_000) is None:
        pass  # the kernel has room, and without a turn of the loop nobody knows
    assert not socket.write(b"not too many")
    assert not socket.closed
    assert socket.unsent == 0


def test_a_child_of_the_handler_writes_from_elsewhere(serve: Serve, dial: Dial) -> None:
    def answer(socket: AnySocket, data: bytes) -> None:
        socket.write(bytes(2 * MIB))
        raised.append(gevent.spawn(attempt, socket.write, b"more").get())

    raised: list[BaseException | None] = []
    recorder = Recorder(data=answer)
    _, peer = open_narrow(serve, dial, recorder, slow_consumer="raise")
    peer.send(b"?")
    wait_until(lambda: raised)
    assert isinstance(raised[0], WriteQueueFull)


def test_the_handler_of_another_socket_writes_from_elsewhere(serve: Serve, dial: Dial) -> None:
    recorder = Recorder(data=lambda socket, data: victim.write(bytes(2 * MIB)))
    victim, victims_peer = open_narrow(serve, dial, recorder)
    peer = dial(victim.server)
    peer.send(b"?")
    recorder.wait_for("data")
    peer.send(b"?")
    socket, error = recorder.wait_for("close")
    assert socket is victim
    assert isinstance(error, SlowConsumer)
    assert victims_peer.is_reset()

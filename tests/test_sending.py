"""Writing: what ``write`` takes and answers, ``writelines``, ``sendall`` and ``end``."""

import ctypes
from array import array
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from connections import AnySocket, Pair, open_full, stream, turns
from greensock import SocketClosed, SocketState
from greensock.testing import Dial, Recorder, Serve, wait_until

#: Ways to write one thing.
WAYS: dict[str, Callable[[AnySocket, Any], object]] = {
    "write": lambda socket, data: socket.write(data),
    "writelines": lambda socket, data: socket.writelines([data]),
    "sendall": lambda socket, data: socket.sendall(data),
    "end": lambda socket, data: socket.end(data),
}


@pytest.fixture
def full(serve: Serve, dial: Dial, tmp_path: Path) -> Pair:
    """The same, of a peer that does not read and with a full kernel: what is written stays queued."""
    return open_full(serve, dial, tmp_path, high_water_mark=2_000_000, low_water_mark=500_000)


# -- what can be written ---------------------------------------------------------------------------------


@pytest.mark.parametrize("way", WAYS)
@pytest.mark.parametrize(
    ("data", "expected"),
    [
        pytest.param(b"bytes", b"bytes", id="bytes"),
        pytest.param(bytearray(b"bytearray"), b"bytearray", id="bytearray"),
        pytest.param(memoryview(b"memoryview"), b"memoryview", id="memoryview"),
        pytest.param(memoryview(b"a-b-c-d-")[::2], b"abcd", id="every-other-byte"),
        pytest.param(memoryview(b"abcd")[::-1], b"dcba", id="backwards"),
        pytest.param(array("H", [1, 2, 3]), array("H", [1, 2, 3]).tobytes(), id="array"),
        pytest.param(memoryview(array("I", [1, 2, 3])), array("I", [1, 2, 3]).tobytes(), id="multi-byte-items"),
        pytest.param(memoryview(array("I", [1, 2, 3, 4]))[::2], array("I", [1, 3]).tobytes(), id="every-other-item"),
        pytest.param(memoryview(b"abcdef").cast("B", (2, 3)), b"abcdef", id="two-dimensions"),
        pytest.param((ctypes.c_ubyte * 3)(7, 8, 9), b"\7\10\11", id="ctypes"),
        pytest.param("grün 綠", "grün 綠".encode(), id="str-as-utf-8"),
    ],
)
def test_everything_with_bytes_in_it_can_be_written(way: str, data: Any, expected: bytes, pair: Pair) -> None:
    socket, peer, _ = pair
    WAYS[way](socket, data)
    assert socket.buffered + socket.bytes_written == len(expected)
    socket.end()
    assert peer.read_to_end() == expected
    assert socket.bytes_written == len(expected)


@pytest.mark.parametrize("way", WAYS)
@pytest.mark.parametrize("data", [5, True, 1.5, [1, 2], [b"a"], {}, object])
def test_what_has_no_bytes_in_it_is_refused_and_nothing_is_queued(way: str, data: object, pair: Pair) -> None:
    socket, peer, _ = pair
    with socket.cork():
        socket.write(b"a")
        with pytest.raises(TypeError, match=f"bytes-like or str.* {type(data).__name__}"):
            WAYS[way](socket, data)
        assert socket.buffered == 1
        socket.write(b"b")
    assert socket.state is SocketState.OPEN
    socket.end()
    assert peer.read_to_end() == b"ab"


@pytest.mark.parametrize("way", ["write", "writelines", "sendall"])
def test_none_is_no_data(way: str, pair: Pair) -> None:
    socket, _, _ = pair
    with pytest.raises(TypeError):
        WAYS[way](socket, None)
    assert socket.buffered == socket.bytes_written == 0


def test_a_str_that_is_not_unicode_is_refused_and_nothing_is_queued(pair: Pair) -> None:
    socket, _, _ = pair
    with pytest.raises(UnicodeEncodeError):
        socket.write("half a pair: \ud800")
    assert socket.buffered == socket.bytes_written == 0


@pytest.mark.parametrize("way", ["write", "writelines", "sendall"])
def test_a_buffer_may_change_after_it_was_written(way: str, pair: Pair) -> None:
    socket, peer, _ = pair
    buffer = bytearray(b"before")
    with socket.cork():
        socket.write(b".")
        WAYS[way](socket, buffer)
        WAYS[way](socket, memoryview(buffer))
        buffer[:] = b"AFTER!"
        buffer.append(0)  # nor is it locked by a view
    socket.end()
    assert peer.read_to_end() == b".beforebefore"


@pytest.mark.parametrize("way", ["write", "writelines", "sendall"])
@pytest.mark.parametrize("empty", [b"", "", bytearray(), memoryview(b"")], ids=repr)
def test_empty_data_is_nothing(way: str, empty: Any, pair: Pair) -> None:
    socket, peer, _ = pair
    assert WAYS[way](socket, empty) in (True, None)
    turns()
    with socket.cork():
        WAYS[way](socket, empty)
        socket.write(b"a")
        WAYS[way](socket, empty)
        socket.write(b"b")
        WAYS[way](socket, empty)
    assert socket.buffered == 0
    socket.end(empty)
    assert peer.read_to_end() == b"ab"


def test_writes_of_all_kinds_keep_their_order(full: Pair) -> None:
    socket, peer, _ = full
    position = 1_000_000
    for size in [1, 70_000, 3, 4096, 4095, 200_000, 1, 0, 65_536] * 2:
        socket.write(stream(size, position))
        position += size
        middle = position + size // 2
        socket.writelines([stream(size // 2, position), stream(size - size // 2, middle)])
        position += size
    socket.end()
    assert peer.read_to_end() == stream(position)


# -- what write answers ----------------------------------------------------------------------------------


@pytest.mark.parametrize("way", ["write", "writelines"])
def test_a_queue_is_over_only_above_its_high_water_mark(way: str, full: Pair) -> None:
    socket, _, _ = full
    assert WAYS[way](socket, b"1") is True
    assert WAYS[way](socket, bytes(2_000_000 - socket.buffered)) is True
    assert socket.buffered == 2_000_000
    assert WAYS[way](socket, b"1") is False
    assert socket.buffered == 2_000_001, "queued too"
    assert WAYS[way](socket, b"2") is False
    assert socket.buffered == 2_000_002


@pytest.mark.parametrize("way", ["write", "writelines"])
def test_write_answers_after_it_has_sent(way: str, serve: Serve, dial: Dial) -> None:
    answers: list[object] = []
    recorder = Recorder(open=lambda socket: answers.extend([WAYS[way](socket, bytes(1001)), socket.buffered]))
    dial(serve(recorder.handlers, high_water_mark=1000))
    recorder.wait_for("open")
    wait_until(lambda: answers == [True, 0])


# -- writelines ------------------------------------------------------------------------------------------


def test_writelines_takes_any_iterable_of_anything_that_can_be_written(pair: Pair) -> None:
    socket, peer, _ = pair
    socket.writelines(part for part in (b"a", "b", bytearray(b"c"), memoryview(b"d"), array("B", b"e")))
    socket.writelines([])
    socket.writelines(iter(()))
    socket.end()
    assert peer.read_to_end() == b"abcde"


def test_writelines_of_many_thousand_parts_arrives_whole(full: Pair) -> None:
    socket, peer, _ = full
    sizes = [1, 5000, 3, 4096, 0] * 300  # more parts than one system call takes, small and large ones
    position = 1_000_000
    parts = []
    for size in sizes:
        parts.append(stream(size, position))
        position += size
    socket.writelines(parts)
    assert socket.buffered + socket.bytes_written == position
    socket.end()
    assert peer.read_to_end() == stream(position)


def test_writelines_is_one_write(pair: Pair) -> None:
    socket, peer, _ = pair
    before = socket.server.stats().messages_written
    socket.writelines([b"a", b"b", b"c"])
    assert peer.read_exactly(3) == b"abc"
    assert socket.server.stats().messages_written == before + 1


def test_writelines_queues_all_parts_or_none(full: Pair) -> None:
    def breaking() -> Any:
        yield b"b"
        raise LookupError("no more parts")

    socket, _, _ = full
    queued = socket.buffered
    with pytest.raises(TypeError):
        socket.writelines([b"a", 5])  # type: ignore[list-item]
    with pytest.raises(TypeError):
        socket.writelines(None)  # type: ignore[arg-type]
    with pytest.raises(TypeError):
        socket.writelines(b"bytes are ints")  # type: ignore[arg-type]
    with pytest.raises(LookupError):
        socket.writelines(breaking())
    assert socket.buffered == queued


# -- totals ----------------------------------------------------------------------------------------------


def test_bytes_read_counts_what_arrived(pair: Pair) -> None:
    socket, peer, recorder = pair
    peer.send(bytes(300_000))
    wait_until(lambda: socket.bytes_read == 300_000)
    peer.send(b"1")
    wait_until(lambda: socket.bytes_read == 300_001)
    assert len(recorder.received) == 300_001


# -- end -------------------------------------------------------------------------------------------------


def test_end_delivers_everything_and_then_fin_and_reading_goes_on(full: Pair) -> None:
    socket, peer, recorder = full
    socket.write(stream(500_000, 1_000_000))
    socket.end(stream(500_000, 1_500_000))
    assert socket.state is SocketState.ENDED
    assert not socket.closed
    assert peer.read_to_end() == stream(2_000_000)
    peer.send(b"still here?")
    recorder.wait_for("data")
    peer.send(b"good")
    wait_until(lambda: recorder.received == b"still here?good")
    assert socket.state is SocketState.ENDED
    peer.finish()
    assert recorder.wait_for("close") == (socket, None)
    assert [event for event in recorder.events if event not in ("data", "drain")] == ["open", "close"], "no `end`"
    assert (socket.close_reason, socket.unsent) == ("local", 0)


def test_end_without_data_is_only_fin(pair: Pair) -> None:
    socket, peer, _ = pair
    socket.end()
    assert peer.read_to_end() == b""


@pytest.mark.parametrize("way", WAYS)
def test_nothing_can_be_written_after_end(way: str, pair: Pair) -> None:
    socket, peer, _ = pair
    socket.end(b"last")
    with pytest.raises(SocketClosed, match="has ended"):
        WAYS[way](socket, b"more")
    assert peer.read_to_end() == b"last"
    assert (socket.bytes_written, socket.buffered, socket.unsent) == (4, 0, 0)


def test_a_second_end_does_nothing(pair: Pair) -> None:
    socket, peer, recorder = pair
    socket.end(b"once")
    socket.end()
    assert peer.read_to_end() == b"once"
    socket.end()
    peer.send(b"more")
    recorder.wait_for("data")
    socket.end()
    assert socket.state is SocketState.ENDED
    peer.finish()
    recorder.wait_for("close")
    socket.end()
    assert socket.closed


def test_end_in_a_handler_takes_along_what_it_wrote(serve: Serve, dial: Dial) -> None:
    def answer(socket: AnySocket, data: bytes) -> None:
        socket.write(b"1")
        socket.write(b"2")
        socket.end(b"3")

    recorder = Recorder(data=answer)
    peer = dial(serve(recorder.handlers))
    peer.send(b"?")
    assert peer.read_to_end() == b"123"

"""The write queue: any cut of the bytes comes out the same, and every byte is counted."""

import itertools

import pytest
from hypothesis import given
from hypothesis import strategies as st

from greensock import writequeue
from greensock.writequeue import JOIN_LIMIT, WriteQueue

CHUNKS = st.lists(
    st.one_of(st.binary(max_size=40), st.integers(0, 20_000).map(lambda n: bytes([n % 251]) * n)), max_size=40
)


def taken(queue: WriteQueue, most: int) -> bytes:
    """Send at most *most* bytes, as a kernel would that takes no more."""
    sent = b"".join(queue.gather())[:most]
    queue.advance(len(sent))
    return sent


@given(CHUNKS, st.lists(st.integers(1, 30_000), min_size=1))
def test_any_pieces_that_the_kernel_takes_make_up_what_was_pushed(chunks: list[bytes], pieces: list[int]) -> None:
    queue = WriteQueue(65536, 16384)
    for chunk in chunks:
        queue.push(chunk)
    whole = b"".join(chunks)
    assert queue.size == len(whole)
    received = b""
    for piece in itertools.cycle(pieces):
        if not queue.size:
            break
        received += taken(queue, piece)
        assert queue.size == len(whole) - len(received)
    assert received == whole


@given(st.lists(st.one_of(st.binary(min_size=1, max_size=3000), st.integers(1, 5000)), max_size=60))
def test_pushing_and_sending_in_any_order_keeps_the_order(steps: list[bytes | int]) -> None:
    queue = WriteQueue(65536, 16384)
    pushed = received = b""
    for step in steps:
        if isinstance(step, bytes):
            assert queue.push(step) == len(pushed) + len(step) - len(received)
            pushed += step
        elif queue.size:
            received += taken(queue, step)
        assert queue.size == len(pushed) - len(received)
    while queue.size:
        received += taken(queue, 1 << 20)
    assert received == pushed


def test_what_is_short_is_one_buffer() -> None:
    queue = WriteQueue(65536, 16384)
    for byte in (b"a", b"b", b"c"):
        queue.push(byte)
    assert queue.gather() == [b"abc"]


def test_large_chunks_are_listed_and_not_copied() -> None:
    queue = WriteQueue(65536, 16384)
    large = [bytes(JOIN_LIMIT), bytes(JOIN_LIMIT)]
    for chunk in large:
        queue.push(chunk)
    assert [id(buffer) for buffer in queue.gather()] == [id(chunk) for chunk in large]


def test_small_chunks_between_large_ones_are_joined_once() -> None:
    queue = WriteQueue(65536, 16384)
    queue.push(bytes(JOIN_LIMIT))
    for _ in range(1000):
        queue.push(b"x")
    queue.push(bytes(JOIN_LIMIT))
    first, joined, last = queue.gather()
    assert joined == b"x" * 1000
    assert [id(buffer) for buffer in queue.gather()] == [id(first), id(joined), id(last)]


def test_a_batch_has_no_more_buffers_than_the_kernel_takes(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(writequeue, "GATHER_LIMIT", 16)
    queue = WriteQueue(65536, 16384)
    for _ in range(50):
        queue.push(bytes(5000))
    assert len(queue.gather()) == 16


def test_a_queue_is_over_only_above_its_high_mark() -> None:
    queue = WriteQueue(10, 4)
    queue.push(bytes(10))
    assert not queue.over
    queue.push(b"x")
    assert queue.over


def test_the_end_of_a_congestion_is_told_once_at_the_low_mark() -> None:
    queue = WriteQueue(10, 4)
    queue.push(bytes(20))
    queue.congested = True
    assert [queue.advance(1) for _ in range(20)] == [left == 4 for left in range(19, -1, -1)]


def test_clearing_tells_how_much_was_dropped() -> None:
    queue = WriteQueue(10, 4)
    queue.push(b"abc")
    queue.push(b"de")
    queue.advance(1)
    queue.congested = True
    assert queue.clear() == 4
    assert (queue.size, queue.congested) == (0, False)
    queue.push(b"new")
    assert queue.gather() == [b"new"]

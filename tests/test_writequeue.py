"""The write queue: any cut of the bytes comes out the same, and every byte is counted."""

import itertools
import socket

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule, run_state_machine_as_test

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


class AnyOrder(RuleBasedStateMachine):
    """A queue does what a plain string of bytes would do, whatever is done in whatever order."""

    HIGH, LOW = 3000, 1000

    def __init__(self) -> None:
        super().__init__()
        self.queue = WriteQueue(self.HIGH, self.LOW)
        self.pending = b""
        self.pushed = 0

    @rule(size=st.one_of(st.integers(0, 50), st.integers(0, 10_000)))
    def push(self, size: int) -> None:
        data = bytes((self.pushed + index) % 251 for index in range(size))
        self.pushed += size
        self.pending += data
        assert self.queue.push(data) == len(self.pending)

    @precondition(lambda self: self.pending)
    @rule(most=st.one_of(st.just(1 << 20), st.integers(0, 20_000)))
    def send(self, most: int) -> None:
        batch = self.queue.gather()
        assert 1 <= len(batch) <= writequeue.GATHER_LIMIT
        assert all(len(buffer) for buffer in batch)
        offered = b"".join(batch)
        assert self.pending.startswith(offered)
        sent = min(most, len(offered))
        congested = self.queue.congested
        told = self.queue.advance(sent)
        self.pending = self.pending[sent:]
        assert told == (congested and len(self.pending) <= self.LOW)

    @rule()
    def join(self) -> None:
        assert self.queue.join() == (len(self.pending) <= JOIN_LIMIT)
        if self.pending and len(self.pending) <= JOIN_LIMIT:
            assert self.queue.first == self.pending

    @precondition(lambda self: self.queue.over)
    @rule()
    def tell_a_writer_to_wait(self) -> None:
        self.queue.congested = True

    @rule()
    def clear(self) -> None:
        assert self.queue.clear() == len(self.pending)
        assert not self.queue.congested
        self.pending = b""

    @invariant()
    def counts_are_right(self) -> None:
        assert self.queue.size == len(self.pending)
        assert self.queue.over == (len(self.pending) > self.HIGH)
        assert not (self.queue.congested and len(self.pending) <= self.LOW), "nobody is left waiting"

    def teardown(self) -> None:
        received = b""
        while self.queue.size:
            received += taken(self.queue, 1 << 20)
        assert received == self.pending


def test_a_queue_is_a_string_of_bytes(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(writequeue, "GATHER_LIMIT", 16)  # so that short lists of chunks reach it
    monkeypatch.setattr(writequeue, "SMALL", 200)
    run_state_machine_as_test(AnyOrder, settings=settings(max_examples=150, stateful_step_count=60))


class Copies:
    """Counts the bytes that joining copies."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.bytes = 0
        self.chunks = 0
        join = writequeue._join_small
        join_all = WriteQueue.join

        def counting_join_small(chunks: list[bytes]) -> list[bytes]:
            self.chunks += len(chunks)
            joined = join(chunks)
            before = {id(chunk) for chunk in chunks}
            self.bytes += sum(len(chunk) for chunk in joined if id(chunk) not in before)
            return joined

        def counting_join(queue: WriteQueue) -> bool:
            first = queue.first
            joined = join_all(queue)
            if queue.first is not first:
                self.bytes += queue.size
            return joined

        monkeypatch.setattr(writequeue, "_join_small", counting_join_small)
        monkeypatch.setattr(WriteQueue, "join", counting_join)


@pytest.mark.parametrize("sizes", [(10,), (5000,), (5000, 10), (3000, 100_000, 70)])
@pytest.mark.parametrize("piece", [700, 50_000])
def test_what_the_kernel_takes_piecemeal_is_copied_and_looked_at_once(
    sizes: tuple[int, ...], piece: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    copies = Copies(monkeypatch)
    queue = WriteQueue(65536, 16384)
    count = 2000
    for _, size in zip(range(count), itertools.cycle(sizes), strict=False):
        queue.push(bytes(size))
    total = queue.size
    batches = 0
    while queue.size:
        queue.gather()
        queue.advance(min(piece, queue.size))
        batches += 1
    assert copies.chunks <= count + batches, "each once, and the last one each time: it may be joined with the next"
    assert copies.bytes <= total + JOIN_LIMIT


def test_what_is_pushed_while_the_kernel_takes_little_is_not_joined_over_and_over(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    copies = Copies(monkeypatch)
    queue = WriteQueue(65536, 16384)
    queue.push(bytes(10_000_000))
    for _ in range(1000):
        queue.push(bytes(100))
        queue.gather()
        queue.advance(100)
    assert copies.chunks <= 3 * 1000, "a new chunk, and the short one that it is joined to"
    assert copies.bytes <= 1000 * writequeue.SMALL


def test_nothing_pushed_is_nothing_queued() -> None:
    queue = WriteQueue(65536, 16384)
    for data in (b"", b"a", b"", b"b", b""):
        queue.push(data)
    assert (queue.gather(), queue.size) == ([b"ab"], 2)


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


def test_the_kernel_takes_as_many_buffers_as_a_batch_may_have() -> None:
    here, there = socket.socketpair()
    with here, there:
        assert here.sendmsg([b"x"] * writequeue.GATHER_LIMIT) > 0
        with pytest.raises(OSError):
            here.sendmsg([b"x"] * (writequeue.GATHER_LIMIT + 1))


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

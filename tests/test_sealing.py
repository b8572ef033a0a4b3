"""The writing half of TLS, over a real socket pair: what goes out, in which order, and what waits for the kernel."""

import ssl
from collections.abc import Iterator
from contextlib import suppress
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from connections import stream
from greensock import sealing
from greensock.sealing import MAX_CONTROL, WRITE_SIZE, Buffers
from interrupts import everywhere, interrupted
from tls_peer import Engine, WirePair, shaken


@pytest.fixture
def pair() -> Iterator[WirePair]:
    with shaken() as pair:
        yield pair


def test_nothing_is_written_before_the_handshake() -> None:
    pair = WirePair(Engine())
    with pytest.raises(BlockingIOError):
        pair.wire.write(b"in clear?")
    with pytest.raises(BlockingIOError):
        pair.wire.write_many([b"in clear?"])
    pair.wire.finish()
    pair.hear()
    assert not pair.incoming.pending
    pair.close()


def test_writing(pair: WirePair) -> None:
    assert pair.wire.write(b"hello") == 5
    assert pair.wire.write_many([b"a", memoryview(b"bcd"), b"e" * 5000]) == 5004
    assert pair.decrypt() == b"helloabcd" + b"e" * 5000


def test_small_buffers_share_a_record(pair: WirePair) -> None:
    pair.decrypt()
    pair.wire.write_many([b"x"] * 1000)
    cipher = pair.other.recv(65536)
    assert len(cipher) == 1000 + 22, "one record"


@pytest.mark.parametrize("size", [1, WRITE_SIZE, WRITE_SIZE + 1, 3_000_000])
def test_a_full_kernel(pair: WirePair, size: int) -> None:
    pair.narrow()
    text = stream(size)
    got, rest, steps = bytearray(), text, 0
    while rest:
        sent = pair.wire.write(rest)
        assert 0 <= sent <= len(rest)
        rest = rest[sent:]
        assert (pair.wire.backlog is not None) == bool(rest), "what is left is left because the kernel is full"
        got += pair.decrypt()
        steps += 1
    assert bytes(got) == text
    assert steps > 1 or size < 10_000


@settings(max_examples=40)
@given(chunks=st.lists(st.integers(1, 90_000), min_size=1, max_size=30), data=st.data())
def test_any_way_to_write_gives_the_same(chunks: list[int], data: st.DataObject) -> None:
    pair = WirePair(Engine())
    try:
        pair.shake_hands()
        pair.narrow()
        text = stream(sum(chunks))
        buffers, start = [], 0
        for size in chunks:
            buffers.append(text[start : start + size])
            start += size
        got, taken = bytearray(), 0
        while taken < len(text):
            many = data.draw(st.booleans())
            rest: Any = text[taken:]
            if many:
                cut = data.draw(st.integers(1, max(1, len(rest) - 1)))
                taken += pair.wire.write_many([rest[:cut], rest[cut:]])
            else:
                taken += pair.wire.write(rest)
            got += pair.decrypt()
        assert bytes(got) == text
    finally:
        pair.close()


def test_finish_says_goodbye_and_then_fin(pair: WirePair) -> None:
    pair.wire.write(b"bye")
    pair.wire.finish()
    pair.hear()
    assert pair.tls.read(100) == b"bye"
    assert pair.tls.read(100) == b"", "close_notify"
    assert pair.other.recv(1) == b"", "FIN"


def test_a_goodbye_for_which_the_kernel_has_no_room(pair: WirePair) -> None:
    pair.narrow()
    text = stream(100_000)
    taken = pair.wire.write(text)
    while taken < len(text) or pair.wire.backlog is not None:
        if pair.wire.backlog is not None and len(pair.wire.backlog) < 500:
            break
        pair.incoming.write(pair.other.recv(400))
        taken += pair.wire.push() if pair.wire.backlog is not None else pair.wire.write(text[taken:])
    pair.wire.finish()
    got = bytearray(pair.decrypt())
    while pair.wire.backlog is not None:
        pair.wire.push()
        got += pair.decrypt()
    assert bytes(got) == text
    assert pair.other.recv(1) == b"", "FIN came last"


def test_what_tls_has_to_say_goes_out_with_what_is_written(pair: WirePair) -> None:
    """Session tickets, mostly: one system call, and one segment, for both."""
    pair.decrypt()
    pair.wire.backlog = pair.wire.tls.write(b"first") and pair.wire._buffers.outgoing.read()
    assert pair.wire.write(b"second") == 6
    assert pair.wire.backlog is None
    assert len(pair.other.recv(65536)) == 5 + 6 + 2 * 22


def test_words_for_which_the_kernel_has_no_room_come_first(pair: WirePair) -> None:
    pair.narrow()
    words = stream(20_000)
    pair.wire.tls.write(words)
    pair.wire.backlog = pair.wire._buffers.outgoing.read()
    text = stream(5_000)
    taken, got = 0, bytearray()
    while taken < len(text):
        taken += pair.wire.write(text[taken:])
        got += pair.decrypt()
    assert bytes(got) == words + text
    assert pair.wire.backlog is None


def test_a_peer_that_makes_tls_talk_and_does_not_listen(pair: WirePair) -> None:
    pair.narrow()
    answers = 0
    with pytest.raises(ssl.SSLError, match="does not read"):
        while answers < 10_000:
            pair.wire._say(bytes(1000))
            answers += 1
    assert pair.wire.backlog is not None
    assert MAX_CONTROL < len(pair.wire.backlog) < MAX_CONTROL + WRITE_SIZE + 2000


def fill(pair: WirePair) -> int:
    """Fill the kernel with bytes that are none of TLS; returns with how many."""
    pair.narrow()
    filled = 0
    with suppress(BlockingIOError):
        while True:
            filled += pair.wire.send(bytes(100))
    return filled


def take(pair: WirePair) -> bytes:
    """All that the kernel has for the other end, as it is."""
    taken = bytearray()
    with suppress(BlockingIOError):
        while part := pair.other.recv(1 << 20):
            taken += part
    return bytes(taken)


def test_words_wait_for_room_and_are_sent_once(pair: WirePair) -> None:
    pair.decrypt()
    filled = fill(pair)
    for words in (b"some ", b"words"):
        pair.wire._say(words)
    assert pair.wire.backlog == b"some words"
    assert pair.wire.push() == 0
    assert pair.wire.backlog is not None, "there is no room yet"
    assert take(pair) == bytes(filled)
    assert pair.wire.push() == 0, "none of it is of the caller's"
    assert pair.wire.backlog is None
    assert take(pair) == b"some words"


def test_no_more_than_a_batch_is_encrypted_ahead_of_the_kernel(pair: WirePair) -> None:
    pair.narrow()
    text = stream(3_000_000)
    taken = pair.wire.write(text)
    assert 0 < taken < 200_000
    assert pair.wire.backlog is not None
    assert len(pair.wire.backlog) <= WRITE_SIZE + 1000
    for _ in range(3):
        assert pair.wire.write_many([text[taken:]]) == 0
        assert len(pair.wire.backlog) <= WRITE_SIZE + 1000


def test_a_batch_stays_below_the_size_from_which_malloc_maps_memory(pair: WirePair) -> None:
    pair.wire.tls.write(bytes(WRITE_SIZE))
    assert WRITE_SIZE < len(pair.wire._buffers.outgoing.read()) < 128 * 1024


def test_a_goodbye_to_a_peer_that_has_gone_is_no_failure(pair: WirePair) -> None:
    pair.other.close()
    pair.wire.finish()
    assert pair.wire.backlog is None


def test_a_goodbye_that_a_signal_interrupts_leaves_nothing_to_other_connections() -> None:
    def strike(number: int) -> str:
        with shaken() as pair:
            pair.decrypt()
            with suppress(ssl.SSLError):
                pair.tls.unwrap()
            pair.send(pair.say())
            assert pair.wire.read(100) == b""
            return interrupted(pair.wire.say_goodbye, number)

    assert len(list(everywhere(strike))) > 3, "it has struck"


def test_a_write_that_fails_leaves_the_connection_and_the_buffers_as_they_were(pair: WirePair) -> None:
    with pytest.raises(TypeError):
        pair.wire.write("text")
    assert pair.wire.write(b"bytes") == 5
    assert pair.decrypt() == b"bytes"
    pair.wire.say_goodbye()
    with pytest.raises(ssl.SSLError):
        pair.wire.write(b"more")
    assert pair.wire.backlog is None
    assert pair.decrypt() == b""


def test_a_write_to_a_peer_that_has_gone_is_the_failure_of_the_connection(pair: WirePair) -> None:
    pair.other.close()
    with pytest.raises(ConnectionError):
        pair.wire.write(b"into the void")
    with pytest.raises(ConnectionError):
        pair.wire.write_many([b"into the void"])


def test_buffers_are_cleared_of_what_a_failed_call_has_left() -> None:
    buffers = Buffers()
    buffers.clear()
    buffers.incoming.write(b"half a record")
    buffers.outgoing.write(b"an alert")
    buffers.clear()
    assert (buffers.incoming.pending, buffers.outgoing.pending) == (0, 0)
    assert not buffers.incoming.eof


# -- what is encrypted at a time -------------------------------------------------------------------------

BUFFERS = st.lists(st.binary(max_size=30), max_size=12)


@given(buffers=BUFFERS, skip=st.integers(0, 60), most=st.integers(1, 20), views=st.booleans())
def test_batches_are_all_bytes_in_order_in_as_few_pieces_as_there_can_be(
    buffers: list[bytes], skip: int, most: int, views: bool
) -> None:
    given: list[Any] = [memoryview(buffer) for buffer in buffers] if views else list(buffers)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(sealing, "WRITE_SIZE", most)
        batches = list(sealing._batches(given, skip))
    rest = b"".join(buffers)[skip:]
    assert b"".join(batches) == rest
    assert {type(batch) for batch in batches} <= {bytes}
    assert [len(batch) for batch in batches] == [most] * (len(rest) // most) + [len(rest) % most] * bool(
        len(rest) % most
    )

"""The writing half of TLS, over a real socket pair: what goes out, in which order, and what waits for the kernel."""

import ssl
from collections.abc import Iterator
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from connections import stream
from greensock.sealing import MAX_CONTROL, WRITE_SIZE
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

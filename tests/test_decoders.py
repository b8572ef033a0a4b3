"""Decoders: messages out of bytes that are cut anywhere, what ends them, and what that costs.

Streams of all kinds are in ``corpus``, whose tests are in ``test_decoders_corpus.py``.
"""

import tracemalloc
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from framings import ALL, AMQP, FRAMINGS, MYSQL, NAMES, POSTGRESQL, pieces
from greensock import FrameError, FrameTooLarge, IncompleteRead
from greensock.decoders import (
    VARINT_BYTES,
    FixedDecoder,
    LengthDecoder,
    LineDecoder,
    NetstringDecoder,
    VarintDecoder,
)
from greensock.framing import Fixed, LengthPrefixed, Lines, Netstring, Varint

# -- any cut gives the same ------------------------------------------------------------------------------


@given(FRAMINGS, st.lists(st.binary(max_size=200)), st.lists(st.integers(0, 60)))
def test_what_was_encoded_is_decoded_however_it_is_cut(framing: Any, messages: list[bytes], cuts: list[int]) -> None:
    sent = []
    stream = b""
    for message in messages:
        try:
            stream += framing.encode(message)
        except ValueError:
            continue
        sent.append(message)
    decoder = framing.decoder()
    received = [message for piece in pieces(stream, cuts) for message in decoder.feed(piece)]
    decoder.close()
    assert received == sent


@given(st.sampled_from([*ALL, POSTGRESQL, MYSQL, AMQP, Lines(b"\r\n", 5), Netstring(3)]), st.binary(), st.data())
def test_random_bytes_have_the_same_outcome_however_they_are_cut(framing: Any, stream: bytes, data: Any) -> None:
    def outcome(parts: list[bytes]) -> tuple[list[bytes], type[Exception] | None]:
        decoder = framing.decoder()
        messages = []
        try:
            for part in parts:
                messages += decoder.feed(part)
            decoder.close()
        except (FrameError, IncompleteRead) as error:
            return messages + list(getattr(error, "messages", ())), type(error)
        return messages, None

    assert outcome(pieces(stream, data.draw(st.lists(st.integers(0, 9))))) == outcome([stream])


@given(FRAMINGS, st.lists(st.binary(max_size=20), max_size=10))
def test_a_message_is_given_as_soon_as_its_last_byte_is_there(framing: Any, messages: list[bytes]) -> None:
    stream, ends = b"", []
    for message in messages:
        try:
            stream += framing.encode(message)
        except ValueError:
            continue
        ends.append(len(stream))
    decoder = framing.decoder()
    for index in range(len(stream)):
        assert len(decoder.feed(stream[index : index + 1])) == ends.count(index + 1)


@given(
    st.sampled_from([b"a", b"ab", b"aab", b"abab", b"aaa"]),
    st.text("ab", max_size=40),
    st.lists(st.integers(0, 5)),
)
def test_lines_are_what_is_between_delimiters(delimiter: bytes, text: str, cuts: list[int]) -> None:
    stream = text.encode()
    decoder = LineDecoder(delimiter, 100)
    lines = [line for piece in pieces(stream, cuts) for line in decoder.feed(piece)]
    *whole, rest = stream.split(delimiter)
    assert lines == whole
    assert left_of(decoder) == rest


@given(st.integers(1, 7), st.binary(max_size=60), st.lists(st.integers(0, 9)))
def test_records_of_one_size_are_cut_there_and_nowhere_else(size: int, stream: bytes, cuts: list[int]) -> None:
    decoder = FixedDecoder(size)
    records = [record for piece in pieces(stream, cuts) for record in decoder.feed(piece)]
    assert all(len(record) == size for record in records)
    rest = left_of(decoder)
    assert len(rest) < size
    assert b"".join(records) + rest == stream


def left_of(decoder: Any) -> bytes:
    """Close *decoder* and return what it has of a message that is not whole."""
    try:
        decoder.close()
    except IncompleteRead as error:
        return error.partial
    return b""


# -- what is no message ----------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("framing", "stream", "messages", "error", "text"),
    [
        (Lines(max_size=3), b"ab\nabcd\nx\n", [b"ab"], FrameTooLarge, "a line of 4 bytes; 3 is the limit"),
        (
            Lines(max_size=3),
            b"ab\nabcd",
            [b"ab"],
            FrameTooLarge,
            "a line of more than 3 bytes, which is the limit",
        ),
        (
            LengthPrefixed(1, max_size=100),
            b"\1x\x65",
            [b"x"],
            FrameTooLarge,
            "a message of 101 bytes; 100 is the limit",
        ),
        (LengthPrefixed(1, adjust=-5), b"\6x\4", [b"x"], FrameError, "a message of -1 bytes"),
        (
            Netstring(100),
            b"1:x,101",
            [b"x"],
            FrameTooLarge,
            "a netstring of 101 bytes or more; 100 is the limit",
        ),
        (Netstring(), b"1:x,01:", [b"x"], FrameError, "the length of a netstring begins with 0: b'01'"),
        (Netstring(), b"1:x,:", [b"x"], FrameError, "no netstring: b':'"),
        (Netstring(), b"1:x,5-", [b"x"], FrameError, "no netstring: b'5-'"),
        (Netstring(), b"1:x,2:abc", [b"x"], FrameError, "a netstring of 2 bytes ends with b'c', not ','"),
        (Varint(100), b"\1x\x65", [b"x"], FrameTooLarge, "a message of 101 bytes; 100 is the limit"),
        (Varint(100), b"\1x" + b"\x80" * 10, [b"x"], FrameError, "a length of more than 10 bytes"),
    ],
)
def test_what_is_no_message_is_told_in_words_after_the_messages_before_it(
    framing: Any, stream: bytes, messages: list[bytes], error: type[FrameError], text: str
) -> None:
    with pytest.raises(FrameError) as caught:
        framing.decoder().feed(stream)
    assert (type(caught.value), str(caught.value), caught.value.messages) == (error, text, messages)


@pytest.mark.parametrize(
    ("size", "last"), [(1, b"\0"), (VARINT_BYTES - 1, b"\0"), (VARINT_BYTES, b"\0"), (VARINT_BYTES, b"\1")]
)
def test_a_varint_may_be_longer_than_it_need_be_up_to_its_limit(size: int, last: bytes) -> None:
    decoder = VarintDecoder(1 << 64)
    length = b"\x80" * (size - 1) + last
    expected = [b""] if last == b"\0" else []  # the other one announces more than there is memory
    assert decoder.feed(length) == expected


@pytest.mark.parametrize(
    ("framing", "begun", "rest"),
    [
        (Lines(max_size=3), b"999", b"9"),
        (LengthPrefixed(max_size=3), b"\0\0\0", b"\x09"),
        (Netstring(30), b"3", b"1"),
        (Varint(300), b"\xff", b"\x7f"),
    ],
)
def test_an_error_is_told_again_in_the_same_words_and_nothing_is_held_for_it(
    framing: Any, begun: bytes, rest: bytes
) -> None:
    decoder = framing.decoder()
    assert decoder.feed(begun) == []
    told = []
    for data in (rest, b"", b"more"):
        with pytest.raises(FrameTooLarge) as caught:
            decoder.feed(data)
        told.append(caught.value)
        decoder.close()
        assert decoder._rest == b""
    assert len({str(error) for error in told}) == 1
    assert len({id(error) for error in told}) == 3, "each caller may keep his own"


def test_a_message_that_is_not_whole_is_told_once_and_then_the_decoder_is_closed() -> None:
    decoder = NetstringDecoder(100)
    decoder.feed(b"5:he")
    with pytest.raises(IncompleteRead, match="^the stream ended inside a message, after 4 bytes of it$"):
        decoder.close()
    for _ in range(2):
        with pytest.raises(ValueError, match="^the decoder is closed$") as caught:
            decoder.feed(b"llo,")
        assert type(caught.value) is ValueError, "it is no fault of the stream"
        decoder.close()


# -- the life of a decoder -------------------------------------------------------------------------------


@pytest.mark.parametrize("framing", ALL, ids=NAMES)
@pytest.mark.parametrize("kind", [bytes, bytearray, memoryview])
def test_any_buffer_may_be_fed_and_messages_are_bytes(kind: Any, framing: Any) -> None:
    decoder = framing.decoder()
    stream = framing.encode(b"hello")
    for part in (stream[:2], stream[2:], stream):
        last = decoder.feed(kind(part))
    assert last == [b"hello"] and type(last[0]) is bytes


def test_what_is_fed_may_change_afterwards() -> None:
    buffer = bytearray(b"ab")
    decoder: Any = Lines().decoder()
    decoder.feed(buffer)
    buffer[:] = b"xx"
    assert decoder.feed(b"\n") == [b"ab"]


@pytest.mark.parametrize("framing", [framing for framing in ALL if not isinstance(framing, Fixed)], ids=repr)
def test_after_an_error_there_is_nothing_but_the_error(framing: Any) -> None:
    decoder = framing.decoder()
    bad = b"\xff" * 2_000_000
    with pytest.raises(FrameError):
        decoder.feed(bad)
    with pytest.raises(FrameError) as again:
        decoder.feed(framing.encode(b"good"))
    assert again.value.messages == ()
    decoder.close()


@pytest.mark.parametrize("framing", ALL, ids=NAMES)
def test_a_closed_decoder_takes_no_more(framing: Any) -> None:
    decoder = framing.decoder()
    decoder.close()
    decoder.close()
    with pytest.raises(ValueError, match="closed"):
        decoder.feed(b"x")


@pytest.mark.parametrize("framing", ALL, ids=NAMES)
def test_the_end_inside_a_message_has_what_there_was_of_it(framing: Any) -> None:
    decoder = framing.decoder()
    begun = framing.encode(b"hello")[:-1]
    decoder.feed(framing.encode(b"first") + begun)
    with pytest.raises(IncompleteRead) as caught:
        decoder.close()
    assert caught.value.partial == begun


def test_decoders_of_one_framing_know_nothing_of_each_other() -> None:
    framing = Lines()
    one, other = framing.decoder(), framing.decoder()
    one.feed(b"a")
    assert other.feed(b"b\n") == [b"b"]
    assert one.feed(b"\n") == [b"a"]


# -- what it costs ---------------------------------------------------------------------------------------


def peak_of(decoder: Any, parts: list[bytes]) -> int:
    """The most bytes that decoding *parts* allocates."""
    tracemalloc.start()
    try:
        for part in parts:
            decoder.feed(part)
        return tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()


@pytest.mark.parametrize(
    ("framing", "header"),
    [
        (LengthPrefixed(), b"\0\x0f\xff\xff"),
        (Netstring(), b"1048575:"),
        (Varint(), b"\xff\xff\x3f"),
    ],
    ids=repr,
)
def test_an_announced_length_is_not_allocated(framing: Any, header: bytes) -> None:
    decoder = framing.decoder()
    assert peak_of(decoder, [header, b"x"]) < 20_000
    assert decoder.feed(b"x" * 1000) == []


@pytest.mark.parametrize(
    ("framing", "header"),
    [
        (LengthPrefixed(max_size=100), b"\0\0\0\x65"),
        (LengthPrefixed(8), b"\x80\0\0\0\0\0\0\0"),
        (Netstring(max_size=100), b"101"),
        (Varint(max_size=100), b"\x65"),
        (Varint(max_size=100), b"\xe5"),
    ],
    ids=repr,
)
def test_too_long_is_known_from_the_length_alone(framing: Any, header: bytes) -> None:
    with pytest.raises(FrameTooLarge):
        framing.decoder().feed(header)


@pytest.mark.parametrize(
    "stream",
    [
        (Lines(max_size=1 << 30), b"x" * 64),
        (Lines(b"\r\n", max_size=1 << 30), b"\r" * 64),
        (LengthPrefixed(max_size=1 << 30), b"\x3f\0\0\0" + b"x" * 60),
        (Netstring(max_size=1 << 30), b"1000000000:" + b"x" * 53),
        (Varint(max_size=1 << 30), b"\xff\xff\xff\xff\x03" + b"x" * 59),
    ],
    ids=lambda stream: type(stream[0]).__name__,
)
def test_one_message_in_very_many_pieces_is_work_in_proportion(stream: tuple[Any, bytes]) -> None:
    """A million pieces: if each one made it look at what has come before, this would not end."""
    framing, start = stream
    decoder = framing.decoder()
    for index in range(len(start)):
        assert decoder.feed(start[index : index + 1]) == []
    feed = decoder.feed
    for _ in range(1_000_000):
        feed(b"x")
    with pytest.raises(IncompleteRead) as caught:
        decoder.close()
    assert len(caught.value.partial) == 1_000_064


def test_no_delimiter_for_64_mb_is_an_error_after_64_kb() -> None:
    decoder = Lines().decoder()
    left = iter(range(64_000_000))
    with pytest.raises(FrameTooLarge):
        for _ in left:
            decoder.feed(b"x")
    assert next(left) == 65537


def test_an_idle_decoder_holds_nothing() -> None:
    for framing in ALL:
        decoder: Any = framing.decoder()
        decoder.feed(framing.encode(b"hello"))
        assert decoder._rest == b""


@pytest.mark.parametrize(
    ("kind", "decoder", "stream", "looks"),
    [
        (LineDecoder, Lines(), b"x" * 1000 + b"\n", [1, 1001]),
        (LineDecoder, Lines(b"\r\n"), b"x" * 1000 + b"\r\n", [1, 1002]),
        (LengthDecoder, LengthPrefixed(), b"\0\0\x03\xe8" + b"x" * 1000, [1, 4, 1004]),
        (NetstringDecoder, Netstring(), b"1000:" + b"x" * 1000 + b",", [1, 2, 3, 4, 5, 1006]),
        (FixedDecoder, Fixed(1000), b"x" * 1000, [1, 1000]),
        (VarintDecoder, Varint(), b"\xe8\x07" + b"x" * 1000, [1, 2, 1002]),
    ],
)
def test_what_is_begun_is_looked_at_again_only_when_that_tells_more(
    kind: Any, decoder: Any, stream: bytes, looks: list[int], monkeypatch: pytest.MonkeyPatch
) -> None:
    parse, sizes = kind._parse, []

    def counted(self: Any, data: bytes, messages: list[bytes]) -> int:
        sizes.append(len(data))
        return int(parse(self, data, messages))

    monkeypatch.setattr(kind, "_parse", counted)
    reading = decoder.decoder()
    messages = [message for index in range(len(stream)) for message in reading.feed(stream[index : index + 1])]
    assert messages == [b"x" * 1000]
    assert sizes == looks

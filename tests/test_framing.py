"""The framings: their arguments, what they encode, and what decoding costs. Streams of all kinds are in ``corpus``."""

import tracemalloc
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from greensock import FrameError, FrameTooLarge, IncompleteRead
from greensock.framing import Fixed, LengthPrefixed, Lines, Netstring, Varint

ALL: list[Any] = [Lines(), LengthPrefixed(), Netstring(), Fixed(5), Varint()]
names = [type(framing).__name__ for framing in ALL]

POSTGRESQL = LengthPrefixed(offset=1, adjust=-4)
MYSQL = LengthPrefixed(3, "little", adjust=1, strip=False)
AMQP = LengthPrefixed(offset=3, adjust=1)

FRAMINGS = st.one_of(
    st.builds(Lines, st.sampled_from([b"\n", b"\r\n", b"aab", b"abab"])),
    st.builds(
        LengthPrefixed, st.integers(2, 8), st.sampled_from(["big", "little"]), adjust=st.sampled_from([0, -2, -8])
    ),
    st.builds(Netstring),
    st.builds(Varint),
    st.builds(Fixed, st.integers(1, 20)),
)


def pieces(data: bytes, cuts: list[int]) -> list[bytes]:
    found = []
    for size in cuts:
        found.append(data[:size])
        data = data[size:]
    return [*found, data]


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


# -- decoders --------------------------------------------------------------------------------------------


@pytest.mark.parametrize("framing", ALL, ids=names)
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


@pytest.mark.parametrize("framing", ALL, ids=names)
def test_a_closed_decoder_takes_no_more(framing: Any) -> None:
    decoder = framing.decoder()
    decoder.close()
    decoder.close()
    with pytest.raises(ValueError, match="closed"):
        decoder.feed(b"x")


@pytest.mark.parametrize("framing", ALL, ids=names)
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


# -- encoding --------------------------------------------------------------------------------------------


def test_encoded() -> None:
    assert Lines().encode(b"a") == b"a\n"
    assert Lines(b"\r\n").encode("é") == b"\xc3\xa9\r\n"
    assert LengthPrefixed().encode(b"abc") == b"\0\0\0\3abc"
    assert LengthPrefixed(3, "little").encode(bytearray(b"abc")) == b"\3\0\0abc"
    assert LengthPrefixed(adjust=-4).encode(memoryview(b"abc")) == b"\0\0\0\7abc"
    assert Netstring().encode(b"hello") == b"5:hello,"
    assert Fixed(2).encode(b"ab") == b"ab"
    assert Varint().encode(b"x" * 300) == b"\xac\x02" + b"x" * 300


def test_in_whole_frames_the_length_is_filled_in() -> None:
    assert POSTGRESQL.encode(b"Q....select 1\0") == b"Q\0\0\0\x0dselect 1\0"
    assert MYSQL.encode(b"...\3select 1") == b"\x08\0\0\3select 1"
    assert AMQP.encode(b"\x08\0\0....\xce") == b"\x08\0\0\0\0\0\0\xce"


@pytest.mark.parametrize(
    ("framing", "message", "complaint"),
    [
        (Lines(), b"a\nb", "delimiter"),
        (Lines(b"\r\n"), b"a\r\nb", "delimiter"),
        (Lines(b"aab"), b"xa", None),
        (Lines(b"abab"), b"xab", "delimiter"),
        (Lines(max_size=3), b"abcd", "max_size is 3"),
        (LengthPrefixed(max_size=3), b"abcd", "max_size is 3"),
        (LengthPrefixed(1), b"x" * 256, "does not fit a field of 1 bytes"),
        (LengthPrefixed(3), b"x" * (1 << 20), None),
        (LengthPrefixed(adjust=4), b"abc", "length -1 does not fit"),
        (LengthPrefixed(3, adjust=4), b"abc", "length -1 does not fit"),
        (POSTGRESQL, b"Q123", "no room for a header of 5"),
        (MYSQL, b"12", "no room for a header of 3"),
        (AMQP, b"1234567", "length -1 does not fit"),
        (Netstring(max_size=3), b"abcd", "max_size is 3"),
        (Varint(max_size=3), b"abcd", "max_size is 3"),
        (Fixed(3), b"ab", "a message of 2 bytes, where all have 3"),
        (Fixed(3), b"", "a message of 0 bytes"),
    ],
)
def test_what_no_decoder_would_give_back_is_refused(framing: Any, message: bytes, complaint: str | None) -> None:
    if complaint is None:
        decoder = framing.decoder()
        assert decoder.feed(framing.encode(message)) == [message]
    else:
        with pytest.raises(ValueError, match=complaint):
            framing.encode(message)


@pytest.mark.parametrize("framing", ALL, ids=names)
@pytest.mark.parametrize("message", [None, 5, ["a"]])
def test_what_is_no_bytes_is_a_type_error(message: Any, framing: Any) -> None:
    with pytest.raises(TypeError, match="bytes-like or str expected"):
        framing.encode(message)


# -- arguments -------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("make", "kind", "complaint"),
    [
        (lambda: Lines(b""), ValueError, "delimiter"),
        (lambda: Lines("\n"), TypeError, "delimiter"),  # type: ignore[arg-type]
        (lambda: Lines(max_size=-1), ValueError, "max_size"),
        (lambda: Lines(max_size=1.5), TypeError, "max_size"),  # type: ignore[arg-type]
        (lambda: Lines(max_size=True), TypeError, "max_size"),
        (lambda: LengthPrefixed(0), ValueError, "size must be 1 to 8"),
        (lambda: LengthPrefixed(9), ValueError, "size must be 1 to 8"),
        (lambda: LengthPrefixed("4"), TypeError, "size"),  # type: ignore[arg-type]
        (lambda: LengthPrefixed(4, "middle"), ValueError, "byteorder"),  # type: ignore[arg-type]
        (lambda: LengthPrefixed(offset=-1), ValueError, "offset"),
        (lambda: LengthPrefixed(adjust=None), TypeError, "adjust"),  # type: ignore[arg-type]
        (lambda: LengthPrefixed(strip=1), TypeError, "strip"),  # type: ignore[arg-type]
        (lambda: LengthPrefixed(max_size=-1), ValueError, "max_size"),
        (lambda: Netstring(-1), ValueError, "max_size"),
        (lambda: Varint("1"), TypeError, "max_size"),  # type: ignore[arg-type]
        (lambda: Fixed(0), ValueError, "size"),
    ],
)
def test_what_cannot_be_is_refused_by_name(make: Any, kind: type[Exception], complaint: str) -> None:
    with pytest.raises(kind, match=complaint):
        make()


def test_framings_are_values() -> None:
    assert LengthPrefixed(3, "little") == LengthPrefixed(3, "little") != LengthPrefixed(3)
    assert len({Lines(), Lines(), Lines(b";")}) == 2
    assert repr(Lines()) == "Lines(delimiter=b'\\n', max_size=65536)"
    with pytest.raises(AttributeError):
        Lines().max_size = 5  # type: ignore[misc]

"""The framings: their arguments, and what they encode. What decoders make of it is in ``test_decoders.py``."""

from typing import Any

import pytest

from framings import ALL, AMQP, MYSQL, NAMES, POSTGRESQL
from greensock.framing import Fixed, LengthPrefixed, Lines, Netstring, Varint

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


@pytest.mark.parametrize("framing", ALL, ids=NAMES)
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

"""Framings of all kinds, for the tests of both halves: of what they encode, and of what their decoders read."""

from typing import Any

from hypothesis import strategies as st

from greensock.framing import Fixed, LengthPrefixed, Lines, Netstring, Varint

ALL: list[Any] = [Lines(), LengthPrefixed(), Netstring(), Fixed(5), Varint()]
NAMES = [type(framing).__name__ for framing in ALL]

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

"""Where one message ends and the next begins: the reading side of :mod:`greensock.framing`."""

import re
import struct
from collections.abc import Callable
from typing import Final, Literal

from .errors import FrameError, FrameTooLarge, IncompleteRead

#: Seven bits each: enough for 64 bits, which is the limit of Protocol Buffers too.
VARINT_BYTES: Final = 10

#: Of messages with a length in binary: bytes before the length field; bytes to the end of that; of these, how many do
#: not stand in the message; what is added to the length to give the bytes after its field; the least and the most
#: that it may be as it was sent; and how to read it.
Layout = tuple[int, int, int, int, int, int, Callable[[bytes, int], tuple[int]]]

_DIGITS: Final = re.compile(rb"[0-9]*")
_ZERO, _COLON, _COMMA = b"0:,"


class _Decoder:
    """What the decoders have in common: the beginning of a message that is not whole yet.

    It is held in one growing buffer, and looked at again only when as much has come as is needed to go on.
    """

    __slots__ = ("_needed", "_over", "_rest")

    def __init__(self) -> None:
        self._rest: bytes | bytearray = b""
        self._needed = 1  # bytes, until the rest says more than it did before
        self._over: Exception | None = None

    def feed(self, data: bytes, /) -> list[bytes]:
        """The messages that *data*, the next bytes of the stream, makes whole.

        Raises:
            FrameError: what comes after ``error.messages`` is no message. Again at each later call.
            ValueError: the decoder is closed.
        """
        if self._over is not None:
            raise type(self._over)(*self._over.args)
        if type(data) is not bytes:
            data = bytes(data)
        if self._rest:
            needed = self._needed_with(data)
            self._rest += data
            if len(self._rest) < needed:
                return []
            data = bytes(self._rest)
        messages: list[bytes] = []
        try:
            position = self._parse(data, messages)
        except FrameError as error:
            self._over = type(error)(*error.args)
            self._rest = b""
            error.messages = messages
            raise
        self._rest = bytearray(data[position:]) if position < len(data) else b""
        return messages

    def _needed_with(self, _data: bytes) -> int:
        """How many bytes there must be, the rest and *data* together, for these to say more than the rest alone."""
        return self._needed

    def _parse(self, data: bytes, messages: list[bytes]) -> int:
        """Add the whole *messages* of *data*; returns where the rest begins, and sets how much of it is needed."""
        raise NotImplementedError

    def close(self) -> None:
        """The stream has ended.

        Raises:
            IncompleteRead: inside a message.
        """
        if self._over is None:
            rest, self._rest = bytes(self._rest), b""
            self._over = ValueError("the decoder is closed")
            if rest:
                raise IncompleteRead(f"the stream ended inside a message, after {len(rest)} bytes of it", rest)


class LineDecoder(_Decoder):
    """Reads the messages of Lines."""

    __slots__ = ("_delimiter", "_max_size")

    def __init__(self, delimiter: bytes, max_size: int) -> None:
        super().__init__()
        self._delimiter = delimiter
        self._max_size = max_size

    def _needed_with(self, data: bytes) -> int:
        delimiter = self._delimiter
        # The rest has no delimiter in it, save one that its last bytes begin.
        begun = len(delimiter) - 1
        seam = bytes(self._rest[-begun:]) + data if begun else data
        size = len(self._rest) + len(data)
        if delimiter in seam or size > self._max_size:  # too long, or nearly: _parse() will say
            return 0
        return size + 1

    def _parse(self, data: bytes, messages: list[bytes]) -> int:
        lines = data.split(self._delimiter)
        rest = lines.pop()
        most = self._max_size
        if len(data) > most:
            for index, line in enumerate(lines):
                if len(line) > most:
                    messages += lines[:index]
                    raise FrameTooLarge(f"a line of {len(line)} bytes; {most} is the limit")
            if len(rest) - self._begun(rest) > most:
                messages += lines
                raise FrameTooLarge(f"a line of more than {most} bytes, which is the limit")
        messages += lines
        return len(data) - len(rest)

    def _begun(self, rest: bytes) -> int:
        """How many of the last bytes may be the beginning of a delimiter."""
        delimiter = self._delimiter
        for count in range(len(delimiter) - 1, 0, -1):
            if rest.endswith(delimiter[:count]):
                return count
        return 0


class LengthDecoder(_Decoder):
    """Reads the messages of LengthPrefixed."""

    __slots__ = ("_layout",)

    def __init__(self, layout: Layout) -> None:
        super().__init__()
        self._layout = layout

    def _parse(self, data: bytes, messages: list[bytes]) -> int:
        offset, header, stripped, adjust, least, most, unpack = self._layout
        size = len(data)
        last = size - header  # where a header may begin
        around = header + adjust
        position = 0
        while position <= last:
            (length,) = unpack(data, position + offset)
            if length > most or length < least:
                raise _bad_length(length + adjust, most + adjust)
            end = position + around + length
            if end > size:
                self._needed = end - position
                return position
            messages.append(data[position + stripped : end])
            position = end
        self._needed = header
        return position


#: struct's letters for the sizes that it knows; a length field of another size is read with more effort.
_STRUCTS: Final = {1: "B", 2: "H", 4: "I", 8: "Q"}


def integers(
    size: int, byteorder: Literal["big", "little"]
) -> tuple[Callable[[int], bytes], Callable[[bytes, int], tuple[int]]]:
    """Functions that write and read a number of *size* bytes."""
    if size in _STRUCTS:
        known = struct.Struct((">" if byteorder == "big" else "<") + _STRUCTS[size])
        return known.pack, known.unpack_from
    return (
        lambda number: number.to_bytes(size, byteorder),
        lambda data, start: (int.from_bytes(data[start : start + size], byteorder),),
    )


class NetstringDecoder(_Decoder):
    """Reads the messages of Netstring."""

    __slots__ = ("_max_size",)

    def __init__(self, max_size: int) -> None:
        super().__init__()
        self._max_size = max_size

    def _parse(self, data: bytes, messages: list[bytes]) -> int:
        most = self._max_size
        longest = len(str(most)) + 1
        position = 0
        while position < len(data):
            match = _DIGITS.match(data, position, position + longest)
            assert match is not None  # no digits are a match too
            digits = match[0]
            colon = match.end()
            if len(digits) > 1 and digits[0] == _ZERO:
                raise FrameError(f"the length of a netstring begins with 0: {digits!r}")
            if digits and int(digits) > most:
                raise FrameTooLarge(f"a netstring of {digits.decode()} bytes or more; {most} is the limit")
            if colon == len(data):
                self._needed = colon - position + 1
                return position
            if not digits or data[colon] != _COLON:
                raise FrameError(f"no netstring: {data[position : colon + 1]!r}")
            end = colon + 1 + int(digits)
            if end >= len(data):
                self._needed = end + 1 - position
                return position
            if data[end] != _COMMA:
                raise FrameError(f"a netstring of {digits.decode()} bytes ends with {data[end : end + 1]!r}, not ','")
            messages.append(data[colon + 1 : end])
            position = end + 1
        self._needed = 1
        return position


class FixedDecoder(_Decoder):
    """Reads the messages of Fixed."""

    __slots__ = ("_size",)

    def __init__(self, size: int) -> None:
        super().__init__()
        self._size = self._needed = size

    def _parse(self, data: bytes, messages: list[bytes]) -> int:
        size = self._size
        whole = len(data) - len(data) % size
        messages += [data[start : start + size] for start in range(0, whole, size)]
        return whole


class VarintDecoder(_Decoder):
    """Reads the messages of Varint."""

    __slots__ = ("_max_size",)

    def __init__(self, max_size: int) -> None:
        super().__init__()
        self._max_size = max_size

    def _parse(self, data: bytes, messages: list[bytes]) -> int:
        most = self._max_size
        size = len(data)
        position = 0
        while position < size:
            start = position
            length = data[start] & 0x7F
            while data[start] & 0x80 and length <= most:
                start += 1
                read = start - position
                if read == VARINT_BYTES:
                    raise FrameError(f"a length of more than {VARINT_BYTES} bytes")
                if start == size:
                    self._needed = read + 1
                    return position
                length |= (data[start] & 0x7F) << 7 * read
            if length > most:
                raise _bad_length(length, most)
            end = start + 1 + length
            if end > size:
                self._needed = end - position
                return position
            messages.append(data[start + 1 : end])
            position = end
        self._needed = 1
        return position


def _bad_length(length: int, most: int) -> FrameError:
    if length < 0:
        return FrameError(f"a message of {length} bytes")
    return FrameTooLarge(f"a message of {length} bytes; {most} is the limit")

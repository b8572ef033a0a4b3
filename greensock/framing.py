"""Messages in a stream of bytes: where each one ends. Pure code without I/O, for sockets and for anything else.

A *framing* says how messages stand in the stream, and a *decoder* reads one stream. For your own there
is no base class::

    class Sentences:                                # the framing: shared by all connections, holds no state
        def decoder(self):
            return SentenceDecoder()

        def encode(self, message):                  # -> bytes; ValueError for what no decoder would give back
            return message + b"."

    class SentenceDecoder:                          # one for each connection
        def feed(self, data):                       # -> a list of the messages that are whole now
            ...                                     # FrameError(text, messages) for what is no message

        def close(self):                            # IncompleteRead when the stream ends inside a message
            ...

The decoders here do work in proportion to the bytes, however those are cut, and hold no more than what was received.
Once one has raised a :class:`FrameError` it is of no more use.
"""

import struct
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any, Final, Literal, Protocol

from .buffers import Writable, as_bytes
from .decoders import FixedDecoder, Layout, LengthDecoder, LineDecoder, NetstringDecoder, VarintDecoder, integers

#: Lines are mostly read by people, and longer ones are mostly a mistake or an attack.
MAX_LINE: Final = 65536
#: With a prefix the memory is spent only as the bytes come: 1 MiB holds most messages and bounds each connection.
MAX_MESSAGE: Final = 1024 * 1024


class Decoder(Protocol):
    """Reads the messages of one stream."""

    def feed(self, data: bytes, /) -> list[Any]:
        """The messages that *data*, the next bytes of the stream, makes whole. Raises FrameError."""

    def close(self) -> object:
        """The stream has ended. Raises IncompleteRead if that was inside a message."""


class Framing(Protocol):
    """How messages stand in a stream."""

    def decoder(self) -> Decoder:
        """A decoder for one stream."""

    def encode(self, message: Any, /) -> bytes:
        """*message* as it stands in the stream. Raises ValueError for what no decoder would give back."""


# -- framings --------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Lines:
    """Messages that a delimiter ends; the messages are without it, and otherwise as they came.

    Args:
        delimiter: one byte or more. Not part of any message.
        max_size: the most bytes of a message, without its delimiter.

    Raises:
        ValueError, TypeError: an argument cannot be.
    """

    delimiter: bytes = b"\n"
    max_size: int = MAX_LINE

    def __post_init__(self) -> None:
        if not isinstance(self.delimiter, bytes):
            raise TypeError(f"delimiter must be bytes, not {self.delimiter!r}")
        if not self.delimiter:
            raise ValueError("delimiter must have a byte at least")
        _check_number("max_size", self.max_size, 0)

    def decoder(self) -> Decoder:
        """A decoder for one stream."""
        return LineDecoder(self.delimiter, self.max_size)

    def encode(self, message: Writable) -> bytes:
        """*message* and the delimiter.

        Raises:
            ValueError: the delimiter is in it, or it is longer than ``max_size``.
            TypeError: it is neither bytes-like nor ``str``.
        """
        if type(message) is not bytes:
            message = as_bytes(message)
        delimiter = self.delimiter
        line = message + delimiter
        if line.find(delimiter) != len(message):  # also where its last bytes and the delimiter make one together
            raise ValueError(f"the delimiter {delimiter!r} is in the message")
        if len(message) > self.max_size:
            raise _too_long(len(message), self.max_size)
        return line


@dataclass(frozen=True, slots=True)
class LengthPrefixed:
    """Messages after their length, in binary.

    Args:
        size: bytes of the length field, 1 to 8.
        byteorder: of the length field.
        offset: bytes of a header before it. With one, messages are whole frames, header and length included.
        adjust: is added to the length that was read, to give the number of bytes after the length field.
        strip: whether messages are without the length field. Without effect when there is an *offset*.
        max_size: the most bytes after the length field.

    ============  =================================================
    PostgreSQL    ``LengthPrefixed(offset=1, adjust=-4)``
    MySQL         ``LengthPrefixed(3, "little", adjust=1, strip=False)``
    AMQP 0-9-1    ``LengthPrefixed(offset=3, adjust=1)``
    ============  =================================================

    Raises:
        ValueError, TypeError: an argument cannot be.
    """

    size: int = 4
    byteorder: Literal["big", "little"] = "big"
    offset: int = field(default=0, kw_only=True)
    adjust: int = field(default=0, kw_only=True)
    strip: bool = field(default=True, kw_only=True)
    max_size: int = field(default=MAX_MESSAGE, kw_only=True)
    _pack: Callable[[int], bytes] = field(init=False, repr=False, compare=False)
    _kept: int = field(init=False, repr=False, compare=False)  # bytes of the header that stand in the message
    _layout: Layout = field(init=False, repr=False, compare=False)

    def __post_init__(self) -> None:
        _check_number("size", self.size, 1, 8)
        if self.byteorder not in ("big", "little"):
            raise ValueError(f"byteorder must be 'big' or 'little', not {self.byteorder!r}")
        _check_number("offset", self.offset, 0)
        _check_number("adjust", self.adjust, None)
        if not isinstance(self.strip, bool):
            raise TypeError(f"strip must be True or False, not {self.strip!r}")
        _check_number("max_size", self.max_size, 0)
        pack, unpack = integers(self.size, self.byteorder)
        header = self.offset + self.size
        kept = header if self.offset or not self.strip else 0
        limits = (-self.adjust, self.max_size - self.adjust)
        object.__setattr__(self, "_pack", pack)
        object.__setattr__(self, "_kept", kept)
        object.__setattr__(self, "_layout", (self.offset, header, header - kept, self.adjust, *limits, unpack))

    def decoder(self) -> Decoder:
        """A decoder for one stream."""
        return LengthDecoder(self._layout)

    def encode(self, message: Writable) -> bytes:
        """*message* with its length: put before it, or filled in if messages are whole frames.

        Raises:
            ValueError: it is longer than ``max_size``, its length does not fit the field, or a frame has no
                room for its header.
            TypeError: it is neither bytes-like nor ``str``.
        """
        if type(message) is not bytes:
            message = as_bytes(message)
        kept = self._kept
        length = len(message) - kept
        if length < 0:
            raise ValueError(f"a frame of {len(message)} bytes has no room for a header of {kept}")
        if length > self.max_size:
            raise _too_long(length, self.max_size)
        try:
            prefix = self._pack(length - self.adjust)
        except (struct.error, OverflowError):
            written = length - self.adjust
            raise ValueError(f"the length {written} does not fit a field of {self.size} bytes") from None
        return message[: self.offset] + prefix + message[kept:] if kept else prefix + message


@dataclass(frozen=True, slots=True)
class Netstring:
    """``5:hello,``: messages after their length in decimal, by D. J. Bernstein (cr.yp.to/proto/netstrings.txt).

    Args:
        max_size: the most bytes of a message.

    Raises:
        ValueError: *max_size* cannot be.
    """

    max_size: int = MAX_MESSAGE

    def __post_init__(self) -> None:
        _check_number("max_size", self.max_size, 0)

    def decoder(self) -> Decoder:
        """A decoder for one stream."""
        return NetstringDecoder(self.max_size)

    def encode(self, message: Writable) -> bytes:
        """*message* as a netstring.

        Raises:
            ValueError: it is longer than ``max_size``.
            TypeError: it is neither bytes-like nor ``str``.
        """
        if type(message) is not bytes:
            message = as_bytes(message)
        if len(message) > self.max_size:
            raise _too_long(len(message), self.max_size)
        return b"%d:%b," % (len(message), message)


@dataclass(frozen=True, slots=True)
class Fixed:
    """Messages of *size* bytes each.

    Raises:
        ValueError: *size* cannot be.
    """

    size: int

    def __post_init__(self) -> None:
        _check_number("size", self.size, 1)

    def decoder(self) -> Decoder:
        """A decoder for one stream."""
        return FixedDecoder(self.size)

    def encode(self, message: Writable) -> bytes:
        """*message* as it is.

        Raises:
            ValueError: it has another size.
            TypeError: it is neither bytes-like nor ``str``.
        """
        if type(message) is not bytes:
            message = as_bytes(message)
        if len(message) != self.size:
            raise ValueError(f"a message of {len(message)} bytes, where all have {self.size}")
        return message


@dataclass(frozen=True, slots=True)
class Varint:
    """Messages after their length in LEB128: seven bits a byte, the lowest first, as Protocol Buffers' delimited ones.

    Args:
        max_size: the most bytes of a message.

    Raises:
        ValueError: *max_size* cannot be.
    """

    max_size: int = MAX_MESSAGE

    def __post_init__(self) -> None:
        _check_number("max_size", self.max_size, 0)

    def decoder(self) -> Decoder:
        """A decoder for one stream."""
        return VarintDecoder(self.max_size)

    def encode(self, message: Writable) -> bytes:
        """*message* with its length before it.

        Raises:
            ValueError: it is longer than ``max_size``.
            TypeError: it is neither bytes-like nor ``str``.
        """
        if type(message) is not bytes:
            message = as_bytes(message)
        length = len(message)
        if length > self.max_size:
            raise _too_long(length, self.max_size)
        prefix = bytearray()
        while length > 0x7F:
            prefix.append(length & 0x7F | 0x80)
            length >>= 7
        prefix.append(length)
        return bytes(prefix) + message


def _too_long(length: int, most: int) -> ValueError:
    return ValueError(f"the message has {length} bytes; max_size is {most}")


def _check_number(name: str, value: object, least: int | None, most: int | None = None) -> None:
    if not isinstance(value, int) or isinstance(value, bool):
        raise TypeError(f"{name} must be a whole number, not {value!r}")
    if (least is not None and value < least) or (most is not None and value > most):
        limits = f"at least {least}" if most is None else f"{least} to {most}"
        raise ValueError(f"{name} must be {limits}, not {value}")

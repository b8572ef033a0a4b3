"""Gathering small pieces by hand, after Bun's ``ArrayBufferSink``.

A socket gathers what is written to it by itself. This is for what is built before it is known where it goes.
"""

from typing import Protocol

from .buffers import Writable, as_bytes
from .options import flag


class Writer(Protocol):
    """What a sink can be flushed to: a socket."""

    def write(self, data: bytes, /) -> bool: ...


class BufferSink:
    """Bytes that gather until they are asked for.

    Args:
        high_water_mark: how many bytes are expected to gather; a hint, and no limit.
        stream: whether :meth:`flush` gives out what has gathered. If not, all of it comes at the :meth:`end`.

    Raises:
        ValueError: *high_water_mark* is no whole number from 0 on, or *stream* is neither True nor False.
    """

    __slots__ = ("_ended", "_gathered", "high_water_mark", "stream")

    def __init__(self, high_water_mark: int = 1024, stream: bool = True) -> None:
        if not isinstance(high_water_mark, int) or isinstance(high_water_mark, bool) or high_water_mark < 0:
            raise ValueError(f"high_water_mark must be a whole number of at least 0, not {high_water_mark!r}")
        self.high_water_mark = high_water_mark
        self.stream = flag("stream", stream)
        self._gathered = bytearray()
        self._ended = False

    def write(self, data: Writable) -> int:
        """Add *data*, bytes-like or ``str`` as UTF-8. Returns how many bytes that were: all of them.

        Raises:
            ValueError: the sink has ended.
            TypeError: *data* is neither bytes-like nor ``str``.
        """
        if self._ended:
            raise ValueError("the sink has ended")
        piece = as_bytes(data)
        self._gathered += piece
        return len(piece)

    def flush(self) -> bytes:
        """What has gathered since the last time; the sink goes on. With ``stream=False`` it keeps that: ``b""``."""
        return self._take() if self.stream else b""

    def end(self) -> bytes:
        """All that is left. Nothing can be written any more; a second call gives ``b""``."""
        self._ended = True
        return self._take()

    def flush_to(self, socket: Writer) -> bool:
        """Write to *socket* what :meth:`flush` gives, as one write. Returns its answer; True when there is nothing.

        Nothing is lost when the write raises: it stays in the sink.
        """
        if not self.stream or not self._gathered:
            return True
        answer = socket.write(bytes(self._gathered))
        self._gathered.clear()
        return answer

    def _take(self) -> bytes:
        gathered = bytes(self._gathered)
        self._gathered.clear()
        return gathered

    def __len__(self) -> int:
        return len(self._gathered)

    def __repr__(self) -> str:
        return f"<BufferSink {len(self)} bytes{', ended' if self._ended else ''}>"

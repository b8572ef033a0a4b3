"""Bytes that were received and that nobody has read yet, and what can be found in them.

Nothing here receives: a socket puts in what came, and asks for what its user wants. Only new bytes are looked at, so
that the work per byte does not grow with how they were cut.
"""

from typing import Final

from .errors import FrameTooLarge

LINE_END: Final = b"\n"
CARRIAGE_RETURN: Final = 13


class Inbox:
    """The unread bytes of one connection, in order.

    They are the last chunk that came, as it came, as long as nothing was left of the one before, or less than came
    with it. A long beginning of something longer grows in one buffer.
    """

    __slots__ = ("_searched", "_sought", "_start", "chunk")

    def __init__(self) -> None:
        #: what they are in: empty if there are none
        self.chunk: bytes | bytearray = b""
        self._start = 0  # before it all was read
        self._sought = b""  # what was looked for last,
        self._searched = 0  # and up to where it cannot begin

    @property
    def size(self) -> int:
        """Bytes unread."""
        return len(self.chunk) - self._start

    def put(self, data: bytes) -> None:
        """Add *data*, the next bytes of the stream."""
        left = len(self.chunk) - self._start
        if not left:
            self.chunk = data
            self._start = self._searched = 0
            return
        held = self.chunk
        if left <= len(data):
            self.chunk = b"".join((memoryview(held)[self._start :], data))
        elif isinstance(held, bytearray):
            del held[: self._start]
            held += data
        else:
            self.chunk = bytearray(memoryview(held)[self._start :])
            self.chunk += data
        self._searched = max(0, self._searched - self._start)
        self._start = 0

    def take(self, most: int) -> bytes:
        """The first bytes, at most so many."""
        return self._cut(min(self._start + most, len(self.chunk)))

    def take_all(self) -> bytes:
        """All there is."""
        return self._cut(len(self.chunk))

    def peek(self, most: int) -> bytes:
        """What :meth:`take` would give; nothing is taken."""
        return bytes(memoryview(self.chunk)[self._start : self._start + most])

    def exactly(self, size: int) -> bytes | None:
        """The first *size* bytes, or None if there are not so many."""
        end = self._start + size
        if end <= len(self.chunk):
            return self._cut(end)
        self._forget_read()
        return None

    def until(self, delimiter: bytes, max_size: int) -> bytes | None:
        """What comes before *delimiter*, and the delimiter; None if it has not come.

        Raises:
            FrameTooLarge: what comes before it is longer than *max_size*; nothing is taken.
        """
        start = self._start
        begin = self._searched if self._sought == delimiter and self._searched > start else start
        stop = start + max_size + len(delimiter)
        found = self.chunk.find(delimiter, begin, stop)
        if found >= 0:
            return self._cut(found + len(delimiter))
        self._not_found(delimiter, begin, stop)
        self._check_size(delimiter, max_size)
        return None

    def line(self, max_size: int) -> bytes | None:
        r"""The next line without its end, which is ``\n`` or ``\r\n``; None if it has not come.

        Raises:
            FrameTooLarge: it is longer than *max_size*; nothing is taken.
        """
        chunk, start = self.chunk, self._start
        begin = self._searched if self._sought is LINE_END and self._searched > start else start
        end = chunk.find(LINE_END, begin, start + max_size + 2)
        if end < 0:
            self._not_found(LINE_END, begin, start + max_size + 2)
            self._check_size(b"\r\n", max_size)
            return None
        after = end + 1
        if end > start and chunk[end - 1] == CARRIAGE_RETURN:
            end -= 1
        if end - start > max_size:
            raise _too_large(max_size)
        if after == len(chunk):
            self.clear()
        else:
            self._start = after
        return chunk[start:end] if type(chunk) is bytes else bytes(memoryview(chunk)[start:end])

    def clear(self) -> None:
        """Forget all."""
        self.chunk = b""
        self._start = self._searched = 0

    def _not_found(self, delimiter: bytes, begin: int, stop: int) -> None:
        """Remember that there is no *delimiter* between *begin* and *stop*."""
        self._sought = delimiter
        self._searched = max(begin, min(stop, len(self.chunk)) - len(delimiter) + 1)
        self._forget_read()

    def _forget_read(self) -> None:
        """What was read of a chunk is not kept until more comes, if it is most of it."""
        if self._start > len(self.chunk) >> 1:
            self.put(b"")

    def _check_size(self, delimiter: bytes, max_size: int) -> None:
        """All bytes are before *delimiter*: whether they are too many, save for the beginning of it."""
        size = self.size
        if size > max_size:
            tail = bytes(self.chunk[-len(delimiter) :])
            begun = next((n for n in range(len(delimiter) - 1, 0, -1) if tail.endswith(delimiter[:n])), 0)
            if size - begun > max_size:
                raise _too_large(max_size)

    def _cut(self, end: int) -> bytes:
        data, start = self.chunk, self._start
        if end == len(data):
            self.chunk = b""
            self._start = self._searched = 0
            if not start and type(data) is bytes:
                return data
        else:
            self._start = end
        return data[start:end] if type(data) is bytes else bytes(memoryview(data)[start:end])


def _too_large(max_size: int) -> FrameTooLarge:
    return FrameTooLarge(f"more than {max_size} bytes, which is the limit, and no end of them")

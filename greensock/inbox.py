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

    __slots__ = ("_data", "_searched", "_sought", "_start")

    def __init__(self) -> None:
        self._data: bytes | bytearray = b""
        self._start = 0  # before it all was read
        self._sought = b""  # what was looked for last,
        self._searched = 0  # and up to where it cannot begin

    @property
    def size(self) -> int:
        """Bytes unread."""
        return len(self._data) - self._start

    def put(self, data: bytes) -> None:
        """Add *data*, the next bytes of the stream."""
        left = len(self._data) - self._start
        if not left:
            self._data = data
            self._start = self._searched = 0
            return
        held = self._data
        if left <= len(data):
            self._data = b"".join((memoryview(held)[self._start :], data))
        elif isinstance(held, bytearray):
            del held[: self._start]
            held += data
        else:
            self._data = bytearray(memoryview(held)[self._start :])
            self._data += data
        self._searched = max(0, self._searched - self._start)
        self._start = 0

    def take(self, most: int) -> bytes:
        """The first bytes, at most so many."""
        return self._cut(min(self._start + most, len(self._data)))

    def take_all(self) -> bytes:
        """All there is."""
        return self._cut(len(self._data))

    def peek(self, most: int) -> bytes:
        """What :meth:`take` would give; nothing is taken."""
        return bytes(memoryview(self._data)[self._start : self._start + most])

    def exactly(self, size: int) -> bytes | None:
        """The first *size* bytes, or None if there are not so many."""
        end = self._start + size
        if end <= len(self._data):
            return self._cut(end)
        self._forget_read()
        return None

    def until(self, delimiter: bytes, max_size: int) -> bytes | None:
        """What comes before *delimiter*, and the delimiter; None if it has not come.

        Raises:
            FrameTooLarge: what comes before it is longer than *max_size*; nothing is taken.
        """
        found = self._find(delimiter, self._start + max_size + len(delimiter))
        if found >= 0:
            return self._cut(found + len(delimiter))
        self._check_size(delimiter, max_size)
        return None

    def line(self, max_size: int) -> bytes | None:
        r"""The next line without its end, which is ``\n`` or ``\r\n``; None if it has not come.

        Raises:
            FrameTooLarge: it is longer than *max_size*; nothing is taken.
        """
        start = self._start
        if start == len(self._data):
            return None
        end = self._find(LINE_END, start + max_size + 2)
        if end < 0:
            self._check_size(b"\r\n", max_size)
            return None
        data = self._data
        after = end + 1
        if end > start and data[end - 1] == CARRIAGE_RETURN:
            end -= 1
        if end - start > max_size:
            raise _too_large(max_size)
        if after == len(data):
            self.clear()
        else:
            self._start = after
        return data[start:end] if type(data) is bytes else bytes(memoryview(data)[start:end])

    def clear(self) -> None:
        """Forget all."""
        self._data = b""
        self._start = self._searched = 0

    def _find(self, delimiter: bytes, stop: int) -> int:
        """Where *delimiter* begins, if it ends before *stop*; else -1, and this is remembered."""
        data, start = self._data, self._start
        if delimiter == self._sought and self._searched > start:
            start = self._searched
        found = data.find(delimiter, start, stop)
        if found < 0:
            self._sought = delimiter
            self._searched = max(start, min(stop, len(data)) - len(delimiter) + 1)
            self._forget_read()
        return found

    def _forget_read(self) -> None:
        """What was read of a chunk is not kept until more comes, if it is most of it."""
        if self._start > len(self._data) >> 1:
            self.put(b"")

    def _check_size(self, delimiter: bytes, max_size: int) -> None:
        """All bytes are before *delimiter*: whether they are too many, save for the beginning of it."""
        size = self.size
        if size > max_size:
            tail = bytes(self._data[-len(delimiter) :])
            begun = next((n for n in range(len(delimiter) - 1, 0, -1) if tail.endswith(delimiter[:n])), 0)
            if size - begun > max_size:
                raise _too_large(max_size)

    def _cut(self, end: int) -> bytes:
        data, start = self._data, self._start
        if end == len(data):
            self._data = b""
            self._start = self._searched = 0
            if not start and type(data) is bytes:
                return data
        else:
            self._start = end
        return data[start:end] if type(data) is bytes else bytes(memoryview(data)[start:end])


def _too_large(max_size: int) -> FrameTooLarge:
    return FrameTooLarge(f"more than {max_size} bytes, which is the limit, and no end of them")

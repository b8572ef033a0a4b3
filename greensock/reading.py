"""Blocking style: the bytes of a socket whose user asks for its input, in a session or without any handlers."""

from collections.abc import Iterator
from operator import index
from typing import Final, Self

from .errors import FrameTooLarge, IncompleteRead
from .hubs import get_ident
from .options import deadline_of
from .pulling import Pulling
from .state import EOF_READ, UPGRADING, CloseReason
from .waiting import Input
from .wire import READ_SIZE

#: A line or what a delimiter ends is not longer, unless a limit is given: as in :mod:`greensock.framing`.
MAX_SIZE: Final = 65536


class Reading(Pulling):
    """What sessions and clients without handlers read with.

    Of one socket one greenlet at a time can read. Each call takes ``timeout``, seconds to wait at most, and raises
    :class:`TimeoutError` after it. No byte is lost by that, nor by a kill or a ``gevent.Timeout``.
    """

    __slots__ = ()

    # -- users ---------------------------------------------------------------------------------------

    def recv(self, n: int = 65536, *, timeout: float | None = None) -> bytes:
        """What has come, at most *n* bytes, after waiting for some; ``b""`` at the end of the peer's input.

        Raises:
            TimeoutError: nothing came in *timeout* seconds.
            SocketClosed: the connection died, or this side has closed it.
            RuntimeError: the handlers of this socket take its input, another greenlet reads it now, or the
                call is from another thread.
        """
        data = self._input
        if data is None or self._waiter is not None or self._frames is not None or get_ident() != self._engine.thread:
            data = self._check_reading()
        if n.__class__ is not int:
            n = index(n)
        if n < 1:
            if n < 0:
                raise ValueError(f"cannot read {n} bytes")
            return b""
        if not data.chunk:
            chunk = self._receive(n, None if timeout is None else deadline_of(timeout), timeout)
            if not chunk:
                self._ended_cleanly()
            if len(chunk) <= n:
                return chunk
            data.put(chunk)
        return data.take(n)

    def read_exactly(self, n: int, *, timeout: float | None = None) -> bytes:
        """The next *n* bytes.

        Raises:
            IncompleteRead: the peer ended before; ``partial`` is what came.
            TimeoutError, SocketClosed, RuntimeError: see :meth:`recv`.
        """
        data = self._check_reading()
        n = index(n)
        if n < 0:
            raise ValueError(f"cannot read {n} bytes")
        deadline = deadline_of(timeout)
        while (found := data.exactly(n)) is None:
            if not self._fill(deadline, timeout):
                raise self._cut_off(data, f"{n} bytes")
        return found

    def read_until(self, delimiter: bytes, max_size: int = MAX_SIZE, *, timeout: float | None = None) -> bytes:
        """All up to *delimiter*, which is included.

        Raises:
            FrameTooLarge: more than *max_size* bytes come before it, known as soon as possible. They can still be read.
            IncompleteRead: the peer ended before; ``partial`` is what came.
            TimeoutError, SocketClosed, RuntimeError: see :meth:`recv`.
        """
        data = self._check_reading()
        if not isinstance(delimiter, bytes):
            raise TypeError(f"delimiter must be bytes, not {delimiter!r}")
        if not delimiter:
            raise ValueError("delimiter must have a byte at least")
        _check_size(max_size)
        deadline = deadline_of(timeout)
        try:
            while (found := data.until(delimiter, max_size)) is None:
                if not self._fill(deadline, timeout):
                    raise self._cut_off(data, repr(delimiter))
        except FrameTooLarge as error:
            self._as_own(error)
            raise
        return found

    def lines(self, max_size: int = MAX_SIZE, *, timeout: float | None = None) -> Iterator[bytes]:
        r"""The lines of the input, each without its end, which is ``\n`` or ``\r\n``, until the peer ends.

        Args:
            max_size: the most bytes of a line, without its end.
            timeout: seconds to wait for each line. After a TimeoutError the iterator can be asked again.

        Raises:
            FrameTooLarge: a line is longer, known as soon as possible.
            IncompleteRead: the peer ended inside a line; ``partial`` is what came of it.
            TimeoutError, SocketClosed, RuntimeError: see :meth:`recv`.
        """
        self._check_reading()
        _check_size(max_size)
        deadline_of(timeout)
        return LineIterator(self, max_size, timeout)

    def __iter__(self) -> Iterator[bytes]:
        """Chunks as they come, like :meth:`recv`, until the peer ends."""
        self._check_reading()
        return iter(self.recv, b"")

    # -- checks --------------------------------------------------------------------------------------

    def _check_reading(self) -> Input:
        """The input, if the caller may read bytes of it now."""
        data = self._input
        if data is None or self._waiter is not None or get_ident() != self._engine.thread:
            raise self._not_now()
        if self._frames is not None:
            raise RuntimeError("messages were read from this socket: its framing has the bytes, use read_message()")
        return data

    def _not_now(self) -> RuntimeError:
        self._check_thread()
        if self._flags & UPGRADING:
            return RuntimeError("upgrade_tls() runs on this socket: it cannot be read before that is done")
        if self._input is None:
            return RuntimeError("this socket has handlers, which are given its input; it cannot be read as well")
        return RuntimeError("another greenlet reads this socket now")

    # -- filling the inbox ---------------------------------------------------------------------------

    def _next_line(self, data: Input, max_size: int, timeout: float | None) -> bytes | None:
        """The line that ends in what has not come yet; None at the end of the input."""
        deadline = None if timeout is None else deadline_of(timeout)
        while chunk := self._receive(READ_SIZE, deadline, timeout):
            data.put(chunk)
            line = data.line(max_size)
            if line is not None:
                return line
        if not self._flags & EOF_READ:
            data.clear()  # see _fill()
        elif data.size:
            raise self._cut_off(data, "the end of the line")
        self._ended_cleanly()
        return None

    def _fill(self, deadline: float | None, timeout: float | None) -> bool:
        """Receive more into the inbox. False at the end of the input."""
        data = self._input
        assert data is not None
        chunk = self._receive(READ_SIZE, deadline, timeout)
        if chunk:
            data.put(chunk)
            return True
        if not self._flags & EOF_READ:  # the server drains, and does not want the half that came of something
            data.clear()
        return False

    def _ended_cleanly(self) -> None:
        if self._flags & EOF_READ and not self._shared.options.allow_half_open:
            self._because(CloseReason.EOF, None)

    def _cut_off(self, data: Input, wanted: str) -> IncompleteRead:
        """The input has ended before what was *wanted*."""
        partial = data.take_all()
        error = self._as_own(IncompleteRead(f"the peer ended after {len(partial)} bytes, before {wanted}", partial))
        if partial:
            self._because(CloseReason.PROTOCOL, error)
        else:
            self._ended_cleanly()
        return error


class LineIterator:
    """What :meth:`Socket.lines` returns. Unlike a generator it can be asked again after a TimeoutError."""

    __slots__ = ("_max_size", "_socket", "_timeout")

    def __init__(self, socket: Reading, max_size: int, timeout: float | None) -> None:
        self._socket = socket
        self._max_size = max_size
        self._timeout = timeout

    def __iter__(self) -> Self:
        return self

    def __next__(self) -> bytes:
        socket = self._socket
        data = socket._input
        if (
            data is None
            or socket._waiter is not None
            or socket._frames is not None
            or get_ident() != socket._engine.thread
        ):
            data = socket._check_reading()
        try:
            line = data.line(self._max_size) if data.chunk else None
            if line is None:
                line = socket._next_line(data, self._max_size, self._timeout)
        except FrameTooLarge as error:
            socket._as_own(error)
            raise
        if line is None:
            raise StopIteration
        return line


def _check_size(max_size: object) -> None:
    if not isinstance(max_size, int) or isinstance(max_size, bool):
        raise TypeError(f"max_size must be a whole number, not {max_size!r}")
    if max_size < 0:
        raise ValueError(f"max_size must be at least 0, not {max_size}")

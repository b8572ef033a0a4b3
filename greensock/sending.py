"""The writing half of a socket, as users see it: ``write`` and ``end``, and when what was written is sent.

What is written while a handler runs is sent together when it returns or first blocks; what other greenlets
write is sent together once per turn. A write that takes the queue over its high-water mark is sent at once.
"""

from collections.abc import Iterable
from errno import EAGAIN
from time import monotonic
from types import TracebackType
from typing import Any

from greenlet import getcurrent

from .buffers import Writable, as_bytes
from .errors import SlowConsumer, WriteQueueFull
from .flushing import Flushing
from .hubs import get_ident
from .state import (
    BY_HAND,
    CHOKED,
    DEAD,
    ENDED,
    FIN_WANTED,
    LATE,
    OPEN,
    CloseReason,
)


class Sending(Flushing):
    """Writes, corks, watermarks and the end of the writing side."""

    __slots__ = ()

    # -- writing -------------------------------------------------------------------------------------

    def write(self, data: Writable) -> bool:
        """Queue all of *data* to be sent; does not block unless far too much is queued.

        Args:
            data: bytes-like, or ``str`` that goes out as UTF-8. ``bytes`` are held until sent, others copied.

        Returns:
            True while the queue is at or below its high-water mark. False: queued too, but better wait for
            ``drain``, which follows once, unless ``close`` does.

        Called by this socket's own handler with more than ``max_buffered`` bytes queued, it first blocks until
        the queue is at its low-water mark, so that a plain loop over a large file just works. Called from
        elsewhere it is then ``slow_consumer``'s case: ``"close"`` terminates the connection and answers False.

        Raises:
            SocketClosed: this side has ended or closed it, or the connection is over.
            WriteQueueFull: ``slow_consumer="raise"`` and too much is queued; nothing of *data* was queued.
            TypeError: *data* is neither bytes-like nor ``str``.
            RuntimeError: called from another thread.
        """
        engine = self._engine
        if get_ident() != engine.thread:
            self._check_thread()
        if type(data) is not bytes:
            data = as_bytes(data)
        if not self._writable:
            raise self._closed_error()
        queue = self._queue
        size = queue.size
        if not size:  # push(), without the call
            queue.first = data
            queue.size = size = len(data)
        elif size <= queue.high or self._make_room(len(data)):
            size = queue.push(data)
        else:
            return False
        self._counters.messages_written += 1
        if size > queue.high:
            return self._send_over()
        if engine.current is not self:
            self._send_soon()
        return True

    def writelines(self, parts: Iterable[Writable]) -> bool:
        """Queue all *parts* as one :meth:`write`; all of them, or none when one is refused."""
        self._check_thread()
        chunks = [part if type(part) is bytes else as_bytes(part) for part in parts]
        if not self._writable:
            raise self._closed_error()
        queue = self._queue
        if queue.over and not self._make_room(sum(map(len, chunks))):
            return False
        self._counters.messages_written += 1
        for chunk in chunks:
            queue.push(chunk)
        if queue.over:
            return self._send_over()
        if self._engine.current is not self:
            self._send_soon()
        return True

    def write_message(self, message: Any) -> bool:
        """:meth:`write` *message* as the socket's framing encodes it.

        Raises:
            ValueError: no decoder would give this message back, says the framing; nothing was queued.
            TypeError: the socket has no framing, or its framing takes no such message.
        """
        framing = self._shared.options.framing
        if framing is None:
            raise TypeError("write_message() needs the option framing=, of listen() or connect()")
        return self.write(framing.encode(message))

    def sendall(self, data: Writable) -> None:
        """:meth:`write`, corked or not, then block this greenlet while the queue is over its high-water mark.

        Raises:
            SocketClosed: also when the connection ends meanwhile.
        """
        if not self.write(data):
            self._wait_for(self._queue.high, None)
        elif self._corks:
            self._flush()

    def flush(self, timeout: float | None = None) -> None:
        """Send what is queued, corked or not, and block this greenlet until the kernel has all of it.

        Args:
            timeout: seconds to wait at most; None: until ``write_timeout`` ends the connection.

        Raises:
            SocketClosed: the connection ended first; ``unsent`` tells how much was lost.
            TimeoutError: not in time. Nothing is lost: what is queued stays queued.
        """
        self._check_thread()
        self._flush()
        if self._queue.size:
            self._wait_for(0, timeout)
        elif self._flags & DEAD or self.unsent:
            raise self._closed_error()

    @property
    def buffered(self) -> int:
        """Bytes that were accepted and that the kernel does not have yet."""
        return self._queue.size

    def cork(self) -> "Cork":
        """Hold back what is written in a ``with`` block, and send it together at its end.

        Corks nest. They give way to the high-water mark, ``flush``, ``sendall`` and ``close``. Not needed for
        writes of one handler call, which go out together anyway, but for those around a call that blocks.
        """
        self._check_thread()
        return Cork(self)

    def end(self, data: Writable | None = None) -> None:
        """Queue *data*, then FIN once the queue is empty. The socket can still be read.

        A second call does nothing.

        Raises:
            SocketClosed: there is *data*, and this side has ended or closed already.
        """
        self._check_thread()
        if data is not None:
            self.write(data)
        if self._state is OPEN:
            self._because(CloseReason.LOCAL, None)
            self._state = ENDED
            self._writable = False
            if not self._flags & DEAD:
                self._flags |= FIN_WANTED
                if not self._queue.size:
                    self._finish()
                elif self._engine.current is not self:
                    self._send_soon()

    # -- when to send --------------------------------------------------------------------------------

    def _send_soon(self) -> None:
        """Somebody wrote who is not this socket's running handler: send at the end of the turn."""
        if self._counted:
            self._account()  # the kernel is full: the write watcher sends when it is not
        elif not self._flags & LATE and not self._corks:
            self._flags |= LATE
            self._engine.flush_later(self)

    def _send_late(self) -> None:
        flags = self._flags
        if flags & LATE:
            self._flags = flags ^ LATE
        if self._queue.size and not self._corks:
            self._flush()

    def _send_over(self) -> bool:
        """The queue went over its high-water mark: send now, and say whether it still is."""
        self._flush()
        if not self._queue.over:
            return self._writable
        self._queue.congested = True
        if self._shared.stop_reading_when_over and not self._flags & (CHOKED | BY_HAND):
            self._flags |= CHOKED
            self._stop_reading()
        return False

    def _make_room(self, wanted: int, *, broadcast: bool = False) -> bool:
        """The queue is over its high-water mark: whether *wanted* more bytes may be queued now."""
        options = self._shared.options
        if self._queue.size <= options.max_buffered:
            return True
        self._flush()  # the kernel may have taken some meanwhile
        if not self._writable:
            raise self._closed_error()
        queued = self._queue.size
        if queued <= options.max_buffered:
            return True
        if self._waits_for_room(broadcast):
            self._wait_for(self._queue.low, None)
            if not self._writable:  # ended or closed by somebody else meanwhile
                raise self._closed_error()
            return True
        self._counters.slow_consumers += 1
        text = f"the peer does not read: {queued} bytes are queued for it, max_buffered is {options.max_buffered}"
        if options.slow_consumer == "raise":
            raise WriteQueueFull(EAGAIN, text)
        self.unsent += wanted
        self._because(CloseReason.SLOW_CONSUMER, SlowConsumer(EAGAIN, text))
        self._close_now(abort=True)
        return False

    def _waits_for_room(self, broadcast: bool) -> bool:
        """Whether who writes here is to wait: the socket's own handler is."""
        return self._engine.current is self or getcurrent() in self._handler_greenlets()


class Cork:
    """What :meth:`Socket.cork` returns: a context manager."""

    __slots__ = ("_since", "_socket")

    def __init__(self, socket: Sending) -> None:
        self._socket = socket
        self._since = 0.0

    def __enter__(self) -> None:
        self._since = monotonic()
        self._socket._corks += 1

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        socket = self._socket
        socket._corks -= 1
        now = monotonic()
        socket._progress = min(now, socket._progress + now - self._since)  # the write timeout stood still
        if not socket._corks:
            socket._flush()

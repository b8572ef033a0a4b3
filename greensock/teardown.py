"""The end of a socket: why it has come, what is taken apart then, and what those are told who still use it.

One function stops the watchers and then closes the descriptor: libev aborts the process when a watcher starts on a
closed one.
"""

from errno import EPIPE
from typing import TypeVar

from .errors import SocketClosed
from .link import Link
from .state import (
    CLOCKED,
    CLOSED,
    CLOSING,
    DRAINED,
    ENDED,
    GONE,
    IDLE,
    OVER,
    OWN_END,
    PENDING,
    SHAKEN,
    STOPPING,
    STORED,
    STRAY,
    WAITING,
    CloseReason,
)

E = TypeVar("E", bound=Exception)


class Teardown(Link):
    """Takes the socket apart, once."""

    __slots__ = ()

    def _because(self, reason: CloseReason, error: BaseException | None) -> None:
        """Fix why the connection ends, unless an earlier cause has. A later one may still tell whose doing it was."""
        if self.close_reason is None:
            self.close_reason = reason
            self._error = error
        if reason is CloseReason.LOCAL:
            self._flags |= OWN_END
        elif reason is not CloseReason.EOF:  # which takes nothing from who has ended
            self._flags &= ~OWN_END

    def _close_now(self, *, abort: bool = False) -> None:
        """Stop the watchers, close the descriptor, and have ``close`` delivered. The one way to the end."""
        if self._state is CLOSED:
            return
        try:
            self._take_apart(abort)
        except BaseException:  # of a signal, which may come anywhere: nobody would come back to finish it
            self._take_apart(abort)
            raise

    def _take_apart(self, abort: bool) -> None:
        """What :meth:`_close_now` does; each step may be done twice."""
        self._remember_local_address()
        self._state = CLOSED
        self._writable = False
        self._reader.close()  # which stops it
        if self._writer is not None:
            self._writer.close()
        if abort:
            self._wire.abort()
        else:
            self._wire.close()
        self._leave_rooms()
        self._shared.handshaking.discard(self)
        if self in self._shared.sockets:
            self._counters.bytes_read += self.bytes_read
            self._counters.bytes_written += self.bytes_written
            self._shared.sockets.remove(self)
        if self._engine.clocks.watched:
            self._engine.clocks.unwatch(self)
        self._stamp = None
        if self._queue.size or self._waiters:
            self._drop_queue()
        self._flags &= ~(
            STRAY | DRAINED | IDLE | STOPPING | SHAKEN | WAITING | CLOCKED | STORED
        )  # nothing but the close is delivered now
        self._ask_for(GONE)

    def _never_connected(self) -> None:
        """Connecting has failed: the end, without any event."""
        self._state = CLOSED
        self._flags = (self._flags | OVER) & ~PENDING
        self._shared.alive -= 1
        self._shared.referenced -= 1
        self._shared.on_gone()

    def _leave_to_parent(self) -> None:
        """After a fork, in the child: neither read, send nor end what the parent reads, sends and ends.

        What is queued would arrive twice, and a shutdown or SO_LINGER acts on the connection, not on the descriptor.
        A descriptor kept here would keep the parent's close from the peer. It is kept only while a handler runs: it may
        be meant for a program that the child becomes.
        """
        self._stop_watchers()
        self._state = CLOSED
        self._writable = False
        self._queue.clear()
        self._flags &= ~PENDING
        if self._running is None and self._engine.current is not self:
            self._wire.close()

    def _as_own(self, error: E) -> E:
        """*error*, marked as the peer's fault in a method of this socket: not that of a handler that lets it out."""
        setattr(error, "socket", self)  # noqa: B010 - as SocketClosed has; built-in exceptions do not know of it
        return error

    def _closed_error(self) -> SocketClosed:
        """What a use of this socket raises when it takes no more bytes."""
        failure = self._error if isinstance(self._error, OSError) else None
        if failure is not None:
            error = SocketClosed(EPIPE, f"the connection is over: {failure}")
            error.__cause__ = failure
        else:
            what = {ENDED: "has ended", CLOSING: "is closing"}.get(self._state, "is closed")
            why = "" if self.close_reason in (None, CloseReason.LOCAL) else f" ({self.close_reason})"
            error = SocketClosed(EPIPE, f"the socket {what}{why}")
        if failure is not None or not self._flags & OWN_END:
            error.socket = self
        return error

    def _drop_queue(self) -> None:
        """Give up what is queued: it will not be sent."""
        self.unsent += self._queue.clear()
        self._account()
        for _, result in self._waiters or ():
            result.set_exception(self._closed_error())
        self._waiters = None

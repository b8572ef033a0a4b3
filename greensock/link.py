"""The ground of a socket: its descriptor, its two watchers, what state it is in, and its end.

What writes, what reads and what calls handlers are layers above, from ``flushing`` to ``sock``.
"""

import weakref
from collections.abc import Callable
from errno import EPIPE
from time import monotonic
from typing import Any, Final, TypeVar

from .engine import Engine
from .errors import SocketClosed
from .hubs import get_ident
from .shared import Shared
from .state import (
    CLOCKED,
    CLOSED,
    CLOSING,
    CONNECTING,
    DRAINED,
    ENDED,
    GONE,
    HANDSHAKING,
    IDLE,
    OPEN,
    OPENING,
    OVER,
    PENDING,
    SHAKEN,
    STOPPING,
    STORED,
    STRAY,
    UNREADABLE,
    UPGRADING,
    WAITING,
    CloseReason,
)
from .wire import Plain
from .writequeue import WriteQueue

E = TypeVar("E", bound=Exception)

READ: Final = 1  # of libev
WRITE: Final = 2


class Link:
    """A descriptor in an engine.

    Resource handling: owns the wire, from the constructor on until :meth:`_close_now`, which stops the watchers
    before it closes the descriptor: libev aborts the process when a watcher starts on a closed one.
    """

    __slots__ = (
        "__weakref__",
        "_context",
        "_corks",
        "_counted",
        "_counters",
        "_engine",
        "_error",
        "_flags",
        "_idle_timeout",
        "_local_address",
        "_own",
        "_progress",
        "_queue",
        "_reader",
        "_rooms",
        "_running",
        "_shared",
        "_stamp",
        "_state",
        "_table",
        "_waiter",
        "_waiters",
        "_wire",
        "_writable",
        "_writer",
        "bytes_read",
        "bytes_written",
        "close_reason",
        "unsent",
    )

    def __init__(self, wire: Plain, shared: Shared) -> None:
        engine = shared.engine
        options = shared.options
        self._wire = wire
        self._shared = shared
        self._engine: Engine = engine
        self._counters = shared.counters
        self._table = shared.table
        self._flags = OPENING
        self._state = CONNECTING
        self._writable = False
        self._queue = WriteQueue(options.high_water_mark, options.low_water_mark)
        self._reader: Any = None
        self._writer: Any = None  # made when the kernel first refuses bytes
        self._running: Any = None
        self._own: Any = None
        self._waiter: Any = None
        self._context: Any = None
        self._stamp: float | None = None
        self._idle_timeout: float | None = None
        self._progress = 0.0  # when the kernel last took queued bytes, or the closing reached its last phase
        self._counted = 0  # of the queued bytes, those that the server's counter knows
        self._corks = 0
        self._waiters: list[Any] | None = None
        self._rooms: set[Any] | None = None  # the groups that it is in
        self._local_address: Any = shared.local_address
        self._error: BaseException | None = None
        #: Why the connection ended, or None while it has not. See :class:`greensock.CloseReason`.
        self.close_reason: CloseReason | None = None
        #: Bytes received so far, the application's.
        self.bytes_read = 0
        #: Bytes that the kernel has taken so far, the application's.
        self.bytes_written = 0
        #: Bytes that were accepted and that the end of the connection kept from being sent.
        self.unsent = 0
        if wire.fileno() >= 0:
            self._connected(wire)

    def _connected(self, wire: Plain) -> None:
        """From now on there is a connection, *wire*."""
        self._reader = self._engine.loop.io(wire.fileno(), READ)
        self._wire = wire
        self._state = OPEN
        self._writable = True

    # -- asking the engine ---------------------------------------------------------------------------

    def _check_thread(self) -> None:
        if get_ident() != self._engine.thread:
            raise RuntimeError(
                "a socket was used from another thread than its hub's; "
                "use greensock.call_from_thread(socket, function, *args)"
            )

    def _ask_for(self, event: int) -> None:
        """Have a runner deliver *event*, after the handler that runs now."""
        self._flags |= event
        if self._running is None and self._engine.current is not self:
            self._engine.schedule(self)

    def _handler_greenlets(self) -> list[Any]:
        """The greenlets in which handlers of it are blocked."""
        return [self._running]

    def _settle(self) -> None:
        flags = self._flags
        if flags & CLOCKED:
            self._stamp = monotonic()  # the idle clock stood still while the handler ran
        if flags & PENDING:
            self._engine.schedule(self)
        if flags & WAITING:
            self._flags = flags & ~WAITING
            self._watch()
        elif flags & STORED and not flags & UNREADABLE:
            self._serve_next_turn()

    # -- watchers ------------------------------------------------------------------------------------

    def _watch(self) -> None:
        """Have the socket served when it is readable, unless something forbids reading."""
        flags = self._flags
        if (not flags & UNREADABLE or flags & HANDSHAKING) and self._state is not CLOSED:
            reader = self._reader
            if not reader.active:
                reader.start(self._engine.on_readable, self)
            if flags & STORED and self._running is None and self._engine.current is not self:
                self._serve_next_turn()

    def _serve_next_turn(self) -> None:
        """Have what is held delivered after the loop has looked at the other sockets."""
        self._engine.loop.run_callback(self._engine.schedule, self)

    def _pause_watcher(self) -> None:
        if self._state is not CLOSED:
            self._flags |= WAITING
            self._stop_reading()

    def _stop_reading(self) -> None:
        if not self._flags & UPGRADING:  # whose greenlet waits by the same watcher
            self._reader.stop()

    def _watch_writing(self, callback: Callable[[], None]) -> None:
        writer = self._writer
        if writer is None:
            writer = self._writer = self._engine.loop.io(self._wire.fileno(), WRITE)
        if not writer.active:
            writer.start(callback)

    def _stop_watchers(self) -> None:
        self._reader.stop()
        if self._writer is not None:
            self._writer.stop()

    # -- rooms ---------------------------------------------------------------------------------------

    def _enter_room(self, group: Any) -> bool:
        """Become a member of *group*, whose members leave by themselves. Not when the end has come."""
        if self._state not in (OPEN, ENDED):
            return False
        if self._rooms is None:
            self._rooms = set()
        self._rooms.add(weakref.ref(group, self._rooms.discard))
        return True

    def _leave_room(self, group: Any) -> None:
        if self._rooms is not None:
            self._rooms.discard(weakref.ref(group))

    def _leave_rooms(self) -> None:
        """Groups have no use for what takes no more bytes."""
        for reference in tuple(self._rooms or ()):
            group = reference()
            if group is not None:
                group.discard(self)
        self._rooms = None

    # -- the end -------------------------------------------------------------------------------------

    def _because(self, reason: CloseReason, error: BaseException | None) -> None:
        """Fix why the connection ends, unless an earlier cause has."""
        if self.close_reason is None:
            self.close_reason = reason
            self._error = error

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
        if self._local_address is None:
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
            error = SocketClosed(EPIPE, f"the socket {what}")
        if failure is not None or self.close_reason is not CloseReason.LOCAL:
            error.socket = self
        return error

    def _remember_local_address(self) -> Any:
        if self._local_address is None and self._state is not CLOSED:
            try:
                self._local_address = self._wire.getsockname()
            except OSError:
                pass  # some platforms forget it when the peer resets
        return self._local_address

    def _drop_queue(self) -> None:
        """Give up what is queued: it will not be sent."""
        self.unsent += self._queue.clear()
        self._account()
        for _, result in self._waiters or ():
            result.set_exception(self._closed_error())
        self._waiters = None

    def _account(self) -> None:
        """Bring the server's count of buffered bytes up to date with this queue."""
        size = self._queue.size
        if size != self._counted:
            counters = self._counters
            counters.buffered += size - self._counted
            self._counted = size
            if counters.buffered > counters.buffered_peak:
                counters.buffered_peak = counters.buffered

"""The ground of a socket: its descriptor, its two watchers, and what state it is in.

What ends it, what writes, what reads and what calls handlers are layers above, from ``teardown`` to ``sock``.
"""

import weakref
from collections.abc import Callable
from time import monotonic
from typing import Any

from .engine import Engine
from .hubs import READ, WRITE, get_ident
from .shared import Shared
from .state import (
    CLOCKED,
    CLOSED,
    CONNECTING,
    ENDED,
    HANDSHAKING,
    OPEN,
    OPENING,
    PENDING,
    STORED,
    UNREADABLE,
    UPGRADING,
    WAITING,
    CloseReason,
)
from .wire import Plain
from .writequeue import WriteQueue


class Link:
    """A descriptor in an engine.

    Resource handling: owns the wire, from the constructor on until it is taken apart (:mod:`greensock.teardown`).
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
        self.close_reason: CloseReason | None = None
        self.bytes_read = 0
        self.bytes_written = 0
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

    # -- what is known of it -------------------------------------------------------------------------

    def _remember_local_address(self) -> Any:
        if self._local_address is None and self._state is not CLOSED:
            try:
                self._local_address = self._wire.getsockname()
            except OSError:
                pass  # some platforms forget it when the peer resets
        return self._local_address

    def _account(self) -> None:
        """Bring the server's count of buffered bytes up to date with this queue."""
        size = self._queue.size
        if size != self._counted:
            counters = self._counters
            counters.buffered += size - self._counted
            self._counted = size
            if counters.buffered > counters.buffered_peak:
                counters.buffered_peak = counters.buffered

"""Sessions: connections that one function serves from beginning to end, in a greenlet of its own.

The greenlet has ``open``, ``handle``, ``error`` and ``close`` one after the other, and each sees what those before left
on it. What comes while ``handle`` runs, ``timeout`` and ``stopping``, has a greenlet beside it for as long as it takes.
"""

from contextvars import Context
from time import monotonic
from typing import Any

import gevent
from greenlet import getcurrent

from .errors import FrameError, IncompleteRead, SocketClosed
from .messages import Messages
from .shared import Shared
from .state import BUSY, BY_HAND, CLOSED, ENDED, GONE, IDLE, OPEN, STOPPING, TOLD_TO_STOP, CloseReason
from .wire import Plain


class Session(Messages):
    """What is different with ``handle`` instead of ``data``."""

    __slots__ = ("_beside",)

    def __init__(self, wire: Plain, shared: Shared, remote_address: Any) -> None:
        super().__init__(wire, shared, remote_address)
        self._beside: Any = None  # the greenlet in which ``timeout`` and ``stopping`` run

    def _begin(self) -> None:
        if self._table.handle is None:
            super()._begin()
            return
        self._read_by_hand()
        self._own = None  # a runner of its own, because of what was left on it in the handshake, ends now
        self._running = greenlet = self._shared.spawn(self._session)
        greenlet.gr_context = getcurrent().gr_context  # what `handshake` has set in it
        self._flags |= BUSY
        self._engine.blocked.add(self)
        if hasattr(greenlet, "rawlink"):  # one of gevent's, which may be killed before it has begun
            greenlet.rawlink(self._never_ran)

    # -- the session's greenlet ----------------------------------------------------------------------

    def _session(self) -> None:
        if self._state is CLOSED:
            self._never_ran(self._running)
            return
        try:
            if hasattr(self._running, "unlink"):
                self._running.unlink(self._never_ran)
            self._emit("open")
            if self._flags & STOPPING:
                self._go_beside()
            if not self._flags & GONE:
                self._handle()
            self._end_beside()
            self._close(CloseReason.STOPPED if self._flags & TOLD_TO_STOP else CloseReason.LOCAL, None)
        except BaseException as error:  # of a signal, between what handlers do
            self._failed("handle", error)
        try:
            self._session_over()
        except BaseException:  # likewise; nobody would come back to finish it
            self._session_over()
            raise
        if self._table.close is not None and self._opened_at:
            self._engine.runners.be_runner_of(self)

    def _handle(self) -> None:
        handle = self._table.handle
        assert handle is not None
        try:
            handle(self)
            if self._beside is not None:
                self._beside.join()
        except BaseException as error:
            self._failed("handle", error)
            if not self._is_own_failure(error):
                self._abort(CloseReason.HANDLER_ERROR, error)

    def _end_beside(self) -> None:
        """Wait for what runs beside, so that ``close`` is the last event. A kill is passed on."""
        while (beside := self._beside) is not None:
            try:
                beside.join()
            except KeyboardInterrupt as error:
                self._engine.interrupt_main(error)
            except BaseException:
                gevent.kill(beside)

    def _never_ran(self, greenlet: Any) -> None:
        """*greenlet* has ended or has to, before it ran: no event at all. Or it is over, and that is known already."""
        if self._running is greenlet:
            self._opened_at = 0.0
            self._counters.accepted -= 1
            self._abort(CloseReason.STOPPED, None)
            self._session_over()

    def _session_over(self) -> None:
        """No handler runs any more: from now on runners see to the socket, as to one with events."""
        self._running = None
        self._flags &= ~BUSY
        self._engine.blocked.discard(self)
        if self._engine.current is not self:  # else that is done when this greenlet has switched away
            self._settle()

    # -- beside it -----------------------------------------------------------------------------------

    def _ask_for(self, event: int) -> None:
        if self._running is None or not self._flags & BY_HAND or not event & (IDLE | STOPPING):  # events, or not begun
            super()._ask_for(event)
            return
        self._flags |= event
        self._go_beside()
        if event & STOPPING:
            self._wake_later()  # after the goodbye: callbacks are called in the order in which they were made

    def _go_beside(self) -> None:
        if self._beside is None:
            self._beside = gevent.spawn(self._run_beside)

    def _run_beside(self) -> None:
        session = self._running
        if session.gr_context is None:
            session.gr_context = Context()
        getcurrent().gr_context = session.gr_context
        try:
            while self._flags & (IDLE | STOPPING):
                if self._flags & IDLE:
                    self._idle_beside()
                else:
                    self._flags &= ~STOPPING
                    if self._state is OPEN or self._state is ENDED:
                        self._emit("stopping")
        finally:
            self._beside = None

    def _idle_beside(self) -> None:
        stamp, limit = self._stamp, self._idle_timeout
        if stamp is not None and limit is not None and monotonic() - stamp >= limit and self._may_idle():
            self._idle()
        else:  # something has come since
            self._flags &= ~IDLE

    def _handler_greenlets(self) -> list[Any]:
        running = super()._handler_greenlets()
        return running if self._beside is None else [*running, self._beside]

    # -- errors --------------------------------------------------------------------------------------

    def _failed(self, event: str, error: BaseException) -> None:
        if isinstance(error, (FrameError, IncompleteRead)) and self._is_own_failure(error):
            inside = not isinstance(error, IncompleteRead) or error.partial or self._frames is not None
            if inside:  # and not where the next thing would have begun
                self._framing_failed(error)
            return
        failure = error.__cause__ if isinstance(error, SocketClosed) and self._is_own_failure(error) else None
        if isinstance(failure, OSError) and self._wire.reason_of(failure) is CloseReason.PROTOCOL:
            self._protocol_failed("TLS", failure)
        else:
            super()._failed(event, error)

"""The events of a socket: which one is due, and what follows when its handler returns or raises."""

import itertools
import logging
import traceback
from collections.abc import Callable
from time import monotonic
from typing import Any, Final

from gevent import GreenletExit

from . import log, net
from .closing import NO_ERROR, Closing
from .errors import FrameError, IncompleteRead
from .shared import Shared
from .state import (
    CLOSED,
    DRAINED,
    ENDED,
    GONE,
    HANDSHAKING,
    IDLE,
    OPEN,
    OPENING,
    OVER,
    PENDING,
    RELEASED,
    SHAKEN,
    STOPPING,
    STRAY,
    TOLD_TO_STOP,
    UNREFERENCED,
    CloseReason,
)
from .wire import Plain

_numbers: Final = itertools.count(1)


class Events(Closing):
    """What a runner does with a socket, save reading."""

    __slots__ = ("_number", "_opened_at", "_remote_address", "_stray_error")

    def __init__(self, wire: Plain, shared: Shared, remote_address: Any) -> None:
        super().__init__(wire, shared)
        self._remote_address = remote_address
        self._number = next(_numbers)
        self._opened_at = 0.0
        self._stray_error: BaseException | None = None

    def _deliver_event(self) -> None:
        """Deliver the first event that is due; one is."""
        flags = self._flags
        if flags & OPENING:
            self._opened()
        elif flags & GONE:
            self._gone()
        elif flags & STRAY:
            self._flags &= ~STRAY
            error, self._stray_error = self._stray_error, None
            if error is not None:
                self._failed("own greenlet", error)
        elif flags & SHAKEN:
            self._flags &= ~SHAKEN
            self._emit("handshake", self._wire.authorized, self._wire.authorization_error)
        elif flags & DRAINED:
            self._flags &= ~DRAINED
            self._emit("drain")
        elif flags & IDLE:
            self._idle()
        else:
            self._stopping()
        if self._queue.size and not self._corks:
            self._flush()

    def _emit(self, event: str, *args: object) -> None:
        handler = getattr(self._table, event)
        if handler is not None:
            try:
                handler(self, *args)
            except BaseException as error:
                self._failed(event, error)

    def _opened(self) -> None:
        self._flags &= ~OPENING
        if self._state is CLOSED:
            self._never_opened()
        else:
            self._open()

    def _open(self) -> None:
        if self._shared.on_open is not None:
            self._shared.on_open(self)
        self._opened_at = monotonic()
        self._counters.accepted += 1
        self._shared.sockets.add(self)
        if self._shared.options.idle_timeout is not None:
            self._set_idle_timeout(self._shared.options.idle_timeout)
        if self._shared.draining:
            self._stop()
        self._begin()

    def _begin(self) -> None:
        self._emit("open")
        self._watch()

    def _never_opened(self) -> None:
        """It has closed before ``open``: no event at all."""
        self._counters.refused += 1
        if self._flags & HANDSHAKING:
            self._counters.handshake_failures += 1
            self._log(log.handshake_failed, self._peer(), self._error)
        self._released()

    def _idle(self) -> None:
        """The idle clock ran out. The handler may keep the socket: by sending, or by setting the clock."""
        self._flags &= ~IDLE
        before, now = self.bytes_written, monotonic()
        self._counters.timeouts += 1
        self._emit("timeout")
        if self._queue.size:
            self._flush()
        stamp = self._stamp  # a session that reads again, in vain, has moved it, but not to this side of *now*
        if self.bytes_written == before and stamp is not None and stamp < now:
            self._close(CloseReason.TIMEOUT, None)

    def _stop(self) -> None:
        """The server drains: say goodbye and close, after the handler that runs now."""
        if not self._flags & (TOLD_TO_STOP | OVER) and self._state in (OPEN, ENDED):
            self._flags |= TOLD_TO_STOP
            self._ask_for(STOPPING)

    def _stopping(self) -> None:
        self._flags &= ~STOPPING
        if self._state is OPEN or self._state is ENDED:
            self._emit("stopping")
            self._close(CloseReason.STOPPED, None)

    def _gone(self) -> None:
        """The descriptor is closed and no handler runs: the last event."""
        self._flags = (self._flags | OVER) & ~PENDING
        if not self._opened_at:
            self._never_opened()
            return
        self._counters.closed += 1
        try:
            self._tell_close()
            self._released()
        except BaseException:  # of a signal
            self._released()
            raise

    def _tell_close(self) -> None:
        handler = self._table.close
        if handler is not None:
            try:
                handler(self, None if self.close_reason in NO_ERROR else self._error)
            except KeyboardInterrupt as error:
                self._engine.interrupt_main(error)
            except BaseException as error:
                self._counters.errors += 1
                self._log(log.handler_failed, "close", error, self._peer())
        if log.access.isEnabledFor(logging.INFO):
            counts = monotonic() - self._opened_at, self.bytes_read, self.bytes_written
            self._log(log.connection_finished, self._peer(), *counts, str(self.close_reason))

    def _released(self) -> None:
        """Nothing will ever be called for this socket again."""
        if self._flags & RELEASED:
            return
        self._flags = (self._flags | OVER | RELEASED) & ~PENDING
        self._own = None
        if self.close_reason is CloseReason.HANDLER_ERROR:
            self._error = None  # the frames in its traceback hold the socket
        shared = self._shared
        shared.alive -= 1
        if not self._flags & UNREFERENCED:
            shared.referenced -= 1
        if shared.watched or not shared.referenced:
            shared.on_gone()

    # -- errors of handlers --------------------------------------------------------------------------

    def _failed(self, event: str, error: BaseException) -> None:
        """A handler raised *error*. Called in the greenlet that ran it; never raises."""
        if isinstance(error, KeyboardInterrupt):
            self._abort(CloseReason.HANDLER_ERROR, error)  # first: the main greenlet runs before this one goes on
            self._engine.interrupt_main(error)
        elif self._is_own_failure(error):
            if isinstance(error, TimeoutError):
                copy = TimeoutError(*error.args)  # without frames that hold the socket
                self._abort(CloseReason.TIMEOUT, copy)
            return  # ``close`` will tell
        elif isinstance(error, GreenletExit) and self._state is CLOSED:
            return  # killed by a stop that did not wait any longer
        else:
            self._counters.errors += 1
            handler = self._table.error
            if handler is None:
                self._log(log.handler_failed, event, error, self._peer())
            elif self._tell(handler, error):
                return
        self._abort(CloseReason.HANDLER_ERROR, error)

    def _is_own_failure(self, error: BaseException) -> bool:
        """Whether *error* is of this socket's own methods, because of its peer: not the fault of a handler."""
        return isinstance(error, (OSError, FrameError, EOFError)) and getattr(error, "socket", None) is self

    def _tell(self, handler: Callable[..., object], error: BaseException) -> bool:
        """Call the ``error`` *handler* and send what it wrote. Whether it has borne it; never raises."""
        try:
            handler(self, error)
            if self._queue.size and not self._corks:
                self._flush()
        except KeyboardInterrupt as interrupt:
            self._abort(CloseReason.HANDLER_ERROR, error)
            self._engine.interrupt_main(interrupt)
        except BaseException as again:
            if not self._is_own_failure(again):
                self._counters.errors += 1
                self._log(log.handler_failed, "error", again, self._peer())
                return False
        return True

    def _framing_failed(self, error: BaseException) -> None:
        """What the peer sent is no message, or the user's decoder has a fault: tell it, and close in any case."""
        if isinstance(error, (FrameError, IncompleteRead)):
            reason = CloseReason.PROTOCOL
            self._because(reason, error)
            self._protocol_failed("framing", error)
        else:
            reason = CloseReason.HANDLER_ERROR
            self._because(reason, error)
            self._failed("framing", error)
        error.__traceback__ = None  # its frames hold the socket, which would keep itself alive by it
        self._close(reason, error)

    def _protocol_failed(self, what: str, error: Exception) -> None:
        """The peer does not keep to what was agreed on: no fault of a handler, but they may want to know."""
        handler = self._table.error
        if handler is None:
            self._log(log.logger.debug, "%s of %s failed: %s", what, self._peer(), error)
        elif not self._tell(handler, error):
            self._abort(CloseReason.PROTOCOL, error)

    def _log(self, say: Callable[..., None], *words: object) -> None:
        """Call a function of :mod:`greensock.log`. What fails there must not end the turn that others are served in."""
        try:
            say(*words)
        except KeyboardInterrupt as error:
            self._engine.interrupt_main(error)
        except Exception:
            if logging.raiseExceptions:
                traceback.print_exc()  # as logging does about its own failures
        except BaseException:
            pass  # a kill, or a Timeout that a handler left running, while a log handler blocked

    def _stray(self, error: BaseException) -> None:
        self._stray_error = error
        self._ask_for(STRAY)

    def _peer(self) -> str:
        return net.display(self._remote_address)

    def __repr__(self) -> str:
        return f"<Socket #{self._number} {self._peer()} {self._state.name} {self.buffered} bytes queued>"

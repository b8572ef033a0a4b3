"""How a connection ends from this side: gracefully, at once, or because a clock ran out.

A graceful close sends what is queued, then FIN, then reads and discards until the peer's FIN, and only then closes the
descriptor: to close it with unread input would make the kernel send RST, which takes the last bytes
of our own away from a peer that has not read them yet (RFC 1122, 4.2.2.13; RFC 9293, 3.10.4).
"""

from errno import ETIMEDOUT
from time import monotonic
from typing import Final

from . import options
from .sending import Sending
from .state import (
    BY_HAND,
    CHOKED,
    CLOCKED,
    CLOSED,
    CLOSING,
    DEAD,
    DRAINED,
    ENDED,
    EOF_READ,
    FIN_SENT,
    FIN_WANTED,
    HANDSHAKING,
    IDLE,
    OPEN,
    PAUSED,
    STORED,
    CloseReason,
)
from .wire import READ_SIZE

#: Reasons after which ``close`` is given no error: nothing went wrong.
NO_ERROR: Final = (CloseReason.EOF, CloseReason.LOCAL, CloseReason.STOPPED)


class Closing(Sending):
    """``close``, ``terminate`` and the clocks."""

    __slots__ = ()

    def close(self) -> None:
        """Send what is queued, then close both directions; see :meth:`Socket.close`."""
        self._check_thread()
        self._close(CloseReason.LOCAL, None)

    def terminate(self) -> None:
        """Drop what is queued and reset the connection (RST) at once; ``unsent`` tells what was dropped."""
        self._check_thread()
        self._abort(CloseReason.LOCAL, None)

    def _close(self, reason: CloseReason, error: BaseException | None) -> None:
        if self._state is CLOSING or self._state is CLOSED:
            return
        self._because(reason, error)
        try:
            self._begin_closing()
        except BaseException:  # of a signal: a second close would do nothing, and the first may have set no clock yet
            self._close_now(abort=True)
            raise

    def _begin_closing(self) -> None:
        self._state = CLOSING
        self._writable = False
        self._stamp = None
        self._flags &= ~(PAUSED | CHOKED | DRAINED | IDLE | CLOCKED | STORED | BY_HAND)
        self._leave_rooms()
        if self._flags & DEAD or (self._flags & FIN_SENT and self._flags & EOF_READ and self._wire.backlog is None):
            self._close_now()
            return
        if not self._flags & FIN_SENT:
            self._flags |= FIN_WANTED
            if self._queue.size:
                self._flush()
            else:
                self._finish()
        if self._state is CLOSING:
            self._progress = monotonic()
            if self._shared.options.close_timeout is not None:
                self._engine.clocks.watch(self, self._shared.options.close_timeout)
            self._watch()

    def _abort(self, reason: CloseReason, error: BaseException | None) -> None:
        self._because(reason, error)
        self._close_now(abort=True)

    def _discard(self, *, patient: bool = True) -> None:
        """Closing and readable: the end of the peer's input is what counts, not the input.

        Args:
            patient: False to take it for the end when there is no input now: to close would reset nothing.
        """
        try:
            if self._wire.recv(READ_SIZE):  # also in TLS: nobody wants to know what it says
                return
        except BlockingIOError:
            if patient:
                return
        except OSError:
            self._close_now()
            return
        self._flags |= EOF_READ
        self._reader.stop()
        if not self._queue.size and self._wire.backlog is None:  # else it closes behind what waits for room
            self._close_now()

    # -- clocks --------------------------------------------------------------------------------------

    @property
    def idle_timeout(self) -> float | None:
        """Seconds in which nothing is received or sent until ``timeout`` comes; None: never.

        Setting it restarts the clock. It stands still while a handler runs. It is never early, and at most a
        second late.
        """
        return self._idle_timeout

    @idle_timeout.setter
    def idle_timeout(self, seconds: float | None) -> None:
        self._check_thread()
        self._set_idle_timeout(options.seconds("idle_timeout", seconds, optional=True))

    def _set_idle_timeout(self, seconds: float | None) -> None:
        self._idle_timeout = seconds
        if self._state not in (OPEN, ENDED):
            return
        self._flags &= ~IDLE
        if seconds is None:
            self._stamp = None
            self._flags &= ~CLOCKED
        else:
            self._stamp = monotonic()
            self._flags |= CLOCKED
            self._engine.clocks.watch(self, seconds)

    def _check_clocks(self, now: float) -> bool:
        """Called in the hub, at the end of a turn. Whether there is a clock left to look at."""
        if self._state is CLOSED:
            return False
        limits = self._shared.options
        if self._state is CLOSING:
            if limits.close_timeout is not None and now - self._progress >= limits.close_timeout:
                self._abort(CloseReason.TIMEOUT, None)  # for those who wait: ``close`` is told the first cause
                return False
            return True
        if self._flags & HANDSHAKING:
            waited = now - self._progress
            if limits.handshake_timeout is not None and waited >= limits.handshake_timeout:
                self._abort(CloseReason.TIMEOUT, TimeoutError(ETIMEDOUT, f"no TLS handshake in {waited:.1f} s"))
                return False
            return True
        sending = self._counted > 0
        if sending and not self._corks and limits.write_timeout is not None:
            waited = now - self._progress
            if waited >= limits.write_timeout:
                self._counters.timeouts += 1
                text = f"the peer took none of {self.buffered} queued bytes for {waited:.1f} s"
                self._abort(CloseReason.TIMEOUT, TimeoutError(text))
                return False
        stamp = self._stamp
        if stamp is None:
            return sending
        idle = self._idle_timeout
        if idle is not None and not self._flags & IDLE and now - stamp >= idle and self._may_idle():
            self._ask_for(IDLE)
        return True

    def _may_idle(self) -> bool:
        """Whether the idle clock runs: it stands still while a handler does."""
        return self._running is None

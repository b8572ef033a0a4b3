"""How blocking style waits: for input, in a greenlet of its user, be that a session's or any other.

The read watcher stays started, and is stopped only when input comes that nobody waits for.
"""

from time import monotonic
from typing import Any

from greenlet import getcurrent

from .errors import SocketClosed
from .inbox import Inbox
from .receiving import Receiving
from .shared import Shared
from .state import BY_HAND, CLOCKED, INPUT_ENDS, UNSETTLED
from .wire import Plain


class Clock:
    """How long one socket may be waited for; made with the first wait for which that matters."""

    __slots__ = ("deadline", "due", "idled", "stamp", "timeout", "timer")

    def __init__(self) -> None:
        #: until when somebody waits, how long that is, and the timer for it, which is *due* then or before
        self.deadline: float | None = None
        self.timeout: float | None = None
        self.timer: Any = None
        self.due = 0.0
        #: seconds that the idle clock had counted when a wait was given up, and what it had counted from
        self.idled = 0.0
        self.stamp: float | None = None

    def stop(self) -> None:
        """Stop the timer."""
        if self.timer is not None:
            self.timer.stop()
            self.timer.close()
            self.timer = None


class Input(Inbox):
    """What one socket in blocking style has received."""

    __slots__ = ("allowance", "clock", "saved")

    def __init__(self) -> None:
        super().__init__()
        self.clock: Clock | None = None
        #: while the server drains: at most so many bytes may have been received before
        self.allowance: int | None = None
        #: what had arrived when sending failed
        self.saved = b""

    def stop_timer(self) -> None:
        """Stop the timer of timed waits."""
        if self.clock is not None:
            self.clock.stop()


class Waiting(Receiving):
    """Blocks one greenlet until there may be input, or none will come any more."""

    __slots__ = ("_input",)

    def __init__(self, wire: Plain, shared: Shared, remote_address: Any) -> None:
        super().__init__(wire, shared, remote_address)
        self._input: Input | None = None  # none for events

    def _read_by_hand(self) -> None:
        """From now on in blocking style: nothing is read until somebody asks for it."""
        self._flags |= BY_HAND
        self._input = Input()

    def _wait(self, deadline: float | None, timeout: float | None) -> None:
        """Send what was written, and block this greenlet until there may be news of the socket, or the time is over."""
        if self._queue.size and not self._corks:
            self._flush()
        if self._flags & INPUT_ENDS != BY_HAND:  # sending what was written has met the end
            return
        clock = self._clock()
        if deadline is not None:
            if monotonic() >= deadline:
                return
            clock.deadline = deadline
            clock.timeout = timeout
            self._set_timer(clock, deadline)
        if self._flags & CLOCKED:
            self._stamp = monotonic() - (clock.idled if self._stamp is clock.stamp else 0.0)
        try:
            self._engine.wait(self)
        except BaseException:
            if self._stamp is not None:  # the idle clock stands still, and goes on with the next wait
                clock.stamp = self._stamp
                clock.idled = monotonic() - self._stamp
            raise
        finally:
            clock.deadline = None

    def _left(self) -> None:
        if self._queue.size and not self._corks:
            self._flush()
        if self._flags & UNSETTLED and self._running is None:
            self._settle()

    def _pause_watcher(self) -> None:
        if self._flags & BY_HAND:
            self._stop_reading()  # until somebody reads
        else:
            super()._pause_watcher()

    def _wake(self) -> None:
        """In the hub: have a waiting greenlet look again."""
        if self._waiter is not None:
            self._engine.resume(self)

    def _clock(self) -> Clock:
        data: Any = self._input
        if data.clock is None:
            data.clock = Clock()
        clock: Clock = data.clock
        return clock

    def _set_timer(self, clock: Clock, deadline: float) -> None:
        """Have :meth:`_on_timer` called at the *deadline* or before; it is left running, for most waits are shorter."""
        if clock.timer is None or clock.due > deadline:
            clock.stop()
            clock.due = deadline
            clock.timer = self._engine.loop.timer(max(deadline - monotonic(), 0.0), ref=False)
            clock.timer.start(self._on_timer)

    def _on_timer(self) -> None:
        clock = self._clock()
        clock.stop()
        if self._waiter is None or clock.deadline is None:
            return
        if monotonic() < clock.deadline:
            self._set_timer(clock, clock.deadline)
        else:
            self._waiter.throw(self._timed_out(clock.timeout))

    def _timed_out(self, timeout: float | None) -> TimeoutError:
        return self._as_own(TimeoutError(f"no more input came in {timeout} s"))

    # -- what others do to the socket ----------------------------------------------------------------

    def _close_now(self, *, abort: bool = False) -> None:
        super()._close_now(abort=abort)
        if self._input is not None:
            self._input.stop_timer()
            self._wake_later()

    def _stop(self) -> None:
        if self._running is None:
            self._wake_later()  # before it is closed
        super()._stop()

    def _wake_later(self) -> None:
        if self._waiter is not None:
            self._engine.loop.run_callback(self._wake)

    def _waits_for_room(self, broadcast: bool) -> bool:
        if self._flags & BY_HAND and self._running is None:  # of a client, whoever writes
            return not broadcast and getcurrent() is not self._engine.hub
        return super()._waits_for_room(broadcast)

    def _may_idle(self) -> bool:
        return super()._may_idle() if self._input is None else self._waiter is not None

    def _leave_to_parent(self) -> None:
        super()._leave_to_parent()
        if self._input is not None:
            self._input.stop_timer()
            self._flags &= ~BY_HAND
            if self._waiter is not None:  # for ever
                self._wire.close()

    # -- users ---------------------------------------------------------------------------------------

    def close(self) -> None:
        """Send what is queued, then close both directions without cutting off the peer's last bytes.

        With event handlers it returns at once; ``close`` is the event when it is done. In blocking style it waits until
        the kernel has what is queued, at most ``close_timeout``. If the peer takes no byte, or sends no FIN, for
        ``close_timeout`` seconds, the connection is terminated and ``unsent`` tells what was lost. Nothing is
        delivered meanwhile. A second call does nothing.
        """
        waits = self._flags & BY_HAND
        super().close()
        if waits and self._queue.size and getcurrent() is not self._engine.hub:
            try:
                self._wait_for(0, self._shared.options.close_timeout)
            except (SocketClosed, TimeoutError):
                pass  # ``unsent`` tells, or what is left goes on without this greenlet

    def pause(self) -> None:
        """Stop the delivery of ``data``. In blocking style, where nothing is delivered, without effect."""
        self._check_thread()
        if self._input is None:
            super().pause()

"""How blocking style waits: for input, in a greenlet of its user, be that a session's or any other.

The read watcher stays started, and is stopped only when input comes that nobody waits for. One read for each time that
the kernel is ready, so that a peer that floods gets no more turns than the others.
"""

from socket import SO_RCVBUF, SOL_SOCKET
from time import monotonic
from typing import Any

from greenlet import getcurrent

from .errors import SocketClosed
from .inbox import Inbox
from .receiving import Receiving
from .shared import Shared
from .state import (
    BY_HAND,
    CLOCKED,
    CLOSED,
    CLOSING,
    ENDED,
    EOF_READ,
    FIN_SENT,
    FRAMED,
    INPUT_ENDS,
    TOLD_TO_STOP,
    UNSETTLED,
    UNTIMED,
    CloseReason,
)
from .wire import READ_SIZE, SMALL_READ, Plain


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
    """Blocks one greenlet until there is input, or none will come any more."""

    __slots__ = ("_input",)

    def __init__(self, wire: Plain, shared: Shared, remote_address: Any) -> None:
        super().__init__(wire, shared, remote_address)
        self._input: Input | None = None  # none for events

    def _read_by_hand(self) -> None:
        """From now on in blocking style: nothing is read until somebody asks for it."""
        self._flags |= BY_HAND
        self._input = Input()

    # -- receiving -----------------------------------------------------------------------------------

    def _receive(self, most: int, deadline: float | None, timeout: float | None) -> bytes:
        """The next bytes, after waiting for them; ``b""`` at the end. A wire that decrypts may give more than *most*.

        Together with :meth:`_last_input` the one way in which blocking style reads the wire.
        """
        reader, wire = self._reader, self._wire
        while self._flags & INPUT_ENDS == BY_HAND:
            if not reader.active:
                reader.start(self._engine.on_readable, self)  # and read at once: there may be something already
            elif not wire.more:
                if self._queue.size and not self._corks:
                    self._flush()
                if deadline is None and self._flags & UNTIMED == BY_HAND:
                    self._engine.wait(self)  # _wait(), without the call
                else:
                    self._wait(deadline, timeout)
                if self._flags & INPUT_ENDS != BY_HAND:
                    break
            size = self._read_size
            if size > most:
                size = most
            try:
                data = wire.read(size)
                got = len(data)
                if got == size == SMALL_READ < most and wire.tls is None:
                    self._read_size = READ_SIZE
                    data = self._rest_of(data, min(most, READ_SIZE))
                    got = len(data)
            except BlockingIOError:
                if wire.backlog is not None:
                    self._push_words()
                if deadline is not None and monotonic() >= deadline:
                    raise self._timed_out(timeout) from None
                continue
            except OSError as error:
                self._reading_failed(error)
                break
            if wire.backlog is not None:
                self._push_words()
            if not got:
                self._input_ended()
                break
            if got < SMALL_READ:
                self._read_size = SMALL_READ
            self.bytes_read += got
            if not self._flags & FRAMED:
                self._counters.messages_read += 1
            return data
        return self._last_input(most)

    def _count(self, data: bytes) -> bytes:
        self.bytes_read += len(data)
        if not self._flags & FRAMED:
            self._counters.messages_read += 1
        return data

    def _rest_of(self, data: bytes, most: int) -> bytes:
        """A small read was full: *data* and what else has come."""
        try:
            return data + self._wire.read(most - len(data))
        except BlockingIOError:
            pass
        except OSError as error:
            self._sending_failed(error)  # it comes only once
        return data

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

    # -- the end of input ----------------------------------------------------------------------------

    def _input_ended(self) -> None:
        """The peer's FIN was read. This side may still write, and closes by itself only when it has ended before."""
        self._flags |= EOF_READ
        self._reader.stop()
        if self._state is ENDED and self._flags & FIN_SENT:
            self._close_now()

    def _last_input(self, most: int) -> bytes:
        """What there is when no more is to be waited for: what came before the end, the end, or an error."""
        data = self._input
        assert data is not None
        flags = self._flags
        if data.saved:
            chunk, data.saved = data.saved, b""
            return chunk
        if flags & EOF_READ and flags & BY_HAND:
            return b""
        if flags & TOLD_TO_STOP:
            if flags & BY_HAND and self._state is not CLOSED:
                return self._received_before_stop(data, most)
            if not flags & BY_HAND and self.close_reason is CloseReason.STOPPED:
                return b""
        raise self._closed_error()

    def _received_before_stop(self, data: Input, most: int) -> bytes:
        """The server drains: what the kernel has, but not for ever, for the peer may go on sending."""
        if data.allowance is None:
            data.allowance = self._wire.getsockopt(SOL_SOCKET, SO_RCVBUF)
        if data.allowance <= 0:
            return b""
        try:
            chunk = self._wire.read(min(most, READ_SIZE))
        except BlockingIOError:
            chunk = b""
        except OSError as error:
            self._reading_failed(error)
            raise self._closed_error()  # noqa: B904 - it has a cause of its own, which "from" would take away
        data.allowance = data.allowance - len(chunk) if chunk else 0
        return self._count(chunk) if chunk else b""

    # -- what others do to the socket ----------------------------------------------------------------

    def _sending_failed(self, error: OSError) -> None:
        if self._flags & INPUT_ENDS == BY_HAND:
            self._save_input()
        super()._sending_failed(error)

    def _save_input(self) -> None:
        """Sending has failed, and the descriptor is closed for it: keep what had arrived before."""
        data = self._input
        assert data is not None
        parts = []
        left = self._wire.getsockopt(SOL_SOCKET, SO_RCVBUF)
        try:
            while left > 0 and (chunk := self._wire.read(READ_SIZE)):
                parts.append(self._count(chunk))
                left -= len(chunk)
        except OSError:
            pass
        data.saved = b"".join(parts)

    def _close(self, reason: CloseReason, error: BaseException | None) -> None:
        if self._input is not None and self._state is not CLOSING and self._state is not CLOSED:
            self._reader.stop()  # from now on it is for what is discarded
            self._forget_input()
            self._wake_later()
        super()._close(reason, error)

    def _forget_input(self) -> None:
        """This side has closed the connection, and wants to know no more: neither bytes nor messages."""
        data = self._input
        if data is not None and self._state is not CLOSING and self._state is not CLOSED:
            data.clear()
            if self._frames is not None:
                self._frames.clear()

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

    def terminate(self) -> None:
        """Drop what is queued and reset the connection (RST) at once; ``unsent`` tells what was dropped.

        In blocking style nothing is given any more of what had been received.
        """
        self._check_thread()
        self._forget_input()
        super().terminate()

    def pause(self) -> None:
        """Stop the delivery of ``data``. In blocking style, where nothing is delivered, without effect."""
        if self._input is None:
            super().pause()

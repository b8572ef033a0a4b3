"""From a socket's queue to the kernel: what is sent, what follows from it, and who waits for it.

No user code is called here, so that all of it may run in the hub.
"""

from collections.abc import Iterator
from contextlib import contextmanager
from time import monotonic
from typing import Any, cast

from gevent import Timeout
from gevent.event import AsyncResult

from .state import (
    BY_HAND,
    CHOKED,
    CLOCKED,
    CLOSING,
    DEAD,
    DRAINED,
    ENDED,
    EOF_READ,
    FIN_SENT,
    FIN_WANTED,
    HANDSHAKING,
    OPEN,
    PAUSED,
    UPGRADING,
    CloseReason,
)
from .teardown import Teardown


class Flushing(Teardown):
    """The queue, sent as far as the kernel takes it, and FIN behind it."""

    __slots__ = ()

    def _flush(self) -> None:
        """Send as much as the kernel takes. Calls no user code, so that it may run in the hub."""
        queue = self._queue
        size = queue.size
        if not size:
            return
        if self._counted or (len(queue.first) != size and not queue.join()):
            self._flush_many()
            return
        # One buffer, and the kernel was not full before: nearly every flush.
        try:
            sent = self._wire.write(queue.first)
        except BlockingIOError:
            sent = 0
        except OSError as error:
            self._sending_failed(error)
            return
        except BaseException as error:
            self._give_up(error)
            raise
        self.bytes_written += sent
        if sent == size:
            queue.size = 0
            queue.first = b""
            flags = self._flags
            if flags:
                if flags & CLOCKED:
                    self._stamp = monotonic()
                if flags & FIN_WANTED:
                    self._finish()
        else:
            self._flushed(sent, queue.advance(sent))

    def _flush_many(self) -> None:
        queue = self._queue
        before = queue.size
        drained = False
        try:
            while queue.size:
                batch = queue.gather()
                sent = self._wire.write_many(batch)
                self.bytes_written += sent
                drained |= queue.advance(sent)
                if sent < sum(map(len, batch)):
                    break
        except BlockingIOError:
            pass
        except OSError as error:
            self._sending_failed(error)
            return
        except BaseException as error:
            self._give_up(error)
            raise
        self._flushed(before - queue.size, drained)

    def _give_up(self, error: BaseException) -> None:
        """A signal handler raised, and nobody knows how much the kernel took: what is sent again might come twice."""
        self._because(CloseReason.HANDLER_ERROR, error)
        self._close_now(abort=True)

    def _flushed(self, sent: int, drained: bool) -> None:
        """What follows from a flush, unless it was all and nobody waited for it."""
        queue = self._queue
        if sent and self._stamp is not None:
            self._stamp = monotonic()
        if queue.size:
            if sent or not self._counted:
                self._progress = monotonic()
            if not self._flags & UPGRADING:
                self._watch_writing(self._flush)
            self._watch_write_clock()
        elif self._writer is not None:
            self._writer.stop()
        self._account()
        if self._flags & CHOKED and not queue.over:
            self._flags &= ~CHOKED
            self._watch()
        if drained:
            self._counters.drains += 1
            if self._table.drain is not None and self._state in (OPEN, ENDED):
                self._ask_for(DRAINED)
        if self._waiters:
            for limit, result in self._waiters:
                if queue.size <= limit:
                    result.set(None)
        if self._flags & FIN_WANTED and not queue.size:
            self._finish()

    def _watch_write_clock(self) -> None:
        options = self._shared.options
        limit = options.close_timeout if self._state is CLOSING else options.write_timeout
        if limit is not None:
            self._engine.clocks.watch(self, limit)

    def _finish(self) -> None:
        """The queue is empty and FIN is due."""
        self._flags &= ~FIN_WANTED
        wire = self._wire
        if self._flags & EOF_READ:
            if wire.tls is not None:
                wire.say_goodbye()  # for the peer to know that nothing was cut off
            self._flags |= FIN_SENT
            self._both_ended()
            return
        wire.finish()
        self._flags |= FIN_SENT
        if wire.backlog is not None:
            self._watch_writing(self._push)
        if self._state is CLOSING:
            self._progress = monotonic()  # from here on it is the peer's FIN that is waited for

    def _both_ended(self) -> None:
        """Close, which sends FIN as well, and wait only for TLS, if the kernel has no room yet for its goodbye."""
        if self._wire.backlog is None:
            self._close_now()
        else:
            self._state = CLOSING
            self._progress = monotonic()
            self._watch_write_clock()
            self._watch_writing(self._push)

    def _push(self) -> None:
        """The kernel has room for what TLS itself has to say. Runs in the hub."""
        wire = self._wire
        if self._counted and not self._flags & HANDSHAKING:
            self._flush()  # what was written since may be encrypted behind it: it is taken off the queue with it
            return
        try:
            if wire.backlog is not None:
                wire.push()
        except OSError as error:
            self._sending_failed(error)
            return
        except BaseException as error:
            self._give_up(error)
            raise
        if wire.backlog is not None:
            self._watch_writing(self._push)
        else:
            if self._writer is not None:
                self._writer.stop()
            if self._flags & EOF_READ and self._flags & FIN_SENT:
                self._close_now()
            elif not self._flags & HANDSHAKING and not self._corks:
                self._flush()

    def _sending_failed(self, error: OSError) -> None:
        """The kernel takes no more. What had arrived before can still be read, and is delivered first."""
        error.__traceback__ = None  # its frames hold the socket, which would keep itself alive by it
        self._because(self._wire.reason_of(error), error)
        if self._error is None and self.close_reason is not CloseReason.TIMEOUT:
            self._error = error  # for those who wait or write; ``close`` is told the first cause, none when idle
        self._flags = (self._flags | DEAD) & ~(FIN_WANTED | CHOKED)
        self._writable = False
        if self._writer is not None:
            self._writer.stop()
        self._drop_queue()
        if self._state is CLOSING or self._flags & (PAUSED | EOF_READ | BY_HAND):
            self._close_now()
        else:
            self._watch()

    # -- waiting -------------------------------------------------------------------------------------

    def _wait_for(self, limit: int, timeout: float | None) -> None:
        """Block this greenlet until at most *limit* bytes are queued. There are more, unless the connection died."""
        if not self._queue.size:  # it was dropped with the connection
            raise self._closed_error()
        with self._waiter_at(limit) as result:
            with Timeout(timeout, cast(Any, False)):
                result.get()
                return
            raise self._as_own(TimeoutError(f"{self._queue.size} bytes are still queued after {timeout} s"))

    @contextmanager
    def _waiter_at(self, limit: int) -> Iterator["AsyncResult[None]"]:
        """What is set when at most *limit* bytes are queued, and fails with the connection."""
        result: AsyncResult[None] = AsyncResult()
        waiter = (limit, result)
        if self._waiters is None:
            self._waiters = []
        self._waiters.append(waiter)
        try:
            yield result
        finally:
            if self._waiters is not None and waiter in self._waiters:
                self._waiters.remove(waiter)

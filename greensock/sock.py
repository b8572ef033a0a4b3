"""The socket that users see: its events, its reading side, and what there is to know about it."""

import itertools
import logging
import traceback
from collections.abc import Callable
from socket import AddressFamily
from time import monotonic
from types import TracebackType
from typing import Any, Final, Generic, Self, TypeVar

from gevent import GreenletExit

from . import log, net, options
from .closing import NO_ERROR, Closing
from .errors import SocketClosed
from .handlers import HandlerTable
from .link import CLOSED
from .sending import CLOSING, ENDED, OPEN, reason_of
from .shared import Shared
from .state import (
    CAREFUL,
    DEAD,
    DRAINED,
    EOF_READ,
    FIN_SENT,
    GONE,
    IDLE,
    OPENING,
    OVER,
    PAUSED,
    PENDING,
    STOPPING,
    STRAY,
    TOLD_TO_STOP,
    UNREADABLE,
    UNREFERENCED,
    CloseReason,
    SocketState,
)
from .wire import READ_SIZE, SMALL_READ, Plain

T = TypeVar("T")

_numbers: Final = itertools.count(1)


class Socket(Closing, Generic[T]):
    """One connection. Made by a server for each one it accepts.

    ``T`` is what :attr:`data` holds. All methods are for the thread of the socket's hub; other threads use
    :func:`greensock.call_from_thread`. A context manager: leaving it closes. Hashable, and weakly referenceable.

    Resource handling: holds one descriptor, released when ``state`` becomes ``CLOSED``; a greenlet only while a
    handler of it is blocked. A server keeps its sockets alive until then.
    """

    __slots__ = ("_number", "_opened_at", "_read_size", "_remote_address", "_stray_error", "data")

    def __init__(self, wire: Plain, shared: Shared, remote_address: Any) -> None:
        super().__init__(wire, shared)
        #: Anything you want to keep with the connection. None at first.
        self.data: T | None = None
        self._remote_address = remote_address
        self._number = next(_numbers)
        self._opened_at = 0.0
        self._read_size = READ_SIZE
        self._stray_error: BaseException | None = None

    # -- events: what a runner does with this socket -------------------------------------------------

    def _serve(self) -> None:
        if self._flags & CAREFUL and self._serve_flags():
            return
        size = self._read_size
        try:
            data = self._wire.read(size)
        except BlockingIOError:
            return
        except OSError as error:
            self._reading_failed(error)
            return
        if data:
            got = len(data)
            if (got < SMALL_READ) is (size != SMALL_READ):
                data = self._adapt(data)
                got = len(data)
            self.bytes_read += got
            self._counters.messages_read += 1
            handler = self._table.data
            if handler is not None:
                handler(self, data)
        else:
            self._end_of_input()
        if self._queue.size and not self._corks:
            self._flush()

    def _adapt(self, data: bytes) -> bytes:
        """*data* says that the other size of reads is the better one now: what to deliver of it."""
        if self._read_size != SMALL_READ:
            self._read_size = SMALL_READ
            return data
        self._read_size = READ_SIZE
        try:
            return data + self._wire.read(READ_SIZE)  # so that what came together is delivered together
        except BlockingIOError:
            pass
        except OSError as error:
            self._sending_failed(error)  # it comes only once; what the kernel still has is read to the end
        return data

    def _serve_flags(self) -> bool:
        """Deliver the first event that is due. False if there is none and the socket may be read."""
        flags = self._flags
        if flags & PENDING:
            if flags & OPENING:
                self._opened()
            elif flags & GONE:
                self._gone()
            elif flags & STRAY:
                self._flags &= ~STRAY
                error, self._stray_error = self._stray_error, None
                if error is not None:
                    self._failed("own greenlet", error)
            elif flags & DRAINED:
                self._flags &= ~DRAINED
                self._emit("drain")
            elif flags & IDLE:
                self._idle()
            else:
                self._stopping()
            if self._queue.size and not self._corks:
                self._flush()
            return True
        if flags & UNREADABLE or self._state is CLOSED:
            if self._state is not CLOSED:
                self._reader.stop()
            return True
        if self._state is CLOSING:
            self._discard()
            return True
        return False

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
            self._counters.refused += 1
            self._released()
            return
        self._opened_at = monotonic()
        self._counters.accepted += 1
        self._shared.sockets.add(self)
        if self._shared.options.idle_timeout is not None:
            self._set_idle_timeout(self._shared.options.idle_timeout)
        self._emit("open")
        self._watch()

    def _idle(self) -> None:
        """The idle clock ran out. The handler may keep the socket: by sending, or by setting the clock."""
        self._flags &= ~IDLE
        before, stamp = self.bytes_written, self._stamp
        self._counters.timeouts += 1
        self._emit("timeout")
        if self._queue.size:
            self._flush()
        if self.bytes_written == before and self._stamp is stamp:
            self._close(CloseReason.TIMEOUT, None)

    def _stopping(self) -> None:
        self._flags &= ~STOPPING
        if self._state is OPEN or self._state is ENDED:
            self._emit("stopping")
            self._close(CloseReason.STOPPED, None)

    def _end_of_input(self) -> None:
        """The peer's FIN was read."""
        self._flags |= EOF_READ
        self._reader.stop()
        if self._flags & DEAD:
            self._close_now()  # sending has failed; this was the rest of what could be read
        elif self._state is ENDED:
            if self._flags & FIN_SENT:
                self._close_now()
        elif self._shared.options.allow_half_open:
            self._emit("end")
        else:
            self._because(CloseReason.EOF, None)
            self._emit("end")
            self._close(CloseReason.EOF, None)

    def _reading_failed(self, error: OSError) -> None:
        error.__traceback__ = None  # its frames hold the socket, which would keep itself alive by it
        self._because(reason_of(error), error)
        self._close_now()

    def _gone(self) -> None:
        """The descriptor is closed and no handler runs: the last event."""
        self._flags = (self._flags | OVER) & ~PENDING
        self._counters.closed += 1
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
        self._released()

    def _released(self) -> None:
        """Nothing will ever be called for this socket again."""
        self._flags = (self._flags | OVER) & ~PENDING
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
        elif isinstance(error, SocketClosed) and error.socket is self:
            return  # an I/O failure of its own, which ``close`` will tell
        elif isinstance(error, GreenletExit) and self._state is CLOSED:
            return  # killed by a stop that did not wait any longer
        else:
            self._counters.errors += 1
            handler = self._table.error
            if handler is None:
                self._log(log.handler_failed, event, error, self._peer())
            else:
                try:
                    handler(self, error)
                    if self._queue.size and not self._corks:
                        self._flush()
                    return
                except KeyboardInterrupt as interrupt:
                    self._abort(CloseReason.HANDLER_ERROR, error)
                    self._engine.interrupt_main(interrupt)
                except BaseException as again:
                    if isinstance(again, SocketClosed) and again.socket is self:
                        return
                    self._counters.errors += 1
                    self._log(log.handler_failed, "error", again, self._peer())
        self._abort(CloseReason.HANDLER_ERROR, error)

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

    # -- users: reading ------------------------------------------------------------------------------

    def pause(self) -> None:
        """Stop the delivery of ``data``. What the peer sends waits in the kernel, and then in the peer.

        A FIN or a reset is noticed only after :meth:`resume`, by a write, or by a timeout.
        """
        self._check_thread()
        if self._state is OPEN or self._state is ENDED:
            if self._flags & DEAD:
                self._close_now()  # no write will tell of the end any more, nor will ``drain`` come to resume it
                return
            self._flags |= PAUSED
            self._reader.stop()

    def resume(self) -> None:
        """Deliver ``data`` again."""
        self._check_thread()
        self._flags &= ~PAUSED
        self._watch()

    # -- users: life ---------------------------------------------------------------------------------

    def reload(self, handlers: object) -> None:
        """Replace the handlers of this socket alone; it then no longer follows its server's.

        Raises:
            TypeError: ``listen`` would not accept *handlers*; the old ones stay.
        """
        self._check_thread()
        self._table = HandlerTable(handlers)

    def ref(self) -> None:
        """Have :func:`greensock.run` wait for this socket again."""
        self._count_reference(True)

    def unref(self) -> None:
        """Let :func:`greensock.run` return although this socket is open."""
        self._count_reference(False)

    def _count_reference(self, wanted: bool) -> None:
        self._check_thread()
        if wanted == bool(self._flags & UNREFERENCED) and not self._flags & OVER:
            self._flags ^= UNREFERENCED
            self._shared.referenced += 1 if wanted else -1
            self._shared.on_gone()

    def _stop(self) -> None:
        """The server drains: say goodbye and close, after the handler that runs now."""
        if not self._flags & (TOLD_TO_STOP | OVER) and self._state in (OPEN, ENDED):
            self._flags |= TOLD_TO_STOP
            self._ask_for(STOPPING)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self.close()

    # -- users: what there is to know ----------------------------------------------------------------

    @property
    def state(self) -> SocketState:
        """Where the socket is in its life."""
        return self._state

    @property
    def closed(self) -> bool:
        """Whether ``state`` is CLOSED: the descriptor is gone. ``close`` may still be about to run."""
        return self._state is CLOSED

    @property
    def stopping(self) -> bool:
        """Whether the server drains and has told this socket."""
        return bool(self._flags & TOLD_TO_STOP)

    @property
    def server(self) -> Any:
        """The server that accepted this connection."""
        return self._shared.owner

    @property
    def remote_address(self) -> Any:
        """The peer's ``getpeername()``; for unix sockets its path, or ``""``. Readable after the close."""
        return self._remote_address

    @property
    def local_address(self) -> Any:
        """This side's ``getsockname()``. Readable after the close."""
        return self._remember_local_address()

    @property
    def family(self) -> AddressFamily:
        """``AF_INET``, ``AF_INET6`` or ``AF_UNIX``."""
        return AddressFamily(self._wire.family)

    def fileno(self) -> int:
        """The descriptor, or -1 when closed."""
        return self._wire.fileno()

    @property
    def no_delay(self) -> bool:
        """TCP_NODELAY: small writes leave at once (tcp(7)). False for unix and closed sockets."""
        return self._state is not CLOSED and net.get_no_delay(self._wire)

    @no_delay.setter
    def no_delay(self, on: bool) -> None:
        self._check_thread()
        if self._state is not CLOSED:
            net.set_no_delay(self._wire, options.flag("no_delay", on))

    @property
    def keepalive(self) -> float | None:
        """Seconds of silence until the kernel asks the peer for a sign of life (tcp(7)); None: never."""
        return None if self._state is CLOSED else net.get_keepalive(self._wire)

    @keepalive.setter
    def keepalive(self, seconds: float | None) -> None:
        self._check_thread()
        if self._state is not CLOSED:
            net.set_keepalive(self._wire, options.keepalive("keepalive", seconds))

    @property
    def encrypted(self) -> bool:
        """Whether TLS protects the connection."""
        return False

    def _peer(self) -> str:
        return net.display(self._remote_address)

    def __repr__(self) -> str:
        return f"<Socket #{self._number} {self._peer()} {self._state.name} {self.buffered} bytes queued>"

"""The socket that users see: on top of its layers, its life and what there is to know about it."""

from socket import AddressFamily
from types import TracebackType
from typing import Any, Generic, Self, TypeVar

from . import options, sockopts
from .encryption import Encryption
from .handlers import HandlerTable
from .shared import Shared
from .state import BY_HAND, CLOSED, OVER, TOLD_TO_STOP, UNREFERENCED, SocketState
from .stdlib_socket import StdlibSocket, StdlibTLS
from .wire import Plain

T = TypeVar("T")


class Socket(Encryption, Generic[T]):
    """One connection. Made by a server for each one it accepts, and by :func:`greensock.connect`.

    ``T`` is what :attr:`data` holds. All methods are for the thread of the socket's hub; other threads use
    :func:`greensock.call_from_thread`. A context manager: leaving it closes. Hashable, and weakly referenceable.

    Resource handling: holds one descriptor, released when ``state`` becomes ``CLOSED``; a greenlet as a session, else
    only while a handler of it is blocked. It is kept alive until then, by its server or by the event loop.

    Attributes:
        data: anything you want to keep with the connection. None at first: if nothing sets it, ``T`` is ``X | None``.
        close_reason: why the connection ended, a :class:`greensock.CloseReason`, or None while it has not.
        bytes_read: received so far, the application's.
        bytes_written: that the kernel has taken so far, the application's.
        unsent: bytes that were accepted and that the end of the connection kept from being sent.
    """

    __slots__ = ("data",)

    def __init__(self, wire: Plain, shared: Shared, remote_address: Any) -> None:
        super().__init__(wire, shared, remote_address)
        self.data: T = None  # type: ignore[assignment]

    # -- users: life ---------------------------------------------------------------------------------

    def reload(self, handlers: object) -> None:
        """Replace the handlers of this socket alone; it then no longer follows its server's.

        A handler that runs finishes as it was, and so does a session: of its handlers the others are replaced.

        Raises:
            TypeError: ``listen`` would not accept *handlers*, the socket has none, or one is a session and the other is
                not; nothing changes.
        """
        self._check_thread()
        table = HandlerTable(handlers)
        if self._flags & BY_HAND and self._table.handle is None:
            raise TypeError("this socket has no handlers to replace: its user reads it himself")
        self._table.check_kind(table)
        self._table = table

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

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self.close()

    def as_stdlib(self) -> StdlibSocket:
        """This connection as a ``socket.socket``, for code that was written for one. In blocking style only.

        Each call gives a new object, with a timeout and files of its own; closing one of them closes the connection.
        """
        kind = StdlibTLS if self.encrypted else StdlibSocket
        return kind(self)

    def __reduce__(self) -> Any:
        raise TypeError("a socket cannot be copied or pickled: there is one for each connection")

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
        """The server that accepted this connection; None for one that :func:`greensock.connect` made."""
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
        return self._state is not CLOSED and sockopts.get_no_delay(self._wire)

    @no_delay.setter
    def no_delay(self, on: bool) -> None:
        self._check_thread()
        if self._state is not CLOSED:
            sockopts.set_no_delay(self._wire, options.flag("no_delay", on))

    @property
    def keepalive(self) -> float | None:
        """Seconds of silence until the kernel asks the peer for a sign of life (tcp(7)); None: never."""
        return None if self._state is CLOSED else sockopts.get_keepalive(self._wire)

    @keepalive.setter
    def keepalive(self, seconds: float | None) -> None:
        self._check_thread()
        if self._state is not CLOSED:
            sockopts.set_keepalive(self._wire, options.keepalive("keepalive", seconds))

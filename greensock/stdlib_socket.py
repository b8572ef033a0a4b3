"""A socket in the clothes of the standard library: what code takes for a ``socket.socket`` that was written for one.

What it reads and writes goes through the greensock socket below, with its queue, counters, clocks and graceful close.
"""

import io
import os
import sys
from collections.abc import Callable
from contextlib import suppress
from errno import EINVAL, ENOTCONN
from socket import MSG_DONTWAIT, SHUT_RD, SHUT_RDWR, SHUT_WR, AddressFamily, SocketIO, SocketKind
from types import TracebackType
from typing import TYPE_CHECKING, Any, Self

from . import raw
from .encryption import Encryption
from .errors import SocketClosed
from .hubs import get_ident
from .state import CLOSED, CloseReason
from .stdlib_stream import StdlibStream, closed, failure


class StdlibSocket(StdlibStream):
    """What :meth:`Socket.as_stdlib` returns: the interface of :class:`socket.socket`, for one connection.

    It blocks its greenlet where a socket of the standard library blocks its thread, and raises what that one raises:
    ``TimeoutError``, ``BlockingIOError``, ``ConnectionResetError``, and ``OSError(EBADF)`` after :meth:`close`.
    ``send`` and ``sendall`` try the kernel before they return; what it does not take is sent later, up to the
    high-water mark, above which they wait.

    Resource handling: the connection is the greensock socket's and ends with it: when its session returns or its
    server stops, whatever files of :meth:`makefile` are still open.
    """

    __slots__ = ("__weakref__", "_closed", "_io_refs", "_on_close")

    def __init__(self, socket: Encryption) -> None:
        super().__init__(socket)
        self._io_refs = 0  # files of makefile() that are open
        self._closed = False  # close() was called
        self._on_close: Callable[[], object] | None = None  # for who waits for the end

    # -- files ---------------------------------------------------------------------------------------

    def makefile(
        self,
        mode: str = "r",
        buffering: int | None = None,
        *,
        encoding: str | None = None,
        errors: str | None = None,
        newline: str | None = None,
    ) -> Any:
        """A file that reads or writes the socket, as :func:`open` would; the mode is made of ``r``, ``w`` and ``b``.

        :meth:`close` waits for the last such file to be closed; the end of a session and a stop of the server do not.
        """
        if not set(mode) <= {"r", "w", "b"}:
            raise ValueError(f"invalid mode {mode!r} (only r, w, b allowed)")
        writing = "w" in mode
        reading = "r" in mode or not writing
        unbuffered: Any = SocketIO(self, "r" * reading + "w" * writing)  # type: ignore[arg-type]
        self._io_refs += 1
        if buffering is None or buffering < 0:
            buffering = io.DEFAULT_BUFFER_SIZE
        if buffering == 0:
            if "b" not in mode:
                raise ValueError("unbuffered streams must be binary")
            return unbuffered
        file: Any
        if reading and writing:
            file = io.BufferedRWPair(unbuffered, unbuffered, buffering)
        elif reading:
            file = io.BufferedReader(unbuffered, buffering)
        else:
            file = io.BufferedWriter(unbuffered, buffering)
        if "b" in mode:
            return file
        text: Any = io.TextIOWrapper(file, encoding, errors, newline)
        text.mode = mode
        return text

    def _decref_socketios(self) -> None:
        """A file of :meth:`makefile` was closed, maybe by a garbage collection that another thread has begun."""
        if self._io_refs > 0:
            self._io_refs -= 1
        if self._closed:
            engine = self._socket._engine
            if get_ident() == engine.thread:
                self.close()
            else:
                with suppress(ValueError):  # its loop is gone, and so is the connection
                    engine.call_from_thread(self.close)

    # -- the end -------------------------------------------------------------------------------------

    def shutdown(self, how: int) -> None:
        """End one direction or both. What was written is sent first."""
        if not self._open:
            raise closed()
        socket = self._socket
        if how not in (SHUT_RD, SHUT_WR, SHUT_RDWR):
            raise OSError(EINVAL, os.strerror(EINVAL))
        if socket._state is CLOSED:
            raise OSError(ENOTCONN, os.strerror(ENOTCONN))
        if how != SHUT_WR:
            raw.end_input(socket)
        if how != SHUT_RD:
            socket.end()

    def close(self) -> None:
        """Close the connection, once all files of :meth:`makefile` are closed. What was written is sent meanwhile."""
        self._closed = True
        if self._io_refs <= 0:
            self._real_close()

    def _real_close(self) -> None:
        """Close the connection, whatever files are open."""
        self._closed = True
        if self._open:
            self._open = False
            self._socket._check_thread()
            self._socket._close(CloseReason.LOCAL, None)
            if self._on_close is not None:
                self._on_close()

    def _hand_over(self) -> None:
        """The connection goes on, in another object."""
        self._closed = True
        self._open = False
        if self._on_close is not None:
            self._on_close()

    def detach(self) -> int:
        """Give up the connection without closing it, and return its descriptor, which is the caller's from now on.

        Waits until all that was written is sent. Afterwards greensock knows nothing of the connection: no timeout
        watches it, no stop of a server ends it. ``SSLContext.wrap_socket()`` takes a socket over so. As one of gevent's
        the descriptor does not block.
        """
        if not self._open:
            return -1
        socket = self._socket
        try:
            socket.flush(self._timeout)
        except SocketClosed as error:
            raise failure(error) from None
        self._hand_over()
        return raw.give_away(socket)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        if not self._closed:
            self.close()

    @property
    def _sock(self) -> "Bare":
        """What gevent's sockets have below them: its servers use it to close a connection, whatever files are open."""
        return Bare(self)

    # -- settings ------------------------------------------------------------------------------------

    def setsockopt(self, *arguments: Any) -> None:
        """As :meth:`socket.socket.setsockopt`."""
        self._wire().setsockopt(*arguments)

    def getsockopt(self, *arguments: Any) -> Any:
        """As :meth:`socket.socket.getsockopt`."""
        return self._wire().getsockopt(*arguments)

    def getpeername(self) -> Any:
        """The address of the peer."""
        self._wire()
        return self._socket._remote_address

    def getsockname(self) -> Any:
        """The address of this side."""
        self._wire()
        return self._socket._remember_local_address()

    def fileno(self) -> int:
        """The descriptor, or -1 when closed. To wait for, not to read: what it gives may be of TLS."""
        return self._socket._wire.fileno() if self._open else -1

    def get_inheritable(self) -> bool:
        """Whether programs that this process becomes or starts get the descriptor."""
        return os.get_inheritable(self._wire().fileno())

    def set_inheritable(self, inheritable: bool) -> None:
        """Set what :meth:`get_inheritable` gives."""
        os.set_inheritable(self._wire().fileno(), inheritable)

    @property
    def family(self) -> AddressFamily:
        """``AF_INET``, ``AF_INET6`` or ``AF_UNIX``."""
        return AddressFamily(self._socket._wire.family)

    @property
    def type(self) -> SocketKind:
        """``SOCK_STREAM``."""
        return SocketKind.SOCK_STREAM

    @property
    def proto(self) -> int:
        """As of the descriptor, which is 0 when it was accepted."""
        return self._socket._wire.proto

    def _wire(self) -> Any:
        if not self._open or self._socket._state is CLOSED:
            raise closed()
        return self._socket._wire

    if not TYPE_CHECKING:

        @property
        def __class__(self):  # what isinstance() asks besides the type
            return sys.modules["socket"].socket

    def __repr__(self) -> str:
        return f"<{type(self).__name__}{' [closed]' * self._closed} of {self._socket!r}>"


class Bare:
    """As much of the socket below a gevent socket as others use: it does not wait, and it does not count files."""

    def __init__(self, socket: StdlibSocket) -> None:
        self._socket = socket

    def recv(self, bufsize: int) -> bytes:
        """What is there, without waiting."""
        return self._socket.recv(bufsize, MSG_DONTWAIT)

    def close(self) -> None:
        """Close the connection, whatever files are open."""
        self._socket._real_close()


class StdlibTLS(StdlibSocket):
    """The same for an encrypted connection, with what :class:`ssl.SSLSocket` tells besides."""

    __slots__ = ("suppress_ragged_eofs",)

    def __init__(self, socket: Encryption) -> None:
        super().__init__(socket)
        #: whether a peer that has gone without a word of TLS is taken for one that has ended
        self.suppress_ragged_eofs = True

    def recv(self, bufsize: int, flags: int = 0) -> bytes:
        """See :meth:`StdlibSocket.recv`."""
        try:
            return super().recv(bufsize, flags)
        except OSError:
            if self._open and self.suppress_ragged_eofs and self._socket.close_reason is CloseReason.TRUNCATED:
                return b""
            raise

    def getpeercert(self, binary_form: bool = False) -> Any:
        """The peer's certificate: see :meth:`Socket.peer_certificate`."""
        return self._socket.peer_certificate(der=binary_form)

    def cipher(self) -> Any:
        """Name, protocol and bits of the cipher."""
        return self._socket.cipher()

    def version(self) -> str | None:
        """``"TLSv1.3"`` or ``"TLSv1.2"``."""
        return self._socket.tls_version

    def selected_alpn_protocol(self) -> str | None:
        """The protocol that ALPN has chosen."""
        return self._socket.alpn_protocol

    def pending(self) -> int:
        """Bytes that can be read without waiting for the kernel."""
        data = self._socket._input
        return 0 if data is None else data.size

    def do_handshake(self) -> None:
        """Nothing: it was done before there was this object."""

    @property
    def context(self) -> Any:
        """The :class:`ssl.SSLContext` of the connection."""
        return self._socket._wire.tls.context

    @property
    def server_side(self) -> bool:
        """Whether this side accepted the connection."""
        return bool(self._socket._wire.tls.server_side)

    if not TYPE_CHECKING:

        @property
        def __class__(self):
            return sys.modules["ssl"].SSLSocket

"""Reading and writing as a socket of the standard library does it, on top of a greensock socket."""

import _socket
import os
import stat
from errno import EAGAIN, EBADF, EOPNOTSUPP, EPIPE
from time import monotonic
from typing import IO, Any, Final, NoReturn

from . import raw
from .buffers import Buffer
from .encryption import Encryption
from .errors import IncompleteRead, SocketClosed

_PEEK: Final = _socket.MSG_PEEK
_ALL: Final = _socket.MSG_WAITALL
_NOW: Final = _socket.MSG_DONTWAIT
#: They change nothing here: no write raises SIGPIPE in Python, and what is written is gathered anyway.
_HARMLESS: Final[int] = getattr(_socket, "MSG_NOSIGNAL", 0) | getattr(_socket, "MSG_MORE", 0)

#: What ``sendfile`` reads and sends at a time.
_BLOCK: Final = 65536


class StdlibStream:
    """The bytes of :class:`StdlibSocket`: in, out, and how long it may take."""

    __slots__ = ("_open", "_socket", "_timeout")

    def __init__(self, socket: Encryption) -> None:
        self._socket = socket
        self._timeout = _socket.getdefaulttimeout()
        self._open = True  # until close() or detach() has come into force

    # -- reading -------------------------------------------------------------------------------------

    def recv(self, bufsize: int, flags: int = 0) -> bytes:
        """At most *bufsize* bytes, after waiting for some; ``b""`` at the end.

        Args:
            flags: of MSG_PEEK, MSG_WAITALL and MSG_DONTWAIT, recv(2).
        """
        if not self._open:
            raise closed()
        try:
            if flags:
                return self._recv_with(flags, bufsize)
            timeout = self._timeout
            return self._socket.recv(bufsize) if timeout is None else self._socket.recv(bufsize, timeout=timeout)
        except TimeoutError:
            self._timed_out(flags)
        except SocketClosed as error:
            raise failure(error) from None

    def _recv_with(self, flags: int, size: int) -> bytes:
        if flags & ~(_PEEK | _ALL | _NOW):
            raise OSError(EOPNOTSUPP, f"recv() flags {flags:#x} are not supported here")
        timeout = 0.0 if flags & _NOW else self._timeout
        if flags & _PEEK:
            return raw.peek(self._socket, size, timeout)
        if not flags & _ALL or timeout == 0.0:
            return self._socket.recv(size, timeout=timeout)
        try:
            return self._socket.read_exactly(size, timeout=timeout)
        except IncompleteRead as end:
            return end.partial

    def recv_into(self, buffer: Buffer, nbytes: int = 0, flags: int = 0) -> int:
        """:meth:`recv` into *buffer*, at most *nbytes* or as much as fits; returns how many bytes."""
        with memoryview(buffer) as view, view.cast("B") as target:
            if target.readonly:
                raise TypeError("recv_into() needs a writable buffer")
            if nbytes < 0:
                raise ValueError("negative buffersize in recv_into")
            if nbytes > len(target):
                raise ValueError("buffer too small for requested bytes")
            data = self.recv(nbytes or len(target), flags)
            target[: len(data)] = data
            return len(data)

    def recvfrom(self, bufsize: int, flags: int = 0) -> tuple[bytes, None]:
        """:meth:`recv`, and no address: a stream has none for each read."""
        return self.recv(bufsize, flags), None

    def recvfrom_into(self, buffer: Buffer, nbytes: int = 0, flags: int = 0) -> tuple[int, None]:
        """:meth:`recv_into`, and no address."""
        return self.recv_into(buffer, nbytes, flags), None

    # -- writing -------------------------------------------------------------------------------------

    def sendall(self, data: Buffer, flags: int = 0) -> None:
        """Send all of *data*. Returns when the kernel has it, save for at most ``high_water_mark`` bytes."""
        self._check_flags(flags)
        chunk = _as_bytes(data)
        if not chunk:
            self._writable()  # which tells when it is not
        while chunk and self._timeout == 0.0:
            chunk = chunk[self._send_now(chunk) :]
        if chunk:
            self._send(chunk)

    def send(self, data: Buffer, flags: int = 0) -> int:
        """Send *data*, all of it unless the socket does not block; returns how many bytes were taken."""
        self._check_flags(flags)
        chunk = _as_bytes(data)
        if self._timeout == 0.0 or flags & _NOW:
            return self._send_now(chunk)
        self._send(chunk)
        return len(chunk)

    def sendmsg(self, buffers: Any, ancdata: Any = (), flags: int = 0, address: None = None) -> int:
        """:meth:`send` the *buffers* as one. No ancillary data."""
        if list(ancdata) or address is not None:
            raise OSError(EOPNOTSUPP, "sendmsg() takes neither ancillary data nor an address here")
        return self.send(b"".join(map(_as_bytes, buffers)), flags)

    def sendto(self, data: Buffer, *flags_and_address: Any) -> int:
        """:meth:`send`: the address of a connected stream is ignored, send(2)."""
        return self.send(data, *flags_and_address[:-1])

    def sendfile(self, file: IO[bytes], offset: int = 0, count: int | None = None) -> int:
        """Send *file* from *offset* on, to its end or *count* bytes, and leave its position there; returns how many."""
        if self._timeout == 0.0:
            raise ValueError("non-blocking sockets are not supported")
        if "b" not in getattr(file, "mode", "b"):
            raise ValueError("file should be opened in binary mode")
        if count is not None and (not isinstance(count, int) or count <= 0):
            kind = ValueError if isinstance(count, int) else TypeError
            raise kind(f"count must be a positive integer (got {count!r})")
        if offset or _is_regular(file):
            file.seek(offset)
        sent = 0
        while count is None or sent < count:
            block = file.read(_BLOCK if count is None else min(_BLOCK, count - sent))
            if not block:
                break
            self.sendall(block)
            sent += len(block)
        return sent

    def _send(self, chunk: bytes) -> None:
        """Queue *chunk*, try the kernel, and wait while the queue is over its high-water mark."""
        socket = self._writable()
        queue = socket._queue
        deadline = None if self._timeout is None else monotonic() + self._timeout
        try:
            if queue.over:  # by others, who write to the same socket
                socket._wait_for(queue.high, self._timeout)
                if not socket._writable:  # ended or closed by somebody else meanwhile
                    raise socket._closed_error()
            self._push(chunk)
            if queue.over:
                socket._wait_for(queue.high, None if deadline is None else max(0.0, deadline - monotonic()))
            elif not socket._writable:
                raise socket._closed_error()
        except TimeoutError:
            raise socket._as_own(TimeoutError("timed out")) from None
        except SocketClosed as error:
            raise failure(error, EPIPE) from None

    def _send_now(self, chunk: bytes) -> int:
        """Of *chunk* what can be taken without waiting."""
        socket = self._writable()
        socket._flush()
        if socket._queue.size:
            raise BlockingIOError(EAGAIN, os.strerror(EAGAIN))
        chunk = chunk[: max(socket._queue.high, 1)]
        self._push(chunk)
        if not socket._writable:
            raise failure(socket._closed_error(), EPIPE)
        return len(chunk)

    def _push(self, chunk: bytes) -> None:
        socket = self._socket
        socket._counters.messages_written += 1
        socket._queue.push(chunk)
        if socket._queue.over:
            socket._send_over()
        else:
            socket._flush()

    def _writable(self) -> Encryption:
        if not self._open:
            raise closed()
        socket = self._socket
        socket._check_thread()
        if not socket._writable:
            error = socket._closed_error()
            raise failure(error, EPIPE) from None
        return socket

    @staticmethod
    def _check_flags(flags: int) -> None:
        if flags & ~(_NOW | _HARMLESS):
            raise OSError(EOPNOTSUPP, f"send() flags {flags:#x} are not supported here")

    # -- how long -----------------------------------------------------------------------------------

    def settimeout(self, value: float | None) -> None:
        """Seconds that reading or writing may take; None: as long as it takes; 0: not to wait at all."""
        if value is not None:
            value = float(value)
            if not value >= 0.0:
                raise ValueError("Timeout value out of range")
        self._timeout = value

    def gettimeout(self) -> float | None:
        """What :meth:`settimeout` has set; at first :func:`socket.getdefaulttimeout`."""
        return self._timeout

    @property
    def timeout(self) -> float | None:
        """What :meth:`gettimeout` gives."""
        return self._timeout

    def setblocking(self, flag: bool) -> None:
        """``settimeout(None)`` or ``settimeout(0.0)``."""
        self._timeout = None if flag else 0.0

    def getblocking(self) -> bool:
        """Whether the timeout is not 0."""
        return self._timeout != 0.0

    def _timed_out(self, flags: int) -> NoReturn:
        if self._timeout == 0.0 or flags & _NOW:
            raise BlockingIOError(EAGAIN, os.strerror(EAGAIN)) from None
        raise self._socket._as_own(TimeoutError("timed out")) from None


def _as_bytes(data: Buffer) -> bytes:
    if type(data) is bytes:
        return data
    if isinstance(data, str):
        raise TypeError("a bytes-like object is required, not 'str'")
    return memoryview(data).tobytes()


def _is_regular(file: IO[bytes]) -> bool:
    """Whether it is a file of a file system. Others may have no beginning to go back to."""
    try:
        return stat.S_ISREG(os.fstat(file.fileno()).st_mode)
    except (AttributeError, OSError):
        return False


def closed() -> OSError:
    """What every use of a closed socket raises."""
    return OSError(EBADF, os.strerror(EBADF))


def failure(error: SocketClosed, otherwise: int = EBADF) -> OSError:
    """What the standard library would raise: that which ended the connection, if it was not this side."""
    cause = error.__cause__
    told: Any = type(cause)(*cause.args) if isinstance(cause, OSError) else OSError(otherwise, os.strerror(otherwise))
    told.socket = error.socket  # so that a handler that lets it out is not blamed for the network
    return told  # type: ignore[no-any-return]

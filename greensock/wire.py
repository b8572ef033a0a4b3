"""How bytes get to the kernel and back: the seam between a socket and what carries it.

A wire reads, writes, finishes (FIN) and aborts (RST): here in clear, in :mod:`greensock.secure` with TLS.
:class:`Plain` *is* the interpreter's raw socket with those
four names on it, so that the seam costs plain TCP no extra call. It skips gevent's pure-Python wrapper,
whose sockets also carry two watchers each.
"""

import _socket
import contextlib
import struct
from typing import Any, Final

from .state import CloseReason

#: Read at most so many bytes at a time. 256 KiB is over glibc's mmap threshold of 128 KiB, so that every
#: read would map and unmap memory (160 k messages/s fell to 37 k); 64 KiB halved an echo of 256 KiB.
READ_SIZE: Final = 120_000

#: After a read shorter than this, the next one is of this size: a bytes object that comes from the interpreter's own
#: allocator (512 bytes with its header) and not from malloc, which makes an echo of 64 bytes 3 % faster.
SMALL_READ: Final = 479

_RESET_ON_CLOSE: Final = struct.pack("ii", 1, 0)  # SO_LINGER on, 0 seconds: socket(7)


class Plain(_socket.socket):
    """A connected, non-blocking TCP or unix stream socket.

    ``read(n)`` gives at most *n* bytes and ``b""`` at the peer's FIN; ``write(data)`` and
    ``write_many(buffers)`` return how many bytes the kernel took. All raise ``BlockingIOError`` when
    nothing can be done now, else the ``OSError`` of the connection.
    """

    __slots__ = ()

    # What only a wire with TLS has.
    #: OpenSSL's side of the connection
    tls: Any = None
    #: bytes that were made for the kernel and that it did not take yet; those of the caller it keeps himself
    backlog: bytes | memoryview | None = None
    #: whether ``read`` has something to give although the kernel has nothing
    more: bool = False
    authorized: bool = False
    authorization_error: Exception | None = None

    read = _socket.socket.recv
    write = _socket.socket.send
    write_many = _socket.socket.sendmsg

    def push(self) -> int:
        """Go on sending the :attr:`backlog`: how many of the caller's bytes the kernel has by that."""
        return 0  # there is none

    def say_goodbye(self) -> None:
        """Tell the peer that nothing more comes, where there are words for it."""

    def finish(self) -> None:
        """Send FIN: the peer reads its end after the last byte. Reading goes on."""
        with contextlib.suppress(OSError):  # ENOTCONN: the peer has reset the connection, which a read tells
            self.shutdown(_socket.SHUT_WR)

    def abort(self) -> None:
        """Reset the connection (RST) and close the descriptor."""
        with contextlib.suppress(OSError):  # some platforms refuse options on a connection that is gone
            self.setsockopt(_socket.SOL_SOCKET, _socket.SO_LINGER, _RESET_ON_CLOSE)
        self.close()

    def reason_of(self, error: OSError) -> CloseReason:
        """The close reason for a failure of this wire."""
        return CloseReason.TIMEOUT if isinstance(error, TimeoutError) else CloseReason.RESET

"""The other side of a connection, as well-behaved as a test wants it."""

import socket as sockets
import struct
from typing import Any, Self

import gevent
import gevent.socket

from .waiting import PATIENCE


class Peer:
    """A client that does exactly what it is told, for better or worse. Blocks its greenlet, never the hub.

    Args:
        address: of the server.
        receive_buffer: bytes of SO_RCVBUF (socket(7); the kernel doubles it). A small one makes a peer that does not
            read stall its server early, which then sees short writes.

    Resource handling: one descriptor, until :meth:`close`, :meth:`reset`, or the end of a ``with`` block.
    """

    def __init__(self, address: Any, *, receive_buffer: int | None = None) -> None:
        family = None
        if isinstance(address, (str, bytes)):
            family = sockets.AF_UNIX
        elif len(address) == 4:
            family = sockets.AF_INET6
        self.socket = gevent.socket.socket(family or sockets.AF_INET, sockets.SOCK_STREAM)
        try:
            if receive_buffer is not None:
                self.socket.setsockopt(sockets.SOL_SOCKET, sockets.SO_RCVBUF, receive_buffer)
            if family != sockets.AF_UNIX:
                self.socket.setsockopt(sockets.IPPROTO_TCP, sockets.TCP_NODELAY, 1)
            self.socket.settimeout(PATIENCE)
            self.socket.connect(address)
        except BaseException:
            self.socket.close()
            raise

    @property
    def address(self) -> Any:
        """This side's address, which is the server's ``remote_address``."""
        return self.socket.getsockname()

    def send(self, data: bytes) -> None:
        """Send all of *data*."""
        self.socket.sendall(data)

    def send_bytewise(self, data: bytes) -> None:
        """Send *data* one byte at a time, each in a segment of its own, letting the loop turn in between."""
        for index in range(len(data)):
            self.socket.sendall(data[index : index + 1])
            gevent.sleep(0.0001)  # the loop looks for events; idle() would wait for as long as others are busy
            gevent.sleep(0)  # and serves them

    def read(self, size: int = 65536) -> bytes:
        """What is there, at most *size* bytes, after waiting for some; ``b""`` at the end."""
        return self.socket.recv(size)

    def read_exactly(self, size: int) -> bytes:
        """*size* bytes.

        Raises:
            EOFError: the server ended before; the message says what came.
            TimeoutError: they have not come in ten seconds; so does this one.
        """
        data = bytearray()
        failure: type[Exception] = EOFError
        while len(data) < size:
            try:
                part = self.socket.recv(min(size - len(data), 1 << 20))
            except TimeoutError:
                part, failure = b"", TimeoutError
            if not part:
                raise failure(f"{size - len(data)} bytes are missing after {len(data)}: {bytes(data[-64:])!r}")
            data += part
        return bytes(data)

    def read_to_end(self) -> bytes:
        """All bytes until the server's FIN."""
        parts = []
        while part := self.socket.recv(1 << 20):
            parts.append(part)
        return b"".join(parts)

    def exchange(self, data: bytes) -> bytes:
        """Send *data* and read as many bytes back."""
        self.send(data)
        return self.read_exactly(len(data))

    def finish(self) -> None:
        """Send FIN; reading goes on."""
        self.socket.shutdown(sockets.SHUT_WR)

    def reset(self) -> None:
        """Reset the connection (RST) and close."""
        self.socket.setsockopt(sockets.SOL_SOCKET, sockets.SO_LINGER, struct.pack("ii", 1, 0))
        self.socket.close()

    def close(self) -> None:
        """Close; what was not read makes the kernel reset the connection."""
        self.socket.close()

    def is_reset(self) -> bool:
        """Read to the end and tell whether that was a reset."""
        try:
            self.read_to_end()
        except ConnectionResetError:
            return True
        return False

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *exception: object) -> None:
        self.close()

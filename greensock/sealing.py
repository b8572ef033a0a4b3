"""The writing half of TLS: what is written to records, and records to the kernel. See :mod:`greensock.secure`."""

import ssl
from contextlib import suppress
from typing import Any, Final

from .wire import Plain

#: Encrypt at most so many bytes before the kernel has taken them. With the records' own bytes that is still below
#: glibc's mmap threshold, as :data:`greensock.wire.READ_SIZE` is.
WRITE_SIZE: Final = 120_000

#: The most that TLS itself may have to say to a peer who does not read: alerts and answers to key updates.
MAX_CONTROL: Final = 65_536


class Buffers:
    """What is between OpenSSL and the wires of one engine; empty whenever no call on a wire is under way."""

    __slots__ = ("incoming", "outgoing")

    def __init__(self) -> None:
        self.incoming = ssl.MemoryBIO()
        self.outgoing = ssl.MemoryBIO()

    def clear(self) -> None:
        """Take out what a failed call has left, so that no other connection gets it."""
        self.incoming.read()
        self.outgoing.read()


class Sealing(Plain):
    """A wire whose bytes go out inside TLS, and after them close_notify and FIN."""

    __slots__ = ("_ahead", "_buffers", "_finishing", "backlog", "established", "tls")

    def __init__(self, family: int, kind: int, protocol: int, descriptor: int) -> None:
        super().__init__(family, kind, protocol, descriptor)
        #: OpenSSL's side of it; None until there is one
        self.tls: Any = None
        self._buffers: Any = None
        #: whether the handshake is done
        self.established = False
        #: ciphertext that the kernel did not take yet
        self.backlog: bytes | memoryview | None = None
        self._ahead = 0  # bytes of plaintext in the backlog
        self._finishing = False

    def write(self, data: Any) -> int:  # type: ignore[override]  # in plain TCP this is send itself
        """Encrypt and send: how many bytes of *data* the kernel has, those of a record that it has in part included.

        When that is less than all, the next call's *data* must begin with the rest: it may have been encrypted already.
        """
        size = len(data)
        if self._ahead or size > WRITE_SIZE or not self.established:
            return self.write_many([data])
        outgoing = self._buffers.outgoing
        try:
            self.tls.write(data)
            cipher: bytes = outgoing.read()
        except BaseException:
            self._buffers.clear()
            raise
        words = self.backlog
        if words is not None:  # TLS has something to say, which comes first
            cipher = b"".join((words, cipher))
            self.backlog = None
        try:
            sent = self.send(cipher)
        except BlockingIOError:
            sent = 0
        if sent == len(cipher):
            return size
        self.backlog = memoryview(cipher)[sent:]
        first = 0 if words is None else len(words)
        taken = size * max(0, sent - first) // (len(cipher) - first)
        self._ahead = size - taken
        return taken

    def write_many(self, buffers: Any) -> int:  # type: ignore[override]
        """:meth:`write` for a list of buffers. Small ones share records."""
        if not self.established:
            raise BlockingIOError
        taken = 0
        if self._ahead:
            taken = self.push()
            if self.backlog is not None:
                return taken
        for batch in _batches(buffers, taken):
            taken += self.write(batch)
            if self.backlog is not None:
                break
        return taken

    def push(self) -> int:
        """Send of the backlog: how many bytes of plaintext went with it."""
        backlog = self.backlog
        assert backlog is not None
        try:
            sent = self.send(backlog)
        except BlockingIOError:
            return 0
        if sent == len(backlog):
            taken, self._ahead = self._ahead, 0
            self.backlog = None
            if self._finishing:
                super().finish()
        else:
            taken = self._ahead * sent // len(backlog)
            self._ahead -= taken
            self.backlog = memoryview(backlog)[sent:]
        return taken

    def _say(self, words: bytes) -> None:
        """Send what TLS itself has to say: after what waits, and to no peer that makes it talk and does not listen."""
        if self.backlog is not None:
            if len(self.backlog) > WRITE_SIZE + MAX_CONTROL:
                raise ssl.SSLError(ssl.SSL_ERROR_SSL, "the peer does not read what it asks TLS for")
            self.backlog = bytes(self.backlog) + words
            return
        try:
            sent = self.send(words)
        except BlockingIOError:
            sent = 0
        if sent < len(words):
            self.backlog = memoryview(words)[sent:]

    def finish(self) -> None:
        """Say close_notify, then FIN: the peer knows that nothing was cut off. Reading goes on.

        What the kernel has no room for now waits in :attr:`backlog`, and FIN behind it.
        """
        self._finishing = True
        self.say_goodbye()
        if self.backlog is None:
            super().finish()

    def say_goodbye(self) -> None:
        """Say close_notify."""
        if self.established:
            try:
                try:
                    self.tls.unwrap()
                except ssl.SSLError:
                    pass  # the peer's own has not come, which is no condition
                words = self._buffers.outgoing.read()
            finally:
                self._buffers.clear()
            if words:
                with suppress(OSError):  # the connection is gone, which a read tells
                    self._say(words)


def _batches(buffers: Any, skip: int) -> Any:
    """What to encrypt at a time: *buffers* without their first *skip* bytes, joined or cut to ``WRITE_SIZE``."""
    batch: list[Any] = []
    room = WRITE_SIZE
    for buffer in buffers:
        view = memoryview(buffer)
        if skip:
            start = min(skip, len(view))
            skip -= start
            view = view[start:]
        while len(view) > room:
            batch.append(view[:room])
            view = view[room:]
            yield b"".join(batch)
            batch, room = [], WRITE_SIZE
        if view:
            batch.append(view)
            room -= len(view)
    if batch:
        yield b"".join(batch)

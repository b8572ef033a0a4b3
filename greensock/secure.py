"""The wire of TLS: records over the raw socket, by way of memory.

OpenSSL never sees the descriptor. What the kernel gives is put into a memory BIO and decrypted at once, what is
written is encrypted into another and sent from there. So a reset is a reset and not some error of TLS, no write has to
be retried with the same bytes, and the handshake needs no greenlet.

All connections of an engine share one pair of BIOs: between two calls on different connections both are empty, because
each call takes out what it has put in. A pair for each of them costs 2.5 KB more when idle, and
285 KB after a few large messages.

The writing half is :mod:`greensock.sealing`. Both are imported with the first handshake: a program that monkey-patches
after ``import greensock`` must find ``ssl`` not yet imported.
"""

import ssl
from contextlib import suppress
from typing import Any, Final

from .sealing import Buffers, Sealing
from .state import CloseReason
from .wire import READ_SIZE, SMALL_READ, Plain

#: The most plaintext in one record: RFC 8446, section 5.1.
RECORD_SIZE: Final = 16_384

#: So much ciphertext, more than any record, may come without data. Only who sends one key update after the other gets
#: so far: 37 microseconds for each 27 bytes, which others wait for. BoringSSL bears 32 of them in a row.
MAX_SILENCE: Final = 2 * RECORD_SIZE

#: Ciphertext for each byte of data: 23 bytes are the most that TLS 1.3 makes of one, and 85 the old ciphers of TLS 1.2
#: that a user may choose. What is more brings no data.
MAX_EXPANSION: Final = 100

#: What a handshake reads at a time: it fits a long chain of certificates.
HANDSHAKE_READ: Final = 16_384


class Secure(Sealing):
    """A connection inside TLS: first :meth:`encrypt`, then :meth:`shake` until it is :attr:`established`.

    ``read`` gives plaintext, and ``b""`` at the peer's close_notify. A peer that closes without one is an
    ``SSLEOFError``: what it sent may have been cut off. ``finish`` says close_notify before FIN.

    Resource handling: besides the descriptor, OpenSSL's state of the connection (some 12 KB), until it is collected.
    """

    __slots__ = (
        "_broken",
        "_ending",
        "_read_size",
        "_silence",
        "_stored",
        "authorization_error",
        "authorized",
        "more",
    )

    def __init__(self, family: int, kind: int, protocol: int, descriptor: int) -> None:
        super().__init__(family, kind, protocol, descriptor)
        #: whether the peer has proved who it is, and why not
        self.authorized = False
        self.authorization_error: Exception | None = None
        #: whether :meth:`read` has something to give although nothing new has come
        self.more = False
        self._stored = b""  # plaintext that came together with the end of the handshake
        self._ending: bytes | OSError | None = None  # what comes after that: the end, or a failure
        self._broken: OSError | None = None  # met by the last words of the handshake; told when all has been read
        self._read_size = READ_SIZE
        self._silence = 0  # bytes of ciphertext that have brought no data

    def encrypt(self, endpoint: Any, engine: Any) -> None:
        """Be one side of TLS.

        Args:
            endpoint: of :mod:`greensock.endpoints`: which side this is, and its certificates.
            engine: whose connections share the buffers.
        """
        if endpoint.private_bios:
            buffers = Buffers()
        else:
            buffers = engine.tls_buffers
            if buffers is None:
                buffers = engine.tls_buffers = Buffers()
        self._buffers = buffers
        self.tls = endpoint.wrap(buffers.incoming, buffers.outgoing)

    # -- the handshake -------------------------------------------------------------------------------

    def begin(self) -> None:
        """Say hello; for clients. Raises the ``OSError`` of sending."""
        self._advance(b"")

    def shake(self) -> bool:
        """Go on with the handshake by what has arrived. Whether it is done.

        Raises:
            BlockingIOError: nothing has arrived.
            OSError: the handshake fails: ``SSLError`` with OpenSSL's reason (the peer was sent an alert),
                ``SSLEOFError`` when the peer has ended, or the connection's own.
        """
        data = self.recv(HANDSHAKE_READ)
        if not data:
            raise ssl.SSLEOFError(ssl.SSL_ERROR_EOF, "the peer ended during the handshake")
        return self._advance(data)

    def _advance(self, data: bytes) -> bool:
        buffers = self._buffers
        try:
            if data:
                buffers.incoming.write(data)
            try:
                self.tls.do_handshake()
                self.established = True
            except ssl.SSLWantReadError:
                pass
            else:
                if buffers.incoming.pending:
                    self._stored = b"".join(self._decrypt(b""))
                    self.more = bool(self._stored) or self._ending is not None
            said = buffers.outgoing.read()
        except BaseException:
            alert = buffers.outgoing.read()
            buffers.clear()
            if alert:
                with suppress(OSError):
                    self.send(alert)
            raise
        if said and self.more and self.backlog is None:
            self.backlog = said  # tickets, which go out with the answer to what has come already
        elif said:
            try:
                self._say(said)
            except OSError as error:
                if not (self.established and self.tls.server_side):
                    raise
                self._broken = error  # the peer has said all that it has to, and has left
        return self.established

    # -- reading -------------------------------------------------------------------------------------

    def read(self, size: int) -> bytes:  # type: ignore[override]  # in plain TCP this is recv itself
        """Plaintext of what has arrived, whatever its size: all of it is decrypted at once.

        Raises:
            BlockingIOError: there is none now.
            OSError: ``SSLEOFError``: the peer ended without close_notify. ``SSLError``: what it sent is not TLS as
                agreed; what came before has been given.
        """
        if self.more:
            return self._rest()
        size = self._read_size
        cipher = self.recv(size)
        if not cipher:
            if self._ending is None:
                self._ending = self._broken or ssl.SSLEOFError(ssl.SSL_ERROR_EOF, "the peer ended without close_notify")
            return self._rest()
        got = len(cipher)
        if (got < SMALL_READ) is (size != SMALL_READ):
            cipher = self._adapt(cipher)
            got = len(cipher)
        buffers = self._buffers
        incoming = buffers.incoming
        asked = got if got < RECORD_SIZE else RECORD_SIZE
        try:
            incoming.write(cipher)
            plain: bytes = self.tls.read(asked)
            if not plain or incoming.pending or len(plain) == asked:
                plain = b"".join(self._decrypt(plain)) if plain else self._ends()
        except ssl.SSLWantReadError:
            plain = b""
        except ssl.SSLZeroReturnError:  # as the end of the input is told when this side has ended as well
            plain = self._ends()
        except ssl.SSLError as error:
            plain = self._ends(error)
        except BaseException:
            buffers.clear()
            raise
        if buffers.outgoing.pending:
            self._say_while_reading(buffers.outgoing.read())
        if self._silence or not plain or got > MAX_SILENCE:
            self._count_silence(got, len(plain))
        if plain:
            self.more = self._ending is not None
            return plain
        return self._rest()

    def _count_silence(self, got: int, brought: int) -> None:
        self._silence = max(0, self._silence + got - MAX_EXPANSION * brought)
        if self._silence >= MAX_SILENCE and self._ending is None:
            self._ending = ssl.SSLError(ssl.SSL_ERROR_SSL, "the peer keeps TLS busy and sends no data")

    def _decrypt(self, first: bytes) -> list[bytes]:
        """All that can be decrypted, after *first*. What ends it is kept for later."""
        parts = [first] if first else []
        incoming = self._buffers.incoming
        tls = self.tls
        try:
            while incoming.pending or tls.pending():
                part = tls.read(RECORD_SIZE)
                if not part:
                    self._ends()
                    break
                parts.append(part)
        except ssl.SSLWantReadError:
            pass
        except ssl.SSLZeroReturnError:
            self._ends()
        except ssl.SSLError as error:
            self._ends(error)
        return parts

    def _ends(self, ending: bytes | ssl.SSLError = b"") -> bytes:
        """No more data, by a close_notify or a failure. What follows is to be ignored: RFC 8446, section 6.1."""
        self._ending = ending
        self._buffers.incoming.read()
        return b""

    def _rest(self) -> bytes:
        """What is still to be told without asking the kernel."""
        if self._stored:
            data, self._stored = self._stored, b""
            self.more = self._ending is not None
            return data
        self.more = False
        ending = self._ending
        if ending is None:
            raise BlockingIOError
        if isinstance(ending, OSError):
            raise ending
        return ending

    def _adapt(self, cipher: bytes) -> bytes:
        """*cipher* says that the other size of reads is the better one now: see ``SMALL_READ``."""
        if self._read_size != SMALL_READ:
            self._read_size = SMALL_READ
            return cipher
        self._read_size = READ_SIZE
        try:
            return cipher + self.recv(READ_SIZE)
        except BlockingIOError:
            pass
        except OSError as error:
            self._ending = error  # it comes only once
        return cipher

    def _say_while_reading(self, words: bytes) -> None:
        try:
            self._say(words)
        except OSError as error:
            if self._ending is None:
                self._ending = error  # to be told after the plaintext

    # -- what others cannot say without naming ssl ---------------------------------------------------

    def reason_of(self, error: OSError) -> CloseReason:
        """The close reason for a failure of this wire."""
        if isinstance(error, ssl.SSLEOFError):
            return CloseReason.TRUNCATED
        if isinstance(error, ssl.SSLError):
            return CloseReason.PROTOCOL
        return super().reason_of(error)


def secured(plain: Plain) -> Secure:
    """A wire that takes over the descriptor of *plain*, to put TLS around its connection; its watchers stay valid."""
    family, kind, protocol = plain.family, plain.type, plain.proto
    wire = Secure(family, kind, protocol, plain.detach())
    wire.setblocking(False)
    return wire


def received_in_clear(what: str) -> ssl.SSLError:
    """The error for bytes that came ahead of the handshake: whoever sent them need not be who shakes hands."""
    return ssl.SSLError(ssl.SSL_ERROR_SSL, f"{what} came in clear, ahead of the handshake")

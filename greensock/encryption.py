"""TLS as users of a socket see it: what was agreed on, with whom, and how to start it on an open connection."""

from copy import copy
from errno import ETIMEDOUT
from operator import length_hint
from typing import Any, Literal, cast, overload

from gevent import Timeout

from . import endpoints, log
from .session import Session
from .state import (
    BY_HAND,
    CLOSED,
    DEAD,
    EOF_READ,
    OPEN,
    SECURE,
    SHAKEN,
    UPGRADING,
    CloseReason,
)
from .waiting import Input
from .writequeue import WriteQueue


class Encryption(Session):
    """The TLS of one connection. Without TLS all of it is False or None."""

    __slots__ = ()

    # -- what there is to know -----------------------------------------------------------------------

    @property
    def encrypted(self) -> bool:
        """Whether TLS protects the connection."""
        return bool(self._flags & SECURE)

    @property
    def authorized(self) -> bool:
        """Whether the peer's certificate was verified."""
        return self._wire.authorized

    @property
    def authorization_error(self) -> Exception | None:
        """Why the peer's certificate was not verified; None if it was, or if nobody asked for one."""
        return self._wire.authorization_error

    @property
    def alpn_protocol(self) -> str | None:
        """The protocol that both sides chose by ALPN (RFC 7301); None: none."""
        return self._wire.tls.selected_alpn_protocol() if self.encrypted else None

    @property
    def server_name(self) -> str | None:
        """The host that the client asked for by SNI (RFC 6066, section 3), and on clients the one that was verified."""
        return getattr(self._wire.tls, "server_name", None) or getattr(self._wire.tls, "server_hostname", None)

    @property
    def tls_version(self) -> str | None:
        """``"TLSv1.3"`` or ``"TLSv1.2"``."""
        return self._wire.tls.version() if self.encrypted else None

    def cipher(self) -> tuple[str, str, int] | None:
        """Name of the cipher, protocol version that defines it, and its secret bits."""
        return self._wire.tls.cipher() if self.encrypted else None

    @overload
    def peer_certificate(self, *, der: Literal[False] = False) -> dict[str, Any] | None: ...
    @overload
    def peer_certificate(self, *, der: Literal[True]) -> bytes | None: ...
    @overload
    def peer_certificate(self, *, der: bool) -> dict[str, Any] | bytes | None: ...
    def peer_certificate(self, *, der: bool = False) -> dict[str, Any] | bytes | None:
        """The peer's certificate, or None if it gave none.

        Args:
            der: whether to give it as it is (DER), verified or not. Otherwise it is a dictionary as of
                :meth:`ssl.SSLSocket.getpeercert`, which is empty for one that was not verified.
        """
        return self._wire.tls.getpeercert(der) if self.encrypted else None

    # -- STARTTLS ------------------------------------------------------------------------------------

    def upgrade_tls(self, tls: object) -> None:
        """Start TLS on this connection (STARTTLS), and block this greenlet until the handshake is done.

        To be called when both sides have agreed on it. What was written before goes out in clear, what is written
        from now on waits for the handshake. Then the event ``handshake`` follows; ``open`` does not come again.

        Args:
            tls: on a server's socket as for :func:`greensock.listen`, on a client's as for :func:`greensock.connect`:
                it verifies the host that it was connected to.

        A failure ends the connection. ``handshake_timeout`` limits how long it may take.

        Raises:
            ValueError: *tls* is wrong, or there is TLS already; the connection stays as it was.
            RuntimeError: another greenlet reads this socket, or the call is from another thread.
            SocketClosed: the connection is over, or this side has ended it.
            OSError: the handshake fails (``ssl.SSLError``), or is not done in time (``TimeoutError``), or bytes were
                received in clear ahead of it: whoever sent them need not be the peer (CVE-2011-0411).
        """
        self._check_thread()
        if self._flags & (SECURE | UPGRADING):
            raise ValueError("there is TLS on this connection already")
        unread = self._input
        if self._waiter is not None:
            raise RuntimeError("another greenlet reads this socket now")
        if not self._writable or self._state is not OPEN or self._flags & (DEAD | EOF_READ):
            raise self._closed_error()
        if self._shared.owner is not None:
            endpoint = endpoints.server_side(tls)
        else:
            endpoint = endpoints.client_side(tls, self._shared.hostname)
        limit = self._shared.options.handshake_timeout
        too_late = TimeoutError(ETIMEDOUT, f"no TLS handshake in {limit} s")
        self._flags |= UPGRADING
        self._stop_watchers()
        if unread is not None:
            unread.stop_timer()
            self._input = None  # nobody reads meanwhile
        try:
            wire = self._encrypt(endpoint)  # which takes nothing from others until the handshake is done
            self._refuse_what_came_in_clear(unread)
            with Timeout(limit, cast(Any, too_late)):
                self._send_in_clear(wire)
                self._shake_hands(wire, endpoint.server_side)
            self._now_secure(endpoint)
        except BaseException as error:
            self._upgrade_failed(error)
            if unread is not None:
                unread.clear()  # whoever sent it
            raise
        finally:
            self._flags &= ~UPGRADING
            self._input = unread
        self._upgraded()

    def _refuse_what_came_in_clear(self, unread: Input | None) -> None:
        from .secure import received_in_clear

        if unread is not None and unread.size:
            raise received_in_clear(f"{unread.size} bytes that nobody has read")
        frames, self._frames = self._frames, None
        if frames is not None:
            if length_hint(frames.messages) or frames.failure is not None:
                raise received_in_clear("a message")
            try:
                frames.decoder.close()
            except Exception as error:
                raise received_in_clear("the beginning of a message") from error

    def _send_in_clear(self, wire: Any) -> None:
        """Send what was queued before. What others write meanwhile comes into a queue of its own."""
        clear = self._queue
        self._queue = later = WriteQueue(clear.high, clear.low)
        later.congested = clear.congested
        try:
            while clear.size:
                try:
                    sent = wire.send(clear.gather()[0])
                except BlockingIOError:
                    self._wait_until_ready(writing=True)
                else:
                    clear.advance(sent)
                    self.bytes_written += sent
        finally:
            self.unsent += clear.size
            self._account()

    def _shake_hands(self, wire: Any, server_side: bool) -> None:
        if not server_side:
            wire.begin()
        done = False
        while not done:
            try:
                done = wire.shake()
            except BlockingIOError:
                self._wait_until_ready()
            while wire.backlog is not None:
                self._wait_until_ready(writing=True)
                wire.push()

    def _wait_until_ready(self, *, writing: bool = False) -> None:
        """Block this greenlet until the kernel can go on; woken by the end of the connection too."""
        try:
            with self._waiter_at(-1) as result:  # which no queue ever comes down to
                if writing:
                    self._watch_writing(lambda: result.set(None))
                else:
                    self._reader.start(result.set, None)
                result.get()
        finally:
            if self._state is not CLOSED:
                self._stop_watchers()

    def _upgrade_failed(self, error: BaseException) -> None:
        self._counters.handshake_failures += 1
        if isinstance(error, OSError):
            # A copy is kept: the traceback of this one has frames that hold the socket.
            self._abort(self._wire.reason_of(error), copy(error))
            self._as_own(error)
        else:  # killed, or out of a Timeout of the caller's
            self._abort(CloseReason.LOCAL, None)
        self._log(log.handshake_failed, self._peer(), self._error or error)

    def _upgraded(self) -> None:
        if not self._flags & BY_HAND and self._table.handshake is not None:
            self._ask_for(SHAKEN)
        queue = self._queue
        drained = queue.congested and queue.size <= queue.low
        if drained:
            queue.congested = False
        self._flushed(0, drained)  # for those who wait
        if queue.size and not self._corks:
            self._flush()
        self._watch()
        if self._flags & BY_HAND:  # a session is told before it goes on
            self._emit("handshake", self._wire.authorized, self._wire.authorization_error)

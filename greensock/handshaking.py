"""The TLS handshake of a connection that begins with one. Done by runners, without a greenlet of its own.

Until it is done the connection does not exist for its handlers: a peer that stalls, talks something else or goes
away costs a kilobyte until its first bytes, and one line of the log at DEBUG.
"""

from time import monotonic
from typing import Any

from .events import Events
from .state import CLOSED, ENDED, HANDSHAKING, MORE, OPEN, OPENING, SECURE, UNREADABLE
from .wire import Plain


class Handshaking(Events):
    """What comes before ``open`` when there is TLS."""

    __slots__ = ()

    def _opened(self) -> None:
        if self._shared.tls is None or self._state is CLOSED:
            super()._opened()
        else:
            self._begin_handshake()

    def _begin_handshake(self) -> None:
        self._flags = (self._flags | HANDSHAKING) & ~OPENING
        self._shared.handshaking.add(self)
        self._progress = monotonic()
        limit = self._shared.options.handshake_timeout
        if limit is not None:
            self._engine.clocks.watch(self, limit)
        if not self._shared.tls.server_side:
            try:
                self._encrypt(self._shared.tls).begin()
            except OSError as error:
                self._handshake_failed(error)
                return
            self._after_step()
        else:
            self._watch()

    def _encrypt(self, endpoint: Any) -> Any:
        """Have a wire with TLS from now on."""
        wire: Any = self._wire
        if type(wire) is Plain:  # as of clients, and before STARTTLS
            from .secure import secured  # with the first handshake, not before: see there

            self._wire = wire = secured(wire)
        wire.encrypt(endpoint, self._engine)
        return wire

    def _shake(self) -> None:
        """The peer has sent something, or has gone."""
        if not self._engine.may_shake(self):
            self._reader.stop()  # or it would be ready again in every turn
            return
        try:
            wire: Any = self._wire if self._wire.tls is not None else self._encrypt(self._shared.tls)
            done = wire.shake()
        except BlockingIOError:
            done = False
        except OSError as error:
            self._handshake_failed(error)
            return
        if done:
            self._reader.stop()  # from now on it is for another callback, in blocking style
            self._shaken()
        else:
            self._after_step()

    def _after_step(self) -> None:
        if self._wire.backlog is not None:
            self._watch_writing(self._push)
        self._watch()

    def _handshake_failed(self, error: OSError) -> None:
        error.__traceback__ = None  # its frames hold the socket, which would keep itself alive by it
        self._because(self._wire.reason_of(error), error)
        self._close_now()

    def _shaken(self) -> None:
        """The handshake is done: ``handshake``, and unless its handler has closed the connection, ``open``."""
        self._now_secure(self._shared.tls)
        self._emit("handshake", self._wire.authorized, self._wire.authorization_error)
        self._shared.handshaking.discard(self)
        if self._state is OPEN or self._state is ENDED:
            self._open()
        if self._running is None:
            self._send_last_words()
        else:  # a session that has not begun: what fails now would end it before it sees what has come
            self._engine.loop.run_callback(self._send_last_words)

    def _send_last_words(self) -> None:
        """Send what the handshake has left to be said, and what its handler has written."""
        wire = self._wire
        if self._queue.size and not self._corks:
            self._flush()
        elif wire.backlog is not None and (not wire.more or self._flags & UNREADABLE) and self._state is not CLOSED:
            self._push()  # else it goes out with the answer to what has come already

    def _now_secure(self, endpoint: Any) -> None:
        wire: Any = self._wire
        self._flags = (self._flags | SECURE) & ~HANDSHAKING
        if wire.more:
            self._flags |= MORE
        self._counters.handshakes += 1
        wire.authorized, wire.authorization_error = endpoint.authorization(wire.tls)

    # -- afterwards ----------------------------------------------------------------------------------

    def _note_more(self) -> None:
        """Whether TLS has more to give, which the kernel does not tell."""
        if self._wire.more:
            self._flags |= MORE
        else:
            self._flags &= ~MORE

    def _push_words(self) -> None:
        """TLS has something of its own to say, to which no answer of this side has given a lift."""
        if not self._queue.size and self._state is not CLOSED:
            self._push()

"""The connection of a user of locust's: made when it is needed, made again when it was lost, and ended in order.

Each attempt, each handshake and each loss is in a row of the statistics. An attempt that fails is no exception: whoever
needs the connection waits, longer each time, and tries again.
"""

import dataclasses
import logging
import random
import sys
from time import perf_counter
from typing import TYPE_CHECKING, Any, Final, NamedTuple

import gevent
from gevent.lock import BoundedSemaphore
from greenlet import getcurrent
from locust.exception import StopUser
from locust.user.task import LOCUST_STATE_STOPPING

from ..client import connect
from ..sock import Socket
from ..state import CloseReason
from .rows import CONNECT, DISCONNECT, Ledger, RequestFailed, loss
from .talk import EVENTS, Talk

if TYPE_CHECKING:
    from ..locust import SocketUser

#: Seconds that the peer has for its last words when this side ends the connection.
LINGER: Final = 1.0

#: Seconds after which a user who waits looks whether it is to stop.
LOOK: Final = 0.5

logger: Final = logging.getLogger("greensock.locust")


class Backoff(NamedTuple):
    """How long to wait before connecting again: twice as long each time, less up to a half of it, by chance."""

    #: seconds before the second attempt, at most
    first: float = 0.05
    #: seconds that are never exceeded
    most: float = 5.0

    def pause(self, failures: int) -> float:
        """Seconds to wait after so many attempts in a row."""
        return min(self.most, self.first * 2.0 ** min(failures - 1, 30)) * random.uniform(0.5, 1.0)


class Connecting:
    """What a client needs to be connected.

    Args:
        user: whose it is; its attributes say how to connect.

    Resource handling: one descriptor, from first use until :meth:`close`.
    """

    def __init__(self, user: "SocketUser") -> None:
        self._user = user
        self._ledger = Ledger(user)
        #: what requests go through; None: ask _open
        self._talk: Talk | None = None
        self._retired: Talk | None = None
        self._wanted = True
        self._opening = BoundedSemaphore()
        self._opener: Any = None
        self._young: Talk | None = None
        self._connected = 0.0
        self._attempts = 0  # since something has come from the peer
        self._may_connect = True  # a user without ``reconnect`` may once, and again after it has closed the connection
        #: what came while on_connect runs, and when; None: it does not run
        self._held: list[tuple[Any, float]] | None = None

    @property
    def socket(self) -> Socket[Any] | None:
        """The connection itself; None if there is none."""
        talk = self._talk or self._young
        return None if talk is None else talk.socket

    def connect(self) -> None:
        """Connect, if there is no connection; requests do so by themselves.

        Raises:
            StopUser: the user is to stop, or could not connect and has no ``reconnect``.
        """
        self._talk or self._open()

    def close(self) -> None:
        """End the connection, if there is one: send what is queued, and count what the peer still has to say.

        It has a second for that. The next request makes a new connection.
        """
        talk, self._talk, self._retired = self._talk or self._retired, None, None
        self._attempts = 0
        self._may_connect = True
        if talk is not None:
            _end(talk)

    def abandon(self) -> None:
        """The user has ended, in whatever way: have a greenlet end the connection, if it is there still."""
        self._wanted = False
        if self._talk or self._retired:
            gevent.spawn(self.close)

    def retire(self) -> None:
        """Begin nothing any more: whoever asks for the connection is stopped. It is still to be closed."""
        self._wanted = False
        self._retired, self._talk = self._talk or self._retired, None

    def sleep(self, seconds: float) -> bool:
        """Sleep, and wake early if the user is to stop; whether it is."""
        until = perf_counter() + seconds
        while not self.stopping and (left := until - perf_counter()) > 0:
            gevent.sleep(min(left, LOOK))
        return self.stopping

    @property
    def stopping(self) -> bool:
        """Whether the user is to stop."""
        return not self._wanted or self._user._state == LOCUST_STATE_STOPPING

    # -- opening -------------------------------------------------------------------------------------

    def _open(self) -> Talk:
        """The connection, after making one if there is none."""
        if self._opener is getcurrent():  # on_connect, which may use the connection before others do
            if self._young is None:
                raise RequestFailed("the connection ended while on_connect ran")
            return self._young
        with self._opening:
            if self._talk is None:
                self._opener = getcurrent()
                try:
                    self._talk = self._open_now()
                finally:
                    self._opener = None
            return self._talk

    def _open_now(self) -> Talk:
        while True:
            backoff = self._user.reconnect
            if self.stopping or not self._may_connect:
                raise StopUser
            if self._attempts and backoff is not None and self.sleep(backoff.pause(self._attempts)):
                raise StopUser
            self._attempts += 1
            self._may_connect = backoff is not None
            talk = self._dial()
            if talk is not None and self._greet(talk):
                return talk

    def _dial(self) -> Talk | None:
        """One attempt; None if it has failed, which then is recorded."""
        user = self._user
        talk = Talk(user.key_of, self._pushed, self._lost, self._user_failed)
        where = dataclasses.replace(user.address, scheme="tcp") if user.address.scheme == "tls" else user.address
        began = perf_counter()
        self._held, connected = [], f"connect {where.scheme}"
        try:
            socket = connect(
                str(where),
                EVENTS,
                data=talk,
                framing=user.framing,
                timeout=user.connect_timeout,
                handshake_timeout=user.connect_timeout,
                server_hostname=user.server_hostname,
                max_buffered=sys.maxsize,  # who writes waits for room, whichever greenlet that is
            )
            self._connected = perf_counter()
            self._ledger.record(CONNECT, connected, since(began))
            if user.address.scheme == "tls":
                began, connected = perf_counter(), "handshake tls"
                socket.upgrade_tls(user.tls)
                self._ledger.record(CONNECT, connected, since(began))
        except OSError as error:
            talk.ended = True  # and is no loss
            self._ledger.record_failure(CONNECT, connected, since(began), error)
            return None
        except BaseException:
            talk.ended = True
            if hasattr(talk, "socket"):
                talk.socket.terminate()
            raise
        return talk

    def _greet(self, talk: Talk) -> bool:
        """Let the user begin on a new connection; whether that went well."""
        self._young = talk
        try:
            self._user.on_connect()
            return self._young is not None
        except RequestFailed:
            _end(talk)
            return False
        except BaseException:
            _end(talk)
            raise
        finally:
            self._young = None
            while self._held:  # which may become more meanwhile
                self._tell_user(*self._held.pop(0))
            self._held = None

    # -- what happens to it --------------------------------------------------------------------------

    def _lost(self, talk: Talk, error: Exception | None) -> None:
        """The connection has ended. Called by the event ``close``."""
        if talk.socket.bytes_read:
            self._attempts = 0
        self._forget(talk)
        reason = talk.socket.close_reason
        told = loss(error, reason)
        waited_for = self._fail_expected(talk, told) or not talk.idle
        if not talk.ended and not waited_for:
            if reason is CloseReason.EOF:  # as the peer likes
                self._ledger.record(DISCONNECT, str(reason), None)
            else:
                self._ledger.record_failure(DISCONNECT, str(reason), None, told)
        talk.closed(told)

    def _forget(self, talk: Talk) -> None:
        """Begin nothing on *talk* any more."""
        if self._talk is talk:
            self._talk = None
        if self._young is talk:
            self._young = None

    def _pushed(self, message: Any, arrived: float) -> None:
        """*message* has come, and is no reply."""
        raise NotImplementedError

    def _tell_user(self, message: Any, arrived: float) -> None:
        """Nobody has waited for *message*: it is for ``on_push``."""
        raise NotImplementedError

    def _user_failed(self, error: Exception) -> None:
        """What the test gave to be called has raised."""
        events = self._user.environment.events
        events.user_error.fire(user_instance=self._user, exception=error, tb=error.__traceback__)
        logger.error("%s has made a mistake", type(self._user).__name__, exc_info=error)

    def _fail_expected(self, talk: Talk, error: Exception) -> bool:
        """Tell those who wait on *talk* for something that is no reply; whether there are any."""
        raise NotImplementedError


def _end(talk: Talk) -> None:
    """End *talk* in order, or after :data:`LINGER` seconds in any way."""
    talk.ended = True
    try:
        talk.socket.end()
        talk.over.wait(LINGER)
    finally:
        talk.socket.terminate()  # without effect on one that has ended


def since(began: float) -> float:
    """Milliseconds since *began*, of ``perf_counter()``."""
    return (perf_counter() - began) * 1000

"""Listening for servers of the standard library's kind: connections come when they are asked for."""

import os
import socket as stdlib
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

import gevent.socket
from gevent.monkey import get_original

from ..server import Server
from ..sock import Socket

if TYPE_CHECKING:
    _NativeSocket = stdlib.socket
else:
    _NativeSocket = get_original("socket", "socket")


class Listener(_NativeSocket):
    """The listening socket that a legacy server shows, and whose ``accept`` its subclasses call.

    Args:
        arrived: gives a connection that was accepted already and is for the calling greenlet, with its peer's address;
            or None.
        on_close: called when the program has closed it, whose servers often do that and no more.
    """

    def __init__(
        self, arrived: Callable[[], tuple[Any, Any] | None], on_close: Callable[[], object], family: int, kind: int
    ) -> None:
        super().__init__(family, kind)
        self._arrived = arrived
        self._on_close = on_close

    def accept(self) -> tuple[Any, Any]:
        """A connection, and the address of its peer. In a program that accepts by itself it is one of gevent's."""
        arrived = self._arrived()
        while arrived is None:
            os.set_blocking(self.fileno(), False)
            try:
                descriptor, address = self._accept()  # type: ignore[attr-defined]
            except BlockingIOError:
                if self.gettimeout() == 0.0:
                    raise
                gevent.socket.wait_read(self.fileno(), self.gettimeout(), TimeoutError("timed out"))
            else:
                arrived = gevent.socket.socket(self.family, self.type, self.proto, descriptor), address
        return arrived

    def close(self) -> None:
        """Close it: nothing is accepted any more."""
        super().close()
        self._on_close()


class Arrivals(Server):
    """The accepting half of a legacy server, in one thread: accepts as many connections as were asked for.

    Args:
        listener: the listening socket. It stays its owner's: what is accepted from is a duplicate.
        session: called with each connection, in a greenlet of its own.
        on_change: called when a connection is gone.
    """

    def __init__(
        self, listener: Any, session: Callable[[Socket[Any]], object], on_change: Callable[[], object]
    ) -> None:
        self.listener = listener
        #: so many more connections are accepted
        self.wanted: float = 0
        #: so many were accepted, and of so many the session has begun
        self.taken = 0
        self.begun = 0
        self._session = session
        self._tell = on_change
        duplicate = _NativeSocket(fileno=os.dup(listener.fileno()))
        # A legacy program has its own timeouts for writing, or means to have none.
        options: dict[str, Any] = {"write_timeout": None, "tls": getattr(listener, "context", None)}
        try:
            super().__init__(duplicate, self._begin, **options)
            self._shared.watched = True
            self.start()
        except BaseException:
            duplicate.close()
            raise

    @property
    def in_flight(self) -> int:
        """Connections that were accepted and have neither begun nor failed: their handshake is under way."""
        return self.taken - self.begun - self._shared.counters.refused

    def want(self, number: float) -> None:
        """Accept *number* connections from now on, and then no more."""
        self.wanted = number
        if number:
            self._start_accepting_if_started()
        else:
            self.stop_accepting()

    def full(self) -> bool:
        """Whether no connection is wanted."""
        return self.wanted <= 0 or super().full()

    def _accepted(self, descriptor: int, address: Any) -> None:
        super()._accepted(descriptor, address)
        self.taken += 1
        self.wanted -= 1

    def _begin(self, socket: Socket[Any]) -> None:
        self.begun += 1
        self._session(socket)

    def _on_gone(self) -> None:
        super()._on_gone()
        self._shared.watched = True
        self._tell()

"""Handlers that were written for other servers, as sessions: :mod:`socketserver`'s classes, and gevent's functions."""

import weakref
from collections.abc import Callable
from typing import Any

from ..hubs import get_ident
from ..sock import Socket


def request_handler(HandlerClass: Any, server: Any = None) -> Callable[[Socket[Any]], None]:
    """An unchanged :class:`socketserver.BaseRequestHandler`, those of :mod:`http.server` included, as a session.

    Args:
        HandlerClass: called with the connection as a ``socket.socket`` (:meth:`Socket.as_stdlib`), the address of
            the peer, and *server*; a class does all its work then.
        server: what handlers find as ``self.server``. None: one :class:`Surroundings` for all of them, or None for a
            client.
    """
    if not callable(HandlerClass):
        raise TypeError(f"the handler class cannot be called: {HandlerClass!r}")
    made: weakref.WeakKeyDictionary[Any, Surroundings] = weakref.WeakKeyDictionary()  # one for each server

    def handle(socket: Socket[Any]) -> None:
        around = server
        if around is None and socket.server is not None:
            around = made.get(socket.server)
            if around is None:
                around = made[socket.server] = Surroundings(socket.server, HandlerClass)
        HandlerClass(socket.as_stdlib(), socket.remote_address, around)

    return handle


def stream_handle(function: Callable[[Any, Any], object]) -> Callable[[Socket[Any]], None]:
    """gevent's ``handle(socket, address)``, unchanged, as a session.

    Args:
        function: called with the connection as a ``socket.socket`` (:meth:`Socket.as_stdlib`) and the peer's address.
    """
    if not callable(function):
        raise TypeError(f"the handle cannot be called: {function!r}")

    def handle(socket: Socket[Any]) -> None:
        function(socket.as_stdlib(), socket.remote_address)

    return handle


class Surroundings:
    """What a request handler finds as its ``server``: a greensock one, by the names of :mod:`socketserver`.

    Attributes that handlers set stay; what it does not have it takes from the greensock server.
    """

    def __init__(self, server: Any, handler_class: Any) -> None:
        self._server = weakref.proxy(server)
        self.RequestHandlerClass = handler_class
        #: as in :mod:`socketserver`
        self.server_address = server.address
        #: as in :mod:`http.server`
        self.server_name = server.hostname
        self.timeout = None

    def shutdown(self) -> None:
        """Stop accepting. Does not wait. From any thread: handlers used to need one for this."""
        server = self._server
        if server._engine.thread == get_ident():
            server.stop()
        else:
            server._engine.call_from_thread(server.stop)

    def __getattr__(self, name: str) -> Any:
        if name.startswith("_"):
            raise AttributeError(name)
        return getattr(self._server, name)

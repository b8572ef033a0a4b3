"""The servers of :mod:`socketserver`, on greensock: the same constructors, attributes and methods to override.

All that is not about accepting and waiting is inherited from the originals. Connections are accepted and carried by
greensock, each with a greenlet of its own; nobody polls; and ``shutdown()`` may be called from a handler. A server that
handles one request at a time still does, and the others wait in the backlog.
"""

import socketserver
import sys
from typing import Any, Final

from .. import log, net
from .listening import Listener
from .serving import Serving

#: The original, for programs that take it from here.
ForkingMixIn: Final = socketserver.ForkingMixIn

#: What a server cannot derive from, and why. Told when one is made: libraries define forking ones that nobody uses.
_REFUSED: Final = {
    "ForkingMixIn": (
        "a process that is forked off here would carry this one's event loop and connections with it. Use "
        "ThreadingTCPServer, whose handlers do not hold up each other, or several processes with reuse_port"
    ),
    "UDPServer": "greensock carries streams only",
}


_IN_A_THREAD: Final[object] = socketserver.ThreadingMixIn.process_request


class _NotMade:
    """Stands where a server has its greensock side, until our constructor has made it."""

    def __get__(self, server: object, kind: type) -> Any:
        raise RuntimeError(
            f"legacy.TCPServer.__init__ was not called for this {kind.__name__}: one of its classes calls "
            "socketserver.TCPServer.__init__ by name. Put socketserver.TCPServer = legacy.TCPServer before its import"
        )


class TCPServer(socketserver.TCPServer):
    """:class:`socketserver.TCPServer`: one request at a time. With :class:`ThreadingMixIn`: many.

    Resource handling: holds the listening socket from its construction until ``server_close()`` or the end of a
    ``with`` block. Connections whose handler is over, and that an open ``makefile()`` alone holds, end then, too.

    Error handling: as there, save that I/O failures of a connection (reset, broken pipe, timed out) that a handler lets
    out are a line of the log at DEBUG and no traceback, unless ``handle_error`` is overridden.
    """

    _greensock: Any = _NotMade()

    def __init__(self, server_address: Any, RequestHandlerClass: Any, bind_and_activate: bool = True) -> None:
        for refused, why in _REFUSED.items():
            if isinstance(self, getattr(socketserver, refused)):
                raise TypeError(f"{type(self).__qualname__} derives from {refused}: {why}")
        socketserver.BaseServer.__init__(self, server_address, RequestHandlerClass)
        many: Any = self if isinstance(self, socketserver.ThreadingMixIn) else None
        if many is not None and getattr(many.process_request, "__func__", None) is _IN_A_THREAD:
            many.process_request = many.process_request_thread  # in the greenlet that calls it
        self._greensock = Serving(self, many=many is not None)
        self.socket = Listener(
            self._greensock.take, self._greensock.listener_closed, self.address_family, self.socket_type
        )
        if bind_and_activate:
            try:
                self.server_bind()
                self.server_activate()
            except BaseException:
                self.server_close()
                raise

    def serve_forever(self, poll_interval: float = 0.5) -> None:
        """Serve until :meth:`shutdown`. ``service_actions()`` is called as there, if it is overridden.

        In a thread that had no event loop it returns when its handlers have, too, for this is their thread. Those of a
        server with ``daemon_threads`` read the end of their input then, and have ten seconds.
        """
        self._greensock.forever(poll_interval)

    def handle_request(self) -> None:
        """Handle one request, or call ``handle_timeout()`` if none comes within ``timeout``, or that of the socket."""
        limits = [seconds for seconds in (self.socket.gettimeout(), self.timeout) if seconds is not None]
        if not self._greensock.one(max(min(limits), 0.001) if limits else None):  # the loop has to turn, to see one
            self.handle_timeout()

    def shutdown(self) -> None:
        """Have ``serve_forever`` return, and wait until it has; not in a handler that it has called itself."""
        self._greensock.shutdown()

    def server_close(self) -> None:
        """Close the listening socket, after a :meth:`shutdown` if that is due.

        Waits for handlers as there: those of a :class:`ThreadingMixIn` with ``block_on_close`` and without
        ``daemon_threads``; but not for the one that calls it.
        """
        super().server_close()
        waits = isinstance(self, socketserver.ThreadingMixIn) and self.block_on_close and not self.daemon_threads
        self._greensock.close(wait=waits)

    def get_request(self) -> tuple[Any, Any]:
        """The next connection, as :meth:`Socket.as_stdlib` gives it, and the address of its peer."""
        return self._greensock.take() or self.socket.accept()

    def handle_error(self, request: Any, client_address: Any) -> None:
        """Print a traceback of the exception that is being handled, unless the peer or the network is to blame."""
        error = sys.exc_info()[1]
        if isinstance(error, (OSError, EOFError)) and getattr(error, "socket", None) is not None:
            log.logger.debug("the connection of %s failed: %s", net.display(client_address), error)
        else:
            super().handle_error(request, client_address)


class ThreadingMixIn(socketserver.ThreadingMixIn):
    """Handle many requests at a time: :class:`socketserver.ThreadingMixIn`, with greenlets in place of threads."""

    def process_request(self, request: Any, client_address: Any) -> None:
        """Handle a request in the greenlet of its connection, which calls this."""
        self.process_request_thread(request, client_address)


class ThreadingTCPServer(ThreadingMixIn, TCPServer):
    """:class:`socketserver.ThreadingTCPServer`."""


class UnixStreamServer(TCPServer):
    """:class:`socketserver.UnixStreamServer`."""

    address_family = socketserver.UnixStreamServer.address_family


class ThreadingUnixStreamServer(ThreadingMixIn, UnixStreamServer):
    """:class:`socketserver.ThreadingUnixStreamServer`."""

"""gevent's ``StreamServer`` with connections of greensock.

It *is* gevent's: its constructor, ``handle`` and ``set_handle``, ``spawn`` and pools, ``stop`` and ``serve_forever``
are inherited. But what it accepts is a greensock socket in blocking style, and TLS is greensock's.
"""

from pathlib import Path
from typing import Any, Final

import gevent.server

from .. import log, net, patching
from ..engine import Engine
from ..handlers import HandlerTable
from ..options import Options
from ..shared import Shared
from ..sock import Socket
from ..stdlib_socket import StdlibSocket, StdlibTLS
from ..tls import TLS
from ..wire import Plain

#: Verify modes of the ssl module, by their numbers: CERT_NONE, CERT_OPTIONAL and CERT_REQUIRED.
_VERIFY: Final[dict[int, dict[str, Any]]] = {
    0: {},
    1: {"request_cert": True, "reject_unauthorized": False},
    2: {"request_cert": True},
}

#: Arguments of ``wrap_socket`` that mean nothing here: which versions are spoken is decided by greensock.TLS, and the
#: handshake is always done before ``handle`` is called.
_WITHOUT_MEANING: Final = frozenset({"server_side", "ssl_version", "do_handshake_on_connect", "suppress_ragged_eofs"})


class StreamServer(gevent.server.StreamServer):
    """:class:`gevent.server.StreamServer`: ``handle(socket, address)`` in a greenlet for each connection.

    The socket is what :meth:`Socket.as_stdlib` gives: its methods are those of ``socket.socket``, and it closes
    gracefully when ``handle`` returns.

    Args:
        listener, handle, backlog, spawn: as of gevent's.
        ssl_args: ``keyfile``, ``certfile``, ``ca_certs``, ``cert_reqs`` and ``ciphers``, or ``ssl_context``, gevent's
            or the standard library's. Files are read now, so that they need not be readable later.

    Resource handling: as gevent's; and :meth:`stop` ends connections whose handle has returned and that an open
    ``makefile()`` alone holds.

    Error handling: as gevent's, save that failed TLS handshakes, and I/O failures of a connection (reset, broken pipe,
    timed out) that a handle lets out, are a line of the log at DEBUG and no traceback.
    """

    # gevent's types are for its own sockets
    socket: Any
    wrap_socket: Any
    ssl_args: Any
    _handle: Any
    _spawn: Any

    def __init__(
        self, listener: Any, handle: Any = None, backlog: int | None = None, spawn: Any = "default", **ssl_args: Any
    ) -> None:
        self._greensock: Carrier | None = None
        super().__init__(listener, handle, backlog, spawn, **ssl_args)
        if self.ssl_args is not None:
            self._endpoint = ssl_args["ssl_context"] if "ssl_context" in ssl_args else _tls_of(ssl_args)
            self.wrap_socket = self._wrap_socket

    def start_accepting(self) -> None:
        """Accept, again, after ``stop_accepting``."""
        if self._greensock is None:
            patching.warn_when_late()
            self._greensock = Carrier(self)
        super().start_accepting()

    def do_read(self) -> Any:
        """Accept a connection: its socket and the address of its peer, or None if there is none."""
        assert self._greensock is not None
        try:
            descriptor, address = self.socket._accept()
        except BlockingIOError:
            return None
        return self._greensock.carry(descriptor, address, self.socket), address

    def do_handle(self, *args: Any) -> None:
        """Give a connection to ``handle``, in a greenlet of its own unless ``spawn`` is None."""
        try:
            if self._spawn is None:
                _handle_and_close(self._handle, self.do_close, args)
            else:
                self._spawn(_handle_and_close, self._handle, self.do_close, args)
        except BaseException:
            self.do_close(*args)
            raise

    def do_close(self, sock: Any, *args: Any) -> None:
        """Close a connection whose ``handle`` has returned."""
        sock.close()

    def wrap_socket_and_handle(self, client_socket: Any, address: Any) -> object:
        """Do the TLS handshake, in the greenlet of the connection, and then call ``handle``."""
        try:
            encrypted = self.wrap_socket(client_socket, **self.ssl_args)
        except OSError as error:
            log.logger.debug("TLS handshake with %s failed: %s", net.display(address), error)
            return None
        with encrypted:
            return self.handle(encrypted, address)

    def _wrap_socket(self, client_socket: StdlibSocket, **ssl_args: Any) -> StdlibSocket:
        assert self._greensock is not None
        client_socket._socket.upgrade_tls(self._endpoint)
        return self._greensock.dress(client_socket, ssl_args.get("suppress_ragged_eofs", True))

    def stop(self, timeout: float | None = None) -> None:
        """Stop accepting, and with a pool wait for its handlers and kill them: see gevent's."""
        super().stop(timeout)
        if self._greensock is not None:
            self._greensock.let_go()


class Carrier:
    """The connections of a :class:`StreamServer`: what they have in common, and which of them are open."""

    def __init__(self, server: StreamServer) -> None:
        self._engine = Engine.of_this_hub()
        self._shared = Shared(
            self._engine,
            HandlerTable.of_nothing(),
            Options(write_timeout=None),  # a legacy program has its own timeouts, or means to have none
            owner=server,
            stop_reading_when_over=True,
            on_gone=_nothing,
        )
        self._requests: set[StdlibSocket] = set()

    def carry(self, descriptor: int, address: Any, listener: Any) -> StdlibSocket:
        """Make a socket of what *listener* has accepted from *address*."""
        wire = Plain(listener.family, listener.type, listener.proto, descriptor)
        try:
            wire.setblocking(False)
            socket: Socket[Any] = Socket(wire, self._shared, address)
        except BaseException:
            wire.close()
            raise
        socket._read_by_hand()
        self._engine.schedule(socket)
        return self._keep(socket.as_stdlib())

    def dress(self, plain: StdlibSocket, suppress_ragged_eofs: bool) -> StdlibSocket:
        """The same connection, encrypted meanwhile, in the place of *plain*."""
        encrypted = StdlibTLS(plain._socket)
        encrypted.suppress_ragged_eofs = suppress_ragged_eofs
        encrypted._timeout = plain._timeout
        plain._hand_over()
        return self._keep(encrypted)

    def let_go(self) -> None:
        """End the connections that open files alone hold."""
        for request in [*self._requests]:
            if request._closed:
                request._real_close()

    def _keep(self, request: StdlibSocket) -> StdlibSocket:
        self._requests.add(request)
        request._on_close = lambda: self._requests.discard(request)
        return request


def _handle_and_close(handle: Any, close: Any, args: Any) -> object:
    try:
        return handle(*args)
    except (OSError, EOFError) as error:
        if getattr(error, "socket", None) is None:
            raise
        log.logger.debug("the connection of %s failed: %s", net.display(args[1]), error)
        return None
    finally:
        close(*args)


def _tls_of(ssl_args: dict[str, Any]) -> TLS:
    """The options that gevent's own names stand for."""
    given = dict(ssl_args)
    keyfile, certfile, ca_certs = (given.pop(name, None) for name in ("keyfile", "certfile", "ca_certs"))
    if certfile is None:
        raise ValueError("certfile must be specified, or ssl_context")
    verify, ciphers = given.pop("cert_reqs", 0), given.pop("ciphers", None)
    for name in given.keys() - _WITHOUT_MEANING:
        raise TypeError(f"unknown argument for TLS: {name!r}")
    return TLS(
        cert=Path(certfile),
        key=Path(keyfile or certfile),
        ca=None if ca_certs is None else Path(ca_certs),
        ciphers=ciphers,
        **_VERIFY[int(verify)],
    )


def _nothing() -> None:
    pass

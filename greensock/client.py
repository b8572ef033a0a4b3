"""Connecting: ``connect``, and what keeps a connection that no server does."""

from copy import copy
from errno import ECONNABORTED, ETIMEDOUT
from time import monotonic
from typing import Any

import gevent
from gevent.event import Event

from . import endpoints, sockopts
from .address import Address, parse
from .dialing import dial
from .draining import Draining
from .engine import Engine
from .errors import SocketClosed
from .handlers import HandlerTable
from .options import Options, deadline_of, seconds
from .shared import Shared
from .sock import Socket
from .state import CloseReason
from .wire import Plain


def connect(
    address: object,
    handlers: object = None,
    *,
    timeout: float | None = 10.0,
    data: Any = None,
    tls: object = None,
    server_hostname: str | None = None,
    **options: Any,
) -> Socket[Any]:
    """Connect to *address*, and block this greenlet until the socket is open.

    Args:
        address: ``(host, port)``, ``"host:port"``, ``"[::1]:port"``, ``"tcp://host:port"``, ``"tls://host:port"``,
            ``"unix:/path"``, or ``"fd://3"`` for a descriptor that is connected already. Of several addresses that a
            name has the first one that answers is taken (RFC 8305).
        handlers: as for :func:`listen`. ``open`` has begun when this returns. None: no events, the caller
            uses the socket himself.
        timeout: seconds for all of it, from the name look-up to the TLS handshake; None: as long as the system tries.
        tls: True verifies the server by the system's authorities, as ``tls://`` does; or a :class:`greensock.TLS`, a
            mapping of its options, or an ``SSLContext``.
        server_hostname: whom the server has to be by its certificate, if that is not the host of *address*.
        data: becomes ``socket.data``, before the first event.
        options: those of :func:`listen` that concern a connection.

    When connecting fails, ``connect_error(socket, error)`` is called, before the exception is raised. What it
    raises itself is raised instead.

    Resource handling: the socket is kept until it closes, also if nobody holds it. A call that fails, times out or is
    killed leaves nothing behind.

    Raises:
        TimeoutError: not in *timeout* seconds.
        OSError: connecting fails, with its ``errno``; the message names the address. An ``ssl.SSLError`` if TLS does.
        ValueError: the address or an option's value is wrong; there is no ``connect_error``.
        TypeError: an option is unknown or not for a client, or *handlers* cannot serve.
        RuntimeError: this interpreter or event loop cannot serve.
    """
    where = _target(address)
    limit = seconds("timeout", timeout, optional=True)
    deadline = deadline_of(limit)
    client = Client(handlers, Options.of({"tls": tls, **options}, connecting=True), where, server_hostname)
    socket = client.socket(where)
    socket.data = data
    try:
        try:
            wire = dial(where, limit)
        except BaseException:
            socket._never_connected()
            raise
        client.opened(socket, wire, deadline)
    except OSError as error:
        if client.connect_error is not None:
            client.connect_error(socket, error)
        raise
    return socket


def _target(address: object) -> Address:
    where = parse(address)
    if where.scheme in ("tcp", "tls") and where.port == 0:
        raise ValueError(f"bad address {address!r}: nothing can be reached at port 0")
    return where


class Client(Draining):
    """What one outgoing connection has instead of a server."""

    def __init__(self, handlers: object, options: Options, where: Address, hostname: str | None) -> None:
        table = HandlerTable.of_nothing() if handlers is None else HandlerTable(handlers)
        self.connect_error = table.connect_error
        self._by_hand = handlers is None
        self._where = where
        self._engine = Engine.of_this_hub()
        hostname = hostname or where.host or None
        wanted = True if options.tls is None and where.scheme == "tls" else options.tls
        self._shared = Shared(
            self._engine,
            table,
            options,
            stop_reading_when_over=False,  # two peers that both stop would never start again
            on_gone=self._on_change,
            on_open=self._on_open,
            tls=None if wanted is None else endpoints.client_side(wanted, hostname),
            hostname=hostname,
        )
        self._connecting = True
        self._open = False

    def socket(self, where: Address) -> Socket[Any]:
        """A socket that is not connected yet."""
        self._engine.owners.add(self)
        self._engine.kept.add(self)
        target = (where.host, where.port) if where.scheme in ("tcp", "tls") else where.path
        socket: Socket[Any] = Socket(Plain.__new__(Plain), self._shared, target)
        self._shared.alive += 1
        self._shared.referenced += 1
        return socket

    def opened(self, socket: Socket[Any], wire: Plain, deadline: float | None) -> None:
        """Open *socket*, which *wire* has connected, and have its ``open`` begin, after the handshake if there is TLS.

        Raises:
            OSError: the handshake fails, or is not done by the *deadline*. The socket is closed.
        """
        try:
            options = self._shared.options
            try:
                sockopts.set_no_delay(wire, options.no_delay)
                sockopts.set_keepalive(wire, options.keepalive)
                socket._remote_address = wire.getpeername()
            except OSError:
                pass  # the peer has reset it already, which a read will tell
            socket._connected(wire)
            self._connecting = False
        except BaseException:
            wire.close()
            raise
        self._engine.schedule(socket)
        try:
            if self._shared.tls is not None:
                self._wait_for_handshake(socket, deadline)
            gevent.sleep(0)
            if self._shared.table.handle is not None:
                gevent.sleep(0)  # its greenlet was made meanwhile, and begins before this one goes on
        except BaseException:  # killed, or out of time
            socket.terminate()
            raise

    def _wait_for_handshake(self, socket: Socket[Any], deadline: float | None) -> None:
        self._changed = Event()
        while not self._open and not socket.closed:
            self._changed.clear()
            left = None if deadline is None else deadline - monotonic()
            if not self._changed.wait(left) and left is not None:
                error = TimeoutError(ETIMEDOUT, "no TLS handshake in time")
                socket._abort(CloseReason.TIMEOUT, error)
        if not self._open:
            raise self._defeat(socket)

    def _defeat(self, socket: Socket[Any]) -> OSError:
        """Why the handshake has failed; of the class and number of the failure, and naming the address."""
        error = socket._error
        if not isinstance(error, OSError):  # the handler of ``handshake`` has closed it
            return SocketClosed(ECONNABORTED, f"cannot connect to {self._where}: its 'handshake' handler has closed it")
        raised = copy(error)
        raised.strerror = f"cannot connect to {self._where}: {error.strerror or error}"
        return raised

    def _on_open(self, socket: Socket[Any]) -> None:
        self._open = True
        if self._by_hand:
            socket._read_by_hand()
        self._on_change()

    def stop(self, timeout: float | None = None, *, close_active: bool = False) -> None:
        """Have the connection end, as :meth:`Server.stop` does with those of a server. A pending one goes on."""
        if not self._connecting:
            super().stop(timeout, close_active=close_active)

"""Connecting: ``connect``, and what keeps a connection that no server does."""

from typing import Any

import gevent

from . import net
from .address import Address, parse
from .dialing import dial
from .draining import Draining
from .engine import Engine
from .handlers import HandlerTable
from .options import Options, seconds
from .shared import Shared
from .sock import Socket
from .wire import Plain


def connect(
    address: object, handlers: object = None, *, timeout: float | None = 10.0, data: Any = None, **options: Any
) -> Socket[Any]:
    """Connect to *address*, and block this greenlet until the socket is open.

    Args:
        address: ``(host, port)``, ``"host:port"``, ``"[::1]:port"``, ``"tcp://host:port"``, ``"unix:/path"``, or
            ``"fd://3"`` for a descriptor that is connected already. Of several addresses that a name has the first
            one that answers is taken (RFC 8305).
        handlers: as for :func:`listen`. ``open`` has begun when this returns. None: no events, the caller
            uses the socket himself.
        timeout: seconds for all of it, from the name look-up on; None: as long as the system tries.
        data: becomes ``socket.data``, before the first event.
        options: those of :func:`listen` that concern a connection.

    When connecting fails, ``connect_error(socket, error)`` is called, before the exception is raised. What it
    raises itself is raised instead.

    Resource handling: the socket is kept until it closes, also if nobody holds it. A call that fails, times out or is
    killed leaves nothing behind.

    Raises:
        TimeoutError: not in *timeout* seconds.
        OSError: connecting fails, with its ``errno``; the message names the address.
        ValueError: the address or an option's value is wrong; there is no ``connect_error``.
        TypeError: an option is unknown or not for a client, or *handlers* cannot serve.
        RuntimeError: this interpreter or event loop cannot serve.
    """
    where = _target(address)
    limit = seconds("timeout", timeout, optional=True)
    table = HandlerTable.of_nothing() if handlers is None else HandlerTable(handlers)
    client = Client(table, Options.of(options, connecting=True))
    socket = client.socket(where)
    socket.data = data
    if handlers is None:
        socket._read_by_hand()
    try:
        wire = dial(where, limit)
    except BaseException as error:
        socket._never_connected()
        if isinstance(error, OSError) and table.connect_error is not None:
            table.connect_error(socket, error)
        raise
    client.opened(socket, wire)
    return socket


def _target(address: object) -> Address:
    where = parse(address)
    if where.scheme == "tls":
        raise ValueError(f"{where}: this version has no TLS yet")
    if where.scheme == "tcp" and where.port == 0:
        raise ValueError(f"bad address {address!r}: nothing can be reached at port 0")
    return where


class Client(Draining):
    """What one outgoing connection has instead of a server."""

    def __init__(self, table: HandlerTable, options: Options) -> None:
        self._engine = Engine.of_this_hub()
        self._shared = Shared(
            self._engine,
            table,
            options,
            stop_reading_when_over=False,  # two peers that both stop would never start again
            on_gone=self._on_change,
        )
        self._connecting = True

    def socket(self, where: Address) -> Socket[Any]:
        """A socket that is not connected yet."""
        self._engine.owners.add(self)
        self._engine.kept.add(self)
        target = (where.host, where.port) if where.scheme == "tcp" else where.path
        return Socket(Plain.__new__(Plain), self._shared, target)

    def opened(self, socket: Socket[Any], wire: Plain) -> None:
        """Open *socket*, which *wire* has connected, and have its ``open`` begin."""
        try:
            options = self._shared.options
            try:
                net.set_no_delay(wire, options.no_delay)
                net.set_keepalive(wire, options.keepalive)
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
            gevent.sleep(0)
        except BaseException:  # killed, or out of time
            socket.terminate()
            raise

    def stop(self, timeout: float | None = None, *, close_active: bool = False) -> None:
        """Have the connection end, as :meth:`Server.stop` does with those of a server. A pending one goes on."""
        if not self._connecting:
            super().stop(timeout, close_active=close_active)

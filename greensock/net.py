"""From names to what the kernel takes for an address, and from that to what people read."""

import _socket
import os
from collections.abc import Iterable
from typing import Any

import gevent.socket

from . import address as addresses
from .address import Address

#: What ``bind`` takes and ``getsockname`` gives.
SockAddr = tuple[Any, ...] | str | bytes


def resolve(host: str, port: int) -> list[tuple[int, SockAddr]]:
    """The address family and the address of everything that *host* stands for, in the system's order.

    A name waits for this greenlet alone; an IP address is not looked up.

    Raises:
        OSError: the name does not resolve (``socket.gaierror``); the message names the host.
    """
    try:
        # As getaddrinfo itself does, but before gevent's thread pool, which prints a traceback of the failure.
        encoded = host.encode("idna")
    except UnicodeError:
        raise _socket.gaierror(_socket.EAI_NONAME, f"cannot resolve {host!r}: no possible name") from None
    found: Iterable[tuple[Any, ...]]
    try:
        try:
            # Numbers first: they need no thread and no resolver, and cannot block.
            found = _socket.getaddrinfo(encoded, port, 0, _socket.SOCK_STREAM, 0, _socket.AI_NUMERICHOST)
        except _socket.gaierror:
            found = gevent.socket.getaddrinfo(encoded, port, 0, _socket.SOCK_STREAM)
    except _socket.gaierror as error:
        raise _socket.gaierror(error.errno, f"cannot resolve {host!r}: {error.strerror}") from error
    return [(int(family), name) for family, _, _, _, name in found]


def url_of(scheme: str, bound: SockAddr, hostname: str = "") -> str:
    """The URL that reaches a listener from this machine.

    Args:
        scheme: ``"tcp"`` or ``"tls"``; of a unix socket it does not matter.
        bound: Its ``getsockname()``.
        hostname: What the user gave to listen on, if he did: a certificate may be for that name. Where
            *bound* is every interface, the loopback address is in its place.
    """
    if not isinstance(bound, tuple):
        if isinstance(bound, bytes):  # of the abstract namespace
            return f"unix:@{os.fsdecode(bound[1:])}"
        return str(Address("unix", path=f"./{bound}" if bound.startswith(addresses.ABSTRACT or "\0") else bound))
    loopback = {"0.0.0.0": "127.0.0.1", "::": "::1"}.get(bound[0])
    host = loopback or hostname or addresses.parse(bound).host
    return str(Address(scheme, host=host, port=bound[1]))


def display(peername: SockAddr | None) -> str:
    """A peer for a line of the log: ``127.0.0.1:5``, ``[::1]:5`` or ``unix``.

    The path of a unix peer is left out: the peer chose it, line ends included.
    """
    if not isinstance(peername, tuple):
        return "unix"
    return str(addresses.parse(peername)).removeprefix("tcp://")

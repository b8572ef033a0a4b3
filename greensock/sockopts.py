"""The kernel's settings of TCP sockets: Nagle's algorithm and keepalive.

A unix socket has none of them, and is left as it is.
"""

import _socket
import math
from typing import Final

#: With :data:`KEEPALIVE_PROBES`: a peer that fell silent is given up a minute after the first question, where
#: the system's own settings (75 s and 9 probes, tcp(7)) take eleven.
KEEPALIVE_INTERVAL: Final = 15
KEEPALIVE_PROBES: Final = 4

_TCP_FAMILIES: Final = (_socket.AF_INET, _socket.AF_INET6)
#: macOS calls it TCP_KEEPALIVE.
_KEEPIDLE: Final[int | None] = getattr(_socket, "TCP_KEEPIDLE", getattr(_socket, "TCP_KEEPALIVE", None))


def tune(listener: _socket.socket, *, no_delay: bool, keepalive: float | None) -> None:
    """Give the sockets that *listener* will accept their settings; a unix socket has none of them.

    Set once on the listener, they are inherited by each accepted socket, which saves up to five system calls
    per connection: "like many others" in tcp(7) under TCP_USER_TIMEOUT, and section 7.4 of Stevens' "UNIX
    Network Programming" for other systems.
    """
    set_no_delay(listener, no_delay)
    set_keepalive(listener, keepalive)


def set_no_delay(sock: _socket.socket, on: bool) -> None:
    """Send small segments at once (TCP_NODELAY), or let Nagle's algorithm (RFC 896) hold them back."""
    if sock.family in _TCP_FAMILIES:
        sock.setsockopt(_socket.IPPROTO_TCP, _socket.TCP_NODELAY, on)


def get_no_delay(sock: _socket.socket) -> bool:
    """Whether TCP_NODELAY is set; False for a unix socket, which has no such option."""
    return sock.family in _TCP_FAMILIES and bool(sock.getsockopt(_socket.IPPROTO_TCP, _socket.TCP_NODELAY))


def set_keepalive(sock: _socket.socket, seconds: float | None) -> None:
    """After so many *seconds* of silence ask whether the peer is still there; None: never.

    The kernel counts whole seconds, so a fraction is rounded up. A peer that does not answer
    :data:`KEEPALIVE_PROBES` times, :data:`KEEPALIVE_INTERVAL` seconds apart, is given up (ETIMEDOUT). A unix
    socket needs no such thing: its peer cannot vanish.
    """
    if sock.family not in _TCP_FAMILIES:
        return
    sock.setsockopt(_socket.SOL_SOCKET, _socket.SO_KEEPALIVE, seconds is not None)
    if seconds is not None:
        for option, value in (
            (_KEEPIDLE, math.ceil(seconds)),
            (getattr(_socket, "TCP_KEEPINTVL", None), KEEPALIVE_INTERVAL),
            (getattr(_socket, "TCP_KEEPCNT", None), KEEPALIVE_PROBES),
        ):
            if option is not None:  # else the system's own number has to do
                sock.setsockopt(_socket.IPPROTO_TCP, option, value)


def get_keepalive(sock: _socket.socket) -> float | None:
    """Seconds of silence before the peer is asked, as the kernel counts them; None: it never is."""
    if sock.family not in _TCP_FAMILIES or not sock.getsockopt(_socket.SOL_SOCKET, _socket.SO_KEEPALIVE):
        return None
    # The system's default where it does not tell: two hours, RFC 1122 section 4.2.3.6.
    return float(sock.getsockopt(_socket.IPPROTO_TCP, _KEEPIDLE)) if _KEEPIDLE is not None else 7200.0

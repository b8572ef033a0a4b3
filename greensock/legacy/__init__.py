"""For code that was written for :mod:`socketserver`, :mod:`http.server` or gevent's servers, and is to stay as it is.

Either its handlers are served by :func:`greensock.listen`, with all its options::

    greensock.listen("0.0.0.0:8080", request_handler(http.server.SimpleHTTPRequestHandler))
    greensock.listen("0.0.0.0:8080", stream_handle(handle))

or its servers derive from those here, which stand in for the originals: ``gevent``'s, and those of ``socketserver``,
with ``serving`` for their loop, ``listening`` for connections that come when asked for, and ``threads``.
"""

from .gevent import StreamServer
from .handlers import request_handler, stream_handle
from .socketserver import (
    ForkingMixIn,
    TCPServer,
    ThreadingMixIn,
    ThreadingTCPServer,
    ThreadingUnixStreamServer,
    UnixStreamServer,
)

__all__ = [
    "ForkingMixIn",
    "StreamServer",
    "TCPServer",
    "ThreadingMixIn",
    "ThreadingTCPServer",
    "ThreadingUnixStreamServer",
    "UnixStreamServer",
    "request_handler",
    "stream_handle",
]

"""Numbers for operators, by plain HTTP on an address of their own: /stats, /metrics and /ready.

Metrics are those of the process's registry of :mod:`prometheus_client`, which has what the program itself counts, too.
"""

import io
import json
import os
from collections.abc import Callable, Iterable, Iterator
from http import HTTPStatus
from http.server import BaseHTTPRequestHandler
from typing import Any, Final

from prometheus_client import REGISTRY
from prometheus_client.exposition import choose_encoder
from prometheus_client.metrics_core import CounterMetricFamily, GaugeMetricFamily, Metric

from ..framing import Lines
from ..server import Server, listen
from ..sock import Socket

#: A request for one of three paths needs no more; whoever sends more is no scraper.
MAX_HEAD: Final = 16384

#: So long a peer may take for its request, and then to take the answer, in seconds.
TIMEOUT: Final = 10.0

#: Those of :class:`greensock.Stats` that go down as well as up.
_GAUGES: Final = {
    "connections": "Open connections.",
    "buffered": "Bytes that wait because the kernel did not take them yet.",
    "buffered_peak": "The most that was buffered so far.",
    "handlers_running": "Handlers that run now, the blocked ones included.",
}
_COUNTERS: Final = {
    "accepted": "Connections that were opened.",
    "closed": "Connections that were open and have closed.",
    "refused": "Connections that were closed before they were open.",
    "bytes_read": "Bytes received.",
    "bytes_written": "Bytes sent.",
    "messages_read": "Messages delivered to handlers.",
    "messages_written": "Messages written.",
    "drains": "Queues that came down to their low-water mark.",
    "timeouts": "Connections whose idle clock or write timeout ran out.",
    "errors": "Exceptions of handlers.",
    "slow_consumers": "Connections that did not read what was written.",
    "handshakes": "TLS handshakes.",
    "handshake_failures": "TLS handshakes that failed.",
}


#: What else there is to count, by name: the number, and what it is.
More = Callable[[], dict[str, tuple[float, str]]]


class Monitor:
    """Answers on *address*, until :meth:`close`.

    Args:
        address: as for :func:`greensock.listen`; a loopback or unix address keeps it from strangers.
        servers: those to tell of.
        more: gives what is to be told beside them.
        ready: whether the service wants new connections.

    Resource handling: a server, and a place in the registry.
    """

    def __init__(self, address: object, servers: Iterable[Server], *, more: More, ready: Callable[[], bool]) -> None:
        self._servers = list(servers)
        self._more = more
        self._ready = ready
        REGISTRY.register(self)
        try:
            self.server = listen(
                address,
                {"data": self._requested, "error": lambda socket, error: None},  # what is no request has no answer
                framing=Lines(b"\r\n\r\n", max_size=MAX_HEAD),
                idle_timeout=TIMEOUT,
                close_timeout=TIMEOUT,
            )
        except BaseException:
            REGISTRY.unregister(self)
            raise
        self.server.unref()

    def close(self) -> None:
        """Answer no more."""
        REGISTRY.unregister(self)
        self.server.stop(0)

    def _requested(self, socket: Socket[None], head: bytes) -> None:
        """One request: what there is before the body, which nobody here wants."""
        socket.write(_Request(head, self.answer).reply)
        socket.close()

    def answer(self, path: str, accept: str) -> tuple[HTTPStatus, str, bytes]:
        """Status, type and text of *path*."""
        if path == "/ready":
            ready = self._ready()
            status = HTTPStatus.OK if ready else HTTPStatus.SERVICE_UNAVAILABLE
            return status, "text/plain", b"ready\n" if ready else b"stopping\n"
        if path == "/stats":
            return HTTPStatus.OK, "application/json", json.dumps(self.stats()).encode() + b"\n"
        if path == "/metrics":
            encode, kind = choose_encoder(accept)
            return HTTPStatus.OK, kind, encode(REGISTRY)
        return HTTPStatus.NOT_FOUND, "text/plain", b"there are /stats, /metrics and /ready\n"

    def stats(self) -> dict[str, Any]:
        """All numbers, fit for JSON."""
        more = {name: number for name, (number, _) in self._more().items()}
        servers = [{"url": server.url, **server.stats().as_dict()} for server in self._servers]
        return {"ready": self._ready(), "pid": os.getpid(), **more, "servers": servers}

    def collect(self) -> Iterator[Metric]:
        """All numbers, for the registry."""
        stats = [(server.url, server.stats().as_dict()) for server in self._servers]
        for family, texts in ((GaugeMetricFamily, _GAUGES), (CounterMetricFamily, _COUNTERS)):
            for name, text in texts.items():
                metric = family(f"greensock_{name}", text, labels=["server"])
                for url, numbers in stats:
                    metric.add_metric([url], numbers[name])
                yield metric
        for name, (number, text) in self._more().items():
            yield CounterMetricFamily(f"greensock_{name}", text, value=number)


class _Request(BaseHTTPRequestHandler):
    """A request that has arrived and is answered in memory."""

    server_version = "greensock"
    sys_version = ""

    def __init__(self, head: bytes, answer: Callable[[str, str], tuple[HTTPStatus, str, bytes]]) -> None:
        self._answer = answer
        self.rfile = io.BufferedReader(io.BytesIO(head + b"\r\n\r\n"))
        self.wfile = replied = io.BytesIO()
        self.handle_one_request()
        #: what to send
        self.reply = replied.getvalue()

    def do_GET(self) -> None:
        """Called by the standard library for GET, and here for HEAD."""
        status, kind, body = self._answer(self.path.partition("?")[0], self.headers.get("Accept", ""))
        self.send_response(status)
        self.send_header("Content-Type", kind)
        self.send_header("Content-Length", str(len(body)))
        self.send_header("Cache-Control", "no-store")
        self.end_headers()
        if self.command == "GET":
            self.wfile.write(body)

    do_HEAD = do_GET

    def log_message(self, format: str, *words: Any) -> None:  # noqa: A002 - the name is the standard library's
        """Scrapes are no news."""

"""The numbers of a service under load: asked for by HTTP, as ``greensock serve --stats`` gives them, and put in a row.

Nothing here knows locust. A :class:`History` turns counters, which only grow, into rates and into what has happened
since the test began, so that they can stand beside what the clients have counted.
"""

import dataclasses
import http.client
import io
import json
from collections import deque
from collections.abc import Iterable, Mapping
from typing import Any, Final

from ..address import Address, parse
from ..client import connect

#: The numbers of one service are a few hundred bytes for each of its addresses; whoever sends more is something else.
MAX_REPLY: Final = 1024 * 1024

#: Seconds of one sample each that are remembered: what a chart can show.
REMEMBERED: Final = 3600

#: Counters of :class:`greensock.Stats` whose growth is told for each second, and what that is called.
RATES: Final = {
    "accepted": "accepted_per_s",
    "messages_read": "messages_read_per_s",
    "messages_written": "messages_written_per_s",
    "bytes_read": "bytes_read_per_s",
    "bytes_written": "bytes_written_per_s",
}
#: Those that are told as they are now.
GAUGES: Final = ("connections", "buffered", "handlers_running")
#: Those that are told as how much they have grown since the test began.
TOTALS: Final = (
    *("accepted", "messages_read", "messages_written", "handshakes"),
    *("drains", "slow_consumers", "timeouts", "errors", "refused", "handshake_failures"),
)
_NEEDED: Final = (*RATES, *GAUGES, *TOTALS, "buffered_peak")


class Endpoint:
    """Where a service tells its numbers.

    Args:
        address: ``host:port``, ``unix:/path`` or ``http://host:port/path``; the path is ``/stats`` if none is said.

    Raises:
        ValueError: it is none of these.
    """

    def __init__(self, address: str) -> None:
        self._where, self._path = _read(address)
        self._host = "localhost" if self._where.scheme == "unix" else str(self._where).partition("://")[2]

    def __str__(self) -> str:
        if self._where.scheme == "unix":
            return f"{self._where} ({self._path})"
        return f"http://{self._host}{self._path}"

    def fetch(self, timeout: float = 2.0) -> list[dict[str, Any]]:
        """What its servers count: one mapping each, with ``url`` and what :class:`greensock.Stats` has.

        Blocks this greenlet, for *timeout* seconds at most in each step.

        Raises:
            OSError: nobody answers, or not in time.
            ValueError: what answers is no such service.
        """
        with connect(str(self._where), timeout=timeout) as socket:
            socket.write(f"GET {self._path} HTTP/1.1\r\nHost: {self._host}\r\nConnection: close\r\n\r\n")
            reply = bytearray()
            while part := socket.recv(timeout=timeout):
                reply += part
                if len(reply) > MAX_REPLY:
                    raise ValueError(f"{self} says more than {MAX_REPLY} bytes")
        try:
            return _servers(_body(bytes(reply)))
        except (ValueError, http.client.HTTPException) as error:
            raise ValueError(f"{self} does not tell the numbers of a greensock service: {error}") from None


def _read(address: str) -> tuple[Address, str]:
    text, path = address, ""
    if address.lower().startswith("http://"):
        text, slash, path = address[7:].partition("/")
        path = slash + path
        if ":" not in text.rpartition("]")[2]:
            text += ":80"
    where = parse(text)
    if where.scheme not in ("tcp", "unix"):
        raise ValueError(f"bad address {address!r}: numbers are told on host:port, http://host:port/path or unix:/path")
    return where, path if path not in ("", "/") else "/stats"


class _Arrived:
    """A reply that is there, where the standard library wants a socket."""

    def __init__(self, data: bytes) -> None:
        self._data = data

    def makefile(self, mode: str) -> io.BytesIO:
        return io.BytesIO(self._data)


def _body(reply: bytes) -> bytes:
    response = http.client.HTTPResponse(_Arrived(reply))  # type: ignore[arg-type]
    response.begin()
    body = response.read()
    if response.status != 200:
        raise ValueError(f"its answer is {response.status} {response.reason}")
    return body


def _servers(body: bytes) -> list[dict[str, Any]]:
    answer = json.loads(body)
    servers = answer.get("servers") if isinstance(answer, dict) else None
    if not isinstance(servers, list) or not servers:
        raise ValueError("there is no list of servers in it")
    for server in servers:
        if not isinstance(server, dict) or not isinstance(server.get("url"), str):
            raise ValueError("a server in it has no url")
        for name in _NEEDED:
            if not isinstance(server.get(name), int):
                raise ValueError(f"a server in it has no number {name!r}")
    return servers


# -- in the course of time -------------------------------------------------------------------------------


@dataclasses.dataclass(slots=True)
class Sample:
    """What a service was doing at one moment.

    Attributes:
        time: seconds since the epoch.
        servers: by url, the numbers of each of its servers: those of :data:`GAUGES` as they were, those of
            :data:`RATES` for each second since the sample before, those of :data:`TOTALS` since the test began.
        client_per_s: messages in each second by the clients' count; None: not known yet.
    """

    time: float
    servers: dict[str, dict[str, float]]
    client_per_s: float | None = None

    def total(self) -> dict[str, float]:
        """The numbers of all servers together."""
        return {name: sum(server[name] for server in self.servers.values()) for name in COLUMNS}


#: What there is of each server in a sample, in the order in which it is shown.
COLUMNS: Final = (*GAUGES, "buffered_peak", *RATES.values(), *TOTALS)


class History:
    """Samples of one service.

    A server that was started anew counts from 0 again: that is growth from 0, and what it had counted before is kept.
    """

    def __init__(self) -> None:
        self.samples: deque[Sample] = deque(maxlen=REMEMBERED)
        self._tallies: dict[str, _Tally] = {}

    def rebase(self) -> None:
        """What comes from now on is told as since the test began."""
        for tally in self._tallies.values():
            tally.rebase()

    def add(self, time: float, servers: Iterable[Mapping[str, Any]]) -> Sample:
        """Put down what *servers* count at *time*."""
        numbers = {}
        for server in servers:
            url = server["url"]
            if url not in self._tallies:
                self._tallies[url] = _Tally(time, server)
            numbers[url] = self._tallies[url].advance(time, server)
        sample = Sample(time, numbers)
        self.samples.append(sample)
        return sample


class _Tally:
    """One server from sample to sample."""

    def __init__(self, time: float, now: Mapping[str, Any]) -> None:
        self._time = time
        self._last = now
        self.rebase()

    def rebase(self) -> None:
        self._totals = dict.fromkeys(TOTALS, 0)
        self._peak = 0

    def advance(self, time: float, now: Mapping[str, Any]) -> dict[str, float]:
        last = self._last
        if now.get("started_at") != last.get("started_at"):
            last = dict.fromkeys((*RATES, *TOTALS, "buffered_peak"), 0)
        seconds = time - self._time
        self._time, self._last = time, now
        for name in TOTALS:
            self._totals[name] += now[name] - last[name]
        # The server knows the most that ever was, which says something of this test only when it rises.
        self._peak = max(
            self._peak, now["buffered"], now["buffered_peak"] if now["buffered_peak"] > last["buffered_peak"] else 0
        )
        return {
            **{name: now[name] for name in GAUGES},
            "buffered_peak": self._peak,
            **{told: (now[name] - last[name]) / seconds if seconds > 0 else 0.0 for name, told in RATES.items()},
            **self._totals,
        }

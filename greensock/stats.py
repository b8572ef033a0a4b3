"""What a server counts: the live counters, and the snapshot that users read."""

import dataclasses
from typing import Any


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class Stats:
    """A snapshot of a server's counters. Totals are since the server was made.

    A message is a frame, or without framing one delivery of ``data`` and one ``write``. Bytes are the application's.

    Attributes:
        connections: sockets open now, counted from ``open``.
        accepted: connections that reached ``open``.
        closed: connections that were open and have closed.
        refused: connections that were closed without ``open``.
        buffered: bytes that wait in write queues because the kernel did not take them yet.
        buffered_peak: the most that ``buffered`` has been.
        drains: how often a queue came down to its low-water mark after a writer was told to wait.
        timeouts: connections whose idle clock or write timeout ran out.
        errors: exceptions of handlers.
        slow_consumers: connections that were ended, or writes that were refused, because the peer did not read.
        handlers_running: handlers that run now, the blocked ones included.
        handshakes: TLS handshakes completed.
        started_at: when the server began to listen, in seconds since the epoch; None before.
    """

    connections: int
    accepted: int
    closed: int
    refused: int
    bytes_read: int
    bytes_written: int
    messages_read: int
    messages_written: int
    buffered: int
    buffered_peak: int
    drains: int
    timeouts: int
    errors: int
    slow_consumers: int
    handlers_running: int
    handshakes: int
    handshake_failures: int
    started_at: float | None

    def as_dict(self) -> dict[str, Any]:
        """The same as a dictionary, fit for JSON."""
        return dataclasses.asdict(self)


class Counters:
    """The live numbers behind :class:`Stats`, added to where things happen.

    Bytes are those of closed sockets only: each open one counts its own, so that a message is not counted twice.
    """

    __slots__ = (
        "accepted",
        "buffered",
        "buffered_peak",
        "bytes_read",
        "bytes_written",
        "closed",
        "drains",
        "errors",
        "handshake_failures",
        "handshakes",
        "messages_read",
        "messages_written",
        "refused",
        "slow_consumers",
        "started_at",
        "timeouts",
    )

    def __init__(self) -> None:
        self.accepted = self.closed = self.refused = 0
        self.bytes_read = self.bytes_written = self.messages_read = self.messages_written = 0
        self.buffered = self.buffered_peak = self.drains = 0
        self.timeouts = self.errors = self.slow_consumers = 0
        self.handshakes = self.handshake_failures = 0
        self.started_at: float | None = None

    def snapshot(
        self, *, connections: int, handlers_running: int, live_bytes_read: int, live_bytes_written: int
    ) -> Stats:
        """Read all counters at one moment, together with what is known of the open sockets."""
        numbers: dict[str, Any] = {name: getattr(self, name) for name in self.__slots__}
        numbers["bytes_read"] += live_bytes_read
        numbers["bytes_written"] += live_bytes_written
        return Stats(connections=connections, handlers_running=handlers_running, **numbers)

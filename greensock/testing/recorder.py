"""Handlers that note what happens."""

from collections.abc import Callable
from typing import Any

from ..handlers import EVENTS, NOT_IN_SESSIONS
from .waiting import PATIENCE, wait_until


class Recorder:
    """Notes events in order, and does what it is told in them.

    Args:
        behaviour: what to do in an event, after it was noted: a function with the event's arguments. An event
            ``error`` is handled only if it is among them, since a handler for it changes what happens. With ``handle``
            connections are sessions.

    Give :attr:`handlers` to ``listen``::

        recorder = Recorder(data=lambda socket, data: socket.write(data))
        server = serve(recorder.handlers)
    """

    def __init__(self, **behaviour: Callable[..., object]) -> None:
        unknown = behaviour.keys() - {*EVENTS, "handle"}
        if unknown:
            raise TypeError(f"unknown events: {', '.join(sorted(unknown))}")
        #: all that happened: ``(event, socket, *arguments)``
        self.log: list[tuple[Any, ...]] = []
        self._behaviour = behaviour
        events = [event for event in EVENTS if "handle" not in behaviour or event not in NOT_IN_SESSIONS]
        wanted = [event for event in (*events, "handle") if event in behaviour or event not in ("error", "handle")]
        self.handlers = {event: self._handler(event) for event in wanted}

    def _handler(self, event: str) -> Callable[..., None]:
        def handle(socket: Any, *arguments: Any) -> None:
            self.log.append((event, socket, *arguments))
            behaviour = self._behaviour.get(event)
            if behaviour is not None:
                behaviour(socket, *arguments)

        return handle

    @property
    def events(self) -> list[str]:
        """The names of the events so far."""
        return [entry[0] for entry in self.log]

    @property
    def received(self) -> bytes:
        """The bytes of all ``data`` events so far."""
        return b"".join(entry[2] for entry in self.log if entry[0] == "data")

    @property
    def sockets(self) -> list[Any]:
        """The sockets in the order in which they opened."""
        return [entry[1] for entry in self.log if entry[0] == "open"]

    def of(self, socket: Any) -> list[str]:
        """The names of one socket's events so far."""
        return [entry[0] for entry in self.log if entry[1] is socket]

    def wait_for(self, event: str, count: int = 1, timeout: float = PATIENCE) -> tuple[Any, ...]:
        """Block until *event* has come *count* times in all; returns ``(socket, *arguments)`` of that one."""
        wait_until(lambda: self.events.count(event) >= count, timeout, f"{count} x {event!r} in {self.events}")
        return [entry[1:] for entry in self.log if entry[0] == event][count - 1]

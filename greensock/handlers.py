"""The events of a connection, and the one table of handlers that all sockets of a server share.

Handlers are looked up once, when they are declared, and not per connection or per message. To replace them
is to refill the table in place: every socket that shares it follows at once.
"""

import functools
import inspect
from collections.abc import Callable, Iterator, Mapping
from typing import TYPE_CHECKING, Any, Final, Generic, Self, TypeVar

if TYPE_CHECKING:
    from .sock import Socket

T = TypeVar("T")

Handler = Callable[..., object]

#: Every event, in the order of a connection's life.
EVENTS: Final = (
    "connect_error",
    "handshake",
    "open",
    "data",
    "drain",
    "end",
    "timeout",
    "stopping",
    "error",
    "close",
)


_KNOWN: Final = f"the events are {', '.join(EVENTS)}, or there is 'handle' for a session"

#: What a session has no use for: its ``handle`` reads by itself, and knows when it has written.
NOT_IN_SESSIONS: Final = ("data", "drain", "end")


class Handlers(Generic[T]):
    """Base of a set of handlers; override what you need. ``T`` is what ``socket.data`` holds.

    Every method runs in a greenlet and may block: only its own connection waits. Per socket one handler runs
    at a time, in order. One that raises harms its own connection only. A method that is not overridden
    counts as absent. Subclassing is a convenience for editors: any object with such methods will do.

    With :meth:`handle`, which is no event, connections are *sessions*: in blocking style, without ``data``,
    ``drain`` and ``end``.
    """

    def open(self, socket: "Socket[T]") -> object:
        """Connected; for TLS after the handshake."""

    def handshake(self, socket: "Socket[T]", authorized: bool, error: Exception | None) -> object:
        """The TLS handshake is done; comes before :meth:`open`."""

    def data(self, socket: "Socket[T]", data: Any) -> object:
        """Bytes arrived: at least one, cut anywhere. With a framing: one whole message, as its decoder makes it."""

    def drain(self, socket: "Socket[T]") -> object:
        """The write queue was over its high-water mark and is now at or below its low one."""

    def end(self, socket: "Socket[T]") -> object:
        """The peer sent FIN while this side could still write.

        Without ``allow_half_open`` the socket then closes gracefully by itself.
        """

    def timeout(self, socket: "Socket[T]") -> object:
        """Nothing was received or sent for ``idle_timeout`` seconds.

        The socket closes after it, unless this handler sends something or sets ``socket.idle_timeout``: gracefully, so
        that of a peer that has vanished :meth:`close` tells ``close_timeout`` seconds later, or, if this handler
        terminates it, at once.
        """

    def stopping(self, socket: "Socket[T]") -> object:
        """The server began to drain: the socket's chance to say goodbye before it closes."""

    def error(self, socket: "Socket[T]", error: Exception) -> object:
        """A handler raised, or TLS or framing failed.

        After a handler's exception the connection stays open unless this handler closes it. What is no ``Exception``
        comes as well: ``SystemExit``, ``gevent.Timeout``.
        """

    def close(self, socket: "Socket[T]", error: Exception | None) -> object:
        """The last event, exactly once for every :meth:`open`; ``socket.close_reason`` says more."""

    def connect_error(self, socket: "Socket[T]", error: Exception) -> object:
        """Clients only: connecting failed."""

    def handle(self, socket: "Socket[T]") -> object:
        """The whole connection, in a greenlet of its own, which reads and writes as it likes.

        Comes after :meth:`open`. When it returns the socket closes gracefully. :meth:`timeout` and :meth:`stopping` run
        beside it.
        """


class HandlerTable:
    """One slot per event: the function to call as ``event(socket, ...)``, or None. And one for ``handle``."""

    __slots__ = (*EVENTS, "handle")

    connect_error: Handler | None
    handshake: Handler | None
    open: Handler | None
    data: Handler | None
    drain: Handler | None
    end: Handler | None
    timeout: Handler | None
    stopping: Handler | None
    error: Handler | None
    close: Handler | None
    handle: Handler | None

    def __init__(self, handlers: object) -> None:
        """Read *handlers*: an object or class with event methods, a mapping of event functions, or a ``handle`` alone.

        Raises:
            TypeError: nothing that could be called, an unknown event, a value that cannot serve as a handler, or an
                event that a session has no use for; the message names it.
        """
        found = _events_of(handlers)
        for event, handler in found.items():
            _check_handler(event, handler)
        useless = [event for event in NOT_IN_SESSIONS if event in found]
        if "handle" in found and useless:
            raise TypeError(f"{_describe(handlers)} has 'handle', which reads by itself, and also {useless[0]!r}")
        for event in self.__slots__:
            setattr(self, event, found.get(event))

    @classmethod
    def of_nothing(cls) -> Self:
        """A table without any handler, for a socket that its user drives by hand."""
        table = cls.__new__(cls)
        for event in cls.__slots__:
            setattr(table, event, None)
        return table

    def replace(self, other: "HandlerTable") -> None:
        """Take over all handlers of *other*, at once. Events that it does not name are gone.

        Raises:
            TypeError: see :meth:`check_kind`.
        """
        self.check_kind(other)
        for event in self.__slots__:
            setattr(self, event, getattr(other, event))

    def check_kind(self, other: "HandlerTable") -> None:
        """Whether *other* may take the place of this.

        Raises:
            TypeError: one is for sessions, the other for events: who reads cannot be changed under way.
        """
        if (self.handle is None) != (other.handle is None):
            here, there = ("events", "a session") if self.handle is None else ("a session", "events")
            raise TypeError(f"a reload cannot go from {here} to {there}")


def _events_of(handlers: object) -> dict[str, object]:
    if isinstance(handlers, Mapping):
        found = dict(_mapping_events(handlers))
    elif inspect.isroutine(handlers):
        return {"handle": handlers}
    else:
        if isinstance(handlers, type):
            handlers = handlers()
        found = dict(_object_events(handlers))
        if not found and callable(handlers):
            return {"handle": handlers}
    if not found:
        raise TypeError(f"{_describe(handlers)} has no event handler; {_KNOWN}")
    return found


def _mapping_events(handlers: Mapping[Any, object]) -> Iterator[tuple[str, object]]:
    for event, handler in handlers.items():
        if event not in EVENTS and event != "handle":
            raise TypeError(f"unknown event {event!r}; {_KNOWN}")
        yield event, handler


def _object_events(handlers: object) -> Iterator[tuple[str, object]]:
    for event in HandlerTable.__slots__:
        handler = getattr(handlers, event, None)
        if handler is None or getattr(handler, "__func__", None) is getattr(Handlers, event):
            continue  # absent, or inherited from Handlers unchanged
        yield event, handler


def _check_handler(event: str, handler: object) -> None:
    if not callable(handler):
        raise TypeError(f"the handler of {event!r} cannot be called: {handler!r}")
    while isinstance(handler, functools.partial):
        handler = handler.func
    for function in (handler, getattr(handler, "__call__", None)):  # noqa: B004 - an object may be async in __call__
        if inspect.iscoroutinefunction(function) or inspect.isasyncgenfunction(function):
            raise TypeError(f"the handler of {event!r} is 'async def'; handlers are plain functions that may block")
        if inspect.isgeneratorfunction(function):
            raise TypeError(f"the handler of {event!r} is a generator; handlers are plain functions that may block")


def _describe(handlers: object) -> str:
    if isinstance(handlers, Mapping):
        return "the mapping of handlers"
    kind = handlers if isinstance(handlers, type) else type(handlers)
    return f"{kind.__qualname__!r} as handlers"

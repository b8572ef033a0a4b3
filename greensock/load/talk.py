"""One connection of a load test: which reply belongs to which request, when it came, and until when it may.

It is driven by events, where :class:`greensock.Exchange` has a greenlet that reads, and one for each call. So times
are those of arrival, a user costs no greenlet beyond its own, an open loop needs none for each message under way, and a
connection that is lost while nobody asks for anything is noticed.
"""

from collections import deque
from collections.abc import Callable, Hashable, Sequence
from time import perf_counter
from typing import Any, Final, Protocol

import gevent
from gevent.event import Event

from ..errors import FrameError, IncompleteRead, SocketClosed
from ..sock import Socket


class Owner(Protocol):
    """Whoever waits for replies. Its methods are called by the runners of the event loop, and must not block."""

    #: requests without a reply so far
    under_way: int

    def answered(self, message: Any, request: "Request", arrived: float) -> object:
        """The reply to *request* arrived then (``perf_counter``)."""

    def failed(self, error: Exception, request: "Request") -> object:
        """There will be none."""


class Request:
    """One that is under way. Without an owner it keeps its place: its reply, if one comes, is nobody else's.

    Attributes:
        began: when it was to be sent (``perf_counter``).
        deadline: until when the reply may come.
        place: its number among those of its owner.
    """

    __slots__ = ("began", "deadline", "owner", "place")

    def __init__(self, owner: Owner, began: float, deadline: float, place: int) -> None:
        self.owner: Owner | None = owner
        owner.under_way += 1
        self.began = began
        self.deadline = deadline
        self.place = place

    def fail(self, error: Exception) -> None:
        """Tell the owner, if there is one, that there will be no reply."""
        owner, self.owner = self.owner, None
        if owner is not None:
            owner.under_way -= 1
            owner.failed(error, self)


class Talk:
    """What is under way on one connection.

    To be given to ``connect`` as ``data``, with :data:`EVENTS` as handlers.

    Args:
        key_of: the key of a request and of its reply, None for a message that is no reply. None: replies come in
            the order of their requests, and what comes when nothing is under way is no reply.
        pushed: is called with a message that is no reply, and with when it came.
        lost: is called with this and the error, if any, when the connection has ended.
        mistaken: is called with what *key_of* raised, after which the connection is terminated.

    Attributes:
        socket: the connection, from its event ``open`` on.
        hub: that of the connection.
        ended: whether this side has ended it.
        over: set when nothing can come any more.

    Resource handling: the socket's; a timer, while something is under way.
    """

    __slots__ = (
        *("ended", "hub", "lost", "mistaken", "over", "pushed", "socket"),
        *("_by_key", "_due", "_encode", "_in_order", "_key_of", "_timer", "_write"),
    )

    def __init__(
        self,
        key_of: Callable[[Any], Hashable] | None,
        pushed: Callable[[Any, float], object],
        lost: Callable[["Talk", Exception | None], object],
        mistaken: Callable[[Exception], object],
    ) -> None:
        self.socket: Socket[Any]
        self.hub = gevent.get_hub()
        self.ended = False
        self.over = Event()
        self.pushed = pushed
        self.lost = lost
        self.mistaken = mistaken
        self._key_of = key_of
        self._encode: Callable[[Any], bytes]
        self._write: Callable[[bytes], bool]
        self._in_order: deque[Request] = deque()
        self._by_key: dict[Hashable, Request] = {}
        self._timer: Any = None
        self._due = 0.0

    @property
    def idle(self) -> bool:
        """Whether nothing is under way."""
        return not any(request.owner for request in (*self._in_order, *self._by_key.values()))

    def opened(self, socket: Socket[Any]) -> None:
        """The connection is there."""
        self.socket = socket
        self._encode = socket._shared.options.framing.encode
        self._write = socket.write

    # -- asking --------------------------------------------------------------------------------------

    def ask(self, message: Any, owner: Owner, timeout: float, began: float = 0.0) -> Request:
        """Send *message*, a request of *owner*'s. Blocks while the peer takes too little.

        Args:
            timeout: seconds that the reply has.
            began: when it was to be sent; 0: now.

        Raises:
            SocketClosed: the connection is over; the owner is not told.
            ValueError, TypeError: the framing cannot encode it, or it has no key; nothing was sent.
        """
        key_of = self._key_of
        key = None if key_of is None else self._key(message)
        now = perf_counter()
        deadline = now + timeout
        more = self._write(self._encode(message))
        request = Request(owner, began or now, deadline, 0)
        if key_of is None:
            self._in_order.append(request)
        else:
            self._by_key[key] = request
        if self._timer is None or deadline < self._due:
            self._look_at(deadline)
        if not more:
            try:
                self._wait_for_room()
            except BaseException:
                request.owner = None
                raise
        return request

    def ask_all(self, messages: Sequence[Any], owner: Owner, timeout: float, place: int) -> None:
        """:meth:`ask` with several *messages*, which are sent together and numbered from *place* on."""
        keys: list[Hashable] = []
        for message in messages if self._key_of is not None else ():
            keys.append(self._key(message, keys))
        encode = self._encode
        data = b"".join([encode(message) for message in messages])
        now = perf_counter()
        deadline = now + timeout
        more = self._write(data)
        requests = [Request(owner, now, deadline, number) for number in range(place, place + len(messages))]
        if self._key_of is None:
            self._in_order.extend(requests)
        else:
            self._by_key.update(zip(keys, requests, strict=True))
        if self._timer is None or deadline < self._due:
            self._look_at(deadline)
        if not more:
            self._wait_for_room()

    def _wait_for_room(self) -> None:
        try:
            self.socket.sendall(b"")
        except SocketClosed:
            pass  # of which all owners are told

    def _key(self, message: Any, others: Sequence[Hashable] = ()) -> Hashable:
        """The key of a request that is about to be made, together with *others*."""
        assert self._key_of is not None
        key = self._key_of(message)
        if key is None:
            raise ValueError("a request has no key: correlate() gives None for it, as for what nobody has asked for")
        if key in self._by_key or key in others:
            raise ValueError(f"a request with the key {key!r} is under way already")
        return key

    # -- what comes ----------------------------------------------------------------------------------

    def came(self, message: Any) -> None:
        """Give *message* to whom it is for."""
        arrived = perf_counter()
        if self._key_of is not None:
            key = self._key_of(message)
            request = None if key is None else self._by_key.pop(key, None)
        elif self._in_order:
            request = self._in_order.popleft()
        else:
            request = None
        if request is None:
            self.pushed(message, arrived)
            return
        owner = request.owner
        if owner is not None:
            owner.under_way -= 1
            owner.answered(message, request, arrived)

    def closed(self, error: Exception) -> None:
        """Nothing can come any more: tell all who wait."""
        self._stop_timer()
        under_way = [*self._in_order, *self._by_key.values()]
        self._in_order.clear()
        self._by_key.clear()
        self.over.set()
        for request in under_way:
            request.fail(error)

    # -- time ----------------------------------------------------------------------------------------

    def _look_at(self, deadline: float) -> None:
        """Look at the deadlines then. Mostly one look is for thousands of requests, which all are answered by then."""
        self._stop_timer()
        self._due = deadline
        self._timer = self.hub.loop.timer(max(deadline - perf_counter(), 0.0), ref=False)
        self._timer.start(gevent.spawn, self._look)  # owners are not for callbacks of the loop

    def _look(self) -> None:
        self._stop_timer()
        now = perf_counter()
        waiting = [request for request in (*self._in_order, *self._by_key.values()) if request.owner is not None]
        for request in waiting:
            if request.deadline <= now:
                request.fail(TimeoutError("no reply in time"))
        if left := [request.deadline for request in waiting if request.owner is not None]:
            self._look_at(min(left))

    def _stop_timer(self) -> None:
        if self._timer is not None:
            self._timer.stop()
            self._timer.close()
            self._timer = None


class _Events:
    """The handlers of every connection. ``socket.data`` is the :class:`Talk`."""

    def open(self, socket: Any) -> None:
        socket.data.opened(socket)

    def data(self, socket: Any, message: Any) -> None:
        socket.data.came(message)

    def error(self, socket: Any, error: Exception) -> None:
        if not isinstance(error, (FrameError, IncompleteRead, OSError)):  # which ``close`` tells: it follows
            socket.data.mistaken(error)
            socket.terminate()

    def close(self, socket: Any, error: Exception | None) -> None:
        socket.data.lost(socket.data, error)


EVENTS: Final = _Events()

"""Many requests over one socket: any number of greenlets call, and each is given its own reply.

A request is written at once, whoever else waits, so that the requests of many greenlets are on their way together.
What makes a connection shared like this dangerous is a caller that gives up: his reply still comes, and must not be
taken for that of the next one (CVE-2023-28858 of redis-py). Here a call keeps its place until its reply has come,
whatever became of the caller.
"""

from collections import deque
from collections.abc import Callable, Hashable, Iterable
from errno import EPIPE
from time import monotonic
from typing import Any, Final, cast
from weakref import WeakSet

import gevent
from gevent import Timeout
from greenlet import getcurrent

from .errors import FrameError, SocketClosed
from .hubs import switch
from .options import deadline_of
from .sock import Socket
from .state import FRAMED, TOLD_TO_STOP, CloseReason

_PENDING: Final = object()
_FAILED: Final = object()

#: The sockets that have an exchange.
_shared: Final[WeakSet[Socket[Any]]] = WeakSet()


class Call:
    """One request whose reply has not been picked up."""

    __slots__ = ("reply", "waiter")

    def __init__(self) -> None:
        self.reply: Any = _PENDING
        #: the greenlet that waits; None: it does not yet, or no longer
        self.waiter: Any = None


class Exchange:
    """Lets any number of greenlets share *socket* for requests and replies.

    Args:
        socket: in blocking style and with a framing: a client without handlers, or that of a session. From now on
            nobody else can read it.
        key_of: gives the key of a message, request or reply, and None for a push. Replies go to the request with the
            same key, of several to the oldest. Without it replies come in the order of the requests.
        on_push: called as ``on_push(message)`` with each push, in the greenlet that reads: what it waits for, replies
            wait for too, and for a reply it cannot wait. Without it pushes are dropped.

    When the connection ends, all calls that wait fail, once, and later ones at once. It also ends when what comes is no
    message, or a reply that nobody waits for, when ``key_of`` fails for a message that came, or when *on_push* raises.

    Resource handling: one greenlet, which reads, until the socket is closed; closing it is the user's part.

    Raises:
        TypeError: *socket* has handlers for its input, or no framing; *key_of* or *on_push* cannot be called.
        RuntimeError: there is an exchange over *socket*, or another greenlet reads it.
    """

    def __init__(
        self,
        socket: Socket[Any],
        *,
        key_of: Callable[[Any], Hashable | None] | None = None,
        on_push: Callable[[Any], object] | None = None,
    ) -> None:
        if not isinstance(socket, Socket):
            raise TypeError(f"an exchange is over one of greensock's sockets, not over a {type(socket).__name__!r}")
        if socket._input is None:
            raise TypeError("an exchange reads its socket, and this one has handlers for its input")
        for name, function in (("key_of", key_of), ("on_push", on_push)):
            if function is not None and not callable(function):
                raise TypeError(f"{name} cannot be called: {function!r}")
        if not socket._flags & FRAMED:
            raise TypeError("an exchange needs the option framing=, of listen() or connect()")
        socket._check_messages()
        if socket in _shared:  # whose greenlet has not begun to read: a second one would end the connection
            raise RuntimeError("there is an exchange over this socket already; any number of greenlets may call it")
        _shared.add(socket)
        self._socket = socket
        self._engine = socket._engine
        self._key_of = key_of
        self._on_push = on_push
        self._in_order: deque[Call] = deque()
        self._by_key: dict[Hashable, deque[Call]] = {}
        self._pending = 0
        self._answered: deque[Call] = deque()  # whose callers are about to be switched to
        self._failure: BaseException | None = None
        self._over = False
        self._reader = gevent.spawn(self._read)

    # -- users ---------------------------------------------------------------------------------------

    def call(self, message: Any, timeout: float | None = None) -> Any:
        """Send *message*, and block this greenlet until its reply has come.

        Args:
            timeout: seconds to wait at most, for room to write as well. A reply that comes later is thrown away.

        Raises:
            TimeoutError: no reply in time, or no room; then nothing was sent. Other calls are not touched.
            SocketClosed: the connection is over, or ends before the reply has come.
            ValueError: the framing cannot encode *message*, or it has no key.
            RuntimeError: in ``on_push``, which keeps replies from being read; or from another thread.
        """
        deadline = deadline_of(timeout)
        return self._reply_to(self._begin(message, timeout), timeout, deadline)

    def call_many(self, messages: Iterable[Any], depth: int = 32, *, timeout: float | None = None) -> list[Any]:
        """:meth:`call` with each of *messages*, and up to *depth* of them on their way at a time.

        Args:
            depth: more of them are of no use once the peer always has one to work on.
            timeout: seconds to wait for each reply at most, and for room to write each message.

        Returns:
            The replies, in the order of the messages.

        Raises:
            ValueError: *depth* is less than 1.
            TimeoutError, SocketClosed, RuntimeError: see :meth:`call`; replies that are still to come are thrown away.
        """
        if depth < 1:
            raise ValueError(f"depth must be at least 1, not {depth!r}")
        deadline_of(timeout)
        replies: list[Any] = []
        begun: deque[Call] = deque()
        for message in messages:
            if len(begun) >= depth:
                replies.append(self._reply_to(begun.popleft(), timeout, deadline_of(timeout)))
            begun.append(self._begin(message, timeout))
        while begun:
            replies.append(self._reply_to(begun.popleft(), timeout, deadline_of(timeout)))
        return replies

    def send(self, message: Any) -> None:
        """Send *message*, to which there is no reply.

        Raises:
            SocketClosed, ValueError, RuntimeError: see :meth:`call`.
        """
        self._check()
        self._socket.write_message(message)

    @property
    def pending(self) -> int:
        """How many replies are still to come, those included that nobody waits for any more."""
        return self._pending

    def __repr__(self) -> str:
        return f"<Exchange over {self._socket!r}, {self._pending} pending>"

    # -- requests ------------------------------------------------------------------------------------

    def _check(self) -> None:
        if self._over:
            raise self._closed_error()

    def _begin(self, message: Any, timeout: float | None) -> Call:
        """Write a request, and take its place."""
        self._check()
        if getcurrent() is self._reader:
            raise RuntimeError("on_push cannot wait for a reply: it runs in the greenlet that reads them")
        if self._key_of is None:
            self._write(message, timeout)
            places = self._in_order
        else:
            key = self._key_of(message)
            if key is None:
                raise ValueError("a request whose key is None: its reply would be taken for a push")
            hash(key)  # which raises a TypeError before anything is sent
            self._write(message, timeout)  # which may wait for room: only now this is the youngest
            places = self._by_key.setdefault(key, deque())
        call = Call()
        places.append(call)
        self._pending += 1
        return call

    def _write(self, message: Any, timeout: float | None) -> None:
        socket = self._socket
        if timeout is None or socket.buffered <= socket._shared.options.max_buffered:
            socket.write_message(message)
            return
        with Timeout(timeout, cast(Any, TimeoutError(f"there was no room for the message in {timeout} s"))):
            socket.write_message(message)

    def _reply_to(self, call: Call, timeout: float | None, deadline: float | None) -> Any:
        if call.reply is _PENDING:
            self._wait(call, timeout, deadline)
        if call.reply is _FAILED:
            raise self._closed_error()
        return call.reply

    def _wait(self, call: Call, timeout: float | None, deadline: float | None) -> None:
        hub = self._engine.hub
        call.waiter = getcurrent()
        timer: Any = None
        try:
            if call.waiter is hub:
                hub.switch()  # which says that it cannot
            if deadline is not None:
                timer = self._engine.loop.timer(max(0.0, deadline - monotonic()))
                timer.start(self._expire, call, timeout)
            while call.reply is _PENDING:
                switch(hub)
        finally:
            call.waiter = None  # if there is no reply yet, nobody will get it
            if timer is not None:
                timer.stop()
                timer.close()

    def _expire(self, call: Call, timeout: float | None) -> None:
        if call.waiter is not None and call.reply is _PENDING:
            call.waiter.throw(TimeoutError(f"no reply came in {timeout} s"))

    def _closed_error(self) -> SocketClosed:
        failure = self._failure
        if failure is None:
            return self._socket._closed_error()
        error = SocketClosed(EPIPE, f"the exchange is over: {failure}")
        error.__cause__ = failure
        if isinstance(failure, (FrameError, EOFError)):
            error.socket = self._socket  # a session that lets it out is not to blame
        return error

    # -- replies -------------------------------------------------------------------------------------

    def _read(self) -> None:
        """The greenlet that reads."""
        socket = self._socket
        try:
            while (messages := socket._next_messages(None)) is not None:
                for message in messages:
                    self._take(message)
            socket._close(CloseReason.STOPPED if socket._flags & TOLD_TO_STOP else CloseReason.EOF, None)
        except SocketClosed:
            pass
        except (FrameError, EOFError) as error:
            self._failure = error
            socket._close(CloseReason.PROTOCOL, error)
        except BaseException as error:  # of the user's functions, or of his decoder
            self._failure = error
            socket._failed("exchange", error)
            socket._abort(CloseReason.HANDLER_ERROR, error)
        if self._failure is not None:
            self._failure.__traceback__ = None  # its frames hold this
        self._fail()

    def _take(self, message: Any) -> None:
        places: deque[Call] | None = self._in_order
        if self._key_of is not None:
            key = self._key_of(message)
            if key is None:
                if self._on_push is not None:
                    self._on_push(message)
                return
            places = self._by_key.get(key)
            if places is not None and len(places) == 1:
                del self._by_key[key]
        if not places:
            raise FrameError("a reply came that nobody waits for")
        call = places.popleft()
        self._pending -= 1
        self._answer(call, message)

    def _answer(self, call: Call, reply: Any) -> None:
        call.reply = reply
        if call.waiter is not None:
            if not self._answered:
                self._engine.loop.run_callback(self._wake)
            self._answered.append(call)

    def _wake(self) -> None:
        """In the hub: have those go on whose replies have come."""
        answered = self._answered
        try:
            while answered:
                waiter = answered.popleft().waiter
                if waiter is not None:  # who gave up meanwhile
                    waiter.switch()
        finally:
            if answered:  # a greenlet without gevent's care has died of an exception
                self._engine.loop.run_callback(self._wake)

    def _fail(self) -> None:
        """The connection is over: so is every call, once."""
        self._over = True
        self._pending = 0
        for places in [self._in_order, *self._by_key.values()]:
            for call in places:
                self._answer(call, _FAILED)
        self._in_order.clear()
        self._by_key.clear()

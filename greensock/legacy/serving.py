"""How the servers of :mod:`socketserver` serve on greensock: their loop, their connections, and their end.

Apart from the servers themselves, whose subclasses have names of their own for what they keep.
"""

import socketserver
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from functools import partial
from math import inf
from time import monotonic
from typing import Any, Final

from gevent import GreenletExit
from gevent.event import Event
from greenlet import getcurrent

from ..engine import Engine
from ..errors import SocketClosed
from ..hubs import get_ident
from ..sock import Socket
from ..state import CLOSING
from ..stdlib_socket import StdlibSocket
from .listening import Arrivals
from .threads import Gate, loop_of_this_thread

#: When a thread ends that has served: seconds for what is left of its connections.
LAST_CALL: Final = 10.0


class Serving:
    """The loop of one server and the connections that it has accepted.

    A server that handles many requests at a time does so in the greenlets of their connections. One that handles them
    one after the other does so in the greenlet that has called it, as it would in that thread.

    Args:
        server: whose methods are called for each connection, in the order of the original.
        many: whether it handles more than one request at a time.
    """

    def __init__(self, server: Any, *, many: bool) -> None:
        self._server = server
        self._many = many
        self._serving = Gate()  # shut while a loop serves
        self._handling = Gate()  # shut while handlers run
        self._loop: Any = None  # the greenlet of the loop
        self._handlers: set[Any] = set()  # the greenlets in which handlers run
        self._arrivals: Arrivals | None = None
        self._arrived: dict[Any, tuple[StdlibSocket, Any]] = {}  # by the greenlet that is to take it; None: by the loop
        self._held: set[StdlibSocket] = set()  # those whose session waits for them to be closed
        self._shutdown_wanted = False
        self._curious = False  # whether the loop wants to know of each connection
        self._news = Event()  # for the loop to look again
        self._wake: Callable[[], object] = _nothing

    # -- the loop ------------------------------------------------------------------------------------

    def forever(self, poll_interval: float) -> None:
        """Serve until :meth:`shutdown`."""
        acts = type(self._server).service_actions is not socketserver.BaseServer.service_actions
        with self._looping(curious=acts or not self._many) as arrivals:
            while not self._shutdown_wanted:
                self._news.clear()
                if self._many:
                    arrivals.want(inf)
                elif not arrivals.in_flight:
                    arrivals.want(None not in self._arrived)
                if None not in self._arrived:
                    self._news.wait(poll_interval if acts else None)
                if self._shutdown_wanted:
                    break
                if None in self._arrived:
                    self._dispatch()
                if acts:
                    self._server.service_actions()

    def one(self, timeout: float | None) -> bool:
        """Serve one connection. False if there was none in *timeout* seconds."""
        with self._looping(curious=True) as arrivals:
            if None not in self._arrived and not self._await_one(arrivals, timeout):
                return False
            if None in self._arrived:
                self._dispatch()
            return True

    def _await_one(self, arrivals: Arrivals, timeout: float | None) -> bool:
        """Wait until a connection has begun, or has failed to. False if there was none."""
        deadline = inf if timeout is None else monotonic() + timeout
        before = arrivals.taken
        arrivals.want(1)
        while arrivals.taken == before and (left := deadline - monotonic()) > 0:
            self._news.clear()
            self._news.wait(left if left < inf else None)
        arrivals.want(0)
        while arrivals.in_flight:
            self._news.clear()
            self._news.wait()
        return arrivals.taken > before

    @contextmanager
    def _looping(self, *, curious: bool) -> Iterator[Arrivals]:
        """Accept in this thread for the time of a block."""
        if not self._serving.is_open:
            raise RuntimeError("this server is serving already")
        with loop_of_this_thread() as loop:
            self._serving.shut()
            try:
                self._news = Event()  # one that was waited for belongs to the thread that did
                self._wake = loop.call_from_anywhere(self._news.set)
                self._loop = getcurrent()
                self._curious = curious
                arrivals = self._arrivals_in_this_thread()
                try:
                    yield arrivals
                finally:
                    arrivals.want(0)
            finally:
                self._wake = _nothing
                self._loop = None
                self._curious = self._shutdown_wanted = False
                if self._server.socket.fileno() < 0:  # another thread has closed the server
                    self._let_go()
                self._serving.open()
                if loop.ends:
                    self._last_call()

    def _arrivals_in_this_thread(self) -> Arrivals:
        arrivals, listener = self._arrivals, self._server.socket
        if arrivals is None or arrivals.listener is not listener or arrivals._engine is not Engine.of_this_hub():
            self._let_go()
            arrivals = self._arrivals = Arrivals(listener, self._session, self._changed)
        return arrivals

    def _changed(self) -> None:
        if self._curious:
            self._news.set()

    # -- the end -------------------------------------------------------------------------------------

    def shutdown(self) -> None:
        """Have the loop end, and wait until it has; not in a handler that it has called itself."""
        self._shutdown_wanted = True
        self._wake()
        if getcurrent() is not self._loop:
            self._serving.wait()

    def close(self, *, wait: bool) -> None:
        """End the loop, and the connections that no handler has any more.

        Args:
            wait: for the handlers; not in one of them.
        """
        if not self._serving.is_open:
            self.shutdown()
        self._let_go()
        if wait and getcurrent() not in self._handlers:
            self._handling.wait()
            self._let_go()

    def listener_closed(self) -> None:
        """Somebody has closed a listening socket: if it is ours, no more is accepted from our duplicate."""
        if self._arrivals is not None and self._arrivals.listener.fileno() < 0:
            self._let_go()

    def _let_go(self) -> None:
        """Stop accepting, and end the connections that no handler has any more, in the thread that carries them."""
        arrivals = self._arrivals
        if arrivals is None:
            return
        engine = arrivals._engine
        if engine.thread == get_ident():
            self._let_go_of(arrivals)
        else:
            with suppress(ValueError):  # its loop is gone, and so is all that it carried
                engine.call_from_thread(partial(self._let_go_of, arrivals))

    def _let_go_of(self, arrivals: Arrivals) -> None:
        arrivals.close()
        engine = arrivals._engine
        for taker, (request, _) in [*self._arrived.items()]:
            if request._socket._engine is engine:
                del self._arrived[taker]
                request._closed = True
        for request in [*self._held]:
            if request._closed and request._socket._engine is engine:
                request._real_close()

    def _last_call(self) -> None:
        """The event loop of this thread ends, and so do the connections that it carries."""
        arrivals = self._arrivals
        if arrivals is None:  # the listening socket was of no use
            return
        if not getattr(self._server, "daemon_threads", False):
            self._handling.wait()
        self._let_go()
        for socket in arrivals.sockets:
            if socket._state is CLOSING:  # a peer may keep its side open for as long as it likes
                socket._discard(patient=False)
        arrivals.stop(LAST_CALL, close_active=True)
        self._arrivals = None

    # -- one connection ------------------------------------------------------------------------------

    def _session(self, socket: Socket[Any]) -> None:
        """The whole of a connection, in its own greenlet."""
        request = socket.as_stdlib()
        taker = getcurrent() if self._many else None
        self._arrived[taker] = request, socket.remote_address
        self._changed()
        if self._many:
            try:
                self._dispatch()
            except (SystemExit, GreenletExit):
                return  # which end a thread without a word
            finally:
                self._arrived.pop(taker, None)
        if request._open:
            self._hold(request)

    def _hold(self, request: StdlibSocket) -> None:
        """Somebody else has it, or will have it: wait until it is closed."""
        closed = Event()
        request._on_close = closed.set
        self._held.add(request)
        try:
            closed.wait()
        finally:
            self._held.discard(request)

    def _dispatch(self) -> None:
        me = getcurrent()
        if not self._handlers:
            self._handling.shut()
        self._handlers.add(me)
        arrived, _ = self._arrived.get(me) or self._arrived[None]
        try:
            self._handle(arrived)
            if arrived._socket._state is CLOSING:  # this thread may never turn its loop again
                with suppress(SocketClosed):
                    arrived._socket.flush()
        finally:
            self._handlers.discard(me)
            if not self._handlers:
                self._handling.open()

    def _handle(self, arrived: StdlibSocket) -> None:
        """What ``BaseServer`` does with a listening socket that is readable."""
        server = self._server
        try:
            request, client_address = server.get_request()
        except OSError:
            self.take()  # who has not even looked at it would be offered it again, for ever
            arrived._real_close()
            return
        try:
            if server.verify_request(request, client_address):
                try:
                    server.process_request(request, client_address)
                    return  # somebody else may have it now
                except Exception:
                    server.handle_error(request, client_address)
        except BaseException:
            server.shutdown_request(request)
            raise
        server.shutdown_request(request)

    def take(self) -> tuple[StdlibSocket, Any] | None:
        """The connection that is for this greenlet, and the address of its peer; None: there is none."""
        return self._arrived.pop(getcurrent(), None) or self._arrived.pop(None, None)


def _nothing() -> None:
    pass

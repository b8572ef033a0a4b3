"""Accepting: the server, and ``listen`` which makes one."""

import dataclasses
import errno
import math
import os
from collections.abc import Collection, Iterator
from time import monotonic, time
from types import TracebackType
from typing import Any, Final, Self, cast

import gevent
from gevent.event import Event
from gevent.server import StreamServer
from greenlet import getcurrent

from . import net
from .address import parse
from .engine import Engine
from .handlers import HandlerTable
from .log import logger
from .options import Options
from .shared import Shared
from .sock import Socket
from .state import CloseReason
from .stats import Stats
from .wire import Plain

#: Errors of the listener itself: it will never accept again.
FATAL: Final = frozenset({errno.EBADF, errno.EINVAL, errno.ENOTSOCK})

#: Errors of accept(2) that mean a lack of something in this process or system: wait until there is more of it.
SHORTAGE: Final = frozenset({errno.EMFILE, errno.ENFILE, errno.ENOBUFS, errno.ENOMEM})

#: Where the system does not tell how many connections it holds at most: stop accepting some time, in a storm too.
MAX_BACKLOG: Final = 65535

#: How long leaving a ``with server`` block lets the connections drain, in seconds.
EXIT_TIMEOUT: Final = 10.0


#: Bound to one of these, each connection has a local address of its own.
_WILDCARDS: Final = (("0.0.0.0",), ("::",))


def listen(address: object, handlers: object, *, data: Any = None, **options: Any) -> "Server":
    """Serve *address* with *handlers*. The server is bound, listening and accepting when this returns.

    Args:
        address: ``(host, port)``, ``"host:port"``, ``"[::1]:port"``, ``"tcp://host:port"``, ``"unix:/path"``,
            ``"fd://3"``, or a bound listening socket, which the server takes over. Port 0 picks a free one.
        handlers: an object or class with event methods (see :class:`Handlers`), or a mapping of event functions.
        data: becomes ``server.data``.
        options: see :class:`greensock.options.Options`.

    Raises:
        ValueError: the address or an option's value is wrong; the message names the bad part.
        TypeError: an option is unknown, or *handlers* cannot serve.
        OSError: binding fails; the address is in its message.
        RuntimeError: this interpreter or event loop cannot serve.
    """
    server = Server(address, handlers, data=data, **options)
    server.start()
    return server


class Server(StreamServer):
    """A listening socket and the connections it has accepted.

    Every option of :func:`listen` is an attribute to read. The rest of gevent's StreamServer is there as well:
    ``start``, ``serve_forever``, ``stop_accepting``, ``start_accepting``, ``started``, ``closed``, ``address``,
    ``server_port``.

    Resource handling: holds the listening descriptor from ``start`` until ``stop`` or ``close``, and its
    connections until they close. As a context manager it drains them at the end, for at most ten seconds.
    """

    def __init__(self, address: object, handlers: object, *, data: Any = None, **options: Any) -> None:
        self._options = Options.of(options)
        table = HandlerTable(handlers)
        self._where = None if hasattr(address, "fileno") else parse(address)
        if self._where is not None and self._where.scheme == "tls":
            raise ValueError(f"{self._where} needs tls=, the server's key and certificate")
        self._engine = Engine.of_this_hub()
        self._shared = Shared(
            self._engine,
            table,
            self._options,
            owner=self,
            stop_reading_when_over=True,
            on_gone=self._on_gone,
        )
        self._referenced = True
        self._full = False
        self._waiting = 0  # calls of stop() that wait
        self._starving = False
        self._unix_path = ""
        self._unix_identity: Any = None
        self._changed = Event()
        #: Anything you want to keep with the server.
        self.data = data
        super().__init__(cast(Any, address), handle=cast(Any, self._accepted))
        self._engine.on_fork.add(self)
        self._engine.servers.add(self)

    # -- listening -----------------------------------------------------------------------------------

    # gevent's types are for a high-level socket, an int and no unix path
    socket: Any
    address: Any
    family: Any

    def set_listener(self, listener: Any) -> None:
        """Part of gevent's construction: remember where to listen."""
        self.family = self.address = None
        self._given: Any = listener if self._where is None else None

    def set_handle(self, handle: Any) -> None:
        """Part of gevent's construction. Handlers are replaced by :meth:`reload`."""
        if handle != self._accepted:
            raise TypeError("set_handle() is for gevent's handlers; use reload()")

    def init_socket(self) -> None:
        """Bind and listen, unless that is done. Called by ``start``."""
        if "socket" in self.__dict__:
            return
        options = self._options
        if self._where is not None:
            listener = net.open_listener(
                self._where, backlog=self.backlog, reuse_port=options.reuse_port, ipv6_only=options.ipv6_only
            )
        elif self._given is not None:
            listener = net.adopt_listener(self._given, self.backlog)
        else:
            raise RuntimeError("this server was given a listening socket and has closed it: it cannot start again")
        self.socket = listener  # close() closes it, whatever fails from here on
        self.family = listener.family
        self.address = listener.getsockname()
        self._kind = (listener.family, listener.type, listener.proto)
        net.tune(listener, no_delay=options.no_delay, keepalive=options.keepalive)
        if self._where is not None and self._where.scheme == "unix":
            self._unix_path = os.path.abspath(self._where.path)  # the working directory may change
            self._unix_identity = net.path_identity(self._unix_path)
        elif self._where is not None and self._where.port == 0 and self._where.scheme == "tcp":
            self._where = dataclasses.replace(self._where, port=self.address[1])  # the same one when started again
        self._shared.local_address = None if self.address[:1] in _WILDCARDS else self.address
        self._shared.counters.started_at = time()

    def start_accepting(self) -> None:
        """Accept, again, after :meth:`stop_accepting`."""
        if self._watcher is None:
            os.set_blocking(self.socket.fileno(), False)  # a blocking accept would freeze the hub
        super().start_accepting()

    def stop_accepting(self) -> None:
        """Leave new connections in the backlog, until :meth:`start_accepting`."""
        self._full = False
        super().stop_accepting()

    def full(self) -> bool:
        """Whether ``max_connections`` is reached. Accepting goes on by itself when a connection is gone."""
        limit = self._options.max_connections
        return limit is not None and self._shared.alive >= limit

    def _do_read(self) -> None:
        """The listener is readable. Runs in the hub: makes sockets, calls no user code."""
        for _ in range(self.max_accept):
            if self.full():
                self.stop_accepting()
                self._full = self._shared.watched = True
                return
            if not self._accept_one():
                return

    def _accept_one(self) -> bool:
        """Accept a connection, or see why there is none. Whether to go on at once."""
        try:
            descriptor, address = self.socket._accept()
        except BlockingIOError:
            return False
        except OSError as error:
            return self._accept_failed(error)
        try:
            self._accepted(descriptor, address)
        except Exception as error:  # no memory, in all likelihood: this peer is lost, and no other
            self._wait_for_more(error)
            return False
        if self._starving:
            self._starving = False
            self.delay = self.min_delay
            gevent.spawn(logger.warning, "%s accepts again", self.url)
        return True

    def _accepted(self, descriptor: int, address: Any) -> None:
        try:
            wire = Plain(*self._kind, descriptor)
        except BaseException:
            os.close(descriptor)
            raise
        try:
            wire.setblocking(False)
            socket: Socket[Any] = Socket(wire, self._shared, address)
        except BaseException:
            wire.close()
            raise
        self._engine.schedule(socket)

    def _accept_failed(self, error: OSError) -> bool:
        if error.errno in FATAL:
            gevent.spawn(logger.error, "%s cannot accept any more: %s", self.url, error)
            self.close()
            return False
        if error.errno not in SHORTAGE:
            return True  # the peer's network or its change of mind, accept(2): nobody else waits for that
        self._wait_for_more(error)
        return False

    def _wait_for_more(self, error: Exception) -> None:
        """Something ran short: accept again after a while. An exception from here would stop the server for good."""
        self.stop_accepting()
        self._timer = self.loop.timer(self.delay)
        self._timer.start(self._start_accepting_if_started)
        self.delay = min(self.max_delay, self.delay * 2)
        if not self._starving:
            self._starving = True
            what = str(error) or repr(error)
            gevent.spawn(logger.error, "%s cannot accept for now: %s; it tries again", self.url, what)

    # -- stopping ------------------------------------------------------------------------------------

    def close(self) -> None:
        """Stop accepting and close the listening socket, at once. Connections live on."""
        self._stop_event.set()
        self.stop_accepting()
        listener = self.__dict__.pop("socket", None)
        if listener is not None:
            if self._unix_identity is not None:
                net.unlink_path(self._unix_path, self._unix_identity)  # while its inode is certainly still ours
                self._unix_identity = None
            listener.close()
            self._given = None
            if self._where is not None and self._where.scheme == "fd":
                self._where = None  # the number may soon be that of something else
        if "_changed" in self.__dict__:
            self._on_change()

    def stop(self, timeout: float | None = None, *, close_active: bool = False) -> None:
        """Accept what is already in the backlog, then stop accepting.

        Args:
            timeout: seconds to wait for the connections to close; those left are then terminated, and handlers
                that still run are killed. None: do not wait, and terminate nobody.
            close_active: drain: every connection gets ``stopping`` once and closes gracefully, after
                the handler that runs now.

        Returns by the timeout whatever the handlers do. May be called again, harder, and from a handler, for which
        it does not wait.

        Raises:
            TypeError, ValueError: *timeout* is no number (a bool is none), or negative.
        """
        if timeout is not None:
            if isinstance(timeout, bool) or not isinstance(timeout, (int, float)):
                raise TypeError(f"timeout must be a number of seconds, not {timeout!r}")
            if not 0 <= timeout < math.inf:
                raise ValueError(f"timeout must be a number of seconds from 0 on, not {timeout!r}")
        deadline = None if timeout is None else monotonic() + timeout
        self._accept_backlog()
        self.close()
        self._let_a_turn_pass()
        if close_active:
            for socket in self._shared.live_sockets():
                socket._stop()
        if deadline is not None:
            self._wait_until_quiet(deadline)
            self._terminate_all()

    def _accept_backlog(self) -> None:
        if self.started:
            # The listener may have been made by others, with their backlog; the kernel holds one more, listen(2).
            for _ in range(net.effective_backlog(MAX_BACKLOG) + 1):
                if self.full() or not self._accept_one():
                    break

    def _let_a_turn_pass(self) -> None:
        """Have ``open`` run for what was just accepted."""
        if getcurrent() is not self._engine.hub:
            gevent.sleep(0)

    def _wait_until_quiet(self, deadline: float) -> None:
        own = len(self._sockets_with_handler_in(getcurrent()))
        self._waiting += 1
        try:
            while self._shared.alive > own:
                self._shared.watched = True
                self._changed.clear()
                if not self._changed.wait(max(0.0, deadline - monotonic())):
                    return
        finally:
            self._waiting -= 1

    def _terminate_all(self) -> None:
        me = getcurrent()
        spared = self._sockets_with_handler_in(me)
        for socket in self._shared.live_sockets():
            if socket not in spared:
                socket._abort(CloseReason.STOPPED, None)
        for socket in [socket for socket in self._engine.blocked if socket._shared is self._shared]:
            if socket not in spared:
                gevent.kill(socket._running)
        for _ in range(3):  # for the killed handlers to end and for ``close`` to be delivered
            if self._shared.alive > len(spared):
                self._let_a_turn_pass()

    def _sockets_with_handler_in(self, greenlet: Any) -> list["Socket[Any]"]:
        """The socket whose handler *greenlet* runs, if it is one of ours: nobody can wait for himself."""
        return [s for s in self._engine.blocked if s._running is greenlet and s._shared is self._shared]

    def _on_gone(self) -> None:
        """A socket of this server has had its last event, or is no longer referenced."""
        if self._full and not self.full():
            self._start_accepting_if_started()
        self._shared.watched = self._full or self._waiting > 0
        self._on_change()

    def _on_change(self) -> None:
        self._changed.set()
        if not self._holds_run():
            self._engine.released.set()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None = None,
        error: BaseException | None = None,
        traceback: TracebackType | None = None,
    ) -> None:
        self.stop(EXIT_TIMEOUT, close_active=True)

    def _stop_in_child(self) -> None:
        """After a fork, in the child: the parent accepts."""
        self.stop_accepting()

    # -- what is served ------------------------------------------------------------------------------

    def reload(self, handlers: object) -> None:
        """Replace the handlers of all live and future sockets, at once and whatever their number.

        Events that the new ones do not name are gone. A handler that runs finishes as it was.

        Raises:
            TypeError: ``listen`` would not accept *handlers*; the old ones stay.
        """
        self._shared.table.replace(HandlerTable(handlers))

    def stats(self) -> Stats:
        """A snapshot of what the server has counted."""
        engine, shared = self._engine, self._shared
        running = [*engine.blocked, engine.current]
        return shared.counters.snapshot(
            connections=len(shared.sockets),
            live_bytes_read=sum(socket.bytes_read for socket in shared.sockets),
            live_bytes_written=sum(socket.bytes_written for socket in shared.sockets),
            handlers_running=sum(s is not None and s._shared is shared for s in running),
        )

    @property
    def connections(self) -> int:
        """How many sockets are open now."""
        return len(self._shared.sockets)

    @property
    def sockets(self) -> "Sockets":
        """The open sockets. May be iterated while sockets come and go."""
        return Sockets(self._shared)

    def ref(self) -> None:
        """Have :func:`greensock.run` wait for this server again."""
        self._referenced = True

    def unref(self) -> None:
        """Let :func:`greensock.run` return although this server listens."""
        self._referenced = False
        self._on_change()

    def _holds_run(self) -> bool:
        return self._shared.referenced > 0 or (self.started and self._referenced)

    # -- where ---------------------------------------------------------------------------------------

    @property
    def hostname(self) -> str | None:
        """The host as it was given to ``listen``; the path's server has none."""
        if self._where is not None and self._where.scheme in ("tcp", "tls"):
            return self._where.host
        return self.address[0] if isinstance(self.address, tuple) else None

    @property
    def port(self) -> int | None:
        """The port that the server is bound to; None for unix."""
        return self.address[1] if isinstance(self.address, tuple) else None

    @property
    def url(self) -> str:
        """Where to connect: ``tcp://host:port`` or ``unix:/path``. A wildcard becomes the loopback address."""
        bound = self.address
        if bound is None:  # not started yet
            if self._where is not None:
                return str(self._where)
            bound = self._given.getsockname()
        return net.url_of("tcp", bound, self.hostname or "")

    @property
    def backlog(self) -> int:  # type: ignore[override]  # a plain attribute in gevent's class
        """Connections that the kernel holds until they are accepted, cut to the system's limit."""
        return net.effective_backlog(self._options.backlog)

    def __getattr__(self, name: str) -> Any:
        if name in _OPTION_NAMES:
            return getattr(self._options, name)
        raise AttributeError(f"{type(self).__name__!r} object has no attribute {name!r}")

    def __repr__(self) -> str:
        what = "listening" if self.started else "stopped"
        return f"<{type(self).__name__} {self.url} {what}, {self.connections} connections>"


_OPTION_NAMES: Final = frozenset(field.name for field in dataclasses.fields(Options))


class Sockets(Collection["Socket[Any]"]):
    """The live sockets of a server, seen from outside."""

    __slots__ = ("_shared",)

    def __init__(self, shared: Shared) -> None:
        self._shared = shared

    def __iter__(self) -> Iterator["Socket[Any]"]:
        return (socket for socket in self._shared.live_sockets() if not socket.closed)

    def __len__(self) -> int:
        return len(self._shared.sockets)

    def __contains__(self, socket: object) -> bool:
        return socket in self._shared.sockets

    def __repr__(self) -> str:
        return f"<{len(self)} sockets>"

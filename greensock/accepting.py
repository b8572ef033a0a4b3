"""Listening and accepting: the part of a server that new connections see."""

import dataclasses
import errno
import os
from collections.abc import Callable
from time import time
from typing import Any, Final, cast

import gevent
from gevent.server import StreamServer

from . import endpoints, listeners, net, sockopts
from .address import parse
from .engine import Engine
from .handlers import HandlerTable
from .hubs import get_ident
from .log import logger
from .options import Options
from .runners import SessionGreenlet
from .shared import Shared
from .sock import Socket
from .wire import Plain

#: Errors of accept(2) that mean a lack of something in this process or system: wait until there is more of it.
SHORTAGE: Final = frozenset({errno.EMFILE, errno.ENFILE, errno.ENOBUFS, errno.ENOMEM})

#: Where the system does not tell how many connections it holds at most: stop accepting some time, in a storm too.
MAX_BACKLOG: Final = 65535

#: Bound to one of these, each connection has a local address of its own.
_WILDCARDS: Final = (("0.0.0.0",), ("::",))


class Acceptor(StreamServer):
    """gevent's StreamServer with an accept loop of its own, which makes sockets instead of greenlets.

    The original prints a traceback for every EMFILE, lets one ECONNABORTED delay everybody, and cannot start again.
    """

    def __init__(self, address: object, table: HandlerTable, options: Options) -> None:
        self._options = options
        self._where = None if hasattr(address, "fileno") else parse(address)
        if self._where is not None and self._where.scheme == "tls" and options.tls is None:
            raise ValueError(f"{self._where} needs tls=, the server's key and certificate")
        self._engine = Engine.of_this_hub()
        self._shared = Shared(
            self._engine,
            table,
            options,
            owner=self,
            stop_reading_when_over=True,
            on_gone=self._on_gone,
            tls=endpoints.server_side(options.tls) if options.tls is not None else None,
            spawn=self._spawn_session,
        )
        self._make_wire: type[Plain] = Plain
        if self._shared.tls is not None:
            from .secure import Secure  # not before there is TLS: see there

            self._make_wire = Secure
        self._full = False
        self._starving = False
        self._unix_path = ""
        self._unix_identity: Any = None
        super().__init__(cast(Any, address), handle=cast(Any, self._accepted))
        self._engine.on_fork.add(self)

    _spawn: Any = SessionGreenlet.spawn  # gevent's default is its own Greenlet

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
            listener = listeners.open_listener(
                self._where, backlog=self.backlog, reuse_port=options.reuse_port, ipv6_only=options.ipv6_only
            )
        elif self._given is not None:
            listener = listeners.adopt_listener(self._given, self.backlog)
        else:
            raise RuntimeError("this server was given a listening socket and has closed it: it cannot start again")
        self.socket = listener  # close() closes it, whatever fails from here on
        self.family = listener.family
        self.address = listener.getsockname()
        self._kind = (listener.family, listener.type, listener.proto)
        sockopts.tune(listener, no_delay=options.no_delay, keepalive=options.keepalive)
        if self._where is not None and self._where.scheme == "unix" and isinstance(self.address, str):
            self._unix_path = os.path.abspath(self._where.path)  # the working directory may change
            self._unix_identity = listeners.path_identity(self._unix_path)
        elif self._where is not None and self._where.port == 0 and self._where.scheme in ("tcp", "tls"):
            self._where = dataclasses.replace(self._where, port=self.address[1])  # the same one when started again
        self._shared.local_address = None if self.address[:1] in _WILDCARDS else self.address
        self._shared.counters.started_at = time()

    # -- accepting -----------------------------------------------------------------------------------

    def start_accepting(self) -> None:
        """Accept, again, after :meth:`stop_accepting`."""
        self._check_thread()
        if self._watcher is None:
            os.set_blocking(self.socket.fileno(), False)  # a blocking accept would freeze the hub
        super().start_accepting()

    def stop_accepting(self) -> None:
        """Leave new connections in the backlog, until :meth:`start_accepting`."""
        self._check_thread()
        self._full = False
        super().stop_accepting()

    def full(self) -> bool:
        """Whether ``max_connections`` is reached. Accepting goes on by itself when a connection is gone."""
        limit = self._options.max_connections
        return limit is not None and self._shared.alive >= limit

    def _do_read(self) -> None:
        """The listener is readable. Runs in the hub: makes sockets, calls no user code."""
        try:
            for _ in range(self.max_accept):
                if self.full():
                    self.stop_accepting()
                    self._full = self._shared.watched = True
                    return
                if not self._accept_one():
                    return
        except BaseException:  # of a signal: gevent stops the watcher whose callback raises
            self.stop_accepting()
            self.loop.run_callback(self._start_accepting_if_started)
            raise

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
            wire = self._make_wire(*self._kind, descriptor)
        except Exception:  # not for a signal: it comes when the wire is made, which closes its descriptor by itself
            os.close(descriptor)
            raise
        shared, engine = self._shared, self._engine
        try:
            wire.setblocking(False)
            socket: Socket[Any] = Socket(wire, shared, address)
        except BaseException:
            wire.close()
            raise
        shared.alive += 1  # here, and not in a call, where a signal might come between this and the next line
        shared.referenced += 1
        engine.ready.append(socket)
        engine.wake()

    def _spawn_session(self, session: Callable[[], None]) -> Any:
        return self._spawn(session)  # as gevent's StreamServer was told to

    def _accept_failed(self, error: OSError) -> bool:
        if error.errno in self.fatal_errors:  # of the listener itself: it will never accept again
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

    def _accept_backlog(self) -> None:
        """Accept what the kernel holds, as far as ``max_connections`` admits."""
        if self.started and self._engine.pid == os.getpid():  # what waits is not for the child of a fork
            # The listener may have been made by others, with their backlog; the kernel holds one more, listen(2).
            for _ in range(listeners.effective_backlog(MAX_BACKLOG) + 1):
                if self.full() or not self._accept_one():
                    break

    def _on_gone(self) -> None:
        """A socket of this server has had its last event."""
        if self._full and not self.full():
            self._start_accepting_if_started()

    def close(self) -> None:
        """Stop accepting and close the listening socket, at once. Connections live on."""
        self._check_thread()
        self._stop_event.set()
        self.stop_accepting()
        listener = self.__dict__.pop("socket", None)
        if listener is not None:
            if self._unix_identity is not None:
                listeners.unlink_path(self._unix_path, self._unix_identity)  # while its inode is certainly still ours
                self._unix_identity = None
            listener.close()
            self._given = None
            if self._where is not None and self._where.scheme == "fd":
                self._where = None  # the number may soon be that of something else

    def _stop_in_child(self) -> None:
        """After a fork, in the child: the parent accepts."""
        self.stop_accepting()
        self._unix_identity = None  # the path is the parent's as well

    def _check_thread(self) -> None:
        """libev's watchers are not for two threads at once, and a loop that its thread does not turn serves nobody."""
        if get_ident() != self._engine.thread:
            raise RuntimeError(
                "a server was used from another thread than the one that made it, whose event loop serves it; "
                "use greensock.call_from_thread(server, function, *args), or make it in the thread that is to serve"
            )

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
        """Where to connect: ``tcp://host:port``, ``tls://host:port`` or ``unix:/path``.

        A wildcard becomes the loopback address.
        """
        bound = self.address
        if bound is None:  # not started yet
            if self._where is not None:
                return str(self._where)
            bound = self._given.getsockname()
        return net.url_of("tls" if self._shared.tls else "tcp", bound, self.hostname or "")

    @property
    def backlog(self) -> int:  # type: ignore[override]  # a plain attribute in gevent's class
        """Connections that the kernel holds until they are accepted, cut to the system's limit."""
        return listeners.effective_backlog(self._options.backlog)

    def __getattr__(self, name: str) -> Any:
        if name in _OPTION_NAMES:
            return getattr(self._options, name)
        raise AttributeError(f"{type(self).__name__!r} object has no attribute {name!r}")

    def __setattr__(self, name: str, value: object) -> None:
        if name in _OPTION_NAMES:  # it would be read back, and nobody would follow it
            raise AttributeError(f"the option {name!r} is given to listen(), and cannot be changed afterwards")
        super().__setattr__(name, value)


_OPTION_NAMES: Final = frozenset(field.name for field in dataclasses.fields(Options))

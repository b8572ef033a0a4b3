"""The server: its connections, their handlers and their end; and ``listen``, which makes one."""

import dataclasses
from collections.abc import Collection, Iterator
from types import TracebackType
from typing import Any, Final, Self

from . import endpoints, patching
from .accepting import Acceptor
from .draining import Draining
from .handlers import HandlerTable
from .options import Options, deadline_of
from .shared import Shared
from .sock import Socket
from .stats import Stats

#: How long leaving a ``with server`` block lets the connections drain, in seconds.
EXIT_TIMEOUT: Final = 10.0


def listen(address: object, handlers: object, *, data: Any = None, **options: Any) -> "Server":
    """Serve *address* with *handlers*. The server is bound, listening and accepting when this returns.

    Args:
        address: ``(host, port)``, ``"host:port"``, ``"[::1]:port"``, ``"tcp://host:port"``, ``"tls://host:port"``,
            ``"unix:/path"``, ``"fd://3"``, or a bound listening socket, which the server takes over. Port 0 picks a
            free one.
        handlers: an object or class with event methods (see :class:`Handlers`), a mapping of event functions, or a
            function that serves a connection from beginning to end, a session.
        data: becomes ``server.data``.
        options: what each means says :class:`greensock.options.Options`.

    Raises:
        ValueError: the address or an option's value is wrong; the message names the bad part.
        TypeError: an option is unknown, or *handlers* cannot serve.
        OSError: binding fails; the address is in its message.
        RuntimeError: this interpreter or event loop cannot serve.
    """
    server = Server(address, handlers, data=data, **options)
    server.start()
    return server


class Server(Draining, Acceptor):
    """A listening socket and the connections it has accepted.

    Every option of :func:`listen` is an attribute to read. The rest of gevent's StreamServer is there as well:
    ``start``, ``serve_forever``, ``stop_accepting``, ``start_accepting``, ``started``, ``closed``, ``address``,
    ``server_port``.

    Resource handling: holds the listening descriptor from ``start`` until ``stop`` or ``close``, and its
    connections until they close. As a context manager it drains them at the end, for at most ten seconds.
    """

    def __init__(self, address: object, handlers: object, *, data: Any = None, **options: Any) -> None:
        self._referenced = True
        #: Anything you want to keep with the server.
        self.data = data
        super().__init__(address, HandlerTable(handlers), Options.of(options))
        self._engine.owners.add(self)

    # -- starting and stopping -----------------------------------------------------------------------

    def start(self) -> None:
        """Bind, listen and accept; again, after ``stop``, if the server was given an address."""
        self._check_thread()
        patching.warn_when_late()
        super().start()
        self._shared.draining = False
        self._engine.kept.add(self)

    def serve_forever(self, stop_timeout: float | None = None) -> None:
        """Block until the server is stopped. Signals are left alone; :func:`greensock.run` takes them."""
        self._check_thread()
        super().serve_forever(stop_timeout)

    def close(self) -> None:
        """Stop accepting and close the listening socket, at once. Connections live on."""
        super().close()
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
            RuntimeError: called from another thread, as by all methods that change the server.
        """
        self._check_thread()
        deadline = deadline_of(timeout)
        self._accept_backlog()
        self.close()
        self._let_a_turn_pass()  # for ``open`` to run for what was just accepted
        self._drain(deadline, close_active=close_active)

    def _on_gone(self) -> None:
        """A socket of this server has had its last event, or is no longer referenced."""
        super()._on_gone()
        self._shared.watched = self._full or self._waiting > 0
        self._on_change()

    def _has_ended(self) -> bool:
        return self.closed and not self._shared.alive

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None = None,
        error: BaseException | None = None,
        traceback: TracebackType | None = None,
    ) -> None:
        self.stop(EXIT_TIMEOUT, close_active=True)

    # -- what is served ------------------------------------------------------------------------------

    def reload(self, handlers: object = None, *, tls: object = None) -> None:
        """Replace the handlers of all live and future sockets, or the certificate, at once and whatever their number.

        Args:
            handlers: as for :func:`listen`. Events that they do not name are gone. A handler that runs finishes as it
                was; so does a session.
            tls: as for :func:`listen`: for the handshakes from now on. Live connections stay as they are.

        What was replaced is held for ever if it is a certificate: some kilobytes each (CVE-2026-19445).

        Raises:
            TypeError, ValueError: ``listen`` would not accept one of them, there is none, *handlers* go from events to
                a session or back, or *tls* is for a server in clear, whose peers do not expect it; all stays as it was.
        """
        if handlers is None and tls is None:
            raise TypeError("reload() needs handlers, tls=, or both")
        table = None if handlers is None else HandlerTable(handlers)
        if table is not None:
            self._shared.table.check_kind(table)
        if tls is not None:
            if self._shared.tls is None:
                raise ValueError("tls: this server speaks in clear, which a reload cannot change")
            self._shared.tls = endpoints.server_side(tls)
            self._options = dataclasses.replace(self._options, tls=tls)
        if table is not None:
            self._shared.table.replace(table)

    def stats(self) -> Stats:
        """A snapshot of what the server has counted."""
        engine, shared = self._engine, self._shared
        running = {*engine.blocked, engine.current}
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
        return super()._holds_run() or (self.started and self._referenced)

    def __repr__(self) -> str:
        what = "listening" if self.started else "stopped"
        return f"<{type(self).__name__} {self.url} {what}, {self.connections} connections>"

    __str__ = __repr__  # gevent's would tell the descriptor's address alone


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

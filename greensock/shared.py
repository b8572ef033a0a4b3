"""What all sockets of one server share, behind one pointer each."""

from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from .engine import Engine
from .handlers import HandlerTable
from .options import Options
from .runners import SessionGreenlet
from .stats import Counters

if TYPE_CHECKING:
    from .sock import Socket


class Shared:
    """The handlers, options and counters of a server's sockets, and the live sockets themselves.

    Args:
        owner: what ``socket.server`` gives.
        stop_reading_when_over: whether a socket whose queue is over its high-water mark is not read. Servers do;
            two peers that both do it would never start again.
        on_gone: called after a socket's last event, and when one is no longer referenced, while ``watched`` is true or
            when no referenced socket is left.
        on_open: called with each socket before its ``open``.
        tls: the side that this is in TLS, of :mod:`greensock.endpoints`, if connections begin with its handshake.
        hostname: whom a client means to talk to.
        spawn: gives each session its greenlet.
    """

    def __init__(
        self,
        engine: Engine,
        table: HandlerTable,
        options: Options,
        *,
        owner: Any = None,
        stop_reading_when_over: bool,
        on_gone: Callable[[], None],
        on_open: Callable[[Any], None] | None = None,
        tls: Any = None,
        hostname: str | None = None,
        spawn: Callable[[Callable[[], None]], Any] = SessionGreenlet.spawn,
    ) -> None:
        self.engine = engine
        self.table = table
        self.options = options
        self.counters = Counters()
        self.owner = owner
        self.stop_reading_when_over = stop_reading_when_over
        self.on_gone = on_gone
        self.on_open = on_open
        self.tls = tls
        self.hostname = hostname
        self.spawn = spawn
        #: sockets whose ``open`` has begun and whose descriptor is open
        self.sockets: set[Any] = set()
        #: sockets whose handshake has begun and whose ``open`` has not
        self.handshaking: set[Any] = set()
        #: whether ``stop`` has told the sockets to close, and those that open from now on have to be told
        self.draining = False
        #: sockets that exist: from before ``open`` until after ``close``
        self.alive = 0
        #: those of them that ``greensock.run()`` waits for
        self.referenced = 0
        #: whether somebody wants to know of each socket that goes
        self.watched = False
        #: the local address of all sockets, when it is the same for all
        self.local_address: Any = None
        engine.on_fork.add(self)

    def live_sockets(self) -> list["Socket[Any]"]:
        """The open sockets now."""
        return list(self.sockets)

    def _stop_in_child(self) -> None:
        """After a fork, in the child: the connections are the parent's."""
        for socket in [*self.sockets, *self.handshaking]:
            socket._leave_to_parent()
        self.sockets.clear()
        self.handshaking.clear()
        self.alive = self.referenced = 0

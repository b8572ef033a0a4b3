"""How the connections of one owner end together: told to stop, waited for, and then terminated."""

from time import monotonic
from typing import Any

import gevent
from gevent.event import Event
from greenlet import getcurrent

from .engine import Engine
from .options import deadline_of
from .shared import Shared
from .sock import Socket
from .state import OVER, CloseReason


class Draining:
    """What owns connections, as ``greensock.run()`` and ``stop()`` see it: a server, or one client."""

    _engine: Engine
    _shared: Shared
    _waiting = 0  # calls that wait for connections to go
    _changed: Event | None = None

    def stop(self, timeout: float | None = None, *, close_active: bool = False) -> None:
        """Have the connections end: see :meth:`greensock.Server.stop`."""
        self._drain(deadline_of(timeout), close_active=close_active)

    def _drain(self, deadline: float | None, *, close_active: bool) -> None:
        """Have the connections end: all of them by the *deadline*, if there is one."""
        if close_active:
            self._shared.draining = True
            for socket in self._shared.live_sockets():
                socket._stop()
        if deadline is not None:
            self._wait_until_quiet(deadline)
            self._terminate_all()

    def _let_a_turn_pass(self) -> None:
        if getcurrent() is not self._engine.hub:
            gevent.sleep(0)

    def _wait_until_quiet(self, deadline: float) -> None:
        own = len(self._sockets_with_handler_in(getcurrent()))
        if self._changed is None:
            self._changed = Event()
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
        for socket in [*self._shared.live_sockets(), *self._shared.handshaking]:
            if socket not in spared:
                socket._abort(CloseReason.STOPPED, None)
        for socket in [socket for socket in self._engine.blocked if socket._shared is self._shared]:
            if socket not in spared:
                self._engine.loop.run_callback(_kill_handlers, socket, socket._flags & OVER)
        for _ in range(5):  # for the killed handlers to end and for ``close`` to be delivered
            if self._shared.alive > len(spared):
                self._let_a_turn_pass()

    def _sockets_with_handler_in(self, greenlet: Any) -> list[Socket[Any]]:
        """The socket whose handler *greenlet* runs, if it is one of ours: nobody can wait for himself."""
        return [s for s in self._engine.blocked if s._shared is self._shared and greenlet in s._handler_greenlets()]

    def _on_change(self) -> None:
        if self._changed is not None:
            self._changed.set()
        if self._has_ended():
            self._engine.kept.discard(self)
        if not self._holds_run():
            self._engine.released.set()

    def _has_ended(self) -> bool:
        """Whether there is nothing left to keep it for."""
        return not self._shared.alive

    def _holds_run(self) -> bool:
        """Whether ``greensock.run()`` has to wait for it."""
        return self._shared.referenced > 0


def _kill_handlers(socket: Socket[Any], over: int) -> None:
    """In the hub: kill what runs for *socket*, unless it has returned: those that waited for it have been woken.

    Then ``close`` may be running, if it was not before (*over*), or others in the greenlet that was theirs.
    """
    if socket._flags & OVER == over:
        for greenlet in socket._handler_greenlets():
            if greenlet:  # one that has not begun will see that it is too late
                greenlet.throw()

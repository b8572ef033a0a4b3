"""Turns and runners: how sockets get their handlers called. One engine per hub.

The way of a message::

    kernel ── libev ──> ready.append(socket)           a started watcher's whole callback
    prepare watcher ──> turn()                         in the hub, once per turn of the loop
                          └─ switch ─> a runner        takes each ready socket: reads once, calls the
                                                       handler, sends what was written; then parks

A handler that blocks leaves its runner behind: the hub goes on with another one, and the one left behind
parks when its handler has returned. So handlers that do not block cost no switch each, handlers that block
have a greenlet of their own for as long as they block, and idle connections have none.
"""

import os
import weakref
from collections import deque
from collections.abc import Callable
from typing import Any, Final

import gevent
from gevent.event import Event
from greenlet import getcurrent, greenlet

from . import hubs
from .clocks import Clocks
from .hubs import get_ident, switch
from .runners import Runners
from .served import Served
from .state import BUSY, BY_HAND, PENDING

#: So many steps of TLS handshakes in one turn: each takes up to a millisecond, which everybody else waits for.
HANDSHAKES_PER_TURN: Final = 5

#: The engine is kept on its hub, so that it lives as long and no table of hubs has to be kept.
_ENGINE: Final = "_greensock_engine"

_FORKED: Final = (
    "this gevent hub was carried over a fork, and its connections belong to the parent: "
    "fork before the first use of greensock, or start a new process"
)


class Engine:
    """The turns of one hub.

    Get it by :meth:`of_this_hub`. Nothing here is public, save that :meth:`close` ends it before
    a thread that served destroys its hub.

    Raises:
        RuntimeError: this interpreter or loop cannot serve; the sentence says why.
    """

    def __init__(self, hub: Any) -> None:
        hubs.prepare(hub)
        self.hub = hub
        self.loop = hub.loop
        self.thread = get_ident()
        self.pid = os.getpid()
        self.ready: deque[Served] = deque()
        #: puts a socket there: the callback of every read watcher, made once for all of them
        self.on_readable: Callable[[Any], None] = self.ready.append
        #: sockets that other greenlets wrote to since the last turn
        self.dirty: deque[Served] = deque()
        #: the socket whose handler runs in this turn and has not blocked
        self.current: Any = None
        #: sockets whose handler has blocked
        self.blocked: set[Any] = set()
        #: the timeouts of sockets
        self.clocks = Clocks(hub.loop)
        #: the greenlets that handlers run in
        self.runners = Runners(self)
        #: whether a turn is under way
        self.turning = False
        #: what has watchers on this hub: its ``_stop_in_child()`` is called in the child of a fork
        self.on_fork: weakref.WeakSet[Any] = weakref.WeakSet()
        #: the servers and clients of this hub, for ``greensock.run()``, which waits for ``released`` to look again
        self.owners: weakref.WeakSet[Any] = weakref.WeakSet()
        #: those of them that listen or have connections: a paused one has no watcher that would keep it and its owner
        self.kept: set[Any] = set()
        self.released = Event()
        #: what the connections with TLS share: see :mod:`greensock.secure`
        self.tls_buffers: Any = None
        self._handshakes = 0  # steps in this turn
        self._postponed: deque[Served] = deque()  # sockets whose handshake has to wait for the next one
        self._late_turn: Any = None  # the callback that sees to a turn without an event
        # Ours must run before gevent's own prepare watcher, which runs callbacks: one that was made
        # after it would wait for the next event. libev runs the higher priority first.
        self._prepare = self.loop.prepare(ref=False, priority=self.loop.MAXPRI)
        self._prepare.start(self.turn)
        hubs.on_fork.add(self)

    @staticmethod
    def of_this_hub() -> "Engine":
        """The engine of the calling thread's hub, made when there is none."""
        hub = gevent.get_hub()
        engine: Engine | None = getattr(hub, _ENGINE, None)
        if engine is None:
            engine = Engine(hub)
            setattr(hub, _ENGINE, engine)
        elif engine.pid != os.getpid():
            raise RuntimeError(_FORKED)
        return engine

    def close(self) -> None:
        """Stop the watchers and end the parked runners. No socket may be open on this hub any more."""
        self._prepare.stop()
        self._prepare.close()
        self.clocks.stop()
        if self.runners.dismiss() and getcurrent() is not self.hub:
            gevent.sleep(0)
        hubs.on_fork.discard(self)
        if getattr(self.hub, _ENGINE, None) is self:
            delattr(self.hub, _ENGINE)

    # -- asking for a turn ---------------------------------------------------------------------------

    def schedule(self, socket: Any) -> None:
        """Serve *socket* soon. Safe from any greenlet of this thread and from the hub."""
        self.ready.append(socket)
        self.wake()

    def may_shake(self, socket: Any) -> bool:
        """Whether there is time for a step of *socket*'s handshake. If not, it is served again in the next turn."""
        if self._handshakes >= HANDSHAKES_PER_TURN:
            self._postponed.append(socket)
            return False
        self._handshakes += 1
        return True

    def flush_later(self, socket: Any) -> None:
        """Send what was written to *socket* once, at the end of this turn or in the next."""
        self.dirty.append(socket)
        self.wake()

    def wake(self) -> None:
        # Without a callback the loop may sleep on what was just put there, until some other event.
        if not self.turning and (self._late_turn is None or not self._late_turn.pending):
            self._late_turn = self.loop.run_callback(self.turn)

    def call_from_thread(self, function: Callable[[], object]) -> None:
        """Run *function* in a greenlet of this hub; the one method for other threads."""
        self.loop.run_callback_threadsafe(gevent.spawn, function)

    def interrupt_main(self, error: KeyboardInterrupt) -> None:
        """Throw *error*, which was raised in a runner, into the main greenlet, where it belongs."""
        self.hub.handle_system_error(type(error), error, error.__traceback__)

    # -- turns ---------------------------------------------------------------------------------------

    def turn(self) -> None:
        """Serve all that is ready. Runs in the hub and calls no user code there."""
        ready = self.ready
        clocks, runners = self.clocks, self.runners
        if not (ready or self.dirty or clocks.due or runners.returned or self._postponed):
            return
        self.turning = True
        try:
            self._handshakes = 0
            for _ in range(min(HANDSHAKES_PER_TURN, len(self._postponed))):
                ready.append(self._postponed[0])
                del self._postponed[0]
            while runners.returned:
                runners.take_back()
            while True:
                while ready:
                    socket = ready[0]
                    flags = socket._flags
                    if socket._running is not None or (flags & BY_HAND and not flags & PENDING):
                        ready.popleft()
                        if socket._waiter is not None:
                            self.resume(socket)
                        else:
                            # Its handler is blocked; being level-triggered, it would be ready every turn.
                            socket._pause_watcher()
                        continue
                    runner = socket._own
                    if runner is None or runner.dead:
                        socket._own = None
                        runner = runners.take()
                    runner.switch()
                    if self.current is not None:
                        self._leave_behind(runner)
                while self.dirty:
                    self.dirty[0]._send_late()
                    del self.dirty[0]
                if clocks.due:
                    clocks.look()  # only now: every socket that had bytes to read has read them
                if not ready:
                    break
        finally:
            self.turning = False
            if self.current is not None and not runner.dead:  # a signal raised between the switch and what follows it
                self._leave_behind(runner)
            if ready or self.dirty or self._postponed:
                self.wake()

    def resume(self, socket: Any) -> None:
        """In the hub: let the greenlet that waits for *socket*'s input go on, and after it others that wait."""
        self.current = socket
        try:
            socket._waiter.switch()
        finally:
            blocked, self.current = self.current, None
            if blocked is not None:
                try:
                    blocked._left()
                except BaseException:  # of a signal: what it still needs is not lost
                    self.ready.append(blocked)
                    raise

    def wait(self, socket: Any) -> None:
        """Block the calling greenlet until :meth:`resume` is called for *socket*, whose reader it is.

        In a turn the next one that waits is switched to from here, without the way through the hub.
        """
        hub = self.hub
        socket._waiter = getcurrent()
        if getattr(socket._waiter, "switch_out", None) is not None:
            self._wait_by_the_hub(socket)
            return
        try:
            while True:
                if self.current is socket:
                    other = self.ready[0] if self.turning and self.ready else None
                    if other is not None and other._waiter is not None and not other._flags & PENDING:
                        self.ready.popleft()
                        self.current = other
                        other._waiter.switch()
                    else:
                        self.current = None
                        switch(hub)
                else:
                    switch(hub)
                if self.current is socket:  # else it was somebody who has no business to
                    return
        finally:
            socket._waiter = None

    def _wait_by_the_hub(self, socket: Any) -> None:
        """:meth:`wait` for a greenlet that wants to know when it is left, or for the hub, which says that it cannot."""
        try:
            while True:
                if self.current is socket:
                    self.current = None
                self.hub.switch()
                if self.current is socket:
                    return
        finally:
            socket._waiter = None

    def _leave_behind(self, runner: greenlet) -> None:
        """The handler that *runner* runs has blocked: send what it wrote so far, and go on without it."""
        socket, self.current = self.current, None
        socket._running = runner
        socket._flags |= BUSY
        self.blocked.add(socket)
        socket._send_late()

    # -- forks ---------------------------------------------------------------------------------------

    def _stop_in_child(self) -> None:
        """Let go of the parent's connections, without touching the epoll set that both share."""
        self.loop.reinit()  # first: a watcher stopped before it would be taken out of the parent's set
        self._prepare.stop()
        self.clocks.stop()
        for socket in self.ready:  # what was accepted and has not been opened is known nowhere else
            socket._leave_to_parent()
        self.ready.clear()
        self.dirty.clear()
        self._postponed.clear()
        self.clocks.watched.clear()
        self.kept.clear()
        for watching in list(self.on_fork):
            watching._stop_in_child()

"""Turns and runners: how sockets get their handlers called. One engine per hub.

This is the one module that leans on the insides of gevent and greenlet. The way of a message::

    kernel ── libev ──> ready.append(socket)           a started watcher's whole callback
    prepare watcher ──> turn()                         in the hub, once per turn of the loop
                          └─ switch ─> a runner        takes each ready socket: reads once, calls the
                                                       handler, sends what was written; then parks

A handler that blocks leaves its runner behind: the hub goes on with another one, and the one left behind
parks when its handler has returned. So handlers that do not block cost no switch each, handlers that block
have a greenlet of their own for as long as they block, and idle connections have none.
"""

import os
import sys
import weakref
from collections import deque
from collections.abc import Callable
from sys import getrefcount
from time import monotonic
from typing import Any, Final, Protocol
from weakref import getweakrefcount, getweakrefs

import gevent
from gevent import GreenletExit
from gevent._hub_local import get_hub_if_exists
from gevent.event import Event
from gevent.monkey import get_original
from greenlet import getcurrent, greenlet

from .state import BUSY, BY_HAND, CONTEXT, NOT_SERVED, OVER, PENDING, TO_SETTLE

#: The identity of the OS thread, also where threading was monkey-patched.
get_ident: Final[Callable[[], int]] = get_original("_thread", "get_ident")

#: Keep at most so many parked runners, about 4 KB each. With 16, handlers that block were slower than plain
#: gevent (34 k messages/s against 41 k); with 1,024 they are faster (56-63 k).
MAX_PARKED: Final = 1024

#: The sweep looks at timeouts at least so often (a timeout is never early and at most a second late), and
#: at most so often: 10,000 sockets cost 0.2 ms.
SWEEP_LONGEST: Final = 0.5
SWEEP_SHORTEST: Final = 0.02

#: So many steps of TLS handshakes in one turn: each takes up to a millisecond, which everybody else waits for.
HANDSHAKES_PER_TURN: Final = 5

#: Parked runners up to this number are kept for good; more of them only as long as they are used.
KEEP_PARKED: Final = 64


#: To a hub, without the question whether the current greenlet is one itself.
switch: Final = greenlet.switch

#: What a runner is told when it is to end.
DISMISSED: Final = object()

#: The engine is kept on its hub, so that it lives as long and no table of hubs has to be kept.
_ENGINE: Final = "_greensock_engine"


class Served(Protocol):
    """What the engine needs of a socket."""

    _flags: int  # anything that needs more than a plain read
    _running: Any  # the greenlet in which one of its handlers is blocked
    _own: Any  # the runner that belongs to this connection alone
    _waiter: Any  # the greenlet that waits for its input, in blocking style
    _context: Any  # contextvars that its handlers have set

    def _serve(self) -> None:
        """Do one thing that is due: read and deliver, or deliver an event; then send what was written."""

    def _settle(self) -> None:
        """The handler has returned and flags are set: ask for what they need."""

    def _left(self) -> None:
        """The greenlet that waited for its input has gone on, and now waits again or blocks elsewhere."""

    def _send_late(self) -> None:
        """Send what has gathered, unless it is corked on purpose."""

    def _pause_watcher(self) -> None:
        """Stop the read watcher until the running handler has returned."""

    def _failed(self, event: str, error: BaseException) -> None:
        """A handler, or the engine's own code for this socket, raised."""

    def _stray(self, error: BaseException) -> None:
        """*error* was thrown at this connection's own runner while it ran no handler."""

    def _check_clocks(self, now: float) -> bool:
        """Act on timeouts that are due; whether there is any clock left to look at."""


class Runner(greenlet):
    """A greenlet that bears it to be thrown at when it is dead.

    A ``Timeout`` that a handler left running may outlive its connection, and would be raised in the hub.
    """

    __slots__ = ()

    def throw(self, *exception: Any) -> Any:
        return None if self.dead else super().throw(*exception)


class SessionGreenlet(gevent.Greenlet):  # type: ignore[type-arg]  # which it takes for type checkers alone
    """The greenlet of a session: gevent's own, but for where it was spawned, which is the same place for all of them.

    Of that it keeps one line instead of ten, which take 800 bytes.
    """

    spawning_stack_limit = 1


class Engine:
    """The turns of one hub.

    Get it by :meth:`of_this_hub`. Nothing here is public, save that :meth:`close` ends it before
    a thread that served destroys its hub.

    Raises:
        RuntimeError: this interpreter or loop cannot serve; the sentence says why.
    """

    def __init__(self, hub: Any) -> None:
        _refuse_what_cannot_serve(hub)
        if getattr(hub, _FORK_MARK, False):
            hub.loop.reinit()  # gevent.fork has done so, os.fork has not; a second time does no harm
            setattr(hub, _FORK_MARK, False)
        self.hub = hub
        self.loop = hub.loop
        self.thread = get_ident()
        self.pid = os.getpid()
        self.ready: deque[Any] = deque()
        #: puts a socket there: the callback of every read watcher, made once for all of them
        self.on_readable: Callable[[Any], None] = self.ready.append
        #: sockets that other greenlets wrote to since the last turn
        self.dirty: deque[Any] = deque()
        #: the socket whose handler runs in this turn and has not blocked
        self.current: Any = None
        #: sockets whose handler has blocked
        self.blocked: set[Any] = set()
        #: sockets with a clock that the sweep must look at
        self.timed: set[Any] = set()
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
        self._postponed: deque[Any] = deque()  # sockets whose handshake has to wait for the next one
        self._parked: list[greenlet] = []
        self._least_parked = 0  # since the last sweep
        self._returned: deque[tuple[greenlet, Any]] = deque()
        self._returned_refs = _count_parked_references(hub)
        self._awake = False
        self._turning = False
        self._sweep_due = False
        self._sweep_period = SWEEP_LONGEST
        self._sweep_timer: Any = None
        # Ours must run before gevent's own prepare watcher, which runs callbacks: one that was made
        # after it would wait for the next event. libev runs the higher priority first.
        self._prepare = self.loop.prepare(ref=False, priority=self.loop.MAXPRI)
        self._prepare.start(self.turn)
        _engines.add(self)

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
        self._stop_sweeping()
        parked = [*self._parked, *(runner for runner, _ in self._returned)]
        self._parked.clear()
        self._returned.clear()
        for runner in parked:  # a raw greenlet can only be ended from the hub: it has nowhere else to return
            self.loop.run_callback(runner.throw)
        if parked and getcurrent() is not self.hub:
            gevent.sleep(0)
        _engines.discard(self)
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
        if not self._turning and not self._awake:
            self._awake = True
            self.loop.run_callback(self._late_turn)

    def _late_turn(self) -> None:
        self._awake = False
        self.turn()

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
        if not (ready or self.dirty or self._sweep_due or self._returned or self._postponed):
            return
        self._turning = True
        try:
            self._handshakes = 0
            for _ in range(min(HANDSHAKES_PER_TURN, len(self._postponed))):
                ready.append(self._postponed.popleft())
            while self._returned:
                self._take_back()
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
                        runner = self._parked.pop() if self._parked else Runner(self._run, self.hub)
                    runner.switch()
                    if self.current is not None:
                        self._leave_behind(runner)
                while self.dirty:
                    self.dirty.popleft()._send_late()
                if self._sweep_due:
                    self._sweep()  # only now: every socket that had bytes to read has read them
                if not ready:
                    break
        finally:
            self._turning = False
            if self.current is not None and not runner.dead:  # a signal raised between the switch and what follows it
                self._leave_behind(runner)
            if ready or self.dirty or self._postponed:
                self.wake()
            if len(self._parked) < self._least_parked:
                self._least_parked = len(self._parked)

    def resume(self, socket: Any) -> None:
        """In the hub: let the greenlet that waits for *socket*'s input go on, and after it others that wait."""
        self.current = socket
        try:
            socket._waiter.switch()
        finally:
            blocked, self.current = self.current, None
            if blocked is not None:
                blocked._left()

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
                    other = self.ready[0] if self._turning and self.ready else None
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

    def be_runner_of(self, socket: Any) -> None:
        """The calling greenlet is the runner of *socket*, and of no other, until that is over."""
        socket._own = getcurrent()
        self._run(socket)

    def _run(self, mine: Any = None) -> None:
        """A runner. Serves ready sockets until there are none, parks, and again when switched to.

        One that a handler left something on (``gevent.local``, a thread object, a running ``Timeout``, an
        attribute of the greenlet) becomes its connection's own and dies with it, so that no state passes
        from one connection to another. To make a new greenlet per message instead costs 7 microseconds.
        """
        me: Any = getcurrent()
        attributes = me.__dict__
        baseline = getrefcount(me)
        ready = self.ready
        if mine is not None:  # the connection that this runner belongs to
            me = None
            mine = self._rest(mine)
            if mine is DISMISSED:
                return
            me = getcurrent()
        while True:
            left_behind = False
            owner = None if mine is None else me
            while ready:
                socket: Any = ready.popleft()
                flags = socket._flags
                if socket._own is not owner or (flags and flags & NOT_SERVED and (flags & BUSY or not flags & PENDING)):
                    ready.appendleft(socket)  # not for this runner: turn() finds the one for it
                    break
                self.current = socket
                if flags and flags & CONTEXT:
                    me.gr_context = socket._context
                try:
                    socket._serve()
                except BaseException as error:
                    socket._failed("data", error)
                if me.gr_context is not None:
                    socket._context = me.gr_context
                    socket._flags |= CONTEXT
                    me.gr_context = None
                if self.current is not socket:
                    # Left behind. It takes no more work now: nobody would see a handler of it block.
                    left_behind = True
                    socket._running = None
                    socket._flags &= ~BUSY
                    self.blocked.discard(socket)
                    if socket._flags:
                        socket._settle()
                    break
                self.current = None
                flags = socket._flags
                if flags and flags & TO_SETTLE:
                    socket._settle()
                if getrefcount(me) != baseline or getweakrefcount(me) or attributes or mine is not None:
                    if mine is not None:
                        if mine._own is not me:
                            return  # its connection has closed
                    elif not socket._flags & OVER:
                        references = getrefcount(me) - baseline  # before me is an argument, which is one more
                        if _has_traces(me, references):
                            socket._own = owner = me
                            mine = socket
            if mine is not None:
                if mine._own is not me:
                    return
            elif left_behind:
                self._returned.append((me, socket))
                self.wake()
            elif not self._park(me):
                return
            me = socket = None  # a frame that holds its own greenlet keeps a dropped runner alive for ever
            mine = self._rest(mine)
            if mine is DISMISSED:
                return
            me = getcurrent()

    def _rest(self, mine: Any) -> Any:
        """Park until a turn has work. The connection that the runner then belongs to, or DISMISSED if it is to end."""
        while True:
            try:
                adopted_by = self.hub.switch()
            except GreenletExit:
                self._forget(getcurrent())
                return DISMISSED
            except KeyboardInterrupt:  # a signal came while it was switched to: by the hub to the main greenlet
                self._forget(getcurrent())
                raise
            except BaseException as error:  # by a Timeout that a handler left running
                if mine is None:
                    self._forget(getcurrent())
                    return DISMISSED
                mine._stray(error)
                continue
            if self._turning:
                if not adopted_by:
                    return mine
                mine = adopted_by  # see _take_back()

    def _park(self, runner: greenlet) -> bool:
        if len(self._parked) >= MAX_PARKED:
            return False
        self._parked.append(runner)
        if len(self._parked) > KEEP_PARKED and self._sweep_timer is None:
            self._start_sweeping()
        return True

    def _forget(self, runner: greenlet) -> None:
        if runner in self._parked:
            self._parked.remove(runner)

    def _take_back(self) -> None:
        """Park a runner whose handler had blocked, if nothing was left on it."""
        runner, socket = self._returned.popleft()
        if runner.dead:
            return
        references = getrefcount(runner) - self._returned_refs  # before runner is an argument, which is one more
        if _has_traces(runner, references):
            if socket._own is None and not socket._flags & OVER:
                socket._own = runner
                runner.switch(socket)  # from now on it knows whose error a stray exception is
                return
        elif self._park(runner):
            return
        runner.throw()

    # -- clocks --------------------------------------------------------------------------------------

    def watch_clock(self, socket: Any, seconds: float) -> None:
        """Have the sweep look at *socket*, which has a timeout of *seconds*."""
        self.timed.add(socket)
        period = min(max(seconds / 8, SWEEP_SHORTEST), SWEEP_LONGEST)
        if self._sweep_timer is None or period < self._sweep_period:
            self._stop_sweeping()
            self._sweep_period = period
            self._start_sweeping()

    def unwatch_clock(self, socket: Any) -> None:
        self.timed.discard(socket)
        if not self.timed and self._sweep_timer is not None and len(self._parked) <= KEEP_PARKED:
            self._stop_sweeping()

    def _start_sweeping(self) -> None:
        # One timer for all sockets: one each would cost memory, and a heap operation per message.
        self._sweep_timer = self.loop.timer(self._sweep_period, self._sweep_period)
        self._sweep_timer.start(self._on_sweep_timer)

    def _stop_sweeping(self) -> None:
        if self._sweep_timer is not None:
            self._sweep_timer.stop()
            self._sweep_timer.close()
            self._sweep_timer = None
        self._sweep_period = SWEEP_LONGEST

    def _on_sweep_timer(self) -> None:
        self._sweep_due = True  # by the next turn, which follows at once and reads first

    def _sweep(self) -> None:
        self._sweep_due = False
        now = monotonic()
        for socket in list(self.timed):
            if not socket._check_clocks(now):
                self.unwatch_clock(socket)
        for _ in range(self._least_parked - KEEP_PARKED):  # so many were not used since the last sweep
            self._parked.pop(0).throw()
        self._least_parked = len(self._parked)
        if not self.timed and len(self._parked) <= KEEP_PARKED:
            self._stop_sweeping()

    # -- forks ---------------------------------------------------------------------------------------

    def _stop_in_child(self) -> None:
        """Let go of the parent's connections, without touching the epoll set that both share."""
        self.loop.reinit()  # first: a watcher stopped before it would be taken out of the parent's set
        self._prepare.stop()
        self._stop_sweeping()
        for socket in self.ready:  # what was accepted and has not been opened is known nowhere else
            socket._leave_to_parent()
        self.ready.clear()
        self.dirty.clear()
        self._postponed.clear()
        self.timed.clear()
        self.kept.clear()
        for watching in list(self.on_fork):
            watching._stop_in_child()


def has_hub() -> bool:
    """Whether this thread has a hub. To ask gevent for it would make one."""
    return get_hub_if_exists() is not None


_engines: "weakref.WeakSet[Engine]" = weakref.WeakSet()

_FORK_MARK: Final = "_greensock_carried_over_a_fork"
_FORKED: Final = (
    "this gevent hub was carried over a fork, and its connections belong to the parent: "
    "fork before the first use of greensock, or start a new process"
)


def _after_fork_in_child() -> None:
    hub = get_hub_if_exists()
    if hub is not None:
        setattr(hub, _FORK_MARK, True)  # an engine that is made on it later begins with a loop of this process's own
    for engine in list(_engines):
        if engine.thread == get_ident():  # the loops of other threads do not run in the child
            engine._stop_in_child()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_after_fork_in_child)


def _refuse_what_cannot_serve(hub: Any) -> None:
    if not getattr(sys, "_is_gil_enabled", lambda: True)():
        raise RuntimeError("greensock needs the GIL: greenlets of free-threaded Python crash (run with PYTHON_GIL=1)")
    if "libuv" in type(hub.loop).__module__:
        raise RuntimeError("greensock needs gevent's libev loop (GEVENT_LOOP=libev): libuv has no prepare watchers")


def _has_traces(runner: greenlet, references: int) -> bool:
    """Whether a handler left something on *runner*; *references* are those above the usual number.

    A child greenlet that still runs is none: it keeps a weak reference without a callback, and
    ``spawn_tree_locals`` which gevent puts on every greenlet that spawns.
    """
    if references:
        return True
    if getweakrefcount(runner) and any(reference.__callback__ is not None for reference in getweakrefs(runner)):
        return True
    attributes = runner.__dict__
    if attributes:
        attributes.pop("spawn_tree_locals", None)
    return bool(attributes)


def _count_parked_references(hub: Any) -> int:
    """How many references a parked runner without traces has, counted as :meth:`Engine._take_back` counts.

    Not a constant: it differs between versions of Python.
    """
    parked = deque([(Runner(hub.switch, hub), None)])
    runner, _ = parked.popleft()
    return getrefcount(runner)

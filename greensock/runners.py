"""Greenlets that handlers run in: parked while there is nothing to do, and nobody's but one connection's if need be."""

from collections import deque
from sys import getrefcount
from typing import TYPE_CHECKING, Any, Final
from weakref import getweakrefcount, getweakrefs

import gevent
from gevent import GreenletExit
from greenlet import getcurrent, greenlet

from .served import Served
from .state import BUSY, CONTEXT, NOT_SERVED, OVER, PENDING, TO_SETTLE

if TYPE_CHECKING:
    from .engine import Engine

#: Keep at most so many parked runners, about 4 KB each. With 16, handlers that block were slower than plain
#: gevent (34 k messages/s against 41 k); with 1,024 they are faster (56-63 k).
MAX_PARKED: Final = 1024

#: Parked runners up to this number are kept for good; more of them only as long as they are used.
KEEP_PARKED: Final = 64

#: What is said to the clocks, which look at an eighth of it: so each half second those end that were not used in it.
UNUSED: Final = 4.0

#: With any of these a connection takes no runner for its own: its last event was this one, or a session serves it.
UNADOPTING: Final = OVER | BUSY

#: What a runner is told when it is to end.
DISMISSED: Final = object()


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


class Runners:
    """The runners of one engine, which says in :attr:`Engine.ready` what there is to do."""

    def __init__(self, engine: "Engine") -> None:
        self._engine = engine
        self._hub = engine.hub
        self.parked: list[greenlet] = []
        #: those whose handler had blocked and has returned, each with its connection, for :meth:`take_back`
        self.returned: deque[tuple[greenlet, Served]] = deque()
        self._returned_refs = _count_parked_references(engine.hub)
        self._least_parked = 0  # since it was last looked

    def take(self) -> greenlet:
        """A runner to switch to. It parks again by itself."""
        if not self.parked:
            self._least_parked = 0
            return Runner(self._run, self._hub)
        if len(self.parked) < self._least_parked:
            self._least_parked = len(self.parked)
        return self.parked.pop()

    def take_back(self) -> None:
        """Park a runner whose handler had blocked, if nothing was left on it."""
        runner, socket = self.returned.popleft()
        if runner.dead:
            return
        references = getrefcount(runner) - self._returned_refs  # before runner is an argument, which is one more
        if _has_traces(runner, references):
            if socket._own is None and not socket._flags & UNADOPTING:
                socket._own = runner
                runner.switch(socket)  # from now on it knows whose error a stray exception is
                return
        elif self._park(runner):
            return
        runner.throw()

    def dismiss(self) -> bool:
        """End those that have nothing to do, from the hub, in a moment. Whether there were any."""
        idle = [*self.parked, *(runner for runner, _ in self.returned)]
        self.parked.clear()
        self.returned.clear()
        for runner in idle:  # a raw greenlet can only be ended from the hub: it has nowhere else to return
            self._hub.loop.run_callback(runner.throw)
        return bool(idle)

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
        engine = self._engine
        ready = engine.ready
        if mine is not None:  # the connection that this runner belongs to
            me = None
            mine = self._rest(mine)
            if mine is DISMISSED:
                return
            me = getcurrent()
        while True:
            left_behind = False
            owner = None if mine is None else me
            try:
                while ready:
                    socket: Any = ready[0]
                    flags = socket._flags
                    if socket._own is not owner or (
                        flags and flags & NOT_SERVED and (flags & BUSY or not flags & PENDING)
                    ):
                        break  # not for this runner: turn() finds the one for it
                    ready.popleft()
                    engine.current = socket
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
                    if engine.current is not socket:
                        # Left behind. It takes no more work now: nobody would see a handler of it block.
                        left_behind = True
                        if socket._running is me:  # else its session has begun, behind a handler of `handshake`
                            socket._running = None
                            socket._flags &= ~BUSY
                            engine.blocked.discard(socket)
                            if socket._flags & TO_SETTLE:
                                socket._settle()
                        break
                    engine.current = None
                    flags = socket._flags
                    if flags and flags & TO_SETTLE:
                        socket._settle()
                    if getrefcount(me) != baseline or getweakrefcount(me) or attributes or mine is not None:
                        if mine is not None:
                            if mine._own is not me:
                                return  # its connection has closed
                        else:
                            references = getrefcount(me) - baseline  # before me is an argument, which is one more
                            if _has_traces(me, references):
                                if socket._flags & UNADOPTING:
                                    return
                                socket._own = owner = me
                                mine = socket
            except BaseException:  # of a signal, which may come anywhere: what its socket still needs is not lost
                ready.append(socket)
                raise
            if mine is not None:
                if mine._own is not me:
                    return
            elif left_behind:
                self.returned.append((me, socket))
                engine.wake()
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
                adopted_by = self._hub.switch()
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
            if self._engine.turning:
                if not adopted_by:
                    return mine
                mine = adopted_by  # see take_back()

    # -- how many are kept ---------------------------------------------------------------------------

    def _park(self, runner: greenlet) -> bool:
        if len(self.parked) >= MAX_PARKED:
            return False
        self.parked.append(runner)
        if len(self.parked) == KEEP_PARKED + 1:  # it stays watched as long as there are more
            self._engine.clocks.watch(self, UNUSED)
        return True

    def _forget(self, runner: greenlet) -> None:
        if runner in self.parked:
            self.parked.remove(runner)

    def _check_clocks(self, _now: float) -> bool:
        """End those that were not used since the last time. Whether there are still more than are kept for good."""
        for _ in range(self._least_parked - KEEP_PARKED):
            self.parked.pop(0).throw()
        self._least_parked = len(self.parked)
        return len(self.parked) > KEEP_PARKED


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
    """How many references a parked runner without traces has, counted as :meth:`Runners.take_back` counts.

    Not a constant: it differs between versions of Python.
    """
    parked = deque([(Runner(hub.switch, hub), None)])
    runner, _ = parked.popleft()
    return getrefcount(runner)

"""Signals that are heard although a handler blocks the loop.

The interpreter's own part of a signal handler, in C, writes the number into a pipe at once, whatever the main thread
is doing (:func:`signal.set_wakeup_fd`). A thread of the system reads the pipe and has the loop act; where the loop
does not, the thread does. To block the signals and wait for them in the thread would be simpler, but every child
process would inherit the mask and be deaf to them.
"""

import os
import signal
from collections.abc import Callable
from time import monotonic
from typing import Final

import gevent

from . import native, stacks

#: So long the loop may take to show its state before it is shown without it, in seconds.
PATIENCE: Final = 0.5

#: Seconds after a deadline in which the process may still come to its end by itself.
GRACE: Final = 0.5

TAKEN: Final = (signal.SIGTERM, signal.SIGINT, signal.SIGHUP, signal.SIGUSR1)

Action = Callable[[], object]


class Signals:
    """Takes TERM, INT, HUP and USR1, from now until the process has ended. For the main thread.

    Args:
        delay: seconds after TERM in which accepting goes on; after INT there are none.
        timeout: seconds that draining may take after that. Half a second later the process is ended from here.

    Until :meth:`serve` is called there is nothing to drain, and TERM and INT end the process.

    Resource handling: a thread, a pipe, the process's handlers of these signals, and its wakeup descriptor. None is
    given back, save in a child that :func:`os.fork` makes: it has what was there before.
    """

    def __init__(self, *, delay: float, timeout: float) -> None:
        self._delay = delay
        self._timeout = timeout
        self._actions: dict[int, Action] = {}
        self._interrupts = 0
        self._status = 0
        #: when the process is ended from here, and when the state is shown from here
        self._deadline: float | None = None
        self._show_by: float | None = None
        self._main = native.get_ident()
        self._loop = gevent.get_hub().loop
        self._has_terminal = os.isatty(2)
        self._reader, self._writer = os.pipe()
        os.set_blocking(self._writer, False)
        self._wakeup_before = signal.set_wakeup_fd(self._writer, warn_on_full_buffer=False)
        self._handlers_before = {number: signal.signal(number, _nothing) for number in TAKEN}
        os.register_at_fork(before=_hold_back, after_in_parent=_let_through, after_in_child=self._stop_in_child)
        native.start_thread(self._listen)

    def serve(self, *, drain: Callable[[float], object], end: Action, reload: Action, show: Action) -> None:
        """From now on there is something to drain.

        Args:
            drain: called at the first TERM and at the first INT, with the seconds to go on accepting.
            end: called at the second INT: end at once.
            reload: called at HUP.
            show: called at USR1; in the signal thread, if the loop does not turn.

        All are called in greenlets of their own.
        """
        self._actions = {
            signal.SIGTERM: lambda: drain(self._delay),
            signal.SIGINT: lambda: drain(0.0) if self._interrupts == 1 else end(),
            signal.SIGHUP: reload,
            signal.SIGUSR1: show,
        }

    def done(self) -> None:
        """The process comes to its end by itself: no news of these could matter any more, and none may kill it.

        The interpreter takes its handlers away at its end, and the system's are back. An interrupt is heard until then.
        """
        for number in TAKEN:
            if number != signal.SIGINT:
                signal.signal(number, signal.SIG_IGN)

    def _stop_in_child(self) -> None:
        """After a fork, in the child: what is sent to it must not reach the parent by the pipe that both have."""
        for number, handler in self._handlers_before.items():
            signal.signal(number, signal.SIG_DFL if handler is None else handler)
        signal.set_wakeup_fd(self._wakeup_before)
        os.close(self._reader)
        os.close(self._writer)
        _let_through()

    # -- in the thread --------------------------------------------------------------------------------

    def _listen(self) -> None:
        poll = native.poll()
        poll.register(self._reader)
        while True:
            if poll.poll(self._milliseconds()):
                for number in os.read(self._reader, 512):
                    self._heard(number)
            now = monotonic()
            if self._show_by is not None and now >= self._show_by:
                self._show_by = None
                self._actions[signal.SIGUSR1]()
            if self._deadline is not None and now >= self._deadline + GRACE:
                self._end_by_force()

    def _milliseconds(self) -> float | None:
        """How long to listen before the next thing is due; None: for ever."""
        due = [self._show_by, None if self._deadline is None else self._deadline + GRACE]
        times = [time for time in due if time is not None]
        return max(0.0, min(times) - monotonic()) * 1000 + 1 if times else None

    def _heard(self, number: int) -> None:
        if number == signal.SIGHUP and self._has_terminal and not os.isatty(2):
            number = signal.SIGTERM  # the terminal was closed: nobody asks for a reload
        if number not in TAKEN:
            return
        if number in (signal.SIGTERM, signal.SIGINT):
            self._set_deadline(number)
        if not self._actions:
            return
        if number == signal.SIGUSR1:
            self._show_by = monotonic() + PATIENCE
        self._call(number)

    def _set_deadline(self, number: int) -> None:
        if not self._actions:
            os._exit(128 + number)  # as if nobody had taken the signal
        self._interrupts += number == signal.SIGINT
        if self._interrupts > 1:
            self._status = 128 + number
            deadline = monotonic()
        else:
            deadline = monotonic() + self._timeout + (self._delay if number == signal.SIGTERM else 0.0)
        self._deadline = deadline if self._deadline is None else min(deadline, self._deadline)

    def _call(self, number: int) -> None:
        """Have the loop do what *number* asks for."""

        def act() -> None:
            if number == signal.SIGUSR1:
                if self._show_by is None:
                    return  # it took too long, and was done without it
                self._show_by = None
            self._actions[number]()

        try:
            self._loop.run_callback_threadsafe(gevent.spawn, act)
        except ValueError:  # by gevent: operation on destroyed loop
            pass

    def _end_by_force(self) -> None:
        frame = stacks.users(stacks.of_thread(self._main))
        where = f"; it is at {stacks.describe(frame)}" if frame is not None else ""
        os.write(2, f"greensock: time is up, and the process has not ended{where}\n".encode())
        os._exit(self._status)


def _nothing(number: int, frame: object) -> None:
    """What the interpreter calls, after the pipe was written to."""


def _hold_back() -> None:
    """Before a fork: what is sent to the child must find it with handlers of its own."""
    signal.pthread_sigmask(signal.SIG_BLOCK, TAKEN)


def _let_through() -> None:
    signal.pthread_sigmask(signal.SIG_UNBLOCK, TAKEN)

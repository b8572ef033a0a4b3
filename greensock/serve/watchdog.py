"""Handlers that block the loop, found while they do it.

A handler may wait as long as it likes, by gevent. One that sleeps outside of gevent, computes, or calls into C
keeps everybody waiting, and nothing in the loop can tell of it. So a thread of the system asks the loop for a sign
of life ten times a second. When there is none it looks several times where the main thread is: the innermost call
that is there all the time is the one that blocks.

A call into C that keeps the interpreter's lock stops that thread too. Against this the kernel counts the CPU time of
the process. When the thread has not set that timer back, faulthandler's signal handler writes where the interpreter
is: it is C itself, and needs no lock.
"""

import dataclasses
import faulthandler
import linecache
import os
import re
import signal
from collections.abc import Sequence
from opcode import opname
from time import monotonic
from types import CodeType, FrameType
from typing import Final

import gevent

from . import native, stacks

#: Seconds that the loop has for its answer, before it is asked again or looked at.
PERIOD: Final = 0.1

#: Seconds after which it is said that it is blocked.
BLOCKED: Final = 0.2

#: Seconds between two looks.
PAUSE: Final = 0.02

#: Seconds without a sign of life of the thread itself, until the lock that it needs counts as kept; and until that is
#: shown at once. In CPU time, which an overloaded machine does not stretch.
KEPT: Final = 0.25
SHOWN: Final = 0.6

#: What a stack is: each call with the instruction that it is at, the outermost first.
Look = list[tuple[FrameType, int]]

_EXPLANATION: Final = (
    "greensock: this is C code that keeps the interpreter's lock, and with it every connection, waiting\n"
)


class Watchdog:
    """Watches over the loop of the calling thread, until :meth:`close`, and writes to standard error.

    Each place is reported once in the life of the process. A block of less than 0.25 seconds may go unnoticed.

    Resource handling: a thread; where the system has them, two timers of CPU time with their signals (SIGPROF and
    SIGVTALRM), and a file in memory.
    """

    def __init__(self) -> None:
        #: how often the loop was blocked, and for how many seconds in all
        self.blocks = 0
        self.seconds = 0.0
        self._loop = gevent.get_hub().loop
        self._thread = native.get_ident()
        self._answered_at = 0.0
        #: since the last question this thread was kept from its work for so long: maybe after the answer
        self._kept = 0.0
        self._reported: set[tuple[str, int]] = set()
        self._closed = False
        self._alarm = Alarm() if hasattr(os, "memfd_create") else None
        native.start_thread(self._run)

    def close(self) -> None:
        """Watch no more."""
        self._closed = True

    # -- in the thread --------------------------------------------------------------------------------

    def _run(self) -> None:
        try:
            self._watch()
        finally:
            if self._alarm is not None:
                self._alarm.close()

    def _watch(self) -> None:
        while not self._closed:
            self._kept = 0.0
            asked = monotonic()
            try:
                self._loop.run_callback_threadsafe(self._answer)
            except ValueError:  # by gevent: operation on destroyed loop
                return
            # Once for each question this thread wakes and takes the interpreter's lock from the loop's.
            if not self._has_answered(asked, PERIOD) and not self._look_closely(asked):
                while not self._has_answered(asked, PERIOD):
                    pass
            blocked = max(self._answered_at - asked, self._kept)
            if blocked >= BLOCKED:
                self.blocks += 1
                self.seconds += blocked

    def _answer(self) -> None:
        """In the loop: a sign of life."""
        self._answered_at = monotonic()

    def _has_answered(self, asked: float, seconds: float) -> bool:
        """Whether the loop has answered after so many *seconds*, or need not any more."""
        native.sleep(seconds)
        self._set_back()
        return self._answered_at >= asked or self._closed

    def _look_closely(self, asked: float) -> bool:
        """Report what blocks the loop, which was *asked* then. Whether it has answered meanwhile."""
        looks: list[Look] = []
        while len(looks) < 2 or monotonic() - asked < BLOCKED:
            looks.append([(frame, frame.f_lasti) for frame in stacks.of_thread(self._thread)])
            if self._has_answered(asked, PAUSE):
                return True
        found = culprit(looks)
        if found is not None:
            frame, line = found
            file, function = frame.f_code.co_filename, frame.f_code.co_firstlineno
            # Where one spins is seen by chance: whatever was reported of that function, this is it.
            if self._is_new((file, line or function), also=(file, function)):
                callers = stacks.of_frame(frame)[:-1]
                called = [f"    called by {stacks.describe(caller)}\n" for caller in callers if stacks.is_users(caller)]
                _write(f"greensock: the loop is blocked by {stacks.describe(frame)}\n{''.join(reversed(called))}")
        return False

    def _is_new(self, place: tuple[str, int], also: tuple[str, int] | None = None) -> bool:
        """Whether *place* was not reported; now it is, and what it is *also*."""
        known = place in self._reported
        self._reported |= {place, also or place}
        return not known

    def _set_back(self) -> None:
        """Tell the kernel that this thread lives, and see what has kept it from that, if something has."""
        kept = self._alarm.set_back() if self._alarm is not None else None
        if kept is None:
            return
        self._kept = kept.seconds
        file, line = next((place for place in kept.stack if stacks.is_users_file(place[0])), kept.stack[0])
        if kept.shown:
            self._reported.add((file, line))
            _write(_EXPLANATION)
        elif self._is_new((file, line)):
            text = linecache.getline(file, line).strip()
            _write(f"greensock: the loop was blocked by {stacks.file_of(file)}:{line}: {text}\n{_EXPLANATION}")


def culprit(looks: Sequence[Look]) -> tuple[FrameType, int | None] | None:
    """The call that was going on in all *looks*, and the line that it is at, or None for the line if it spins.

    None if it is nobody's in particular.
    """
    common = []
    for same in zip(*looks, strict=False):
        if any(frame is not same[0][0] for frame, _ in same):
            break
        common.append(same)
    frame = stacks.users([same[0][0] for same in common])
    if frame is None:
        return None  # many short handlers, one after the other
    depth = next(index for index, same in enumerate(common) if same[0][0] is frame)
    instructions = {instruction for _, instruction in common[depth]}
    called = {id(look[depth + 1][0]) if len(look) > depth + 1 else 0 for look in looks}
    spins = len(instructions) > 1 or len(called) > 1 or _is_jump(frame.f_code, instructions.pop())
    return frame, None if spins else frame.f_lineno


def _is_jump(code: CodeType, instruction: int) -> bool:
    """Whether it is one at which the interpreter lets another thread look on, without waiting for anything itself."""
    return "JUMP" in opname[code.co_code[instruction]]


@dataclasses.dataclass(frozen=True, slots=True)
class Kept:
    """That the interpreter's lock was kept: where, innermost first, whether that was shown, and how many seconds."""

    stack: list[tuple[str, int]]
    shown: bool
    seconds: float


class Alarm:
    """The kernel's count of CPU time since the watching thread was last seen alive.

    When it runs out, the stack of whoever used it up is written to a file in memory. The first time it is also
    written to standard error, at once: nobody else can speak then, and nobody can see whether it is something new.
    """

    def __init__(self) -> None:
        self._memory = os.memfd_create("greensock-watchdog")
        #: seconds until a stack is shown; 0 when one has been
        self._shown_after = SHOWN
        faulthandler.register(signal.SIGPROF, file=self._memory, all_threads=False)
        faulthandler.register(signal.SIGVTALRM, file=2, all_threads=False)
        self._start()

    def set_back(self) -> Kept | None:
        """Begin to count again. What kept the lock meanwhile, if it was kept."""
        seconds = monotonic() - self._set
        kept = None
        if seconds >= KEPT:
            kept = self._what_kept_it(seconds)
        elif self._shown_after and not signal.getitimer(signal.ITIMER_VIRTUAL)[0]:
            self._shown_after *= 4  # many threads have used up the time together, and none of them has kept the lock
        self._start()
        return kept

    def _what_kept_it(self, seconds: float) -> Kept | None:
        if signal.getitimer(signal.ITIMER_PROF)[0]:
            return None  # the time has passed without anybody using it
        shown = bool(self._shown_after) and not signal.getitimer(signal.ITIMER_VIRTUAL)[0]
        if shown:
            self._shown_after = 0.0
        # There may be others in it, of many threads that used up the time together.
        text = self._read().rpartition("most recent call first")[2]
        frames = re.findall(r'^  File "(.+)", line (\d+) in ', text, re.MULTILINE)
        return Kept([(file, int(line)) for file, line in frames], shown, seconds) if frames else None

    def _start(self) -> None:
        self._set = monotonic()
        signal.setitimer(signal.ITIMER_PROF, KEPT)
        signal.setitimer(signal.ITIMER_VIRTUAL, self._shown_after)

    def _read(self) -> str:
        text = os.pread(self._memory, os.fstat(self._memory).st_size, 0).decode(errors="replace")
        os.truncate(self._memory, 0)
        os.lseek(self._memory, 0, os.SEEK_SET)
        return text

    def close(self) -> None:
        """Count no more."""
        signal.setitimer(signal.ITIMER_PROF, 0.0)
        signal.setitimer(signal.ITIMER_VIRTUAL, 0.0)
        faulthandler.unregister(signal.SIGPROF)
        faulthandler.unregister(signal.SIGVTALRM)
        os.close(self._memory)


def _write(text: str) -> None:
    """Not by logging: its handlers may wait for a lock that the blocked handler holds."""
    os.write(2, text.encode(errors="replace"))

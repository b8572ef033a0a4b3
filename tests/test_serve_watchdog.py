"""Handlers that block the loop are reported while they do it, with their line, once."""

import dis
import re
import sys
import textwrap
from types import FrameType
from typing import Any

from greensock.serve.watchdog import Look, culprit
from program import Launch

#: Says on standard error what it does, beside what the watchdog says there.
PROGRAM = """
import os, sys, time
import gevent.monkey
gevent.monkey.patch_all()
import gevent
import gevent.event
from gevent.monkey import get_original
from greensock.serve.watchdog import Watchdog

really_sleep = get_original("time", "sleep")

def say(text):
    os.write(2, (text + "\\n").encode())

def sleep(seconds):
    really_sleep(seconds)

def spin(seconds):
    end = time.monotonic() + seconds
    while time.monotonic() < end:
        for _ in range(100):
            pass

def callback(seconds):
    done = gevent.event.Event()
    def call():
        really_sleep(seconds)
        done.set()
    gevent.get_hub().loop.run_callback(call)
    done.wait()

def compute(seconds):
    sum(range(round(seconds * 10**8)))

def other(seconds):
    sum(range(round(seconds * 10**8)))

def do(function, seconds):
    say(f"begin {function.__name__}")
    gevent.spawn(function, seconds).get()
    say(f"end {function.__name__}")
    gevent.sleep(0.15)  # for the thread to see that the loop turns
"""


def launch_and_read(launch: Launch, text: str) -> list[str]:
    """The lines of its errors."""
    status, output, errors = launch(PROGRAM + textwrap.dedent(text)).finish()
    assert (status, output) == (0, ""), errors
    return errors.splitlines()


def test_each_place_is_reported_while_it_blocks_and_once(launch: Launch) -> None:
    lines = launch_and_read(
        launch,
        """
        watchdog = Watchdog()
        for seconds in (0.5, 0.4):
            for function in (sleep, spin, callback):
                do(function, seconds)
        do(compute, 1.0)
        do(compute, 0.5)
        do(other, 0.5)
        do(other, 0.5)
        say(f"{watchdog.blocks} {watchdog.seconds > 4}")
        """,
    )
    told = "\n".join(lines)
    for name in ("sleep", "spin", "callback"):
        where = r"callback\.<locals>\.call" if name == "callback" else name
        report = rf"greensock: the loop is blocked by <string>:\d+ in {where}"
        assert re.search(rf"^begin {name}\n{report}\n(    called by .*\n)*end {name}$", told, re.MULTILINE), told
        assert len(re.findall(report, told)) == 1, told
    report = r"Stack \(most recent call first\):\n  File \"<string>\", line \d+ in compute\n"
    assert re.search(rf"^begin compute\n{report}", told, re.MULTILINE), "the first that keeps the lock, at once" + told
    assert len(re.findall(" in compute", told)) == 1, told
    report = r"greensock: the loop was blocked by <string>:\d+: "
    assert len(re.findall(report, told)) == 1, "another one, when it lets go of it" + told
    assert told.count("keeps the interpreter's lock") == 2
    assert lines[-1] == "10 True"


def test_what_does_not_block_is_not_reported(launch: Launch) -> None:
    """Waiting by gevent, many short handlers in a row, and threads that compute."""
    lines = launch_and_read(
        launch,
        """
        import hashlib
        watchdog = Watchdog()

        def short():
            end = time.monotonic() + 0.02
            while time.monotonic() < end:
                pass

        def busy():
            gevent.get_hub().threadpool.spawn(hashlib.pbkdf2_hmac, "sha256", b"x", b"y", 700_000)
            gevent.get_hub().threadpool.spawn(hashlib.pbkdf2_hmac, "sha256", b"x", b"y", 700_000)

        busy()
        gevent.sleep(0.5)
        gevent.joinall([gevent.spawn(short) for _ in range(40)])
        gevent.get_hub().threadpool.join()
        say("done")
        """,
    )
    assert lines == ["done"]


def test_threads_that_use_up_the_time_together_are_not_shown_again_and_again(launch: Launch) -> None:
    """On a machine with many cores; here the time is short instead."""
    lines = launch_and_read(
        launch,
        """
        import hashlib
        import greensock.serve.watchdog
        greensock.serve.watchdog.SHOWN = 0.02
        watchdog = Watchdog()
        for _ in range(2):
            gevent.get_hub().threadpool.spawn(hashlib.pbkdf2_hmac, "sha256", b"x", b"y", 1_000_000)
        gevent.get_hub().threadpool.join()
        """,
    )
    assert sum(line.startswith("Stack") for line in lines) <= 3
    assert not [line for line in lines if line.startswith("greensock")]


def test_an_end_leaves_nothing_behind(launch: Launch) -> None:
    lines = launch_and_read(
        launch,
        """
        import signal, sys
        watchdog = Watchdog()
        watchdog.close()
        watchdog.close()
        before = len(os.listdir("/proc/self/fd"))
        gevent.sleep(0.4)
        say(str(before - len(os.listdir("/proc/self/fd"))))
        say(str([signal.getitimer(which) for which in (signal.ITIMER_PROF, signal.ITIMER_VIRTUAL)]))
        say(str(len(sys._current_frames())))
        """,
    )
    assert lines == ["1", "[(0.0, 0.0), (0.0, 0.0)]", "1"]


# -- whom to blame ---------------------------------------------------------------------------------------


def look(frames: list[FrameType], **instructions: int) -> Look:
    """A look at *frames*, in which some functions have got to another instruction."""
    return [(frame, instructions.get(frame.f_code.co_name, frame.f_lasti)) for frame in frames]


def frames_of(innermost: FrameType | None) -> list[FrameType]:
    """From this module on."""
    found = []
    while innermost is not None and innermost.f_code.co_filename == __file__:
        found.append(innermost)
        innermost = innermost.f_back
    return found[::-1]


def handler(inner: Any) -> list[FrameType]:
    return query(inner)


def query(inner: Any) -> list[FrameType]:
    return frames_of(sys._getframe())


def blamed(*looks: Look) -> tuple[str, int | None] | None:
    """Function and line."""
    found = culprit(looks)
    return None if found is None else (found[0].f_code.co_name, found[1])


def test_the_innermost_call_that_is_in_all_looks() -> None:
    frames = handler(None)
    assert blamed(look(frames), look(frames)) == ("query", frames[-1].f_lineno)


def test_of_one_that_calls_this_and_that_its_function_is_the_place() -> None:
    first, second = handler(None), handler(None)
    outer = first[:1]
    looks = look([*outer, *first[1:]]), look([*outer, *second[1:]])
    assert blamed(*looks) == (outer[0].f_code.co_name, None)


def test_of_one_that_goes_round_in_circles_its_function_is_the_place() -> None:
    frames = handler(None)
    assert blamed(look(frames), look(frames, query=0)) == ("query", None)


def loops() -> list[FrameType]:
    found: list[FrameType] = []
    while not found:
        found = frames_of(sys._getframe())
    return found


def test_one_that_is_always_seen_between_two_rounds_goes_round_in_circles() -> None:
    frames = loops()
    jump = next(i.offset for i in dis.get_instructions(loops) if "JUMP_BACKWARD" in i.opname)
    assert blamed(look(frames, loops=jump), look(frames, loops=jump)) == ("loops", None)


def test_what_its_callers_do_does_not_matter() -> None:
    frames = handler(None)
    assert blamed(look(frames), look(frames, handler=0)) == ("query", frames[-1].f_lineno)


def test_of_many_nobody_is_to_blame() -> None:
    first, second = handler(None)[1:], handler(None)[1:]
    assert blamed(look(first), look(second)) is None
    assert blamed(look(first), []) is None

"""A signal whose handler raises, at any place where Python would call it."""

import dis
import os
import sys
from collections.abc import Callable, Iterator
from functools import cache
from itertools import pairwise
from types import CodeType, FrameType
from typing import Any, Final

import greensock

PACKAGE: Final = os.path.dirname(greensock.__file__) + os.sep

#: After these the interpreter looks for signals.
ASKS: Final = ("RESUME", "JUMP_BACKWARD", "CALL", "CALL_FUNCTION_EX")


@cache
def _places(code: CodeType) -> frozenset[int]:
    ops = list(dis.get_instructions(code))
    return frozenset(after.offset for op, after in pairwise(ops) if op.opname in ASKS)


def interrupted(call: Callable[[], object], number: int, name: str = "") -> str:
    """Make the *call*, with a KeyboardInterrupt at the place *number* of greensock's code, or of its functions *name*.

    Where that was, ``""`` if there are not so many places: then nothing was raised. The interrupt goes no further.
    """
    place = ""

    def trace(frame: FrameType, event: str, argument: Any) -> Any:
        if not frame.f_code.co_filename.startswith(PACKAGE) or name not in ("", frame.f_code.co_name):
            return None
        frame.f_trace_opcodes, frame.f_trace_lines = True, False
        return look

    def look(frame: FrameType, event: str, argument: Any) -> Any:
        nonlocal number, place
        if event == "opcode" and frame.f_lasti in _places(frame.f_code):
            number -= 1
            if number == 0:
                place = f"{frame.f_code.co_filename.removeprefix(PACKAGE)}:{frame.f_lineno} in {frame.f_code.co_name}"
                raise KeyboardInterrupt
        return look

    before = sys.gettrace()
    sys.settrace(trace)
    try:
        call()
    except KeyboardInterrupt:
        pass
    finally:
        sys.settrace(before)
    return place


def everywhere(strike: Callable[[int], str]) -> Iterator[str]:
    """The places that *strike* answers for one number after the other, until it finds none."""
    number = 1
    while place := strike(number):
        yield place
        number += 1

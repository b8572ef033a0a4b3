"""A signal whose handler raises, at any place where Python would call it."""

import dis
import os
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from functools import cache
from itertools import pairwise
from types import CodeType, FrameType
from typing import Any, Final

import greensock

PACKAGE: Final = os.path.dirname(greensock.__file__) + os.sep

#: After these the interpreter looks for signals.
ASKS: Final = ("RESUME", "JUMP_BACKWARD", "CALL", "CALL_KW", "CALL_FUNCTION_EX")


@cache
def places(code: CodeType) -> dict[int, int]:
    """Where in *code* Python would call a signal's handler: the offsets of instructions, numbered in their order."""
    asking = (after.offset for op, after in pairwise(dis.get_instructions(code)) if op.opname in ASKS)
    return {offset: index for index, offset in enumerate(asking)}


def interrupted(call: Callable[[], object], number: int, name: str = "") -> str:
    """Make the *call*, with a KeyboardInterrupt at the place *number* of greensock's code, or of its functions *name*.

    Where that was, ``""`` if there are not so many places: then nothing was raised. The interrupt goes no further.
    """
    place = ""

    def look(frame: FrameType, offset: int) -> None:
        nonlocal number, place
        if name in ("", frame.f_code.co_name) and offset in places(frame.f_code):
            number -= 1
            if number == 0:
                place = f"{frame.f_code.co_filename.removeprefix(PACKAGE)}:{frame.f_lineno} in {frame.f_code.co_name}"
                raise KeyboardInterrupt

    with _each_instruction(look), suppress(KeyboardInterrupt):
        call()
    return place


Look = Callable[[FrameType, int], None]

if sys.version_info >= (3, 12):  # where sys.settrace() tells of instructions only later, if at all

    @contextmanager
    def _each_instruction(look: Look) -> Iterator[None]:
        """Before each instruction of greensock's code, call *look* with its frame and offset. It may raise."""
        monitoring = sys.monitoring

        def instruction(code: CodeType, offset: int) -> object:
            if not code.co_filename.startswith(PACKAGE):
                return monitoring.DISABLE
            look(sys._getframe(1), offset)
            return None

        monitoring.use_tool_id(monitoring.DEBUGGER_ID, "interrupts")
        monitoring.register_callback(monitoring.DEBUGGER_ID, monitoring.events.INSTRUCTION, instruction)
        monitoring.set_events(monitoring.DEBUGGER_ID, monitoring.events.INSTRUCTION)
        try:
            yield
        finally:
            monitoring.set_events(monitoring.DEBUGGER_ID, 0)
            monitoring.free_tool_id(monitoring.DEBUGGER_ID)

else:

    @contextmanager
    def _each_instruction(look: Look) -> Iterator[None]:
        """Before each instruction of greensock's code, call *look* with its frame and offset. It may raise."""

        def trace(frame: FrameType, event: str, argument: Any) -> Any:
            if not frame.f_code.co_filename.startswith(PACKAGE):
                return None
            frame.f_trace_opcodes, frame.f_trace_lines = True, False
            return instruction

        def instruction(frame: FrameType, event: str, argument: Any) -> Any:
            if event == "opcode":
                look(frame, frame.f_lasti)
            return instruction

        before = sys.gettrace()
        sys.settrace(trace)
        try:
            yield
        finally:
            sys.settrace(before)


def everywhere(strike: Callable[[int], str]) -> Iterator[str]:
    """The places that *strike* answers for one number after the other, until it finds none."""
    number = 1
    while place := strike(number):
        yield place
        number += 1

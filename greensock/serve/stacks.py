"""Where threads and greenlets are, seen from outside: frames, and the one among them that a user wrote.

Reading frames disturbs nobody: it may be done by a thread while the loop runs, or while it is stuck.
"""

import gc
import linecache
import os
import sys
from collections.abc import Iterator, Sequence
from types import FrameType
from typing import Final

from greenlet import greenlet

_STDLIB: Final = os.path.dirname(os.__file__) + os.sep

#: Where greensock itself is.
OURS: Final = os.path.dirname(os.path.dirname(os.path.abspath(__file__))) + os.sep
_PACKAGES: Final = (f"{os.sep}site-packages{os.sep}", f"{os.sep}dist-packages{os.sep}")


def of_thread(ident: int) -> list[FrameType]:
    """What the thread *ident* runs now, the outermost call first; empty if there is no such thread."""
    return of_frame(sys._current_frames().get(ident))


def of_frame(frame: FrameType | None) -> list[FrameType]:
    """*frame* and those that called it, the outermost first."""
    frames = []
    while frame is not None:
        frames.append(frame)
        frame = frame.f_back
    return frames[::-1]


def of_greenlets(*, roots: bool = True) -> Iterator[list[FrameType]]:
    """What each suspended greenlet of the process is in; with or without those that threads begin with."""
    for found in gc.get_objects():
        if isinstance(found, greenlet) and found.gr_frame is not None and (roots or found.parent is not None):
            yield of_frame(found.gr_frame)


def is_ours(frame: FrameType) -> bool:
    """Whether it is code of greensock or gevent, which run other people's."""
    file = frame.f_code.co_filename
    return file.startswith(OURS) or f"{os.sep}gevent{os.sep}" in file


def is_users_file(file: str) -> bool:
    """Whether it is no library's, as far as its place tells."""
    return not file.startswith((OURS, _STDLIB, "<frozen")) and not any(part in file for part in _PACKAGES)


def is_users(frame: FrameType) -> bool:
    """Whether a user wrote it."""
    return is_users_file(frame.f_code.co_filename) and not is_ours(frame)


def users(frames: Sequence[FrameType]) -> FrameType | None:
    """The innermost of *frames* that a user wrote; if there is none, the innermost of a library other than ours."""
    for frame in reversed(frames):
        if is_users(frame):
            return frame
    for frame in reversed(frames):
        if not is_ours(frame) and not frame.f_code.co_filename.startswith("<frozen"):
            return frame
    return None


def describe(frame: FrameType) -> str:
    """``app.py:12 in data: time.sleep(5)``."""
    code = frame.f_code
    line = linecache.getline(code.co_filename, frame.f_lineno or 0).strip()
    return f"{file_of(code.co_filename)}:{frame.f_lineno} in {code.co_qualname}{f': {line}' if line else ''}"


def file_of(path: str) -> str:
    """*path* as a person at the terminal would write it: from the working directory on, if it is below that."""
    try:
        relative = os.path.relpath(path)
    except (OSError, ValueError):  # the working directory is gone, or the path is empty
        return path
    return path if relative.startswith(os.pardir) else relative

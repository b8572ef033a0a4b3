"""Threads of the operating system, also in a program where gevent has put greenlets in their place.

What watches over the loop has to run while the loop does not. It takes nothing from :mod:`threading` and nothing
that waits, for under monkey-patching either would be the loop's.
"""

import signal
from collections.abc import Callable
from typing import Any, Final

from gevent.monkey import get_original

_start_new_thread: Final[Callable[..., int]] = get_original("_thread", "start_new_thread")
allocate_lock: Final[Callable[[], Any]] = get_original("_thread", "allocate_lock")
get_ident: Final[Callable[[], int]] = get_original("_thread", "get_ident")
sleep: Final[Callable[[float], None]] = get_original("time", "sleep")
waitpid: Final[Callable[[int, int], tuple[int, int]]] = get_original("os", "waitpid")
poll: Final[Callable[[], Any]] = get_original("select", "poll")


def start_thread(function: Callable[[], object]) -> None:
    """Run *function* in a thread that ends with the process, and that takes no signals: those are for the others."""

    def run() -> None:
        signal.pthread_sigmask(signal.SIG_BLOCK, signal.valid_signals())
        function()

    _start_new_thread(run, ())

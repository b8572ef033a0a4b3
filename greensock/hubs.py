"""gevent's hubs: whether a thread has one, whether it can serve, and what a fork does to it.

This is the one module that imports what gevent keeps to itself.
"""

import os
import sys
import weakref
from collections.abc import Callable
from typing import Any, Final

from gevent._hub_local import get_hub_if_exists
from gevent.monkey import get_original
from greenlet import greenlet

#: The identity of the OS thread, also where threading was monkey-patched.
get_ident: Final[Callable[[], int]] = get_original("_thread", "get_ident")

#: To a hub, without the question whether the current greenlet is one itself.
switch: Final = greenlet.switch

#: What a descriptor is watched for, by libev's numbers.
READ: Final = 1
WRITE: Final = 2

#: On a hub that a fork has copied into this process, until an engine is made on it.
_CARRIED_OVER: Final = "_greensock_carried_over_a_fork"


def has_hub() -> bool:
    """Whether this thread has a hub. To ask gevent for it would make one."""
    return get_hub_if_exists() is not None


def prepare(hub: Any) -> None:
    """Make sure that *hub* can serve.

    Raises:
        RuntimeError: this interpreter or loop cannot; the sentence says why.
    """
    if not getattr(sys, "_is_gil_enabled", lambda: True)():
        raise RuntimeError("greensock needs the GIL: greenlets of free-threaded Python crash (run with PYTHON_GIL=1)")
    if "libuv" in type(hub.loop).__module__:
        raise RuntimeError("greensock needs gevent's libev loop (GEVENT_LOOP=libev): libuv has no prepare watchers")
    if getattr(hub, _CARRIED_OVER, False):
        hub.loop.reinit()  # gevent.fork has done so, os.fork has not; a second time does no harm
        setattr(hub, _CARRIED_OVER, False)


#: What has watchers on a hub and a ``thread``: its ``_stop_in_child()`` is called in the child of a fork.
on_fork: Final[weakref.WeakSet[Any]] = weakref.WeakSet()


def _after_fork_in_child() -> None:
    hub = get_hub_if_exists()
    if hub is not None:
        setattr(hub, _CARRIED_OVER, True)  # an engine that is made on it later begins with a loop of this process's own
    for engine in list(on_fork):
        if engine.thread == get_ident():  # the loops of other threads do not run in the child
            engine._stop_in_child()


os.register_at_fork(after_in_child=_after_fork_in_child)

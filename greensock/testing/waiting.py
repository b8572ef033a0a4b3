"""Waiting for a condition without sleeping."""

from collections.abc import Callable
from typing import Any, Final, cast

import gevent
from gevent.event import Event

#: Seconds after which a wait for something that should happen at once has failed. It is never waited out otherwise.
PATIENCE: Final = 10.0

#: When time is up, the loop turns so often before that counts: it looks at timers ahead of descriptors, and on a
#: machine without time for this process it may have turned hardly at all.
LAST_TURNS: Final = 10


def wait_until(condition: Callable[[], object], timeout: float = PATIENCE, what: str = "") -> None:
    """Block this greenlet until *condition* is true; it is asked after every turn of the loop.

    Raises:
        AssertionError: not in *timeout* seconds; the message has *what*, or the condition's name.
    """
    if condition():
        return
    turned = Event()
    loop = gevent.get_hub().loop
    watchers = [loop.check(), loop.timer(0.02, 0.02)]  # the timer is for what other threads do
    for watcher in watchers:
        watcher.start(turned.set)
    try:
        with gevent.Timeout(timeout, cast(Any, False)):
            while not condition():
                turned.clear()
                turned.wait()
            return
        for _ in range(LAST_TURNS):
            turned.clear()
            turned.wait()
            if condition():
                return
        raise AssertionError(f"never came true: {what or condition.__qualname__}")
    finally:
        for watcher in watchers:
            watcher.stop()
            watcher.close()

"""The end of a run: what there is to say then, after locust's own tables.

It is put together before locust writes its files, which empties its statistics (``--json``), and after all users have
ended, which an interrupt of locust's does not wait for.
"""

import logging
from collections.abc import Callable, Iterable
from typing import Any, Final
from weakref import WeakKeyDictionary

from locust.env import Environment
from locust.runners import WorkerRunner

#: Writes the tables at the end of a run.
console: Final = logging.getLogger("locust.stats_logger")

Tell = Callable[[], Iterable[str]]

_tells: "WeakKeyDictionary[Environment, list[Tell]]" = WeakKeyDictionary()


def tell_at_the_end(environment: Environment, tell: Tell) -> None:
    """Call *tell* when the users of *environment* have ended, and write its lines at the very end. Not in a worker."""
    if isinstance(environment.runner, WorkerRunner):
        return
    if environment not in _tells:
        _tells[environment] = []
        _listen(environment, _tells[environment])
    _tells[environment].append(tell)


def _listen(environment: Environment, tells: list[Tell]) -> None:
    lines: list[str] = []

    def collect(**_: Any) -> None:
        if environment.runner is not None:
            environment.runner.quit()
        lines.extend(line for tell in tells for line in tell())

    def write(**_: Any) -> None:
        for line in lines:
            console.info(line)

    environment.events.quitting.add_listener(collect)
    environment.events.quit.add_listener(write)

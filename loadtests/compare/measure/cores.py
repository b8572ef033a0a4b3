"""Who runs where: the server on one core, the load client and the bench on another."""

from __future__ import annotations

import contextlib
import os
from collections.abc import Iterator
from dataclasses import dataclass


@dataclass(frozen=True)
class Cores:
    """Server and load client have a core each, and the bench, which mostly waits, is on the client's."""

    server: int
    load: int

    @classmethod
    def available(cls) -> Cores:
        cores = sorted(os.sched_getaffinity(0))
        return cls(cores[0], cores[1] if len(cores) > 1 else cores[0])

    def claim(self) -> None:
        """The bench and what it starts, servers apart, are on the load's core from now on."""
        os.sched_setaffinity(0, {self.load})

    @property
    def shared(self) -> bool:
        return self.server == self.load

    @contextlib.contextmanager
    def for_server(self) -> Iterator[None]:
        # A child inherits the mask of the thread that starts it, from its first instruction on.
        os.sched_setaffinity(0, {self.server})
        try:
            yield
        finally:
            os.sched_setaffinity(0, {self.load})

"""What systemd expects of a service: sockets that it passes, and messages about how far the service is.

Protocols: sd_listen_fds(3) and sd_notify(3). Without systemd all of this does nothing.
"""

import _socket
import os
from collections.abc import MutableMapping
from contextlib import closing
from time import CLOCK_MONOTONIC, clock_gettime_ns
from typing import Final

#: The first descriptor that is passed: SD_LISTEN_FDS_START.
FIRST: Final = 3


def take_sockets(environ: MutableMapping[str, str]) -> list[int]:
    """The descriptors that were passed to this process; the variables that tell of them are not for its children."""
    mine = environ.get("LISTEN_PID") == str(os.getpid())
    count = environ.get("LISTEN_FDS", "")
    for name in ("LISTEN_PID", "LISTEN_FDS", "LISTEN_FDNAMES"):
        environ.pop(name, None)
    return list(range(FIRST, FIRST + int(count))) if mine and count.isdecimal() else []


class Notifier:
    """Tells systemd how far the service is.

    Args:
        environ: is asked for ``NOTIFY_SOCKET`` and ``WATCHDOG_USEC``, which are not for children and are removed.
    """

    def __init__(self, environ: MutableMapping[str, str]) -> None:
        path = environ.pop("NOTIFY_SOCKET", "")
        mine = environ.pop("WATCHDOG_PID", str(os.getpid())) == str(os.getpid())
        period = environ.pop("WATCHDOG_USEC", "")
        self._path = path if path.startswith(("/", "@")) else None
        #: seconds after which systemd gives up a service that does not call :meth:`alive`; None: it does not care
        self.watchdog: float | None = None
        if self._path and mine and period.isdecimal() and int(period):
            self.watchdog = int(period) / 1e6

    def ready(self) -> None:
        """It serves; also after a reload."""
        self._tell("READY=1")

    def reloading(self) -> None:
        """It takes over something new; :meth:`ready` follows."""
        self._tell(f"RELOADING=1\nMONOTONIC_USEC={clock_gettime_ns(CLOCK_MONOTONIC) // 1000}")

    def stopping(self) -> None:
        """It begins to end."""
        self._tell("STOPPING=1")

    def alive(self) -> None:
        """The loop turns."""
        self._tell("WATCHDOG=1")

    def _tell(self, message: str) -> None:
        if self._path is None:
            return
        path = f"\0{self._path[1:]}" if self._path[0] == "@" else self._path
        with closing(_socket.socket(_socket.AF_UNIX, _socket.SOCK_DGRAM)) as speaking:
            speaking.setblocking(False)
            try:
                speaking.sendto(message.encode(), path)
            except OSError:
                pass  # nobody listens any more, or not now: nothing here depends on it

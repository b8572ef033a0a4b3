"""From addresses to one connection: tries them all, as a race, and takes the first that answers.

RFC 8305 ("Happy Eyeballs"): a dead IPv6 route costs a quarter of a second and not a minute. Whoever loses is closed.
"""

import _socket
import errno
import os
from collections.abc import Iterable
from itertools import chain, zip_longest
from time import monotonic
from typing import Any, Final

import gevent
from gevent.event import Event

from . import net
from .address import Address
from .hubs import WRITE
from .options import deadline_of
from .wire import Plain

#: The next address has its chance after so many seconds: the "Connection Attempt Delay" of RFC 8305, section 5.
ATTEMPT_DELAY: Final = 0.25

#: A unix socket whose backlog is full says so at once, unix(7), and there is no event to wait for: ask again.
UNIX_RETRY: Final = 0.01

#: What says that this machine has no such network, and nothing about the peer.
_UNREACHABLE: Final = frozenset({errno.ENETUNREACH, errno.EHOSTUNREACH, errno.EADDRNOTAVAIL, errno.EAFNOSUPPORT})

_IN_PROGRESS: Final = frozenset({errno.EINPROGRESS, errno.EALREADY, errno.EINTR})

Candidate = tuple[int, Any]


def dial(address: Address, timeout: float | None) -> Plain:
    """A connection to *address*. Blocks this greenlet.

    Args:
        address: ``tcp``, ``unix``, or ``fd``: a descriptor that is connected already, which is taken over.
        timeout: seconds for all of it, the name look-up included; None: as long as the system tries.

    Resource handling: the caller closes the result. Whatever else was opened is closed when this returns or raises,
    also when this greenlet is killed. A name look-up cannot be interrupted: its thread ends when the resolver does.

    Raises:
        TimeoutError: not in time (ETIMEDOUT).
        OSError: the name does not resolve, or no address answers: of the class and with the ``errno`` of the
            failure that tells most. The message names the address, and each one that it stands for.
    """
    deadline = deadline_of(timeout)
    if address.scheme == "fd":
        return adopt_connection(address.fd)
    if address.scheme == "unix":
        candidates: list[Candidate] = [(int(_socket.AF_UNIX), address.unix_name)]
    else:
        candidates = interleave(_resolve(address, timeout))
    return _Race(address, candidates, timeout, deadline).run()


def adopt_connection(descriptor: int) -> Plain:
    """Take over an inherited *descriptor* of a connected stream socket.

    Raises:
        ValueError: it is no connected stream socket.
        OSError: it is closed, or no socket.
    """
    name = Address("fd", fd=descriptor)
    try:
        wire = Plain(fileno=descriptor)
    except OSError as error:
        raise type(error)(error.errno, f"{error.strerror}: cannot use {name}") from error
    try:
        if wire.type != _socket.SOCK_STREAM:
            raise ValueError(f"not a stream socket: {name}")
        try:
            wire.getpeername()
        except OSError as error:
            raise ValueError(f"the socket is not connected: {name}") from error
        wire.setblocking(False)
    except BaseException:
        wire.detach()  # not ours: it stays open
        raise
    return wire


def interleave(candidates: Iterable[Candidate]) -> list[Candidate]:
    """In the system's order of preference (RFC 6724), but alternating between families: RFC 8305, section 4."""
    families: dict[int, list[Candidate]] = {}
    for candidate in dict.fromkeys(candidates):
        families.setdefault(candidate[0], []).append(candidate)
    return [candidate for candidate in chain.from_iterable(zip_longest(*families.values())) if candidate is not None]


def _resolve(address: Address, timeout: float | None) -> list[Candidate]:
    with gevent.Timeout(timeout, _timed_out(address, timeout, ["its name is being looked up"])):
        return net.resolve(address.host, address.port)


def _timed_out(address: Address, timeout: float | None, states: list[str]) -> TimeoutError:
    return TimeoutError(errno.ETIMEDOUT, f"cannot connect to {address} in {timeout} s: {'; '.join(states)}")


class _Race:
    """Attempts that run side by side, each started when the one before has failed or taken too long."""

    def __init__(
        self, address: Address, candidates: list[Candidate], timeout: float | None, deadline: float | None
    ) -> None:
        self.address = address
        self.timeout = timeout
        self.deadline = deadline
        self.waiting = candidates[::-1]
        self.running: dict[Plain, tuple[Any, Any]] = {}  # each with its watcher and its name
        self.failed: list[tuple[Any, OSError]] = []
        self.news = Event()
        self.loop = gevent.get_hub().loop

    def run(self) -> Plain:
        winner: Plain | None = None
        try:
            while winner is None:
                if self.waiting:
                    winner = self.start(*self.waiting.pop())
                elif not self.running:
                    raise self.defeat()
                if winner is None and self.running:
                    self.news.clear()
                    self.news.wait(self.patience())
                    winner = self.look()
            return winner
        except BaseException:
            if winner is not None:
                winner.close()
            raise
        finally:
            for wire, (watcher, _) in self.running.items():
                watcher.close()
                if wire is not winner:
                    wire.close()

    def patience(self) -> float | None:
        """Seconds until something has to be done although nothing happens."""
        delay = ATTEMPT_DELAY if self.waiting else None
        if self.deadline is None:
            return delay
        left = self.deadline - monotonic()
        if left <= 0:
            running = [f"no answer from {net.display(name)}" for _, name in self.running.values()]
            raise _timed_out(self.address, self.timeout, [*self.complaints(), *running])
        return left if delay is None else min(left, delay)

    def start(self, family: int, name: Any) -> Plain | None:
        """Begin to connect. The connection, if it is there at once."""
        try:
            wire = Plain(family, _socket.SOCK_STREAM)
        except OSError as error:
            self.failed.append((name, error))
            return None
        try:
            wire.setblocking(False)
            code = wire.connect_ex(name)
            while code == errno.EAGAIN and not isinstance(name, tuple):
                self.patience()
                gevent.sleep(UNIX_RETRY)
                code = wire.connect_ex(name)
            if code in _IN_PROGRESS:
                watcher = self.loop.io(wire.fileno(), WRITE)
                watcher.start(self.news.set)
                self.running[wire] = watcher, name
                return None
            if self.judge(wire, name, code) is None:
                wire.close()
                return None
            return wire
        except BaseException:
            wire.close()
            raise

    def look(self) -> Plain | None:
        """See what has become of those that run: the first that is connected."""
        for wire, (watcher, name) in list(self.running.items()):
            code = wire.getsockopt(_socket.SOL_SOCKET, _socket.SO_ERROR)
            if not code and not _has_peer(wire):
                continue  # neither connected nor failed yet
            if self.judge(wire, name, code) is not None:
                return wire
            del self.running[wire]
            watcher.close()
            wire.close()
        return None

    def judge(self, wire: Plain, name: Any, code: int) -> Plain | None:
        """An attempt has ended with *code*. A failed one is closed by the caller."""
        if not code and isinstance(name, tuple) and _is_its_own_peer(wire):
            # To a port of the range for clients, nobody listening, the kernel may connect a socket to itself: the
            # "simultaneous open" of RFC 9293, section 3.5.
            code = errno.ECONNREFUSED
        if not code:
            return wire
        self.failed.append((name, OSError(code, os.strerror(code))))
        return None

    def complaints(self) -> list[str]:
        return [f"{net.display(name)}: {error.strerror}" for name, error in self.failed]

    def defeat(self) -> OSError:
        errors = [error for _, error in self.failed]
        telling = next((error for error in errors if error.errno not in _UNREACHABLE), errors[0])
        what = "; ".join(self.complaints()) if len(errors) > 1 else telling.strerror
        if len(errors) == 1 and isinstance(self.failed[0][0], tuple) and self.failed[0][0][0] != self.address.host:
            what = self.complaints()[0]
        return type(telling)(telling.errno, f"cannot connect to {self.address}: {what}")


def _has_peer(wire: Plain) -> bool:
    try:
        wire.getpeername()
    except OSError:
        return False
    return True


def _is_its_own_peer(wire: Plain) -> bool:
    try:
        return bool(wire.getsockname() == wire.getpeername())
    except OSError:
        return False  # the peer has reset the connection since it was made, which a read will tell

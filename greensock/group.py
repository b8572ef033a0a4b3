"""Rooms: many sockets that are written to together."""

from collections.abc import Iterable, Iterator
from typing import Any

from .buffers import Writable, as_bytes
from .errors import SocketClosed, WriteQueueFull
from .hubs import get_ident
from .sock import Socket
from .state import LATE, CloseReason


class Group:
    """A set of sockets. A member leaves by itself as soon as it closes.

    Args:
        sockets: its first members.

    Sockets are kept by the group only while they are open, and a group that nobody holds is forgotten by its members.
    For the sockets of one hub, and for its thread.
    """

    __slots__ = ("__weakref__", "_members")

    def __init__(self, sockets: Iterable[Socket[Any]] = ()) -> None:
        self._members: set[Socket[Any]] = set()
        for socket in sockets:
            self.add(socket)

    def add(self, socket: Socket[Any]) -> None:
        """Let *socket* in. One that is closing or closed stays out, one that is in stays in.

        Raises:
            TypeError: it is no socket of greensock's.
        """
        if not isinstance(socket, Socket):
            raise TypeError(f"a group is of greensock's sockets, not of {type(socket).__name__!r}")
        if socket not in self._members and socket._enter_room(self):
            self._members.add(socket)

    def discard(self, socket: Socket[Any]) -> None:
        """Take *socket* out, if it is in."""
        if socket in self._members:
            self._members.remove(socket)
            socket._leave_room(self)

    def write(
        self, data: Writable, *, exclude: Socket[Any] | Iterable[Socket[Any]] = (), skip_over: int | None = None
    ) -> int:
        """:meth:`Socket.write` *data* to every member. Never raises because of one of them.

        Args:
            data: encoded once, and shared by the queues of all.
            exclude: a socket, or several, to leave out.
            skip_over: leave out those that have more than this many bytes queued already: what is soon
                followed by something newer need not be queued twice. None: nobody.

        Returns:
            How many took it. Members that this side has ended do not, nor do those for which it is too much:
            see ``slow_consumer``, which is decided for each by its own options.

        Raises:
            TypeError: *data* is neither bytes-like nor ``str``.
            RuntimeError: called from another thread.
        """
        if type(data) is not bytes:
            data = as_bytes(data)
        size = len(data)
        excluded = {exclude} if isinstance(exclude, Socket) else set(exclude)
        took = 0
        engine: Any = None
        for socket in list(self._members):
            if socket in excluded:
                continue
            if socket._engine is not engine:
                engine = socket._engine
                if get_ident() != engine.thread:
                    socket._check_thread()
            queue = socket._queue
            if queue.size:
                if skip_over is not None and queue.size > skip_over:
                    continue
            elif (
                size <= queue.high and socket._writable and not socket._corks
            ):  # as most are: write(), without the call
                queue.first = data
                queue.size = size
                socket._counters.messages_written += 1
                if not socket._flags & LATE and engine.current is not socket:
                    socket._flags |= LATE
                    engine.dirty.append(socket)
                took += 1
                continue
            took += _wrote(socket, data)
        if took:
            engine.wake()
        return took

    def __len__(self) -> int:
        return len(self._members)

    def __contains__(self, socket: object) -> bool:
        return socket in self._members

    def __iter__(self) -> Iterator[Socket[Any]]:
        return (socket for socket in list(self._members) if socket in self._members)

    def __repr__(self) -> str:
        return f"<Group of {len(self)} sockets>"


def _wrote(socket: Socket[Any], data: bytes) -> bool:
    """Write to a member that may not want it: whether it was taken."""
    try:
        if socket._queue.over and not socket._make_room(len(data), broadcast=True):
            return False
        return socket.write(data) or socket.close_reason is not CloseReason.SLOW_CONSUMER
    except (SocketClosed, WriteQueueFull):
        return False

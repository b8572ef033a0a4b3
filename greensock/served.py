"""What the engine asks of a socket, and all that it knows of one."""

from typing import Any, Protocol

from .clocks import Clocked


class Served(Clocked, Protocol):
    """What the engine needs of a socket."""

    _flags: int  # anything that needs more than a plain read
    _running: Any  # the greenlet in which one of its handlers is blocked
    _own: Any  # the runner that belongs to this connection alone
    _waiter: Any  # the greenlet that waits for its input, in blocking style
    _context: Any  # contextvars that its handlers have set

    def _serve(self) -> None:
        """Do one thing that is due: read and deliver, or deliver an event; then send what was written."""

    def _settle(self) -> None:
        """The handler has returned and flags are set: ask for what they need."""

    def _left(self) -> None:
        """The greenlet that waited for its input has gone on, and now waits again or blocks elsewhere."""

    def _send_late(self) -> None:
        """Send what has gathered, unless it is corked on purpose."""

    def _pause_watcher(self) -> None:
        """Stop the read watcher until the running handler has returned."""

    def _failed(self, event: str, error: BaseException) -> None:
        """A handler, or the engine's own code for this socket, raised."""

    def _stray(self, error: BaseException) -> None:
        """*error* was thrown at this connection's own runner while it ran no handler."""

    def _leave_to_parent(self) -> None:
        """After a fork, in the child: neither read, send nor end what the parent reads, sends and ends."""

"""What can go wrong, in words.

::

    OSError
    ├── ConnectionError
    │   └── SocketClosed        the connection is over, or this side has ended it
    │       └── SlowConsumer    ... because the peer did not read what was sent
    └── BlockingIOError
        └── WriteQueueFull      too much is queued; nothing of this write was taken
    ValueError
    └── FrameError              what arrived is no message of this framing
        └── FrameTooLarge       ... because it would be longer than the limit
    EOFError
    └── IncompleteRead          the peer ended in the middle of what was expected

Timeouts are the built-in :class:`TimeoutError`; failures of the network are the built-in
:class:`OSError` subclasses with their ``errno``.
"""

from collections.abc import Sequence
from typing import Any


class SocketClosed(ConnectionError):
    """The socket is closed, closing or ended: it takes no more bytes, or a wait on it cannot succeed.

    When the network ended the connection, ``__cause__`` is the :class:`OSError` that told. ``socket`` is the one
    that it happened to, or None when this side's own ``end``, ``close`` or ``terminate`` did it: to use a socket
    after that is a mistake in the program, and a handler that lets it out has raised.
    """

    socket: object | None = None


class SlowConsumer(SocketClosed):
    """The peer did not read: more than ``max_buffered`` bytes were queued for it.

    The ``close`` handler gets it when ``slow_consumer="close"`` ended the connection.
    """


class WriteQueueFull(BlockingIOError):
    """More than ``max_buffered`` bytes are queued and ``slow_consumer="raise"``: nothing was queued."""


class FrameError(ValueError):
    """What arrived is no message of the framing that was agreed on. Nothing after it can be understood.

    Attributes:
        messages: the whole messages of the same ``feed`` that came before it. A socket delivers them first.
    """

    messages: Sequence[Any] = ()  # also of a subclass whose __init__ does not call this one

    def __init__(self, text: str, messages: Sequence[Any] = ()) -> None:
        super().__init__(text)
        self.messages = messages


class FrameTooLarge(FrameError):
    """A message is longer than the framing's ``max_size``. Told as soon as that is known, before memory is spent."""


class IncompleteRead(EOFError):
    """The peer ended in the middle of a message, or before all bytes that were asked for had come.

    Attributes:
        partial: what had come of it.
    """

    partial: bytes = b""  # likewise

    def __init__(self, text: str, partial: bytes = b"") -> None:
        super().__init__(text)
        self.partial = partial

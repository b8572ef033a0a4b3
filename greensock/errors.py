"""What can go wrong, in words.

::

    OSError
    ├── ConnectionError
    │   └── SocketClosed        the connection is over, or this side has ended it
    │       └── SlowConsumer    ... because the peer did not read what was sent
    └── BlockingIOError
        └── WriteQueueFull      too much is queued; nothing of this write was taken

Timeouts are the built-in :class:`TimeoutError`; failures of the network are the built-in
:class:`OSError` subclasses with their ``errno``.
"""


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

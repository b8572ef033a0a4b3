"""greensock: TCP services on gevent, after Bun's native TCP API.

One set of handlers per server, shared by all its sockets. Handlers are plain blocking Python; writing does not block.
Importing this patches nothing.
"""

from .errors import SlowConsumer, SocketClosed, WriteQueueFull
from .handlers import Handlers
from .lifecycle import call_from_thread, run
from .server import Server, listen
from .sock import Socket
from .state import CloseReason, SocketState
from .stats import Stats

__version__ = "0.1.0"

__all__ = [
    "CloseReason",
    "Handlers",
    "Server",
    "SlowConsumer",
    "Socket",
    "SocketClosed",
    "SocketState",
    "Stats",
    "WriteQueueFull",
    "call_from_thread",
    "listen",
    "run",
]

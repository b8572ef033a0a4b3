"""greensock: TCP services on gevent, after Bun's native TCP API.

One set of handlers per server, shared by all its sockets. Handlers are plain blocking Python; writing does not block.
Importing this patches nothing.
"""

from . import framing
from .client import connect
from .doctor import doctor
from .errors import FrameError, FrameTooLarge, IncompleteRead, SlowConsumer, SocketClosed, WriteQueueFull
from .exchange import Exchange
from .group import Group
from .handlers import Handlers
from .lifecycle import call_from_thread, run
from .server import Server, listen
from .sink import BufferSink
from .sock import Socket
from .state import CloseReason, SocketState
from .stats import Stats
from .tls import TLS

__version__ = "0.1.0"

__all__ = [
    "TLS",
    "BufferSink",
    "CloseReason",
    "Exchange",
    "FrameError",
    "FrameTooLarge",
    "Group",
    "Handlers",
    "IncompleteRead",
    "Server",
    "SlowConsumer",
    "Socket",
    "SocketClosed",
    "SocketState",
    "Stats",
    "WriteQueueFull",
    "call_from_thread",
    "connect",
    "doctor",
    "framing",
    "listen",
    "run",
]

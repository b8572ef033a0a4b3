"""Words and bits for where a connection stands."""

from enum import Enum, StrEnum
from typing import Final


class SocketState(Enum):
    """Where a socket is in its life.

    Attributes:
        CONNECTING: not yet connected (clients).
        OPEN: reads and writes.
        ENDED: this side has ended; it reads, and writes no more.
        CLOSING: this side closes; what is queued is sent, nothing is delivered any more.
        CLOSED: the descriptor is closed.
    """

    CONNECTING = "connecting"
    OPEN = "open"
    ENDED = "ended"
    CLOSING = "closing"
    CLOSED = "closed"

    def __repr__(self) -> str:
        return f"<{type(self).__name__}.{self.name}>"


CONNECTING: Final = SocketState.CONNECTING
OPEN: Final = SocketState.OPEN
ENDED: Final = SocketState.ENDED
CLOSING: Final = SocketState.CLOSING
CLOSED: Final = SocketState.CLOSED


class CloseReason(StrEnum):
    """Why a connection ended: its first cause.

    Attributes:
        EOF: the peer sent FIN.
        LOCAL: this side's ``end``, ``close`` or ``terminate``.
        RESET: the peer reset the connection, or the network lost it.
        TIMEOUT: the idle clock or the write timeout ran out, or the kernel gave up.
        TRUNCATED: a TLS peer closed without close_notify.
        SLOW_CONSUMER: the peer did not read what was queued for it.
        PROTOCOL: TLS or framing failed.
        HANDLER_ERROR: a handler raised.
        STOPPED: the server stopped.
    """

    EOF = "eof"
    LOCAL = "local"
    RESET = "reset"
    TIMEOUT = "timeout"
    TRUNCATED = "truncated"
    SLOW_CONSUMER = "slow-consumer"
    PROTOCOL = "protocol"
    HANDLER_ERROR = "handler-error"
    STOPPED = "stopped"


# Everything about a socket that needs more than a plain read of what is ready, as bits of one int: while it is
# 0, a readable socket is read without another question.

# Events that wait for a runner, in the order in which they are delivered.
OPENING: Final = 1 << 0  # accepted or connected; ``open`` has not run
STRAY: Final = 1 << 1  # something was thrown at its own runner
DRAINED: Final = 1 << 2
IDLE: Final = 1 << 3  # the idle clock ran out
STOPPING: Final = 1 << 4  # the server drains
GONE: Final = 1 << 5  # the descriptor is closed; ``close`` has not run
SHAKEN: Final = 1 << 23  # TLS was started on the open connection; ``handshake`` has not run
PENDING: Final = OPENING | STRAY | DRAINED | IDLE | STOPPING | GONE | SHAKEN

# What keeps the socket from being read.
PAUSED: Final = 1 << 6  # pause()
CHOKED: Final = 1 << 7  # its own queue is over the high-water mark
EOF_READ: Final = 1 << 8  # the peer's FIN was read
BY_HAND: Final = 1 << 20  # in blocking style: its user's greenlet reads
UPGRADING: Final = 1 << 24  # the greenlet in upgrade_tls() reads
UNREADABLE: Final = OPENING | PAUSED | CHOKED | EOF_READ | GONE | BY_HAND | UPGRADING

# The writing side.
FIN_WANTED: Final = 1 << 9  # FIN follows the last queued byte
FIN_SENT: Final = 1 << 10
DEAD: Final = 1 << 11  # the kernel takes no more bytes; what arrived can still be read

# Others.
CONTEXT: Final = 1 << 17  # its handlers have set context variables
CLOCKED: Final = 1 << 18  # it has an idle timeout
BUSY: Final = 1 << 19  # its handler is blocked
WAITING: Final = 1 << 12  # the read watcher is stopped because a handler is blocked
LATE: Final = 1 << 13  # in the engine's list of sockets to send at the end of the turn
TOLD_TO_STOP: Final = 1 << 14  # ``socket.stopping``
UNREFERENCED: Final = 1 << 15  # unref()
OVER: Final = 1 << 16  # ``close`` has run, or runs
OWN_END: Final = 1 << 29  # this side has ended it, and no failure has since
RELEASED: Final = 1 << 28  # nothing will ever be called for it again
FRAMED: Final = 1 << 21  # messages are delivered, not what a read happens to give
HELD: Final = 1 << 22  # messages of the last read wait to be delivered
HANDSHAKING: Final = 1 << 25  # TLS is being agreed on: nothing is delivered, nothing sent
SECURE: Final = 1 << 26  # TLS is agreed on
MORE: Final = 1 << 27  # the wire has more to give, without the kernel

#: There is something to deliver although the kernel has nothing.
STORED: Final = HELD | MORE

#: With any of these a readable socket is not simply read.
CAREFUL: Final = PENDING | UNREADABLE | FIN_WANTED | FIN_SENT | DEAD | FRAMED | HANDSHAKING | SECURE

#: With any of these it has to be asked whether the next message of a read may be delivered.
UNDECIDED: Final = UNREADABLE | FIN_WANTED | FIN_SENT | DEAD

#: With any of these a readable socket is not for runners, unless its user's greenlet reads and an event is due.
NOT_SERVED: Final = BUSY | BY_HAND

#: With any of these a socket has to be seen to when its reader waits, and with some more when its handler has returned.
UNSETTLED: Final = PENDING | WAITING
TO_SETTLE: Final = UNSETTLED | CLOCKED | STORED

#: Of these a socket in blocking style has the first alone, as long as its input may go on.
INPUT_ENDS: Final = BY_HAND | EOF_READ | GONE | TOLD_TO_STOP | OVER

#: Likewise when no idle clock runs either.
UNTIMED: Final = INPUT_ENDS | CLOCKED

"""What sockets of the standard library can do besides: look without taking, stop reading, and be given away."""

from _socket import MSG_PEEK
from time import monotonic

from .encryption import Encryption
from .options import deadline_of
from .state import BY_HAND, INPUT_ENDS, CloseReason


def peek(socket: Encryption, size: int, timeout: float | None) -> bytes:
    """What :meth:`Socket.recv` would give, without taking it.

    Raises:
        ValueError: the socket is encrypted: what is there of a record cannot be seen. Or *size* is below 0.
        TimeoutError, SocketClosed, RuntimeError: see :meth:`Socket.recv`.
    """
    data = socket._check_reading()
    if socket.encrypted:
        raise ValueError("MSG_PEEK is not for encrypted sockets")
    if size < 0:
        raise ValueError(f"cannot read {size} bytes")
    if data.size:
        return data.peek(size)
    deadline = deadline_of(timeout)
    while socket._flags & INPUT_ENDS == BY_HAND:
        try:
            return socket._wire.recv(size, MSG_PEEK)
        except BlockingIOError:
            if deadline is not None and monotonic() >= deadline:
                raise TimeoutError from None
        except OSError as error:
            socket._reading_failed(error)
            break
        if not socket._reader.active:
            socket._reader.start(socket._engine.on_readable, socket)
        socket._wait(deadline, timeout)
    data.put(socket._last_input(size))
    return data.peek(size)


def end_input(socket: Encryption) -> None:
    """Read no more: who reads gets the end. What the peer goes on to send is left where it is."""
    if socket._flags & INPUT_ENDS == BY_HAND:
        socket._input_ended()
        socket._wake_later()


def give_away(socket: Encryption) -> int:
    """End the connection for greensock alone, and return its descriptor: the caller's. Nothing may be queued."""
    socket._remember_local_address()
    socket._because(CloseReason.LOCAL, None)
    descriptor = socket._wire.detach()
    socket._close_now()  # which finds nothing to close
    return descriptor

"""Blocking style: the messages of a socket with ``framing`` whose user asks for its input."""

from collections.abc import Iterator
from operator import length_hint
from typing import Any, Final, Self

from .errors import FrameError, IncompleteRead
from .frames import Frames
from .hubs import get_ident
from .options import deadline_of
from .reading import Reading
from .state import EOF_READ, FRAMED, CloseReason
from .waiting import Input
from .wire import READ_SIZE

_END: Final = object()


class Messages(Reading):
    """What sessions and clients without handlers read messages with, under the conditions of :class:`Reading`."""

    __slots__ = ()

    def read_message(self, *, timeout: float | None = None) -> Any:
        """The next message, as the socket's framing decodes it.

        Raises:
            EOFError: the peer has ended, after a whole message.
            IncompleteRead: the peer ended inside a message.
            FrameError: what came is no message. Nothing after it can be read.
            TypeError: the socket has no framing.
            TimeoutError, SocketClosed, RuntimeError: see :meth:`recv`.
        """
        message = self._next_message(timeout)
        if message is _END:
            raise self._as_own(EOFError("the peer has ended"))
        return message

    def messages(self, *, timeout: float | None = None) -> Iterator[Any]:
        """The messages of the input until the peer ends.

        Args:
            timeout: seconds to wait for each. After a TimeoutError the iterator can be asked again.

        Raises:
            IncompleteRead, FrameError, TypeError, TimeoutError, SocketClosed, RuntimeError: see :meth:`read_message`.
        """
        self._check_messages()
        deadline_of(timeout)
        return MessageIterator(self, timeout)

    def _next_message(self, timeout: float | None) -> Any:
        self._check_messages()
        if self._frames is not None:
            for message in self._frames.messages:
                return message
        messages = self._next_messages(timeout)
        return _END if messages is None else next(messages)

    def _next_messages(self, timeout: float | None) -> Iterator[Any] | None:
        """The messages that there are, at least one, after waiting for it; None at the end of the input.

        What is not taken from the iterator comes again.
        """
        data = self._check_messages()
        frames = self._frames
        if frames is None:
            frames = self._frames = Frames(self._shared.options.framing.decoder())
        deadline = deadline_of(timeout)
        while not length_hint(frames.messages):
            if frames.failure is not None:
                raise self._message_error(frames.failure)
            chunk = data.take_all() if data.chunk else self._receive(READ_SIZE, deadline, timeout)
            if not chunk:
                if self._flags & EOF_READ:
                    self._check_cut_off(frames)
                self._ended_cleanly()
                return None
            messages = frames.feed(chunk)
            self._counters.messages_read += len(messages)
            frames.messages = iter(messages)
        return frames.messages

    def _check_cut_off(self, frames: Frames) -> None:
        try:
            frames.decoder.close()
        except Exception as error:
            raise self._message_error(error)  # noqa: B904 - it is the same

    def _message_error(self, error: Exception) -> Exception:
        """*error* of a decoder, to be raised: of what the peer has sent, or of the decoder itself."""
        if isinstance(error, (FrameError, IncompleteRead)):
            self._because(CloseReason.PROTOCOL, error)
            self._as_own(error)
        elif isinstance(error, StopIteration):  # which messages() would take for the end: see PEP 479
            return RuntimeError("the decoder raised StopIteration")
        return error.with_traceback(None)

    def _check_messages(self) -> Input:
        """The input, if the caller may read messages of it now."""
        data = self._input
        if data is None or self._waiter is not None or get_ident() != self._engine.thread:
            raise self._not_now()
        if not self._flags & FRAMED:
            raise TypeError("read_message() and messages() need the option framing=, of listen() or connect()")
        return data


class MessageIterator:
    """What :meth:`Socket.messages` returns. Unlike a generator it can be asked again after a TimeoutError."""

    __slots__ = ("_socket", "_timeout")

    def __init__(self, socket: Messages, timeout: float | None) -> None:
        self._socket = socket
        self._timeout = timeout

    def __iter__(self) -> Self:
        return self

    def __next__(self) -> Any:
        message = self._socket._next_message(self._timeout)
        if message is _END:
            raise StopIteration
        return message

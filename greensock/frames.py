"""The messages of one connection: decoded from what it has sent, held until they are delivered or read."""

from collections.abc import Iterator, Sequence
from typing import Any

from .errors import FrameError


class Frames:
    """The messages of one connection, between the kernel and its handlers.

    Resource handling: holds the messages of one read until they are delivered, and in the decoder what there
    is of an unfinished one.
    """

    __slots__ = ("decoder", "failure", "messages")

    def __init__(self, decoder: Any) -> None:
        self.decoder = decoder
        #: those that were not delivered yet
        self.messages: Iterator[Any] = iter(())
        #: what came after them, if that was no message
        self.failure: Exception | None = None

    def feed(self, data: bytes) -> Sequence[Any]:
        """Decode *data*: the messages that makes, and perhaps a :attr:`failure` after them."""
        messages: Sequence[Any]
        try:
            messages = self.decoder.feed(data)
        except FrameError as error:
            messages, error.messages = error.messages, ()
            self.failure = error
        except Exception as error:
            messages = ()
            self.failure = error
        if type(messages) is not list and not isinstance(messages, (list, tuple)):
            gave = None if messages is None else type(messages).__name__
            self.failure = TypeError(f"feed() of {type(self.decoder).__name__} gave {gave}, not a list of messages")
            messages = ()
        return messages

    def clear(self) -> None:
        """Forget what was not delivered."""
        self.messages = iter(())
        self.failure = None

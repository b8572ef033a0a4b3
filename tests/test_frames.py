"""Frames: what a decoder makes of one read, and what is kept of it until it is delivered."""

from collections.abc import Sequence
from typing import Any

import pytest

from greensock import FrameError
from greensock.frames import Frames
from greensock.framing import Lines


class Failing:
    """A decoder that raises."""

    def __init__(self, error: Exception) -> None:
        self.error = error

    def feed(self, _data: bytes) -> list[bytes]:
        raise self.error

    def close(self) -> None:
        pass


def test_the_messages_of_a_read_are_given_and_none_is_held() -> None:
    frames = Frames(Lines().decoder())
    assert frames.feed(b"one\ntwo\nthr") == [b"one", b"two"]
    assert frames.feed(b"ee\n") == [b"three"]
    assert list(frames.messages) == [] and frames.failure is None


def test_what_came_before_a_failure_is_given_and_the_failure_kept() -> None:
    frames = Frames(Lines(max_size=3).decoder())
    assert frames.feed(b"one\ntoo long\n") == [b"one"]
    assert isinstance(frames.failure, FrameError)
    assert frames.failure.messages == (), "they are not held a second time"


@pytest.mark.parametrize("error", [ZeroDivisionError("a fault"), FrameError("no message")])
def test_a_decoder_that_raises_has_no_messages(error: Exception) -> None:
    frames = Frames(Failing(error))
    nothing: Sequence[bytes] = frames.feed(b"anything")
    assert not nothing
    assert frames.failure is error


@pytest.mark.parametrize(
    ("given", "kind"),
    [(None, "None"), (1, "int"), ("word", "str"), (iter(()), "tuple_iterator"), (FrameError("no", {}), "dict")],  # type: ignore[arg-type]
)
def test_a_decoder_that_gives_no_list_is_named(given: Any, kind: str) -> None:
    class Forgetful(Failing):
        def feed(self, _data: bytes) -> Any:
            if isinstance(given, FrameError):
                raise given
            return given

    frames = Frames(Forgetful(ValueError()))
    assert not frames.feed(b"anything")
    assert str(frames.failure) == f"feed() of Forgetful gave {kind}, not a list of messages"


def test_an_error_with_an_init_of_its_own_has_no_messages() -> None:
    class Unknown(FrameError):
        def __init__(self, command: int) -> None:
            self.command = command

    frames = Frames(Failing(Unknown(7)))
    assert not frames.feed(b"anything")
    assert isinstance(frames.failure, Unknown)


def test_what_is_cleared_is_forgotten() -> None:
    frames = Frames(Lines(max_size=3).decoder())
    frames.messages = iter(frames.feed(b"one\ntwo\ntoo long\n"))
    frames.clear()
    assert list(frames.messages) == [] and frames.failure is None

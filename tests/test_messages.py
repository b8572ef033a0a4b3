"""Blocking style: what a client with a framing reads, and what it makes of the end."""

from types import SimpleNamespace
from typing import Any

import gevent
import pytest

from connections import ByHand, MakeByHand
from greensock import CloseReason, FrameTooLarge, IncompleteRead
from greensock.framing import LengthPrefixed, Lines


@pytest.fixture
def pair(by_hand: MakeByHand) -> ByHand:
    return by_hand()


def test_messages(by_hand: MakeByHand) -> None:
    pair = by_hand(framing=LengthPrefixed(1))
    pair.says(b"\x03one\x03two\x05th")
    assert pair.socket.read_message() == b"one"
    gevent.spawn(pair.says, b"ree\x04four")
    messages = pair.socket.messages()
    assert [next(messages) for _ in range(3)] == [b"two", b"three", b"four"]
    pair.ends()
    assert list(messages) == []
    with pytest.raises(EOFError, match="the peer has ended") as failure:
        pair.socket.read_message()
    assert not isinstance(failure.value, IncompleteRead)
    assert pair.socket.close_reason is CloseReason.EOF


def test_messages_end_inside_one(by_hand: MakeByHand) -> None:
    pair = by_hand(framing=LengthPrefixed(1))
    pair.says(b"\x03one\x03t")
    pair.ends()
    messages = pair.socket.messages()
    assert next(messages) == b"one"
    with pytest.raises(IncompleteRead) as failure:
        next(messages)
    assert failure.value.partial == b"\x03t"
    assert pair.socket.close_reason is CloseReason.PROTOCOL


def test_a_decoder_that_raises_stop_iteration_does_not_end_them(by_hand: MakeByHand) -> None:
    class Broken(Lines):
        def decoder(self) -> Any:
            return SimpleNamespace(feed=lambda data: [next(iter(()))])

    pair = by_hand(framing=Broken())
    pair.says(b"one")
    with pytest.raises(RuntimeError, match="StopIteration"):
        next(pair.socket.messages())


def test_what_is_no_message_comes_after_those_before(by_hand: MakeByHand) -> None:
    pair = by_hand(framing=Lines(max_size=3))
    pair.says(b"one\ntwo\nthree\n")
    assert [pair.socket.read_message(), pair.socket.read_message()] == [b"one", b"two"]
    for _ in range(2):
        with pytest.raises(FrameTooLarge):
            pair.socket.read_message()
    assert pair.socket.close_reason is CloseReason.PROTOCOL


def test_bytes_can_be_read_before_messages_but_not_after(by_hand: MakeByHand) -> None:
    pair = by_hand(framing=Lines())
    pair.says(b"HELLO one\ntwo\n")
    assert pair.socket.read_exactly(6) == b"HELLO "
    assert pair.socket.read_message() == b"one"
    with pytest.raises(RuntimeError, match="use read_message"):
        pair.socket.recv()
    assert pair.socket.read_message() == b"two"


def test_messages_need_a_framing(pair: ByHand) -> None:
    for read in (pair.socket.read_message, pair.socket.messages):
        with pytest.raises(TypeError, match="option framing="):
            read()

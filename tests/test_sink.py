"""The sink: bytes that gather until they are asked for."""

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from greensock import BufferSink
from greensock.testing import Dial, Serve


def test_it_gathers_and_gives() -> None:
    sink = BufferSink(high_water_mark=1024, stream=True)
    assert [sink.write(piece) for piece in ("h", b"e", bytearray(b"ll"), memoryview(b"o"))] == [1, 1, 2, 1]
    assert len(sink) == 5
    assert sink.flush() == b"hello"
    assert sink.flush() == b""
    assert sink.write("é") == 2, "bytes, not characters"
    assert sink.end() == "é".encode()
    assert sink.end() == b""


def test_without_stream_it_keeps_all_until_the_end() -> None:
    sink = BufferSink(stream=False)
    sink.write("a")
    assert sink.flush() == b""
    sink.write("b")
    assert sink.end() == b"ab"


def test_after_the_end_a_write_is_an_error() -> None:
    sink = BufferSink()
    sink.end()
    with pytest.raises(ValueError, match="ended"):
        sink.write("x")
    assert sink.flush() == b""
    assert "ended" in repr(sink)


def test_what_was_written_may_change_afterwards() -> None:
    sink = BufferSink()
    buffer = bytearray(b"ab")
    sink.write(buffer)
    buffer[:] = b"xx"
    assert sink.flush() == b"ab"


@pytest.mark.parametrize("data", [None, 5, ["a"]])
def test_what_is_no_bytes_is_refused_and_changes_nothing(data: Any) -> None:
    sink = BufferSink()
    sink.write("a")
    with pytest.raises(TypeError, match="bytes-like or str expected"):
        sink.write(data)
    assert sink.flush() == b"a"


@pytest.mark.parametrize(
    ("options", "name"),
    [
        ({"high_water_mark": -1}, "high_water_mark"),
        ({"high_water_mark": 1.5}, "high_water_mark"),
        ({"high_water_mark": True}, "high_water_mark"),
        ({"stream": 1}, "stream"),
    ],
)
def test_bad_arguments_are_named(options: dict[str, Any], name: str) -> None:
    with pytest.raises(ValueError, match=name):
        BufferSink(**options)


@given(st.booleans(), st.lists(st.one_of(st.binary(), st.just("flush"))))
def test_it_gives_back_all_and_in_order(stream: bool, steps: list[bytes | str]) -> None:
    sink = BufferSink(high_water_mark=0, stream=stream)
    given_back = b""
    for step in steps:
        if isinstance(step, str):
            given_back += sink.flush()
        else:
            assert sink.write(step) == len(step)
    assert given_back + sink.end() == b"".join(step for step in steps if isinstance(step, bytes))


def test_it_is_flushed_to_a_socket_as_one_write(serve: Serve, dial: Dial) -> None:
    sink = BufferSink()
    answers: list[bool] = []

    def data(socket: Any, data: bytes) -> None:
        answers.append(sink.flush_to(socket))
        sink.write("one ")
        sink.write("write")
        answers.append(sink.flush_to(socket))

    server = serve({"data": data})
    peer = dial(server)
    peer.send(b"go")
    assert peer.read() == b"one write"
    assert answers == [True, True] and server.stats().messages_written == 1
    assert len(sink) == 0


def test_what_a_socket_does_not_take_stays() -> None:
    class Closed:
        def write(self, data: bytes, /) -> bool:
            raise ConnectionError

    sink = BufferSink()
    sink.write("kept")
    with pytest.raises(ConnectionError):
        sink.flush_to(Closed())
    assert sink.flush() == b"kept"


def test_without_stream_nothing_is_flushed_to_a_socket() -> None:
    sink = BufferSink(stream=False)
    sink.write("kept")
    assert sink.flush_to(None) is True  # type: ignore[arg-type]
    assert sink.end() == b"kept"

"""What can be written, as bytes: everything that has bytes in it, each in the one obvious way, and nothing else."""

import ctypes
import mmap
from array import array
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from greensock.buffers import as_bytes

STEPS = st.integers(-4, 4).filter(bool)


class Bytes(bytes):
    """Bytes with something of their own."""


@given(st.text())
def test_text_is_utf_8(text: str) -> None:
    assert as_bytes(text) == text.encode("utf-8")


@given(st.binary(), st.sampled_from([bytes, bytearray, memoryview, Bytes]))
def test_bytes_of_every_kind_are_those_bytes(data: bytes, kind: Any) -> None:
    made = as_bytes(kind(data))
    assert made == data
    assert type(made) is bytes


@given(st.binary(), st.integers(-9, 9), st.integers(-9, 9), STEPS)
def test_of_a_view_only_what_it_shows_is_taken_in_its_order(data: bytes, start: int, end: int, step: int) -> None:
    assert as_bytes(memoryview(data)[start:end:step]) == data[start:end:step]


@given(st.sampled_from("bBhHiIlLqQ"), st.lists(st.integers(0, 100)), STEPS)
def test_items_of_several_bytes_stay_whole(kind: str, numbers: list[int], step: int) -> None:
    items = array(kind, numbers)
    assert as_bytes(items) == items.tobytes()
    assert as_bytes(memoryview(items)[::step]) == items[::step].tobytes()


@given(st.integers(1, 5), st.integers(1, 5), st.data())
def test_several_dimensions_are_one_after_the_other(rows: int, columns: int, drawn: Any) -> None:
    data = drawn.draw(st.binary(min_size=rows * columns, max_size=rows * columns))
    assert as_bytes(memoryview(data).cast("B", (rows, columns))) == data


def test_memory_of_other_libraries_is_read() -> None:
    assert as_bytes((ctypes.c_uint16 * 2)(1, 2)) == array("H", [1, 2]).tobytes()
    with mmap.mmap(-1, 10) as mapped:
        mapped[:3] = b"map"
        assert as_bytes(mapped) == b"map" + bytes(7)


def test_what_is_made_does_not_change_with_the_buffer_which_may_also_grow() -> None:
    buffer = bytearray(b"before")
    made = as_bytes(buffer)
    buffer[:] = b"AFTER!"
    buffer.append(0)  # a view that was left open would forbid that
    assert made == b"before"


@pytest.mark.parametrize(
    "thing", [None, 5, True, 1.5, [1, 2], (b"a",), {}, object, iter(b"a")], ids=lambda thing: type(thing).__name__
)
def test_what_has_no_bytes_in_it_is_refused_by_its_type(thing: Any) -> None:
    """Although ``bytes`` makes some of numbers and of lists: zeros of one, and items of the other."""
    with pytest.raises(TypeError, match=f"^bytes-like or str expected, not {type(thing).__name__}$") as caught:
        as_bytes(thing)
    assert caught.value.__cause__ is None and caught.value.__suppress_context__, "one error, and not two"


@pytest.mark.parametrize("text", ["\ud800", "half a pair: \udc00"])
def test_text_that_is_not_unicode_is_refused(text: str) -> None:
    with pytest.raises(UnicodeEncodeError):
        as_bytes(text)

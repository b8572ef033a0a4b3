"""``Inbox`` against a plain string of bytes: whatever the cuts, the same is found."""

import time
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from greensock import FrameTooLarge
from greensock.inbox import Inbox

ALPHABET = b"ab\r\n"

pieces = st.lists(st.lists(st.sampled_from(ALPHABET), max_size=12).map(bytes), max_size=12)
sizes = st.integers(0, 12)
reads = st.one_of(
    st.tuples(st.just("take"), sizes),
    st.tuples(st.just("exactly"), sizes),
    st.tuples(st.just("until"), st.sampled_from([b"\n", b"\r\n", b"a", b"ab", b"aab", b"\n\n"]), sizes),
    st.tuples(st.just("line"), sizes),
    st.tuples(st.just("take_all")),
)


class Model:
    """The same with one string, looked at from its beginning each time."""

    def __init__(self) -> None:
        self.data = b""

    def cut(self, end: int, skip: int = 0) -> bytes:
        found, self.data = self.data[:end], self.data[end + skip :]
        return found

    def take(self, most: int) -> bytes:
        return self.cut(most)

    def take_all(self) -> bytes:
        return self.cut(len(self.data))

    def exactly(self, size: int) -> bytes | None:
        return self.cut(size) if len(self.data) >= size else None

    def until(self, delimiter: bytes, most: int) -> bytes | None:
        found = self.data.find(delimiter)
        if 0 <= found <= most:
            return self.cut(found + len(delimiter))
        if found > most or not self.may_end(delimiter, most):
            raise FrameTooLarge("")
        return None

    def line(self, most: int) -> bytes | None:
        found = self.data.find(b"\n")
        if found < 0:
            if not self.may_end(b"\r\n", most) and not self.may_end(b"\n", most):
                raise FrameTooLarge("")
            return None
        line = self.data[:found].removesuffix(b"\r")
        if len(line) > most:
            raise FrameTooLarge("")
        self.cut(found, 1)
        return line

    def may_end(self, delimiter: bytes, most: int) -> bool:
        """Whether some end makes what is there *most* bytes and the delimiter, or less."""
        return any(
            (self.data + rest).find(delimiter) <= most
            for n in range(len(delimiter) + 1)
            if (self.data + (rest := delimiter[n:])).endswith(delimiter)
        )


def outcome(box: Any, name: str, *arguments: Any) -> Any:
    try:
        return getattr(box, name)(*arguments)
    except FrameTooLarge:
        return FrameTooLarge


@given(st.lists(st.one_of(pieces.map(lambda parts: ("put", b"".join(parts))), reads), max_size=40))
def test_it_is_one_string_of_bytes(steps: list[tuple[Any, ...]]) -> None:
    inbox, model = Inbox(), Model()
    for name, *arguments in steps:
        if name == "put":
            if arguments[0]:
                inbox.put(arguments[0])
                model.data += arguments[0]
        else:
            found = outcome(inbox, name, *arguments)
            assert found == outcome(model, name, *arguments), (name, arguments)
            assert found in (None, FrameTooLarge) or type(found) is bytes
        assert inbox.size == len(model.data)
    assert inbox.take_all() == model.data


@given(pieces, st.lists(reads.filter(lambda read: read[0] != "take_all"), min_size=1, max_size=6))
def test_any_cut_gives_the_same(parts: list[bytes], wanted: list[tuple[Any, ...]]) -> None:
    """Each read is asked for until it succeeds, as a socket does, and only then the next."""

    def run(cuts: list[bytes]) -> list[Any]:
        inbox, found = Inbox(), []
        cuts = [cut for cut in cuts if cut]
        for name, *arguments in wanted:
            if name == "take":
                name = "exactly"
            while (got := outcome(inbox, name, *arguments)) is None and cuts:
                inbox.put(cuts.pop(0))
            found.append(got)
            if got is None or got is FrameTooLarge:
                break
        return found

    whole = b"".join(parts)
    assert run(parts) == run([whole]) == run([whole[i : i + 1] for i in range(len(whole))])


@pytest.mark.parametrize(
    ("data", "limit", "too_large"),
    [
        (b"12345\n", 5, False),
        (b"12345\r\n", 5, False),
        (b"123456\n", 5, True),
        (b"123456", 5, True),
        (b"12345\r", 5, False),
        (b"12345\rx", 5, True),
        (b"\n", 0, False),
    ],
)
def test_the_limit_of_a_line_counts_what_is_before_its_end(data: bytes, limit: int, too_large: bool) -> None:
    inbox = Inbox()
    inbox.put(data)
    assert (outcome(inbox, "line", limit) is FrameTooLarge) is too_large
    if too_large:
        assert inbox.take_all() == data, "nothing was taken"


def test_what_was_read_is_not_kept() -> None:
    inbox = Inbox()
    inbox.put(bytes(100_000) + b"\nrest")
    assert len(inbox.line(100_000) or b"") == 100_000
    assert inbox.line(10) is None
    assert len(inbox.chunk) == 4


@pytest.mark.parametrize("name", ["exactly", "until", "line"])
def test_the_work_does_not_grow_with_the_cuts(name: str) -> None:
    """A thousand times as many cuts cost what a thousand times as many calls cost, and not a million times."""
    size = 400_000
    arguments = {"exactly": (size,), "until": (b"\n", size), "line": (size,)}[name]

    def seconds(cut: int) -> float:
        inbox = Inbox()
        data = bytes(size - 1) + b"\n"
        began = time.perf_counter()
        for start in range(0, size, cut):
            assert getattr(inbox, name)(*arguments) is None
            inbox.put(data[start : start + cut])
        assert getattr(inbox, name)(*arguments) is not None
        return time.perf_counter() - began

    # 40 times the calls; looking at all from the beginning each time would take 1,600 times as long.
    assert min(seconds(100) for _ in range(3)) < 200 * min(seconds(4000) for _ in range(3))

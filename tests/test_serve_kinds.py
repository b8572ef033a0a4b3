"""What values of settings may be, and that nothing else is taken."""

import dataclasses
import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from greensock.serve.kinds import ADDRESS, PATH, SECONDS, SWITCH, TEXT, WHOLE, Kind


@given(st.integers(-(10**17), 10**17))
def test_a_whole_number_is_read_from_toml_and_from_text(number: int) -> None:
    assert WHOLE.value(number) == WHOLE.value(str(number)) == number


@given(st.floats(0, 1e9).map(lambda number: round(number, 6)))
def test_seconds_are_read_from_toml_and_from_text(number: float) -> None:
    assert SECONDS.value(number) == number
    assert math.isclose(SECONDS.value(f"{number:f}"), number, abs_tol=1e-6)


@pytest.mark.parametrize("text", ["true", "yes", "on", "1", "True", "YES"])
def test_words_for_yes(text: str) -> None:
    assert SWITCH.value(text) is SWITCH.value(True) is True


@pytest.mark.parametrize("text", ["false", "no", "off", "0", "False", "NO"])
def test_words_for_no(text: str) -> None:
    assert SWITCH.value(text) is SWITCH.value(False) is False


@pytest.mark.parametrize(
    ("kind", "bad"),
    [
        *((WHOLE, bad) for bad in ("", "1.5", "+1", " 1", "1_000", "0x10", "9" * 5000, "ten", 1.0, True, None, [1])),
        *((SECONDS, bad) for bad in ("", "1e3", "1s", "inf", "nan", "-", ".", "1..2", True, None, [1.0])),
        *((SWITCH, bad) for bad in ("", "maybe", "2", 0, 1, None)),
        *((TEXT, bad) for bad in ("", 1, None, ["a"])),
        *((PATH, bad) for bad in ("", 1, None)),
        *((ADDRESS, bad) for bad in ("", "nohost", "a:b", "::1:80", 8080, None)),
    ],
)
def test_anything_else_is_refused_with_what_is_allowed(kind: Kind, bad: object) -> None:
    with pytest.raises(ValueError, match=f"must be {kind.allowed}, not ") as refused:
        kind.value(bad)
    assert len(str(refused.value)) < 6000


def test_a_bad_address_is_told_with_its_reason() -> None:
    with pytest.raises(ValueError, match="not 'nohost': bad address 'nohost': the port is missing"):
        ADDRESS.value("nohost")


def test_none_is_for_what_may_be_none() -> None:
    maybe = dataclasses.replace(SECONDS, optional=True)
    assert maybe.value("none") is None
    with pytest.raises(ValueError, match="must be a number of seconds, or 'none', not 'never'"):
        maybe.value("never")
    with pytest.raises(ValueError, match="must be a number of seconds, not 'none'"):
        SECONDS.value("none")


def test_a_list_is_given_as_such_or_with_commas() -> None:
    several = dataclasses.replace(ADDRESS, several=True)
    assert several.value("a:1, unix:/b,[::1]:2") == ["a:1", "unix:/b", "[::1]:2"]
    assert several.value(("a:1", "b:2")) == several.value(["a:1", "b:2"]) == ["a:1", "b:2"]
    with pytest.raises(ValueError, match="must be an address, not 'b'"):
        several.value("a:1,b")
    with pytest.raises(ValueError, match="must be a list, each of it an address, not 80"):
        several.value(80)

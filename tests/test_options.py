"""The options: their defaults, what is refused, and how the marks follow each other."""

import dataclasses
import math
from decimal import Decimal
from fractions import Fraction
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from greensock import options
from greensock.options import Options, seconds

DEFAULTS = {
    "backlog": 4096,
    "reuse_port": False,
    "ipv6_only": False,
    "max_connections": None,
    "idle_timeout": None,
    "handshake_timeout": 10.0,
    "write_timeout": 30.0,
    "close_timeout": 10.0,
    "high_water_mark": 65536,
    "low_water_mark": 16384,
    "max_buffered": 1024 * 1024,
    "slow_consumer": "close",
    "allow_half_open": False,
    "no_delay": True,
    "keepalive": 60.0,
    "tls": None,
    "framing": None,
}
TIMES = ["idle_timeout", "handshake_timeout", "write_timeout", "close_timeout", "keepalive"]
FLAGS = ["reuse_port", "ipv6_only", "allow_half_open", "no_delay"]
SIZES = ["high_water_mark", "low_water_mark", "max_buffered"]


def test_defaults() -> None:
    assert dataclasses.asdict(Options.of({})) == DEFAULTS
    assert Options.of({}) == Options()
    assert Options.of(DEFAULTS) == Options()  # and each of them passes its own check


def test_options_are_values_without_a_dictionary() -> None:
    with pytest.raises(dataclasses.FrozenInstanceError):
        Options().backlog = 1  # type: ignore[misc]
    assert not hasattr(Options(), "__dict__")


def test_every_option_has_a_check() -> None:
    assert list(options._CHECKS) == [field.name for field in dataclasses.fields(Options)]


@pytest.mark.parametrize(
    ("name", "hint"),
    [("backlogs", "did you mean 'backlog'"), ("idle_timout", "did you mean 'idle_timeout'"), ("colour", "colour")],
)
def test_unknown_option(name: str, hint: str) -> None:
    with pytest.raises(TypeError, match=f"unknown option '{name}'.*{hint if hint != name else ''}") as caught:
        Options.of({name: 1})
    assert all(option in str(caught.value) for option in DEFAULTS)
    assert ("did you mean" in str(caught.value)) == (hint != name)


@pytest.mark.parametrize("name", TIMES)
@pytest.mark.parametrize("value", [1, 0.5, 1e-9, Fraction(1, 3), 32767])
def test_good_time(name: str, value: Any) -> None:
    got = getattr(Options.of({name: value}), name)
    assert got == float(value)
    assert type(got) is float


@pytest.mark.parametrize("name", TIMES)
def test_no_limit(name: str) -> None:
    assert getattr(Options.of({name: None}), name) is None


@pytest.mark.parametrize("name", TIMES)
@pytest.mark.parametrize(
    "value", [0, -1, 0.0, -0.5, math.nan, math.inf, -math.inf, True, False, "1", b"1", 1j, Decimal(1), 10**400, []]
)
def test_bad_time(name: str, value: object) -> None:
    with pytest.raises(ValueError, match=f"^{name} must be a number of seconds above 0 or None, not ") as caught:
        Options.of({name: value})
    assert str(caught.value).endswith(repr(value))


@pytest.mark.parametrize("value", [32767.001, 32768, 1e300])
def test_keepalive_fits_the_kernel(value: float) -> None:
    with pytest.raises(ValueError, match="keepalive must be at most 32767 seconds"):
        Options.of({"keepalive": value})
    assert Options.of({"idle_timeout": value}).idle_timeout == value


def test_a_time_that_has_to_be() -> None:
    assert seconds("timeout", 2) == 2.0
    assert seconds("timeout", None, optional=True) is None
    for value in (None, 0):
        with pytest.raises(ValueError, match=f"^timeout must be a number of seconds above 0, not {value}$"):
            seconds("timeout", value)


@pytest.mark.parametrize("name", FLAGS)
def test_flags(name: str) -> None:
    for value in (True, False):
        assert getattr(Options.of({name: value}), name) is value
    for bad in (0, 1, None, "yes", ""):
        with pytest.raises(ValueError, match=f"^{name} must be True or False, not {bad!r}$"):
            Options.of({name: bad})


@pytest.mark.parametrize("name", [*SIZES, "backlog", "max_connections"])
@pytest.mark.parametrize("value", [-1, True, False, 1.0, "1", math.nan, Fraction(2)])
def test_bad_number(name: str, value: object) -> None:
    with pytest.raises(ValueError, match=f"^{name} must be a whole number of at least [01]") as caught:
        Options.of({name: value})
    assert str(caught.value).endswith(repr(value))


@pytest.mark.parametrize(("name", "nothing"), [("backlog", False), ("max_connections", True)])
def test_at_least_one(name: str, nothing: bool) -> None:
    assert getattr(Options.of({name: 1}), name) == 1
    with pytest.raises(ValueError, match=name):
        Options.of({name: 0})
    if nothing:
        assert getattr(Options.of({name: None}), name) is None
    else:
        with pytest.raises(ValueError, match=name):
            Options.of({name: None})


def test_slow_consumer() -> None:
    assert Options.of({"slow_consumer": "raise"}).slow_consumer == "raise"
    bad: object
    for bad in ("drop", "", None, True, [], b"close"):
        with pytest.raises(ValueError, match=r"^slow_consumer must be 'close' or 'raise', not "):
            Options.of({"slow_consumer": bad})


@pytest.mark.parametrize(
    ("given", "low", "high", "most"),
    [
        ({"high_water_mark": 1000}, 250, 1000, 1 << 20),
        ({"high_water_mark": 16384}, 16384, 16384, 1 << 20),
        ({"high_water_mark": 16383}, 4095, 16383, 1 << 20),
        ({"high_water_mark": 0}, 0, 0, 1 << 20),
        ({"high_water_mark": 2 << 20}, 16384, 2 << 20, 2 << 20),
        ({"low_water_mark": 0}, 0, 65536, 1 << 20),
        ({"low_water_mark": 100_000}, 100_000, 100_000, 1 << 20),
        ({"low_water_mark": 2 << 20}, 2 << 20, 2 << 20, 2 << 20),
        ({"max_buffered": 1000}, 250, 1000, 1000),
        ({"max_buffered": 0}, 0, 0, 0),
        ({"max_buffered": 1000, "low_water_mark": 1000}, 1000, 1000, 1000),
        ({"high_water_mark": 5, "low_water_mark": 5, "max_buffered": 5}, 5, 5, 5),
    ],
)
def test_marks(given: dict[str, int], low: int, high: int, most: int) -> None:
    made = Options.of(given)
    assert (made.low_water_mark, made.high_water_mark, made.max_buffered) == (low, high, most)


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ({"high_water_mark": 5, "low_water_mark": 6}, "low_water_mark=6 is above high_water_mark=5"),
        ({"high_water_mark": 5, "max_buffered": 4}, "high_water_mark=5 is above max_buffered=4"),
        ({"low_water_mark": 5, "max_buffered": 4}, "low_water_mark=5 is above max_buffered=4"),
    ],
)
def test_marks_that_contradict_each_other(given: dict[str, int], message: str) -> None:
    with pytest.raises(ValueError, match=f"^{message}$"):
        Options.of(given)


@given(st.dictionaries(st.sampled_from(SIZES), st.integers(0, 3 << 20)))
def test_marks_in_any_combination(given: dict[str, int]) -> None:
    try:
        made = Options.of(given)
    except ValueError:
        assert len(given) > 1  # one alone is always possible
        return
    assert 0 <= made.low_water_mark <= made.high_water_mark <= made.max_buffered
    assert all(getattr(made, name) == value for name, value in given.items())


@given(
    st.dictionaries(
        st.sampled_from(list(DEFAULTS)),
        st.none() | st.booleans() | st.integers() | st.floats() | st.text() | st.binary() | st.lists(st.none()),
    )
)
def test_nothing_but_a_value_error(given: dict[str, Any]) -> None:
    try:
        Options.of(given)
    except ValueError as error:
        assert any(name in str(error) for name in given)

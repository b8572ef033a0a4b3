"""Which versions have which holes: a table, and how it is read."""

import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from greensock import versions
from greensock.versions import HOLES, Hole, holes, parse

HOLE = Hole("Python", "CVE-1", "it leaks", ((3, 11, 17), (3, 12, 15), (3, 14, 8)), since=(3, 10, 2))


@pytest.mark.parametrize(
    ("version", "affected"),
    [
        ((3, 10, 1), False),  # before it came
        ((3, 10, 2), True),
        ((3, 10, 99), True),  # a branch that was given up with it
        ((3, 11, 16), True),
        ((3, 11, 17), False),
        ((3, 12, 0), True),
        ((3, 12, 15), False),
        ((3, 13, 50), True),  # between two that were mended
        ((3, 14, 7), True),
        ((3, 14, 8), False),
        ((3, 15, 0), False),  # made after it was mended
    ],
)
def test_each_branch_has_its_first_good_version(version: versions.Version, affected: bool) -> None:
    assert HOLE.affects(version) is affected


def test_the_nearest_good_version_is_named() -> None:
    assert HOLE.first_good((3, 11, 7)) == "3.11.17"
    assert HOLE.first_good((3, 13, 1)) == "3.14.8"


@given(st.sampled_from(HOLES), st.tuples(st.integers(0, 30), st.integers(0, 20), st.integers(0, 40)))
def test_whatever_has_a_hole_has_a_version_to_go_to(hole: Hole, version: versions.Version) -> None:
    if hole.affects(version):
        good = parse(hole.first_good(version))
        assert good > version
        assert not hole.affects(good)


@pytest.mark.parametrize("hole", HOLES, ids=lambda hole: hole.name)
def test_the_table_is_in_order(hole: Hole) -> None:
    assert hole.of in ("Python", "gevent", "greenlet", "OpenSSL")
    assert re.match(r"CVE-\d{4}-\d+$|gh-\d+$|gevent #\d+$|greenlet #\d+$|the changes of ", hole.name)
    assert hole.effect and hole.effect[-1] != "."
    assert list(hole.closed) == sorted(hole.closed)
    assert len({good[:2] for good in hole.closed}) == len(hole.closed)
    assert all(hole.since < good for good in hole.closed)


def names(of: str, version: str) -> set[str]:
    return {hole.name for hole in holes(of, parse(version))}


def test_examples_of_each() -> None:
    assert names("Python", "3.13.6") >= {"gh-137583", "CVE-2026-19445"}
    assert "gh-137583" not in names("Python", "3.13.5") | names("Python", "3.13.7")
    assert "CVE-2023-40217" in names("Python", "3.11.4")
    assert names("Python", "3.11.18") == names("Python", "3.16.0") == set()
    assert names("gevent", "25.4.2") == {"gevent #2100", "gevent #2139", "gevent #2159"}
    assert names("gevent", "26.4.0") == set()
    assert names("OpenSSL", "3.0.22") == {"CVE-2026-35189"}
    assert names("OpenSSL", "3.6.5") == names("OpenSSL", "4.1.0") == set()
    assert names("greenlet", "3.3.1") == {"the changes of greenlet 3.3.2"}


def test_the_supported_gevent_has_none() -> None:
    """``pyproject.toml`` asks for 26.4.0."""
    assert names("gevent", "26.4.0") == set()


@pytest.mark.parametrize(
    ("text", "version"),
    [("26.9.0", (26, 9, 0)), ("25.8.1.dev0", (25, 8, 1)), ("3", (3,)), ("", ()), ("3.5rc1", (3,)), ("dev", ())],
)
def test_versions_are_read_as_far_as_they_are_numbers(text: str, version: versions.Version) -> None:
    assert parse(text) == version

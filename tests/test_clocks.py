"""One timer for all timeouts."""

from collections.abc import Iterator
from time import monotonic

import gevent
import pytest

from greensock.clocks import LONGEST, SHORTEST, Clocks
from greensock.engine import Engine
from greensock.testing import Dial, Recorder, Serve, wait_until


class Once:
    """Has one timeout, and notes when it was looked at."""

    def __init__(self) -> None:
        self.looked_at: list[float] = []

    def _check_clocks(self, now: float) -> bool:
        self.looked_at.append(now)
        return False


class Often(Once):
    """Has always another one."""

    def _check_clocks(self, now: float) -> bool:
        return not super()._check_clocks(now)


@pytest.fixture
def clocks() -> Iterator[Clocks]:
    clocks = Clocks(gevent.get_hub().loop)
    yield clocks
    clocks.stop()


def time_until_due(clocks: Clocks) -> float:
    began = monotonic()
    wait_until(lambda: clocks.due)
    return monotonic() - began


def test_one_timer_looks_at_the_clocks_of_all_sockets(serve: Serve, dial: Dial) -> None:
    recorder = Recorder()
    server = serve(recorder.handlers, idle_timeout=1000)
    loop = gevent.get_hub().loop
    dial(server)
    recorder.wait_for("open")
    before = loop.activecnt
    for _ in range(20):
        dial(server)
    recorder.wait_for("open", 21)
    assert loop.activecnt == before + 20, "20 readers"
    assert len(Engine.of_this_hub().clocks.watched) == 21


def test_each_look_is_at_all_and_those_without_a_clock_left_are_let_go(clocks: Clocks) -> None:
    once, often = Once(), Often()
    clocks.watch(once, 0.1)
    clocks.watch(often, 0.1)
    for looks in (1, 2):
        time_until_due(clocks)
        clocks.look()
        assert not clocks.due
        assert (len(once.looked_at), len(often.looked_at)) == (1, looks)
        assert clocks.watched == {often}
    assert often.looked_at[0] < often.looked_at[1] <= monotonic()


def test_the_timer_runs_as_long_as_there_is_something_to_look_at(clocks: Clocks) -> None:
    active = gevent.get_hub().loop.activecnt
    once = Once()
    assert not clocks.running
    for end in (clocks.unwatch, lambda _: clocks.look()):
        clocks.watch(once, 1)
        assert clocks.running
        end(once)
        assert not clocks.running
        assert gevent.get_hub().loop.activecnt == active


def test_the_shortest_timeout_says_how_often(clocks: Clocks) -> None:
    clocks.watch(Often(), 1000)
    clocks.watch(Often(), 0.001)
    assert time_until_due(clocks) < LONGEST / 2, "it did not wait for the first"
    clocks.look()
    clocks.watch(Often(), 1000)
    assert time_until_due(clocks) < LONGEST / 2, "a longer one changes nothing"


def test_it_is_never_more_often_than_is_worth_it(clocks: Clocks) -> None:
    began = monotonic()
    clocks.watch(Often(), 0)
    time_until_due(clocks)
    assert monotonic() - began >= SHORTEST * 0.9  # libev counts from when the turn began


def test_what_is_watched_twice_is_looked_at_once(clocks: Clocks) -> None:
    once = Once()
    clocks.watch(once, 1)
    clocks.watch(once, 2)
    clocks.look()
    assert len(once.looked_at) == 1
    clocks.unwatch(once)  # does nothing
    assert not clocks.running

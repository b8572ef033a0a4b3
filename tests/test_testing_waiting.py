"""Waiting for a condition: it is noticed, and nothing is left running."""

import itertools
import threading

import gevent
import gevent.event
import pytest

from connections import stand_still
from greensock.testing import Dial, Leaks, Recorder, Serve, wait_until


def test_a_condition_that_holds_is_not_waited_for() -> None:
    wait_until(lambda: True, timeout=0)


def test_a_condition_is_noticed_when_it_comes_true() -> None:
    event = gevent.event.Event()
    gevent.spawn_later(0.01, event.set)
    wait_until(event.is_set)


def test_what_another_thread_does_is_noticed_as_well() -> None:
    done: list[bool] = []
    threading.Timer(0.01, done.append, [True]).start()
    wait_until(lambda: done)


def test_what_came_during_a_standstill_is_seen_before_time_is_up(serve: Serve, dial: Dial) -> None:
    recorder = Recorder()
    peer = dial(serve(recorder.handlers))
    recorder.wait_for("open")
    peer.send(b"in time")
    stand_still(0.1)
    wait_until(lambda: recorder.received, timeout=0.05)


def test_waiting_leaves_nothing_running_when_the_condition_raises() -> None:
    leaks = Leaks()
    asked = itertools.count()
    with pytest.raises(ZeroDivisionError):
        wait_until(lambda: next(asked) > 2 and 1 / 0)
    assert not leaks.find()


def test_a_condition_that_never_comes_true_is_named() -> None:
    with pytest.raises(AssertionError, match="never came true: the moon is full"):
        wait_until(lambda: False, 0.02, "the moon is full")

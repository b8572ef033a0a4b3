"""Gates between greenlets and threads, and loops that are made for a thread."""

import os
import threading
from collections.abc import Callable

import gevent

from greensock.hubs import has_hub
from greensock.legacy.threads import Gate, loop_of_this_thread
from greensock.testing import wait_until


def in_a_thread(function: Callable[[], object]) -> threading.Thread:
    thread = threading.Thread(target=function)
    thread.start()
    return thread


def test_an_open_gate_lets_everybody_pass() -> None:
    gate = Gate()
    assert gate.is_open
    gate.wait()
    in_a_thread(gate.wait).join()


def test_a_shut_gate_is_waited_for_by_greenlets_and_threads() -> None:
    gate = Gate()
    passed: list[str] = []
    gate.shut()
    assert not gate.is_open

    def pass_by(who: str) -> None:
        gate.wait()
        passed.append(who)

    greenlet = gevent.spawn(pass_by, "greenlet")
    thread = in_a_thread(lambda: pass_by("thread"))
    gevent.sleep(0.01)
    assert passed == []
    gate.open()
    greenlet.join()
    wait_until(lambda: len(passed) == 2)
    thread.join()
    assert sorted(passed) == ["greenlet", "thread"]
    gate.shut()
    gate.open()
    gate.wait()


def test_a_gate_that_a_thread_has_shut_is_waited_for_by_others() -> None:
    gate = Gate()
    is_shut, go_on = threading.Event(), threading.Event()

    def shut_and_open() -> None:
        gate.shut()
        is_shut.set()
        go_on.wait(10)
        gate.open()

    thread = in_a_thread(shut_and_open)
    assert is_shut.wait(10)
    threading.Timer(0.01, go_on.set).start()
    gate.wait()
    assert gate.is_open
    thread.join()


def test_a_gate_may_be_shut_by_one_thread_after_the_other(no_leaks: None) -> None:
    gate = Gate()
    passed: list[bool] = []

    def shut_and_wait() -> None:
        with loop_of_this_thread():
            gate.shut()
            waiting = gevent.spawn(gate.wait)
            gevent.sleep(0)
            assert not waiting.ready()
            gate.open()
            waiting.get(timeout=10)
            passed.append(gate.is_open)

    shut_and_wait()
    for _ in range(2):
        in_a_thread(shut_and_wait).join()
    shut_and_wait()
    assert passed == [True] * 4


def test_a_thread_gets_a_loop_for_a_while(no_leaks: None) -> None:
    descriptors = set(os.listdir("/proc/self/fd"))
    seen: list[object] = []
    ready = threading.Event()
    calls: list[Callable[[], object]] = []

    def work() -> None:
        called = []
        seen.append(has_hub())
        with loop_of_this_thread() as loop:
            seen.append((has_hub(), loop.ends))
            calls.append(loop.call_from_anywhere(lambda: called.append(threading.get_ident())))
            ready.set()
            while not called:
                gevent.sleep(0.001)
        seen.append(called == [threading.get_ident()])
        seen.append(has_hub())

    thread = in_a_thread(work)
    assert ready.wait(10)
    calls[0]()
    thread.join()
    assert seen == [False, (True, True), True, False]
    assert set(os.listdir("/proc/self/fd")) == descriptors


def test_a_loop_that_was_there_stays(no_leaks: None) -> None:
    hub = gevent.get_hub()
    with loop_of_this_thread() as loop:
        assert not loop.ends
    assert gevent.get_hub() is hub
    gevent.sleep(0)


def test_a_loop_of_a_thread_that_uses_gevent_stays(no_leaks: None) -> None:
    seen: list[bool] = []

    def work() -> None:
        hub = gevent.get_hub()
        with loop_of_this_thread() as loop:
            seen.append(loop.ends)
        seen.append(gevent.get_hub() is hub)
        gevent.sleep(0)
        loop._engine.close()
        hub.destroy(destroy_loop=True)

    in_a_thread(work).join()
    assert seen == [False, True]

"""The pytest plugin: what it lets pass, and that it does fail for each kind of leak."""

import re
from pathlib import Path

import gevent
import gevent.event
import pytest

from greensock.testing import Dial, Serve
from program import Launch

SUITE = """
import gevent, pytest

kept = []

def leak():
    kept.extend([open("/dev/null"), gevent.spawn(gevent.sleep, 1000), gevent.get_hub().loop.timer(1000)])
    kept[-1].start(print)
    gevent.spawn(int, "no number").join()

def test_leaks():
    leak()

def test_is_clean(): pass

@pytest.mark.leaks
def test_leaks_on_purpose():
    leak()

def test_is_clean_again(serve, dial):
    server = serve({"data": lambda socket, data: socket.write(data)})
    assert dial(server).exchange(b"hello") == b"hello"

def test_fails(serve, dial):
    dial(serve({"data": print}))
    assert False
"""

RUN = """
    import sys, pytest
    sys.exit(pytest.main([sys.argv[1], "-p", "greensock.testing", "-c", "/dev/null", "-p", "no:cacheprovider", "-rA"]))
"""


def test_the_plugin_fails_what_leaks_and_nothing_else(launch: Launch, tmp_path: Path) -> None:
    (tmp_path / "test_suite.py").write_text(SUITE)
    status, output, _ = launch(RUN, str(tmp_path / "test_suite.py")).finish()
    assert status == 1
    outcomes = set(re.findall("^(PASSED|FAILED|ERROR) .*::(test_[a-z_]*)", output, re.MULTILINE))
    assert outcomes == {
        ("PASSED", "test_leaks"),  # the test itself
        ("ERROR", "test_leaks"),  # what it left
        ("PASSED", "test_is_clean"),
        ("PASSED", "test_leaks_on_purpose"),
        ("PASSED", "test_is_clean_again"),
        ("FAILED", "test_fails"),
    }
    for leak in ("descriptor .* -> /dev/null", "greenlet <Greenlet", r"\d active watchers", "hub error .*ValueError"):
        assert re.search(leak, output), leak


@pytest.mark.leaks
def test_a_test_may_say_that_it_leaks() -> None:
    leaked.append(gevent.spawn(gevent.sleep, 1000))
    gevent.sleep(0)


leaked: list["gevent.Greenlet[[float], None]"] = []


def test_and_the_next_one_does_not_pay_for_it() -> None:
    leaked.pop().kill()


def test_the_fixtures_end_what_they_started(launch: Launch, tmp_path: Path, serve: Serve, dial: Dial) -> None:
    gate = gevent.event.Event()
    peer = dial(serve({"data": lambda socket, data: gate.wait()}))
    peer.send(b"blocks for ever, unless its server ends with the test")

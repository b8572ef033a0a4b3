"""Signals as an operator sends them, to a service that is idle, busy, hung, blocked, or not there yet."""

import os
import pty
import signal
import socket
import textwrap
from time import monotonic
from typing import Any

import gevent
import pytest

from program import Serve, Serving

#: What a peer says is what its handler does. It says so first.
SERVICE = """
import os, signal, subprocess, sys, time
import gevent
import gevent.event

def data(socket, data):
    print(data.decode(), flush=True)
    globals()[data.decode()](socket)

def wait_for_the_drain(socket):
    while not socket.stopping:
        gevent.sleep(0.005)
    socket.write(b"answer")

def hang(socket):
    gevent.event.Event().wait()

def block(socket):
    time.sleep(1000)

def block_for_a_second(socket):
    time.sleep(1)
    socket.write(b"answer")

def spin(socket):
    while True:
        pass

def anything(socket):
    pass

handlers = {"data": data}
"""


def connect(serving: Serving) -> socket.socket:
    """Connect to where it listens, which it prints first."""
    return socket.create_connection(serving.address(), 10)


def again(peer: socket.socket) -> socket.socket:
    return socket.create_connection(peer.getpeername(), 10)


def say(serving: Serving, peer: socket.socket, what: str) -> None:
    """Have the handler of *peer* do that, and wait until it has begun."""
    peer.sendall(what.encode())
    assert serving.line() == what


def end(serving: Serving, number: signal.Signals | None = None) -> tuple[int, str]:
    """Status and errors, in which there is no traceback."""
    status, _, errors = serving.finish(number)
    assert "Traceback" not in errors
    return status, errors


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_the_first_one_drains(serving: Serve, number: signal.Signals) -> None:
    service = serving(SERVICE)
    with connect(service) as idle, again(idle) as busy:
        say(service, idle, "anything")
        say(service, busy, "wait_for_the_drain")
        service.send(number)
        assert idle.recv(100) == b"", "a clean end"
        assert busy.recv(100) == b"answer"
        assert busy.recv(100) == b""
        with pytest.raises(ConnectionRefusedError):
            again(idle)
    status, errors = end(service)
    assert status == 0
    assert "draining 2 connections, for 8 s at most" in errors


def test_whoever_repeats_himself_changes_nothing(serving: Serve) -> None:
    """Also at the very end, when the interpreter has taken its signal handlers away."""
    service = serving(SERVICE + "\nimport atexit; atexit.register(time.sleep, 0.3)")
    service.address()
    while service.process.poll() is None:
        service.send(signal.SIGTERM)
        service.send(signal.SIGUSR1)
        service.send(signal.SIGHUP)
        gevent.sleep(0.001)
    assert end(service)[0] == 0


def test_draining_takes_as_long_as_it_is_told(serving: Serve) -> None:
    service = serving(SERVICE, "--drain-timeout", "0.3")
    with connect(service) as peer:
        say(service, peer, "hang")
        before = monotonic()
        service.send(signal.SIGTERM)
        with pytest.raises(ConnectionResetError):
            peer.recv(100)
        assert monotonic() - before >= 0.3
        assert end(service)[0] == 0


def test_the_second_interrupt_ends_at_once(serving: Serve) -> None:
    service = serving(SERVICE, "--drain-timeout", "1000")
    with connect(service) as peer:
        say(service, peer, "hang")
        service.send(signal.SIGINT)
        service.wait_for_error("draining 1 connections")
        before = monotonic()
        assert end(service, signal.SIGINT)[0] == 130
        assert monotonic() - before < 5


@pytest.mark.parametrize(("number", "how"), [(signal.SIGTERM, "block"), (signal.SIGINT, "spin")])
def test_a_blocked_loop_ends_when_time_is_up_and_says_where_it_is(
    serving: Serve, number: signal.Signals, how: str
) -> None:
    service = serving(SERVICE, "--drain-timeout", "0.3")
    with connect(service) as peer:
        say(service, peer, how)
        before = monotonic()
        status, errors = end(service, number)
        assert monotonic() - before < 5
        assert status == 0
        where = " in block: time.sleep(1000)" if how == "block" else "in spin: "
        (told,) = [line for line in errors.splitlines() if "time is up" in line]
        assert where in told


def test_a_blocked_loop_ends_at_once_at_the_second_interrupt(serving: Serve) -> None:
    service = serving(SERVICE, "--drain-timeout", "1000")
    with connect(service) as peer:
        say(service, peer, "block")
        service.send(signal.SIGINT)
        service.wait_for_error("the loop is blocked by service.py")
        before = monotonic()
        assert end(service, signal.SIGINT)[0] == 130
        assert monotonic() - before < 5


def test_a_loop_that_is_blocked_for_a_while_drains_after_it(serving: Serve) -> None:
    service = serving(SERVICE)
    with connect(service) as peer, again(peer) as idle:
        say(service, idle, "anything")
        say(service, peer, "block_for_a_second")
        service.send(signal.SIGTERM)
        assert peer.recv(100) == b"answer"
        assert peer.recv(100) == idle.recv(100) == b""
    status, errors = end(service)
    assert status == 0
    assert "time is up" not in errors


@pytest.mark.parametrize(("number", "status"), [(signal.SIGTERM, 143), (signal.SIGINT, 130)])
def test_before_it_serves_they_end_it(serving: Serve, number: signal.Signals, status: int) -> None:
    service = serving("print('importing', flush=True)\nimport time; time.sleep(1000)")
    assert service.line() == "importing"
    assert end(service, number) == (status, "")


def test_before_it_serves_the_others_are_ignored(serving: Serve) -> None:
    service = serving(f"print('importing', flush=True)\nimport time; time.sleep(0.5)\n{textwrap.dedent(SERVICE)}")
    assert service.line() == "importing"
    service.send(signal.SIGHUP)
    service.send(signal.SIGUSR1)
    assert service.wait_for("listening")
    assert end(service, signal.SIGTERM)[0] == 0


def test_hup_reloads(serving: Serve) -> None:
    service = serving(SERVICE)
    with connect(service) as peer:
        say(service, peer, "anything")
        service.edit(SERVICE.replace("print(data.decode(), flush=True)", 'print("new", flush=True)'))
        service.send(signal.SIGHUP)
        service.wait_for_error("reloaded service.py")
        peer.sendall(b"anything")
        assert service.line() == "new"
    assert end(service, signal.SIGTERM)[0] == 0


def test_hup_of_a_terminal_that_was_closed_drains(serving: Serve) -> None:
    controlling, terminal = pty.openpty()
    closing = serving(SERVICE, stderr=terminal)
    os.close(terminal)
    with connect(closing) as peer:
        say(closing, peer, "anything")
        os.close(controlling)
        closing.send(signal.SIGHUP)
        assert peer.recv(100) == b""
    assert closing.process.wait(20) == 0


def test_usr1_shows_the_state(serving: Serve) -> None:
    service = serving(SERVICE, "--drain-timeout", "0.1")
    with connect(service) as peer, again(peer) as other:
        say(service, peer, "hang")
        say(service, other, "hang")
        service.send(signal.SIGUSR1)
        service.wait_for_error(f"greensock: state of process {service.process.pid}")
        service.wait_for_error("listening, 2 connections>")
        service.wait_for_error("0 bytes buffered, 2 handlers running")
        service.wait_for_error("  2 in")
        service.wait_for_error(" in hang: gevent.event.Event().wait()")
        assert end(service, signal.SIGTERM)[0] == 0


def test_usr1_shows_the_state_of_a_blocked_loop(serving: Serve) -> None:
    service = serving(SERVICE, "--drain-timeout", "0.1")
    with connect(service) as peer, again(peer) as other:
        say(service, peer, "hang")
        say(service, other, "block")
        service.send(signal.SIGUSR1)
        service.wait_for_error("greensock: state of process")
        service.wait_for_error("listening, 2 connections>")
        service.wait_for_error("the loop is stuck in")
        service.wait_for_error(" in block: time.sleep(1000)")
        service.wait_for_error("  1 in")
        service.wait_for_error(" in hang: gevent.event.Event().wait()")
        assert end(service, signal.SIGTERM)[0] == 0


def test_children_have_signals_of_their_own(serving: Serve) -> None:
    """Neither the mask of those that wait for signals, nor the pipe into which they are written."""
    service = serving(
        SERVICE
        + """
def fork(socket):
    child = os.fork()
    if not child:
        time.sleep(1000)
    os.kill(child, signal.SIGTERM)
    print(os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]), flush=True)

def spawn(socket):
    child = subprocess.Popen([sys.executable, "-c", "import time; time.sleep(1000)"])
    child.send_signal(signal.SIGTERM)
    print(child.wait(), flush=True)
"""
    )
    with connect(service) as peer:
        for how in ("fork", "spawn") * 5:
            say(service, peer, how)
            assert service.line() == "-15"
        say(service, peer, "anything")
        service.send(signal.SIGTERM)
        assert peer.recv(100) == b""
    assert end(service)[0] == 0


# -- with a delay ----------------------------------------------------------------------------------------


def test_accepting_goes_on_for_the_delay(serving: Serve) -> None:
    service = serving(SERVICE, "--drain-delay", "0.7")
    with connect(service) as peer:
        say(service, peer, "anything")
        before = monotonic()
        service.send(signal.SIGTERM)
        with again(peer) as late:
            say(service, late, "anything")
            assert late.recv(100) == b""
        assert monotonic() - before >= 0.6
    assert end(service)[0] == 0


@pytest.mark.parametrize("numbers", [[signal.SIGINT], [signal.SIGTERM, signal.SIGINT]])
def test_who_interrupts_does_not_wait_for_it(serving: Serve, numbers: list[signal.Signals]) -> None:
    service = serving(SERVICE, "--drain-delay", "1000")
    with connect(service) as peer:
        say(service, peer, "anything")
        for number in numbers:
            service.send(number)
        assert peer.recv(100) == b""
    assert end(service)[0] == 0


def test_a_blocked_loop_has_the_delay_as_well(serving: Serve) -> None:
    service = serving(SERVICE, "--drain-delay", "0.5", "--drain-timeout", "0.1")
    with connect(service) as peer:
        say(service, peer, "block")
        before = monotonic()
        status: Any = end(service, signal.SIGTERM)[0]
        assert status == 0
        assert monotonic() - before >= 0.6

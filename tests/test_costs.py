"""What a message costs, by a short run of ``loadtests/costs.py``."""

import json
import re
import subprocess
import sys
from pathlib import Path

import pytest

from services import need

COSTS = Path(__file__).parent.parent / "loadtests" / "costs.py"


def test_no_question_is_lost_when_the_server_is_slow_to_go_on() -> None:
    """What is asked next must not be read together with the word to go on."""
    script = """
import os, signal, sys, threading
sys.path.insert(0, sys.argv[1])
from _costs_windows import Cores, serving
with serving("handlers", Cores.available()) as served:
    with served.held():
        os.kill(served.pid, signal.SIGSTOP)
        threading.Timer(0.3, os.kill, (served.pid, signal.SIGCONT)).start()
    print(served.ask()["connections"])
"""
    command = [sys.executable, "-c", script, str(COSTS.parent)]
    run = subprocess.run(command, capture_output=True, text=True, timeout=20)
    assert run.stdout == "0\n", run.stderr


def test_a_bare_loop_makes_the_same_two_calls(tmp_path: Path) -> None:
    options = ["--connections", "8", "--kinds", "bare", "--seconds", "0.2", "--strace"]
    command: list[str | Path] = [sys.executable, COSTS, *options, "--json", tmp_path / "costs"]
    run = subprocess.run(command, capture_output=True, text=True, timeout=50)
    assert run.returncode == 0, run.stdout + run.stderr
    calls = json.loads((tmp_path / "costs").read_text(encoding="utf-8"))["bare"]["8"]["system calls"]
    assert calls["recvfrom"] == pytest.approx(1, rel=0.05)
    assert calls["sendto"] == pytest.approx(calls["recvfrom"], rel=0.05)


@pytest.mark.parametrize("framed", ["0", "2"])
def test_what_python_does_for_a_message_is_counted_without_the_kernel(framed: str) -> None:
    need("valgrind", "valgrind")
    command: list[str | Path] = [sys.executable, COSTS, "--instructions", "--connections", "16", "--framed", framed]
    run = subprocess.run(command, capture_output=True, text=True, timeout=100)
    assert run.returncode == 0, run.stdout + run.stderr
    found = re.fullmatch(r"16 connections: ([\d,]+) instructions, ([\d,]+) ns\n", run.stdout)
    assert found is not None, run.stdout
    instructions, nanoseconds = (int(number.replace(",", "")) for number in found.groups())
    assert 2_000 < instructions < 50_000
    assert nanoseconds > 0


def test_an_echo_is_one_read_and_one_send_and_makes_no_greenlet(tmp_path: Path) -> None:
    options = ["--connections", "1", "--kinds", "handlers", "--seconds", "0.2", "--strace"]
    command: list[str | Path] = [sys.executable, COSTS, *options, "--json", tmp_path / "costs"]
    run = subprocess.run(command, capture_output=True, text=True, timeout=50)
    assert run.returncode == 0, run.stdout + run.stderr
    costs = json.loads((tmp_path / "costs").read_text(encoding="utf-8"))["handlers"]["1"]
    calls = costs["system calls"]
    assert calls["recvfrom"] == pytest.approx(1, rel=0.05)
    assert calls["sendto"] == pytest.approx(calls["recvfrom"], rel=0.05)
    of_a_turn = calls["epoll_wait"] + calls["getpid"]  # with one connection, a turn for each message
    # What is left is the server's answer to how much it has counted.
    assert calls["total"] - calls["recvfrom"] - calls["sendto"] - of_a_turn < 0.5
    assert costs["switches"]["begun"] == 0
    assert costs["switches"]["switches"] == pytest.approx(2, rel=0.05)
    assert 0 < costs["allocations"]["allocated"] < 30
    assert "strace" in run.stdout

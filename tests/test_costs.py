"""What a message costs, by a short run of ``loadtests/costs.py``."""

import json
import subprocess
import sys
from pathlib import Path

import pytest

COSTS = Path(__file__).parent.parent / "loadtests" / "costs.py"


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

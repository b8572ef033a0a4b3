"""Thousands of connections that end in five ways leave nothing behind: a small run of ``loadtests/soak.py``."""

import subprocess
import sys
from pathlib import Path

SOAK = Path(__file__).parent.parent / "loadtests" / "soak.py"


def test_thousands_of_connections_leave_descriptors_greenlets_and_memory_flat() -> None:
    soak = subprocess.run([sys.executable, SOAK, "--connections", "5000"], capture_output=True, text=True, timeout=55)
    assert soak.returncode == 0, soak.stdout + soak.stderr
    assert soak.stdout.splitlines()[-1] == "flat"

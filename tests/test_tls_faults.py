"""Bad handshakes leave nothing, and nobody else notices: a small run of ``loadtests/tls_faults.py``."""

import subprocess
import sys

from program import ROOT


def test_bad_handshakes_leave_descriptors_objects_and_memory_flat() -> None:
    command = [sys.executable, "loadtests/tls_faults.py", "--handshakes", "1200"]
    run = subprocess.run(command, capture_output=True, text=True, timeout=55, cwd=ROOT)
    assert run.returncode == 0, run.stdout + run.stderr
    assert run.stdout.splitlines()[-1] == "flat"

"""What is asked of whom: all cases, in the order in which they are measured. Nothing here runs anything.

case.py says what a case is, the files beside it are the cases; peers.py says who takes part, estimate.py for how long.
"""

from __future__ import annotations

from cases.case import Case
from cases.echo import ECHO_CASES
from cases.tls import TLS_CASES
from cases.work import WORK_CASES

LIMITS = "echo"  # the case that finds each server's limit, of which the latency cases offer a share

CASES: dict[str, Case] = {case.key: case for case in (*ECHO_CASES, *WORK_CASES, *TLS_CASES)}

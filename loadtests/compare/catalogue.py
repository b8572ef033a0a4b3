"""All cases, in the order in which they are measured."""

from __future__ import annotations

from cases import Case
from cases_echo import ECHO_CASES
from cases_tls import TLS_CASES
from cases_work import WORK_CASES

LIMITS = "echo"  # the case that finds each server's limit, of which the latency cases offer a share

CASES: dict[str, Case] = {case.key: case for case in (*ECHO_CASES, *WORK_CASES, *TLS_CASES)}

"""Under what circumstances it was measured."""

from __future__ import annotations

import contextlib
import os
import platform
import resource
import ssl
import subprocess
import sys
from importlib import metadata
from pathlib import Path

from cases.peers import OURS, Runtime
from measure.client import COMPILER_FLAGS, find_compiler
from measure.servers import PROJECT, environment, find


def machine() -> dict[str, str]:
    def read(path: str) -> str:
        try:
            return Path(path).read_text().strip().replace("\t", " ")
        except OSError:
            return "unknown"

    cpu = next((line.partition(": ")[2] for line in read("/proc/cpuinfo").splitlines() if "model name" in line), "?")
    sysctl = "/proc/sys/net/"
    return {
        "cpu": f"{cpu}, {os.cpu_count()} cores",
        "kernel": f"{platform.system()} {platform.release()}",
        "load average": " ".join(f"{load:.2f}" for load in os.getloadavg()),
        "somaxconn": read(sysctl + "core/somaxconn"),
        "tcp_tw_reuse": read(sysctl + "ipv4/tcp_tw_reuse"),
        "tcp_max_tw_buckets": read(sysctl + "ipv4/tcp_max_tw_buckets"),
        "ip_local_port_range": read(sysctl + "ipv4/ip_local_port_range"),
        "descriptors": str(resource.getrlimit(resource.RLIMIT_NOFILE)[0]),
        "compiler of load.c": f"{compiler()}, {' '.join(COMPILER_FLAGS)}",
    }


def compiler() -> str:
    if program := find_compiler():
        said = subprocess.run([program, "--version"], capture_output=True, text=True, check=False).stdout.splitlines()
        return said[0] if said else program
    return "none"


def versions() -> dict[str, str]:
    found = {"python": f"{platform.python_version()} ({ssl.OPENSSL_VERSION})"}
    for package in ("gevent", "greenlet", "uvloop", "twisted"):
        with contextlib.suppress(metadata.PackageNotFoundError):
            found[package] = metadata.version(package)
    for runtime, library in ((Runtime.NODE, "openssl"), (Runtime.BUN, "boringssl")):
        if program := find(runtime):
            ask = f"const v = process.versions; console.log(v.{runtime} + ' ({library} ' + v.{library} + ')')"
            said = subprocess.run([program, "-e", ask], capture_output=True, text=True, check=False)
            found[runtime] = said.stdout.strip()
    probe = [sys.executable, "-c", "import greensock; print(greensock.__version__)"]
    ours = subprocess.run(probe, env=environment(), capture_output=True, text=True, check=False)
    if ours.returncode == 0:
        found[OURS] = ours.stdout.strip() + checked_out()
    return found


def checked_out() -> str:
    """Which commit, where it is known."""
    asked = ["git", "-C", str(PROJECT), "describe", "--always", "--dirty"]
    with contextlib.suppress(OSError):
        said = subprocess.run(asked, capture_output=True, text=True, check=False)
        if said.returncode == 0:
            return f" ({said.stdout.strip()})"
    return ""

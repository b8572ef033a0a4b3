"""The servers: what each of them needs, starting and ending them, and their memory."""

from __future__ import annotations

import contextlib
import os
import re
import resource
import shutil
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import psutil

from cases.peers import Peer, Runtime
from measure.client import PROGRAM, Broken
from measure.cores import Cores

PEERS = Path(__file__).resolve().parents[1] / "peers"  # their programs, and beside them what npm has installed
PROJECT = PEERS.parents[2]

MEMORY_SETTLES = 5.0  # seconds that a server gets to come to rest before its memory is read


def find(runtime: Runtime) -> str | None:
    if runtime == Runtime.PYTHON:
        return sys.executable
    if runtime == Runtime.C:
        return str(PROGRAM)  # made by every run
    return shutil.which(runtime) or shutil.which(runtime, path=PEERS / "node_modules" / ".bin")


def environment() -> dict[str, str]:
    """The servers import the greensock of this checkout, installed or not."""
    path = os.pathsep.join(filter(None, (str(PROJECT), os.environ.get("PYTHONPATH"))))
    return {**os.environ, "PYTHONPATH": path}


def why_missing(peer: Peer) -> str | None:
    """None for a peer that can run."""
    if find(peer.runtime) is None:
        hint = f"; try: npm install --prefix {os.path.relpath(PEERS)}" if peer.runtime == Runtime.BUN else ""
        return f"no {peer.runtime} on PATH{hint}"
    if not peer.module:
        return None
    probe = subprocess.run(
        [sys.executable, "-c", f"import {peer.module}"], env=environment(), capture_output=True, text=True, check=False
    )
    return None if probe.returncode == 0 else (probe.stderr.strip().splitlines() or ["it cannot be imported"])[-1]


def raise_descriptor_limit() -> int:
    """For the servers, which inherit it: 10,000 connections are 10,000 descriptors."""
    _, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
    return hard


def command(peer: Peer, options: Sequence[str] = ()) -> list[str]:
    """How a peer is started, with the options that a case has for servers. The one in C only echoes, and takes none."""
    if peer.runtime == Runtime.C:
        return [str(PROGRAM), *peer.args]
    return [find(peer.runtime) or peer.runtime, str(PEERS / peer.script), *peer.args, *options]


@dataclass
class Server:
    pid: int
    port: int

    def private_bytes(self) -> int:
        """Memory of this process alone, from the kernel's smaps_rollup."""
        return int(psutil.Process(self.pid).memory_full_info().uss)

    def settled_bytes(self) -> int:
        """The same once it has stopped changing: allocators and garbage collectors tidy up behind the traffic."""
        deadline = time.monotonic() + MEMORY_SETTLES
        last = -1
        while (size := self.private_bytes()) != last and time.monotonic() < deadline:
            last = size
            time.sleep(0.5)
        return size


@contextlib.contextmanager
def serving(program: Sequence[str], cores: Cores, *, beside_load: bool = False) -> Iterator[Server]:
    """Runs a server: the line on which it says that it listens ends with the port."""
    with tempfile.TemporaryFile("w+") as stderr:
        with contextlib.nullcontext() if beside_load else cores.for_server():
            process = subprocess.Popen(program, env=environment(), stdout=subprocess.PIPE, stderr=stderr, text=True)
        assert process.stdout is not None
        watchdog = threading.Timer(15, process.kill)
        watchdog.start()
        try:
            said = re.fullmatch(r"listening .*?(\d+)\n", process.stdout.readline())
            watchdog.cancel()
            if said is None:
                process.wait(5)
                stderr.seek(0)
                raise Broken(f"the server did not start: {stderr.read().strip()[-400:] or 'no message'}")
            yield Server(process.pid, int(said[1]))
            if process.poll() is not None:
                stderr.seek(0)
                raise Broken(f"the server ended with status {process.returncode}: {stderr.read().strip()[-400:]}")
        finally:
            watchdog.cancel()
            process.terminate()
            try:
                process.wait(5)
            except subprocess.TimeoutExpired:
                process.kill()
                process.wait()
            process.stdout.close()

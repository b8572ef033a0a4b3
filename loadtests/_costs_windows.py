"""Counts what costs.py tells, each in a window of steady load: of the server in _costs_server.py, and from outside."""

from __future__ import annotations

import contextlib
import json
import os
import re
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent / "compare"))

from measure.client import Broken, build_load_client, check_connections, find_compiler, holding, parse_answer
from measure.cores import Cores
from measure.servers import environment

HERE = Path(__file__).resolve().parent
SIZE = 64
NAMED = ("recvfrom", "sendto", "epoll_wait", "epoll_ctl", "getpid", "read", "write", "futex", "mmap", "munmap", "brk")
PATIENCE = 30.0  # seconds in which all connections are open
Counts = dict[str, float]


class Served:
    """The process that serves, as seen from here."""

    def __init__(self, process: subprocess.Popen[str]) -> None:
        assert process.stdin is not None and process.stdout is not None
        self.pid, self._stdin, self._stdout = process.pid, process.stdin, process.stdout
        self.port = int(self._stdout.readline())

    def ask(self, for_what: str = "numbers") -> Counts:
        self._stdin.write(for_what + "\n")
        self._stdin.flush()
        counts: Counts = json.loads(self._stdout.readline())
        return counts

    @contextlib.contextmanager
    def held(self) -> Iterator[Counts]:
        """While the block runs nothing is served: so that counting can begin and end exactly there."""
        yield self.ask("hold")
        self.ask("go on")


@contextlib.contextmanager
def serving(kind: str, cores: Cores, **variables: str) -> Iterator[Served]:
    pipe, command = subprocess.PIPE, [sys.executable, str(HERE / "_costs_server.py"), kind, str(SIZE)]
    with cores.for_server():
        process = subprocess.Popen(command, env=environment() | variables, stdin=pipe, stdout=pipe, text=True)
    with process:
        try:
            yield Served(process)
        finally:
            process.kill()


@contextlib.contextmanager
def loaded(served: Served, connections: int, seconds: float) -> Iterator[None]:
    """Steady load for so many seconds and one more; every reply is checked."""
    command = [str(build_load_client()), "echo", "127.0.0.1", str(served.port), "--sources", "4", "--warmup", "0.5"]
    command += [f"--connections={connections}", f"--size={SIZE}", f"--seconds={seconds + 1}"]
    with holding(command, PATIENCE + 2 * seconds + 10) as client:
        deadline = time.monotonic() + PATIENCE
        while served.ask()["connections"] != connections and time.monotonic() < deadline:
            time.sleep(0.05)
        time.sleep(0.3)
        yield
        if served.ask()["connections"] != connections:
            raise Broken(f"not all of {connections} connections were open to the end of the window")
        check_connections(parse_answer(*client.communicate(timeout=PATIENCE)))


def window(served: Served, connections: int, seconds: float, begin: str = "numbers") -> Counts:
    """What the server itself counts for each message."""
    with loaded(served, connections, seconds):
        before = served.ask(begin)
        time.sleep(seconds)
        after = served.ask("end")
    return per_message({name: after[name] - before[name] for name in after})


def per_message(counts: Counts) -> Counts:
    if not counts["messages"]:
        raise Broken("no message came")
    return {name: count / counts["messages"] for name, count in counts.items()} | {"messages": counts["messages"]}


def can_use_perf() -> bool:
    probe = ["perf", "stat", "-e", "raw_syscalls:sys_enter", "true"]
    try:
        return subprocess.run(probe, capture_output=True, check=False).returncode == 0
    except FileNotFoundError:
        return False


def system_calls(served: Served, connections: int, seconds: float, perf: bool) -> Counts:
    watch = perf_stat if perf else strace
    with loaded(served, connections, seconds), tempfile.NamedTemporaryFile("r") as file:
        counts = watch(served, seconds, file.name)
        lines = file.read().splitlines()
    if perf:  # with commas: the count, its unit, the event
        fields = [line.split(",") for line in lines if "sys_enter" in line]
        calls = {event.rpartition("sys_enter")[2].lstrip("_"): int(count) for count, _, event, *_ in fields}
        calls["total"] = calls.pop("")
        calls["others"] = calls["total"] - sum(calls[name] for name in NAMED)
    else:  # in columns: per cent, seconds, each, calls, perhaps errors, name
        rows = [line.split() for line in lines]
        calls = {row[-1]: int(row[3]) for row in rows if len(row) > 4 and row[3].isdigit()}
    return per_message(counts | calls)


def perf_stat(served: Served, seconds: float, file: str) -> Counts:
    events = ",".join(["raw_syscalls:sys_enter", *(f"syscalls:sys_enter_{name}" for name in NAMED)])
    hear, tell = os.pipe()
    said, say = os.pipe()
    command = ["perf", "stat", "-x,", "-o", file, "-e", events, "-p", str(served.pid)]
    command += ["-D-1", f"--control=fd:{hear},{say}"]  # count from when it is told to
    null = subprocess.DEVNULL
    with subprocess.Popen(command, pass_fds=(hear, say), stdout=null, stderr=null) as process:
        os.close(hear)
        os.close(say)

        def order(what: bytes) -> None:
            os.write(tell, what + b"\n")
            if not os.read(said, 100):  # until it is done
                raise Broken("perf stat has ended")

        with served.held() as before:
            order(b"enable")
        time.sleep(seconds)
        with served.held() as after:
            order(b"disable")
        process.send_signal(signal.SIGINT)
    os.close(tell)
    os.close(said)
    return {"messages": after["messages"] - before["messages"]}


def strace(served: Served, seconds: float, file: str) -> Counts:
    command = ["strace", "-c", "-f", "-o", file, "-p", str(served.pid)]
    with contextlib.ExitStack() as stack:
        with served.held() as before:
            process = stack.enter_context(subprocess.Popen(command, stderr=subprocess.PIPE))
            assert process.stderr is not None
            if b"attached" not in (said := process.stderr.readline()):
                raise Broken(f"strace: {said.decode().strip()}")
        time.sleep(seconds)
        with served.held() as after:
            process.send_signal(signal.SIGINT)
            process.wait()
    return {"messages": after["messages"] - before["messages"]}


def allocations(kind: str, cores: Cores, connections: int, seconds: float) -> Counts:
    with tempfile.TemporaryDirectory() as folder:
        library = f"{folder}/allocations.so"
        compiler = find_compiler() or "cc"
        command = [compiler, "-O2", "-fno-builtin", "-shared", "-fPIC", "-o", library, str(HERE / "_allocations.c")]
        subprocess.run(command, check=True)
        with serving(kind, cores, PYTHONMALLOC="malloc", LD_PRELOAD=library) as served:
            return window(served, connections, seconds)


def profile(served: Served, connections: int, seconds: float) -> Iterator[str]:
    """The shares of the kernel, the interpreter and the libraries, and then of their functions."""
    with tempfile.TemporaryDirectory() as folder:
        file = f"{folder}/perf.data"
        record = ["perf", "record", "-q", "-F", "1999", "-e", "cpu-clock", "-o", file, "-p", str(served.pid)]
        with loaded(served, connections, seconds):
            subprocess.run([*record, "--", "sleep", str(seconds)], check=True)
        for sort in ("dso", "dso,symbol"):
            report = ["perf", "report", "-i", file, "--stdio", "-q", "--sort", sort, "--percent-limit", "0.8"]
            yield subprocess.run(
                report, check=True, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True
            ).stdout


def instructions(connections: int, framed: int = 0) -> Counts:
    """What Python alone does for a message: instructions, and nanoseconds of processor time."""
    few, many, enough = (
        [sys.executable, str(HERE / "_costs_turns.py"), str(connections), turns, str(framed)]
        for turns in ("40", "140", "400")
    )
    messages = 100 * connections * max(1, framed)  # many's above few's
    counted = _instructions(many) - _instructions(few)
    timed = subprocess.run(enough, env=environment(), capture_output=True, text=True, check=True)
    return {"instructions": counted / messages, "ns": float(timed.stdout)}


def _instructions(program: list[str]) -> int:
    watch = ["valgrind", "--tool=callgrind", "--callgrind-out-file=/dev/null"]
    try:
        # Without a seed that is given, strings would have other hashes, and dictionaries other collisions, each time.
        run = subprocess.run(
            [*watch, *program], env=environment() | {"PYTHONHASHSEED": "0"}, capture_output=True, text=True, check=False
        )
    except FileNotFoundError:
        raise Broken("valgrind (Debian: valgrind) is missing") from None
    counted = re.search(r"Collected : (\d+)", run.stderr)
    if run.returncode or counted is None:
        raise Broken(f"valgrind: {run.stderr}")
    return int(counted[1])

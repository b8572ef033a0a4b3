"""The load client: compiling it, holding it while it runs, and reading what it answers."""

from __future__ import annotations

import contextlib
import json
import os
import shutil
import subprocess
import threading
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import click

SOURCES = Path(__file__).resolve().parents[1] / "load"
BUILD = SOURCES / "build"
PROGRAM = BUILD / "load"  # once build_load_client() was called
COMPILER_FLAGS = ("-std=c11", "-O2", "-Wall", "-Wextra")
LIBRARIES = ("-lssl", "-lcrypto")


class Broken(Exception):
    """A server or the load client that did not do its part."""


def find_compiler() -> str | None:
    return shutil.which("cc") or shutil.which("gcc")


def build_load_client() -> Path:
    """Compile load.c and its parts when one of them is newer than the program made from them."""
    parts = sorted(SOURCES.glob("*.c"))
    newest = max(file.stat().st_mtime for file in (*parts, *SOURCES.glob("*.h")))
    if not PROGRAM.exists() or PROGRAM.stat().st_mtime < newest:
        compiler = find_compiler()
        if compiler is None:
            raise click.ClickException("a C compiler (cc) is needed for the load client")
        BUILD.mkdir(exist_ok=True)
        # Under a name of its own first: another bench may be running the old one.
        fresh = BUILD / f"load.{os.getpid()}"
        build = [compiler, *COMPILER_FLAGS, "-o", str(fresh), *map(str, parts), *LIBRARIES]
        if subprocess.run(build, check=False).returncode != 0:
            raise click.ClickException("the load client, which needs OpenSSL's headers (libssl-dev), was not compiled")
        fresh.replace(PROGRAM)
    return PROGRAM


@contextlib.contextmanager
def holding(program: Sequence[str], limit: float) -> Iterator[subprocess.Popen[str]]:
    """A load client that runs while something else is done; it never outlives that, nor its limit in seconds."""
    pipe = subprocess.PIPE
    with subprocess.Popen(program, stdin=pipe, stdout=pipe, stderr=pipe, text=True) as process:
        watchdog = threading.Timer(limit, process.kill)
        watchdog.start()
        try:
            yield process
        finally:
            watchdog.cancel()
            process.kill()


def parse_answer(out: str, err: str) -> dict[str, Any]:
    try:
        answer: dict[str, Any] = json.loads(out)
    except ValueError:
        raise Broken(f"the load client failed: {err.strip() or out.strip() or 'it said nothing'}") from None
    return answer


def check_connections(answer: dict[str, Any]) -> None:
    if answer["failures"]:
        raise Broken(f"{answer['failures']} connections failed; {answer['error']}")

"""What the Python peers have in common: their command line, and the line that tells the bench where they listen."""

from __future__ import annotations

import argparse
import itertools
import logging
import struct
from collections.abc import Iterator

BACKLOG = 4096
NAP = 0.010  # seconds that the handler of `--mode sleep` sleeps
MODES = ("echo", "small", "sleep", "log", "broadcast", "frames", "lines", "bulk", "source")

GREETING = b"+"  # `broadcast`: from now on you hear everybody
SLOW = 1024 * 1024  # `broadcast`: unsent bytes with which a receiver is given up
LENGTH = struct.Struct(">I")  # `frames`
MAX_MESSAGE = 1024 * 1024  # `frames` and `lines`: nobody may make a server keep more than this
COUNT = struct.Struct(">Q")  # `bulk`: the answer; `source`: how many bytes are wanted
BLOCK = bytes(256 * 1024)  # `source`: what is sent again and again


def parser(description: str) -> argparse.ArgumentParser:
    cli = argparse.ArgumentParser(description=description)
    cli.add_argument("--mode", choices=MODES, default="echo")
    cli.add_argument("--port", type=int, default=0, help="0 picks a free one")
    cli.add_argument("--log-file", help="where --mode log writes")
    cli.add_argument("--key", help="a PEM file: serve TLS with this key")
    cli.add_argument("--cert", help="a PEM file: and with this certificate")
    return cli


def blocks(count: int) -> Iterator[bytes]:
    """So many bytes for `source`: whole blocks, and what is left."""
    whole, left = divmod(count, len(BLOCK))
    yield from itertools.repeat(BLOCK, whole)
    if left:
        yield BLOCK[:left]


def file_logger(path: str | None) -> logging.Logger:
    """One plain FileHandler, as `logging`'s documentation sets it up: formatted, locked and flushed per line."""
    if path is None:
        raise SystemExit("--mode log needs --log-file")
    handler = logging.FileHandler(path)
    handler.setFormatter(logging.Formatter("%(asctime)s %(levelname)s %(name)s: %(message)s"))
    logger = logging.getLogger("peer")
    logger.addHandler(handler)
    logger.setLevel(logging.INFO)
    logger.propagate = False
    return logger


def announce(port: int | None) -> None:
    print(f"listening {port}", flush=True)

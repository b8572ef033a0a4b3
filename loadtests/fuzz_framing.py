"""Feeds broken streams to the framings, and accepts nothing but what is documented.

    python loadtests/fuzz_framing.py [--seconds 60] [--seed 1]

Streams are those of tests/corpus, mutated, and random bytes. Each is decoded whole and cut at random: both must give
the same messages and the same kind of error, FrameError, FrameTooLarge or IncompleteRead. Ends with status 1 and the
stream that shows the fault.
"""

import argparse
import random
import sys
import time
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).parent.parent))

import greensock.framing
from greensock import FrameError, IncompleteRead

CORPUS = Path(__file__).parent.parent / "tests" / "corpus"

#: What lengths and delimiters are made of, and where they break.
TELLING = [
    b"\0",
    b"\1",
    b"\x7f",
    b"\x80",
    b"\xff",
    b"\n",
    b"\r\n",
    b"0",
    b"9",
    b":",
    b",",
    b"-",
    b"\0\0\0\1",
    b"\xff\xff\xff\xff",
]


def corpus() -> list[tuple[str, bytes]]:
    """Framings and streams."""
    lines = [line for path in sorted(CORPUS.glob("*.txt")) for line in path.read_text(encoding="ascii").splitlines()]
    cases = [line.split(" | ") for line in lines if line and not line.startswith("#")]
    return [(framing, eval(data, {})) for framing, data, _ in cases]


def mutated(data: bytes, rng: random.Random) -> bytes:
    """*data* with a few faults in it."""
    for _ in range(rng.randrange(1, 6)):
        place = rng.randrange(len(data) + 1)
        match rng.randrange(5):
            case 0:
                data = data[:place] + rng.choice(TELLING) + data[place:]
            case 1:
                data = data[:place] + data[place + rng.randrange(1, 4) :]
            case 2:
                data = data[:place] + rng.randbytes(rng.randrange(9)) + data[place:]
            case 3:
                data = data[:place] + bytes([rng.randrange(256)]) + data[place + 1 :]
            case 4:
                data = data[place:] + data
    return data[:5000]


def outcome(framing: Any, pieces: list[bytes]) -> tuple[list[bytes], str]:
    """The messages, and the documented error if there was one. Any other comes out."""
    decoder = framing.decoder()
    messages: list[bytes] = []
    try:
        for piece in pieces:
            messages += decoder.feed(piece)
        decoder.close()
    except (FrameError, IncompleteRead) as error:
        return messages + list(getattr(error, "messages", ())), type(error).__name__
    return messages, ""


def cut(data: bytes, rng: random.Random) -> list[bytes]:
    """*data* in pieces, mostly small ones."""
    pieces = []
    while data:
        size = rng.choice((1, 1, 2, 3, 7, 100))
        pieces.append(data[:size])
        data = data[size:]
    return pieces


def main() -> int:
    arguments = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    arguments.add_argument("--seconds", type=float, default=60.0)
    arguments.add_argument("--seed", type=int, default=1)
    args = arguments.parse_args()
    rng = random.Random(args.seed)
    cases = corpus()
    framings = {text: eval(text, vars(greensock.framing)) for text, _ in cases}
    until = time.monotonic() + args.seconds
    count = failed = 0
    while time.monotonic() < until:
        text, data = rng.choice(cases)
        data = mutated(data, rng) if rng.random() < 0.9 else rng.randbytes(rng.randrange(40))
        pieces = cut(data, rng)
        try:
            whole, piecemeal = outcome(framings[text], [data]), outcome(framings[text], pieces)
        except Exception as error:
            print(f"{text}: {data!r} raised {error!r}")
            return 1
        if whole != piecemeal:
            print(f"{text}: {data!r} is {whole} whole and {piecemeal} in pieces of {[len(piece) for piece in pieces]}")
            return 1
        count += 1
        failed += bool(whole[1])
    print(f"{count} streams, {failed} of them no messages, and nothing but documented errors")
    return 0


if __name__ == "__main__":
    sys.exit(main())

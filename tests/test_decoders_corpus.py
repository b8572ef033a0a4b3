"""Decoders on the streams of ``tests/corpus``: the same messages and the same error, however each one is cut."""

import random
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

import greensock.framing
from greensock import FrameError, FrameTooLarge, IncompleteRead

ROOT = Path(__file__).parent.parent
ERRORS = {kind.__name__: kind for kind in (FrameError, FrameTooLarge, IncompleteRead)}


@dataclass(frozen=True)
class Case:
    framing: Any
    data: bytes
    messages: list[bytes]
    error: type[Exception] | None


def cases_on_disk() -> Iterator[Any]:
    for path in sorted((ROOT / "tests" / "corpus").glob("*.txt")):
        for number, line in enumerate(path.read_text(encoding="ascii").splitlines(), 1):
            if line and not line.startswith("#"):
                framing, data, outcome = line.split(" | ")
                messages, _, error = outcome.rpartition("]")
                case = Case(
                    eval(framing, vars(greensock.framing)),
                    eval(data, {}),
                    eval(messages + "]", {}),
                    ERRORS[error.strip()] if error.strip() else None,
                )
                yield pytest.param(case, id=f"{path.stem}:{number}")


CASES = list(cases_on_disk())


def decode(framing: Any, pieces: list[bytes]) -> tuple[list[bytes], type[Exception] | None]:
    decoder = framing.decoder()
    messages = []
    try:
        for piece in pieces:
            messages += decoder.feed(piece)
        decoder.close()
    except FrameError as error:
        return messages + list(error.messages), type(error)
    except IncompleteRead as error:
        return messages, type(error)
    return messages, None


def test_there_are_many() -> None:
    assert len(CASES) > 90


@pytest.mark.parametrize("case", CASES)
def test_whole(case: Case) -> None:
    assert decode(case.framing, [case.data]) == (case.messages, case.error)


@pytest.mark.parametrize("case", CASES)
def test_byte_by_byte(case: Case) -> None:
    pieces = [case.data[index : index + 1] for index in range(len(case.data))]
    assert decode(case.framing, pieces) == (case.messages, case.error)


@pytest.mark.parametrize("case", CASES)
def test_cut_at_random(case: Case) -> None:
    rng = random.Random(case.data)
    for _ in range(20):
        cuts = sorted(rng.randrange(len(case.data) + 1) for _ in range(rng.randrange(5)))
        pieces = [case.data[a:b] for a, b in zip([0, *cuts], [*cuts, len(case.data)], strict=True)]
        assert decode(case.framing, pieces) == (case.messages, case.error), pieces


@pytest.mark.parametrize("case", [case for case in CASES if case.values[0].error is None])
def test_what_was_decoded_encodes_to_a_stream_of_the_same(case: Case) -> None:
    again = b"".join(map(case.framing.encode, case.messages))
    assert decode(case.framing, [again]) == (case.messages, None)


def test_the_fuzzer_finds_nothing() -> None:
    command = [sys.executable, "loadtests/fuzz_framing.py", "--seconds", "2"]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=40)
    assert done.returncode == 0, done.stdout + done.stderr
    assert "streams" in done.stdout


def test_the_fuzzer_would_find_something() -> None:
    broken = (
        "import runpy, sys, greensock.decoders as d\n"
        "d.LengthDecoder._parse = lambda self, data, messages: 1 // (data[:1] != b'\\x80') and len(data)\n"
        "sys.argv = ['fuzz_framing.py', '--seconds', '5']\n"
        "runpy.run_path('loadtests/fuzz_framing.py', run_name='__main__')\n"
    )
    done = subprocess.run([sys.executable, "-c", broken], cwd=ROOT, capture_output=True, text=True, timeout=40)
    assert done.returncode == 1 and "LengthPrefixed" in done.stdout, done.stdout + done.stderr

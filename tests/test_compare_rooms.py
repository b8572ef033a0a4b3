"""``loadtests/compare`` has rooms, and imports go down only: each room knows those below it and no other."""

import ast
from pathlib import Path

import pytest

from program import ROOT

COMPARE = ROOT / "loadtests" / "compare"

#: What each room may import besides itself.
BELOW = {
    "cases": set(),
    "results": {"cases"},
    "measure": {"cases", "results"},
    "report": {"cases", "results"},
    "peers": {"common"},  # programs: they find each other beside them
}
FILES = [path for room in BELOW for path in sorted((COMPARE / room).glob("*.py"))]
OURS = {*BELOW, *(path.stem for path in COMPARE.glob("*.py")), "common"}


def imported(path: Path) -> set[str]:
    """The first word of each module that is imported."""
    found: set[str] = set()
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.ImportFrom):
            found.add((node.module or "").partition(".")[0])
        elif isinstance(node, ast.Import):
            found.update(alias.name.partition(".")[0] for alias in node.names)
    return found


def test_every_folder_is_a_room() -> None:
    assert {path.parent.name for path in COMPARE.glob("*/*.py")} == set(BELOW)


@pytest.mark.parametrize("path", FILES, ids=lambda path: f"{path.parent.name}/{path.stem}")
def test_imports_go_down_only(path: Path) -> None:
    room = path.parent.name
    assert (imported(path) & OURS) - {room} <= BELOW[room]

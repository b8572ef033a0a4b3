"""Writing what was measured: the page, its plots, the results themselves, and README.md's tables."""

from __future__ import annotations

import os
from pathlib import Path

from report import page, readme
from report.plots import plots
from results import recording
from results.recording import Record

COMPARE = Path(__file__).resolve().parents[1]
PROJECT = COMPARE.parents[1]
PAGE = PROJECT / "docs" / "benchmarks.md"
README = PROJECT / "README.md"


def folder_of(path: Path) -> Path:
    """Beside a page, and named like it: what it shows."""
    return path.with_suffix("")


def publish(record: Record, path: Path) -> list[Path]:
    """Write the page and all that belongs to it. The project's own page also has README.md's tables from it."""
    folder = folder_of(path)
    drawn = plots(record)
    fair = os.path.relpath(COMPARE / "README.md", path.resolve().parent)
    texts = {path: page.render(record, drawn, folder.name, fair)}
    if path.resolve() == PAGE:
        texts[README] = readme.replaced(README.read_text(encoding="utf-8"), record)
    folder.mkdir(parents=True, exist_ok=True)
    for old in folder.glob("*.svg"):
        old.unlink()
    for plot in drawn:
        plot.save(folder)
    recording.write(record, folder / "results.json")
    for file, text in texts.items():
        file.write_text(text, encoding="utf-8")
    return [*texts, folder]

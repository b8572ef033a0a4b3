"""What is written about the comparison: from the results alone, and nothing left out."""

import re
from pathlib import Path

import click
import pytest

from cases.peers import CEILING
from measurements import NOISE, of_every_kind, record, result, run
from report import losses, page, proof, readme, story
from report.plots import plots
from report.publishing import PAGE, README, folder_of
from results import recording
from results.recording import Record

LOST = record(
    result("echo", greensock=[100, 100], uvloop=[120, 125], bun=[150, 160]),
    result("frames", greensock=[100, 100], bun=[300, 310], gevent=[20, 21]),
    result("memory", greensock=[1200, 1200], bun=[1000, 1000], uvloop=[1100, 1300]),
)


def text(of: Record) -> str:
    return page.render(of, plots(of), "benchmarks", "../loadtests/compare/README.md")


def section(of: str, title: str) -> str:
    found = re.search(rf"^## {re.escape(title)}\n(.*?)(?=^## |\Z)", of, re.DOTALL | re.MULTILINE)
    assert found is not None, f"no section {title}"
    return found[1]


def test_the_largest_loss_comes_first_with_its_reason() -> None:
    first, second, third = losses.where_it_loses(LOST)
    assert first.startswith("**echo of messages") and "bun makes 3.05 × (3.00-3.10)" in first
    assert LOST.results[1].case.why in first
    assert (
        "bun makes 1.55 ×" in second and "uvloop makes 1.2" in second and second.index("bun") < second.index("uvloop")
    )
    assert "the memory of greensock is 1.20 × (1.20-1.20) that of bun" in third
    assert "uvloop" not in third  # 0.92 and 1.09 are on both sides


def test_what_is_not_shown_is_neither_won_nor_lost() -> None:
    (alike,) = losses.not_shown(LOST)
    assert "uvloop 1.01 (0.92-1.09)" in alike
    score = next(line for line in losses.scores(LOST) if line.startswith("**uvloop**"))
    assert "of 2 comparisons greensock is ahead in 0 and behind in 1; no difference was shown in 1" in score


def test_neither_itself_nor_the_ceiling_is_a_rival() -> None:
    found = result("echo", None, greensock=[100, 100], greensock_sessions=[300, 300], **{CEILING: [900, 900]})
    assert losses.where_it_loses(record(found)) == []
    assert list(losses.scores(record(found))) == []


def test_a_reason_is_given_once() -> None:
    rows = [result(key, greensock=[100, 100], bun=[300, 310]) for key in ("frames", "frames-4")]
    assert sum(rows[0].case.why in item for item in losses.where_it_loses(record(*rows))) == 1


def test_who_fails_is_in_the_page() -> None:
    broken = record(result("echo", greensock=[run(0, failures=2, error="a wrong byte")] * 2, bun=[100, 100]))
    assert "greensock failed, and has no figure" in section(text(broken), "Where greensock loses")
    assert "**failed**" in text(broken) and "a wrong byte" in text(broken)


def test_who_is_missing_is_in_the_page_and_in_its_tables() -> None:
    why = {"bun": "no bun on PATH"}
    missing = record(result("echo", why, greensock=[100, 100], uvloop=[90, 91]), missing=why)
    assert "**bun** took no part: no bun on PATH" in text(missing)
    assert "| bun | **missing** |" in text(missing)
    assert "| missing |" in readme.part(missing)


def test_disturbed_runs_and_those_of_a_busy_client_are_marked() -> None:
    found = result(
        "echo",
        greensock=[run(100, waited=NOISE)] * 2,
        bun=[run(200, client_cpu=0.97, server_cpu=0.5)] * 2,
        uvloop=[99, 101],
    )
    written = section(text(record(found)), "All cases")
    assert "| 100 ~ |" in written and "~ disturbed in every round" in written
    assert "97% ! |" in written and "! the load client was the limit" in written
    assert "0.99-1.01) ≈ |" in written and "≈ no difference shown" in written
    assert "200 !" in readme.part(record(found))


def test_the_ceiling_proves_the_load_client() -> None:
    found = result("echo", None, greensock=[100, 100], bun=[150, 150], **{CEILING: [600, 600]})
    close = result("echo-16k", None, greensock=[100, 100], bun=[98, 99], **{CEILING: [101, 101]})
    said = " ".join(proof.in_words(record(found, close)))
    assert "In 1 of 2 echo cases all of them stayed below 95% of the ceiling" in said
    assert "echo, 16 KiB, 64 connections: greensock, with 99% of it" in said.replace("*", "")
    assert "Not proven so, because somebody came as near as that: echo, 16 KiB" in said
    assert "does not prove" in " ".join(proof.in_words(LOST))


def test_the_same_story() -> None:
    other = record(
        result("echo", greensock=[100, 100], uvloop=[80, 81], bun=[150, 160]),
        result("frames", greensock=[100, 100], bun=[200, 210], gevent=[100]),
    )
    both = LOST.beside(other)
    remarks = {(pair.title.split(",")[0], pair.peer): pair.remark for pair in story.pairs(both)}
    assert remarks["echo", "uvloop"] == "**the order changed**, moved by more than both spreads"
    assert remarks["echo", "bun"] == ""
    assert remarks["echo of messages after their length", "bun"] == "moved by more than both spreads"
    assert remarks["echo of messages after their length", "gevent"] == "one round: cannot say"
    assert other.began in section(text(both), "The same story?")
    assert "The same story?" not in text(LOST)


def test_every_plot_is_in_the_page() -> None:
    whole = of_every_kind()
    names = [plot.name for plot in plots(whole)]
    assert len(names) == 6
    for name in names:
        assert f"(benchmarks/{name}.svg)" in text(whole)


def test_readme_keeps_what_is_around_the_marks() -> None:
    before = f"# Title\n\n{readme.BEGIN}\nold figures\n{readme.END}\n\nmore\n"
    after = readme.replaced(before, LOST)
    assert after.startswith("# Title\n") and after.endswith(f"{readme.END}\n\nmore\n") and "old figures" not in after
    assert "| echo, 64 bytes, 64 connections, messages/s | 100 | not measured | 122 (0.82) | 155 (0.65) |" in after
    assert readme.replaced(after, LOST) == after
    with pytest.raises(click.ClickException, match="has no part"):
        readme.replaced("# Title", LOST)


@pytest.mark.parametrize(
    ("value", "shown"), [(952.3, "952"), (4071.2, "4,071"), (22_640, "22.6 k"), (1_572_300, "1,572 k")]
)
def test_short_figures(value: float, shown: str) -> None:
    assert readme.short(value) == shown


def test_pages_are_what_the_results_say() -> None:
    """Nobody has corrected a figure by hand, or forgotten to write the pages again."""
    measured = recording.read(folder_of(PAGE) / "results.json")
    assert PAGE.read_text(encoding="utf-8") == text(measured), "bench.py --from docs/benchmarks/results.json"
    assert readme.part(measured) in README.read_text(encoding="utf-8")
    drawn = {path.stem for path in folder_of(PAGE).glob("*.svg")}
    assert drawn == {plot.name for plot in plots(measured)}


def test_the_page_finds_what_is_fair() -> None:
    fair = Path(__file__).parent.parent / "loadtests" / "compare" / "README.md"
    assert "## What is fair, and what is not" in fair.read_text(encoding="utf-8")

"""The run itself: what it plans, how long that takes, and which pages it may write."""

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import cast

import pytest
from click.testing import CliRunner, Result

import bench
from cases import CASES, LIMITS
from cases.case import Case, Chart, Measure
from cases.estimate import Estimate, in_words
from cases.peers import PEERS, Peer
from measure.certificate import Certificate
from measure.cores import Cores
from measure.measuring import RETRIES, Bench
from measurements import of_every_kind, open_fonts, record, result, run
from report import publishing, readme
from results import recording
from results.runs import Run
from rounds import Runner


@pytest.fixture(scope="module", autouse=True)
def fonts_are_open(tmp_path_factory: pytest.TempPathFactory) -> None:
    open_fonts(tmp_path_factory.mktemp("plots"))


@pytest.fixture
def page(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """The project's own page and README, elsewhere."""
    monkeypatch.setattr(publishing, "PAGE", tmp_path / "benchmarks.md")
    monkeypatch.setattr(bench, "PAGE", tmp_path / "benchmarks.md")
    monkeypatch.setattr(publishing, "README", tmp_path / "README.md")
    (tmp_path / "README.md").write_text(f"{readme.BEGIN}\n{readme.END}\n")
    yield tmp_path / "benchmarks.md"


def called(*words: str | Path) -> Result:
    return CliRunner().invoke(bench.main, [str(word) for word in words])


def test_results_come_back_as_they_were(tmp_path: Path) -> None:
    before = of_every_kind()
    before = before.beside(before)
    recording.write(before, tmp_path / "results.json")
    assert recording.read(tmp_path / "results.json") == before


def test_from_writes_everything_again(page: Path) -> None:
    publishing.publish(of_every_kind(), page)
    folder = page.with_suffix("")
    files = {path: path.read_bytes() for path in (page, page.parent / "README.md", *folder.iterdir())}
    assert len(files) == 2 + 6 + 1
    page.unlink()
    assert called("--from", folder / "results.json").exit_code == 0
    assert {path: path.read_bytes() for path in files} == files


def test_from_other_results_needs_a_place(page: Path, tmp_path: Path) -> None:
    other = tmp_path / "other.json"
    recording.write(record(result("echo", greensock=[1, 1])), other)
    assert called("--from", other).exit_code == 2
    assert called("--from", other, "--report", tmp_path / "part.md").exit_code == 0
    assert (tmp_path / "part.md").exists() and not page.exists()
    assert "measured on" not in (tmp_path / "README.md").read_text().lower()


def test_against_is_kept_with_the_results(page: Path, tmp_path: Path) -> None:
    recording.write(of_every_kind(), tmp_path / "other.json")
    recording.write(of_every_kind(), tmp_path / "these.json")
    assert (
        called("--from", tmp_path / "these.json", "--against", tmp_path / "other.json", "--report", page).exit_code == 0
    )
    assert "## The same story?" in page.read_text()
    assert recording.read(page.with_suffix("") / "results.json").other is not None


def test_what_is_no_result_is_said(tmp_path: Path) -> None:
    (tmp_path / "x.json").write_text("{}")
    assert "holds no results" in called("--from", tmp_path / "x.json").output


@pytest.mark.parametrize(
    ("words", "writes"),
    [([], True), (["--quick"], False), (["--cases", "echo"], False), (["--peers", "greensock"], False)],
)
def test_only_a_whole_run_writes_the_page(
    words: list[str], writes: bool, page: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(bench, "measure", lambda *_: record(result("echo", greensock=[1, 1], bun=[2, 2])))
    assert called(*words).exit_code == 0
    assert page.exists() == writes


def test_a_failure_is_an_exit_status_and_check_asks_for_targets(monkeypatch: pytest.MonkeyPatch) -> None:
    def measured(*runs: float, **more: int) -> None:
        found = record(
            result("session-memory", greensock_sessions=[run(value, **more) for value in runs], gevent=[9, 9])
        )
        monkeypatch.setattr(bench, "measure", lambda *_: found)

    measured(8, 8)
    assert called("--quick", "--check").exit_code == 0
    measured(10, 10)
    assert called("--quick").exit_code == 0
    assert called("--quick", "--check").exit_code == 1
    measured(8, 8, failures=1)
    assert called("--quick").exit_code == 1


def test_all_cases_take_less_than_an_hour_and_quick_ones_three_minutes() -> None:
    everything = [(case, case.peers) for case in CASES.values()]
    assert Estimate(2.0, 0.5, 1024).all(everything, 3) < 55 * 60
    quick = [(case, case.peers) for case in CASES.values() if case.quick]
    rounds, seconds, warmup, _, amount = bench.QUICK.values()
    assert Estimate(seconds, warmup, int(amount)).all(quick, int(rounds)) < 170


def test_quick_stands_for_every_kind_and_every_peer() -> None:
    quick = [case for case in CASES.values() if case.quick]
    assert {case.measure for case in quick} == set(Measure)
    assert {peer for case in quick for peer in case.peers} == set(PEERS)
    assert {case.server for case in quick} >= {case.server for case in CASES.values() if case.server[1] != "lines"}
    assert any(case.tls for case in quick)


def test_an_estimate_is_said_in_words() -> None:
    assert in_words(59.6) == "60 seconds"
    assert in_words(2950) == "49 minutes"


def test_cases_are_sound() -> None:
    assert all(set(case.peers) <= set(PEERS) and set(case.targets) <= set(case.peers) for case in CASES.values())
    assert all(case.share > 0 for case in CASES.values() if case.measure == Measure.LATENCY)
    assert all(case.connections > 0 for case in CASES.values() if case.measure == Measure.MEMORY)
    for chart in Chart:
        places = [case.charts[chart] for case in CASES.values() if chart in case.charts]
        assert len(places) == len(set(places)) > 3
    offered = {peer for case in CASES.values() if case.measure == Measure.LATENCY for peer in case.peers}
    assert offered <= set(CASES[LIMITS].peers)


@dataclass(frozen=True)
class Asked:
    key: str
    peer: str
    limit: float | None
    retries: int


asked: list[Asked] = []


class Measured(Bench):
    """Instead of a server and a load client: figures, each greater than the one before."""

    def measure(self, case: Case, peer: Peer, limit: float | None = None) -> Run:
        asked.append(Asked(case.key, peer.name, limit, self.retries))
        return run(1000.0 + len(asked))


def runner(plan: dict[str, list[str]], rounds: int) -> Runner:
    asked.clear()
    measured = Measured(Path(), Cores(0, 1), 1, 1, 1, cast(Certificate, None))
    return Runner(measured, [(CASES[key], peers) for key, peers in plan.items()], rounds, Estimate(1, 1, 1), {})


def test_a_share_is_of_the_peers_own_limit() -> None:
    """Found by the case for it, or by a run for that alone."""
    found = runner({"echo": ["greensock", "gevent"], "latency-60": ["greensock", "node"]}, 2).run()
    assert [len(runs) for one in found for runs in one.runs.values()] == [2, 2, 2, 2]
    limits = {one.peer: one.limit for one in asked if one.key == "latency-60"}
    assert limits["greensock"] == found[0].median("greensock")
    assert limits["node"] is not None
    assert sum((one.key, one.peer) == ("echo", "node") for one in asked) == 1


def test_rounds_begin_with_another_peer_each() -> None:
    runner({"echo": ["greensock", "gevent", "bun"]}, 3).run()
    assert [one.peer for one in asked] == [
        *("greensock", "gevent", "bun"),
        *("gevent", "bun", "greensock"),
        *("bun", "greensock", "gevent"),
    ]


def test_who_is_late_repeats_no_more() -> None:
    in_time = runner({"echo": ["greensock"]}, 1)
    in_time.run()
    assert asked[0].retries == RETRIES
    late = runner({"echo": ["greensock"]}, 1)
    late.began -= 1000
    late.run()
    assert asked[0].retries == 0

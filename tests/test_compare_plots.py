"""The plots: files that any viewer reads, with words in them, the same from the same results."""

from pathlib import Path
from xml.etree import ElementTree

import pytest

from cases.peers import PEERS
from measurements import of_every_kind, open_fonts, record, result, run
from report.plots import COLOURS, Plot, plots
from results.runs import Result

SVG = "{http://www.w3.org/2000/svg}"


@pytest.fixture(scope="module", autouse=True)
def fonts_are_open(tmp_path_factory: pytest.TempPathFactory) -> None:
    open_fonts(tmp_path_factory.mktemp("plots"))


def drawn(plot: Plot, folder: Path) -> bytes:
    plot.save(folder)
    return (folder / f"{plot.name}.svg").read_bytes()


def names_of(results: list[Result]) -> set[str]:
    return {peer for found in results for peer in found.runs}


def test_every_peer_is_named_in_every_plot(tmp_path: Path) -> None:
    whole = of_every_kind()
    belongs = {
        "by-connections": ["echo"],
        "by-size": ["echo"],
        "by-pipelining": ["frames"],
        "latency": ["latency-60"],
        "memory": ["memory"],
        "slow-reader": ["slow-reader"],
    }
    found = plots(whole)
    assert {plot.name for plot in found} == set(belongs)
    for plot in found:
        tree = ElementTree.fromstring(drawn(plot, tmp_path))
        words = {"".join(text.itertext()).strip() for text in tree.iter(f"{SVG}text")}
        peers = {peer for key in belongs[plot.name] if (one := whole.result(key)) for peer in one.case.peers}
        assert peers <= words, plot.name


def test_the_same_results_make_the_same_files(tmp_path: Path) -> None:
    once = [drawn(plot, tmp_path) for plot in plots(of_every_kind())]
    again = [drawn(plot, tmp_path) for plot in plots(of_every_kind())]
    assert once == again
    assert not any(b"<dc:date>" in file for file in once)


def test_the_ground_is_white_where_the_page_is_dark(tmp_path: Path) -> None:
    for plot in plots(of_every_kind()):
        file = drawn(plot, tmp_path).decode()
        assert "fill: #ffffff" in file.partition("</g>")[0], plot.name


def test_every_peer_has_a_colour() -> None:
    assert set(COLOURS) == set(PEERS)


def test_nothing_is_drawn_of_what_was_not_measured() -> None:
    assert plots(record()) == []
    failed = result("memory", greensock=[run(0, failures=1)])
    assert plots(record(failed)) == []
    assert plots(record(result("echo", greensock=[100]))) == []  # one point is no curve


@pytest.mark.parametrize("peer", ["greensock", "bun"])
def test_a_peer_without_a_figure_is_left_out_of_its_point_only(peer: str, tmp_path: Path) -> None:
    points = [
        result("echo", greensock=[100, 110], bun=[90, 95]),
        result("echo-1k", None, gevent=[10, 11], **{peer: [run(0, failures=1)]}),
    ]
    (curve,) = plots(record(*points))
    assert peer.encode() in drawn(curve, tmp_path)

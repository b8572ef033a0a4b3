"""The curves as SVG: the same file from the same record, and words in it that can be searched."""

from __future__ import annotations

import statistics
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import matplotlib
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from cases.case import Chart, Measure
from cases.peers import CEILING, OURS, SESSIONS
from results.recording import Record
from results.runs import Result, Run

STYLE: Any = {
    "svg.fonttype": "none",  # words stay words
    "svg.hashsalt": "greensock",  # names of the file's parts, random without it
    "font.family": "sans-serif",
    "font.size": 10,
    "figure.facecolor": "white",  # also where the page is dark
    "axes.facecolor": "white",
    "axes.grid": True,
    "grid.color": "#dddddd",
    "axes.axisbelow": True,
    "axes.spines.top": False,
    "axes.spines.right": False,
}
UNDATED = {"Date": None, "Creator": None}

# One colour for each, in all plots; what is the same program in another style is dashed.
COLOURS = {
    OURS: "#00783c",
    SESSIONS: "#00783c",
    "gevent": "#8c564b",
    "asyncio": "#1f77b4",
    "asyncio streams": "#1f77b4",
    "uvloop": "#d62728",
    "uvloop streams": "#d62728",
    "uvloop writelines": "#d62728",
    "twisted": "#9467bd",
    "node": "#7f9c1c",
    "bun": "#ff8c1a",
    "bun sink": "#ff8c1a",
    CEILING: "#777777",
}
DASHED = {SESSIONS, "asyncio streams", "uvloop streams", "bun sink"}
DASHDOTTED = {"uvloop writelines"}
OTHERS = "#000000"
NINES = (50, 75, 90, 95, 99, 99.9, 99.99, 100)


@dataclass(frozen=True)
class Plot:
    name: str
    title: str
    reading: str  # how to read it
    figure: Figure

    def save(self, folder: Path) -> None:
        with matplotlib.rc_context(STYLE):
            self.figure.savefig(folder / f"{self.name}.svg", format="svg", metadata=UNDATED, bbox_inches="tight")


def plots(record: Record) -> list[Plot]:
    """Those that the record has figures for."""
    with matplotlib.rc_context(STYLE):
        return list(made(record))


def made(record: Record) -> Iterator[Plot]:
    curves = (
        (Chart.CONNECTIONS, "Throughput by connections", "connections, 64 bytes each", ("log", "linear")),
        (Chart.SIZE, "Throughput by size", "bytes of a message, 64 connections", ("log", "log")),
        (Chart.PIPELINING, "Pipelining", "framed messages of 64 bytes in each read, 64 connections", ("log", "log")),
    )
    for chart, title, x, scales in curves:
        points = {result.case.charts[chart]: result for result in record.results if chart in result.case.charts}
        if len(points) > 1:
            figure = curve(points, x, scales)
            yield Plot(f"by-{chart}", title, "Medians of the rounds; the bars are the least and the greatest.", figure)
    if found := of_measure(record, Measure.LATENCY):
        yield Plot(
            "latency",
            "Latency at a fixed rate",
            "Each server is offered a share of what it did itself at its limit, whether it answers or not. A message "
            "counts from the moment at which it was due. One panel for each share.",
            latencies(found),
        )
    if found := of_measure(record, Measure.MEMORY):
        yield Plot("memory", "Memory for each idle connection", "Less is better.", memories(found))
    for result in of_measure(record, Measure.SLOW_READER):
        yield Plot(
            "slow-reader",
            "Memory beside slow readers",
            "Private memory of the server above where it began, in the round with the median growth. Less is better.",
            growth(result),
        )


def of_measure(record: Record, measure: Measure) -> list[Result]:
    return [
        result for result in record.results if result.case.measure == measure and any(map(result.values, result.runs))
    ]


def panels(count: int, width: float) -> tuple[Figure, list[Axes]]:
    figure = Figure(figsize=(width, 4.5), layout="constrained")
    return figure, list(figure.subplots(1, count, sharey=True, squeeze=False)[0])


def look(peer: str) -> dict[str, Any]:
    """greensock is thick and on top of all others."""
    styles = {CEILING: "dotted", **dict.fromkeys(DASHED, "dashed"), **dict.fromkeys(DASHDOTTED, "dashdot")}
    ours = peer == OURS
    return {
        "color": COLOURS.get(peer, OTHERS),
        "linestyle": styles.get(peer, "solid"),
        "linewidth": 3.2 if ours else 1.4,
        "zorder": 5 if ours else 3,
        "label": peer,
    }


def legend(figure: Figure, axes: Axes) -> None:
    handles, labels = axes.get_legend_handles_labels()
    figure.legend(handles, labels, loc="outside right upper", frameon=False)


def in_order(results: Sequence[Result]) -> list[str]:
    return list(dict.fromkeys(peer for result in results for peer in result.case.peers if result.values(peer)))


def curve(points: dict[int, Result], x: str, scales: tuple[str, str]) -> Figure:
    figure, (axes,) = panels(1, 8.5)
    places = sorted(points)
    for peer in in_order([points[at] for at in places]):
        at = [place for place in places if points[place].values(peer)]
        values = [points[place].values(peer) for place in at]
        medians = [statistics.median(found) for found in values]
        below = [median - min(found) for median, found in zip(medians, values, strict=True)]
        above = [max(found) - median for median, found in zip(medians, values, strict=True)]
        axes.errorbar(at, medians, (below, above), marker="o", markersize=4, capsize=2, **look(peer))
    axes.set_xscale(scales[0])
    axes.set_yscale(scales[1])
    axes.set_xticks(places, [f"{place:,}" for place in places])
    axes.minorticks_off()
    if scales[1] == "linear":
        axes.set_ylim(bottom=0)
        axes.yaxis.set_major_formatter(lambda value, _: f"{value:,.0f}")
    axes.set_xlabel(x)
    axes.set_ylabel(points[places[0]].case.unit)
    legend(figure, axes)
    return figure


def middle(runs: Sequence[Run]) -> Run:
    """The run with the median figure, the lower one of two."""
    return sorted(runs, key=lambda run: run.value)[(len(runs) - 1) // 2]


def latencies(results: Sequence[Result]) -> Figure:
    figure, all_axes = panels(len(results), 2.0 + 3.4 * len(results))
    for axes, result in zip(all_axes, results, strict=True):
        for peer in in_order([result]):
            percentiles: dict[float, list[float]] = {}
            for run in result.counted(peer):
                for percentile, us in run.percentiles_us:
                    percentiles.setdefault(percentile, []).append(us)
            known = [percentile for percentile in NINES if percentile in percentiles]
            heights = [statistics.median(percentiles[percentile]) for percentile in known]
            axes.plot(
                [NINES.index(percentile) for percentile in known], heights, marker="o", markersize=3, **look(peer)
            )
        axes.set_title(f"at {result.case.share:.0%} of its limit")
        axes.set_yscale("log")
        axes.set_xticks(range(len(NINES)), [f"{percentile:g}" for percentile in NINES], rotation=45)
        axes.set_xlabel("percentile (100: the longest)")
    all_axes[0].set_ylabel("µs from when it was due")
    legend(figure, all_axes[0])
    return figure


def memories(results: Sequence[Result]) -> Figure:
    figure = Figure(
        figsize=(8.5, 0.8 + 0.32 * sum(len(in_order([result])) + 2 for result in results)), layout="constrained"
    )
    heights = [len(in_order([result])) for result in results]
    all_axes = figure.subplots(len(results), 1, squeeze=False, gridspec_kw={"height_ratios": heights})[:, 0]
    for axes, result in zip(all_axes, results, strict=True):
        names = in_order([result])
        medians = [statistics.median(result.values(peer)) for peer in names]
        bars = axes.barh(names, medians, color=[COLOURS.get(peer, OTHERS) for peer in names])
        axes.bar_label(bars, [f"{median:,.0f}" for median in medians], padding=3)
        axes.margins(x=0.12)
        axes.xaxis.set_major_formatter(lambda value, _: f"{value:,.0f}")
        axes.invert_yaxis()
        axes.set_title(result.case.title, fontsize=10, loc="left")
    all_axes[-1].set_xlabel("private bytes for each")
    return figure


def growth(result: Result) -> Figure:
    figure, (axes,) = panels(1, 8.5)
    for peer in in_order([result]):
        samples = middle(result.counted(peer)).memory
        axes.plot([at for at, _ in samples], [size / (1 << 20) for _, size in samples], **look(peer))
    axes.set_xlabel("seconds")
    axes.set_ylabel("MiB above the start")
    legend(figure, axes)
    return figure

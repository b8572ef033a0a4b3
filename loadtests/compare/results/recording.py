"""A whole measurement, as it is kept in a file: enough to write every page again without measuring."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field, fields, replace
from pathlib import Path
from typing import Any

import click

from cases import CASES
from cases.case import Case, Chart, Measure
from results.comparing import Comparison
from results.runs import Result, Run

Ratios = dict[str, dict[str, Comparison]]  # by case and peer
FORMAT = 2


@dataclass(frozen=True)
class Other:
    """What another measurement found, earlier or later, to be put beside this one."""

    began: str
    took: float
    how_often: str
    ratios: Ratios


@dataclass(frozen=True)
class Record:
    began: str  # date and time, UTC
    took: float  # seconds
    settings: dict[str, Any]
    machine: dict[str, str]
    versions: dict[str, str]
    missing: dict[str, str]  # the peers that could take no part, and why
    left_out: list[str]  # the cases that this run did not measure
    results: list[Result] = field(default_factory=list)
    other: Other | None = None

    @property
    def how_often(self) -> str:
        rounds, seconds = self.settings["rounds"], f"{self.settings['seconds']:g} s"
        return f"one round of {seconds}" if rounds == 1 else f"{rounds} alternating rounds of {seconds}"

    def result(self, key: str) -> Result | None:
        return next((result for result in self.results if result.case.key == key), None)

    def ratios(self) -> Ratios:
        found: Ratios = {}
        for result in self.results:
            for peer in result.case.rivals:
                if comparison := result.comparison(peer):
                    found.setdefault(result.case.key, {})[peer] = comparison
        return found

    def beside(self, other: Record) -> Record:
        return replace(self, other=Other(other.began, other.took, other.how_often, other.ratios()))


def write(record: Record, path: Path) -> None:
    """A line for each case: readable enough, and not a line for every sample."""
    whole = as_json(record)
    cases = ",\n".join(json.dumps(case, ensure_ascii=False) for case in whole.pop("cases"))
    head = json.dumps(whole, ensure_ascii=False, indent=1).removesuffix("\n}")
    path.write_text(f'{head},\n "cases": [\n{cases}\n]}}\n', encoding="utf-8")


def read(path: Path) -> Record:
    try:
        return from_json(json.loads(path.read_text(encoding="utf-8")))
    except (ValueError, KeyError, TypeError) as error:
        raise click.ClickException(f"{path} holds no results that this bench wrote: {error!r}") from error


def as_json(record: Record) -> dict[str, Any]:
    """The runs, and with each peer what they come to, so that a reader of the file need not compute it again."""
    whole = {name.name: getattr(record, name.name) for name in fields(Record) if name.name not in ("results", "other")}
    whole["other"] = asdict(record.other) if record.other else None
    whole["cases"] = [case_as_json(result) for result in record.results]
    return {"format": FORMAT, **whole}


def case_as_json(result: Result) -> dict[str, Any]:
    peers = {}
    for peer, runs in result.runs.items():
        values, comparison = result.values(peer), result.comparison(peer)
        peers[peer] = {
            "median": result.median(peer),
            "min": min(values, default=None),
            "max": max(values, default=None),
            "ratio": comparison and asdict(comparison),
            "outcome": comparison and comparison.outcome,
            "target met": result.verdict(peer),
            "client was the limit": result.client_limited(peer),
            "disturbed": result.disturbed(peer),
            "runs": [asdict(run) for run in runs],
        }
    case = asdict(result.case)
    del case["why"]  # an explanation, which may be corrected without measuring again
    return {"case": case, "missing": result.missing, "peers": peers}


def from_json(document: Mapping[str, Any]) -> Record:
    if document["format"] != FORMAT:
        raise ValueError(f"format {document['format']}, not {FORMAT}")
    whole = {name.name: document[name.name] for name in fields(Record) if name.name not in ("results", "other")}
    other = document["other"]
    if other is not None:
        ratios = {
            key: {peer: Comparison(**comparison) for peer, comparison in peers.items()}
            for key, peers in other["ratios"].items()
        }
        other = Other(other["began"], other["took"], other["how_often"], ratios)
    return Record(**whole, results=[result_from_json(case) for case in document["cases"]], other=other)


def result_from_json(document: Mapping[str, Any]) -> Result:
    runs = {peer: [run_from_json(run) for run in found["runs"]] for peer, found in document["peers"].items()}
    return Result(case_from_json(document["case"]), document["missing"], runs)


def case_from_json(document: Mapping[str, Any]) -> Case:
    """The case as it was measured, which today's of that name may no longer be."""
    today = CASES.get(document["key"])
    return Case(
        **{
            **document,
            **{name: tuple(document[name]) for name in ("peers", "server", "load")},
            "measure": Measure(document["measure"]),
            "charts": {Chart(chart): at for chart, at in document["charts"].items()},
            "why": today.why if today else "",
        }
    )


def run_from_json(document: Mapping[str, Any]) -> Run:
    pairs = {name: [(at, value) for at, value in document[name]] for name in ("percentiles_us", "memory")}
    return Run(**{**document, **pairs})

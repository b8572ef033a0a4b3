"""Running all that is planned, in alternating rounds, and telling how far it has come."""

from __future__ import annotations

import time
from dataclasses import dataclass, field, replace

from rich.progress import BarColumn, Progress, TaskProgressColumn, TextColumn, TimeElapsedColumn, TimeRemainingColumn

from cases import CASES, LIMITS
from cases.case import Case, Measure
from cases.estimate import Estimate, in_words
from cases.peers import PEERS
from measure.measuring import Bench
from measure.servers import PROJECT
from report.terminal import console, describe, print_result
from results.runs import Result, Run

MOST_OF_ESTIMATE = 1.15  # a run that takes longer no longer repeats what was disturbed
GRACE = 30.0  # seconds


@dataclass
class Runner:
    bench: Bench
    plan: list[tuple[Case, list[str]]]  # with the peers that can take part
    rounds: int
    estimate: Estimate
    missing: dict[str, str]
    results: list[Result] = field(default_factory=list)
    began: float = field(default_factory=time.monotonic)
    done: float = 0.0  # of the estimate's seconds
    limits: dict[str, float] = field(default_factory=dict)  # messages a second that a peer makes when it must not wait

    def run(self) -> list[Result]:
        columns = (
            TextColumn("{task.description}"),
            BarColumn(),
            TaskProgressColumn(),
            TimeElapsedColumn(),
            TextColumn("left:"),
            TimeRemainingColumn(),
        )
        # Some cases take longer than others, so what is counted is seconds, as estimated.
        with Progress(*columns, console=console, transient=True, speed_estimate_period=600) as progress:
            progress.add_task("", total=self.estimate.all(self.plan, self.rounds))
            for number, (case, peers) in enumerate(self.plan):
                console.print(f"[bold]{case.title}[/] [dim]({case.key}, {number + 1} of {len(self.plan)})[/]")
                self.run_case(case, peers, progress)
                print_result(self.results[-1])
        return self.results

    def run_case(self, case: Case, peers: list[str], progress: Progress) -> None:
        result = Result(case, {peer: self.missing[peer] for peer in case.peers if peer in self.missing})
        result.runs = {peer: [] for peer in peers}
        self.results.append(result)
        task = progress.task_ids[0]
        for number in range(self.rounds):
            turn = number % len(peers)
            for name in peers[turn:] + peers[:turn]:  # nobody is always first, or always after the same one
                progress.update(task, description=f"{case.key}, round {number + 1} of {self.rounds}: {name}")
                run = self.measure(case, name)
                run.error = run.error.replace(f"{PROJECT}/", "")  # a page is for others, who have it elsewhere
                result.runs[name].append(run)
                self.done += self.estimate.run(case)
                progress.update(task, completed=self.done)
            latest = ", ".join(f"{name} {describe(result.runs[name][-1])}" for name in peers)
            console.print(f"  round {number + 1}{far(progress)}: {latest}", style="dim", highlight=False, markup=False)

    def measure(self, case: Case, name: str) -> Run:
        bench = replace(self.bench, retries=0) if self.late else self.bench
        if case.measure != Measure.LATENCY:
            return bench.measure(case, PEERS[name])
        limit = self.limit(name)
        if limit is None:
            return Run(failures=1, error=f"no share of its limit could be offered: {name} failed at {LIMITS}")
        return bench.measure(case, PEERS[name], limit)

    @property
    def late(self) -> bool:
        """On a machine that is never quiet, to repeat every run would take three times as long as was said."""
        return time.monotonic() - self.began > self.done * MOST_OF_ESTIMATE + GRACE

    def limit(self, name: str) -> float | None:
        """From the case that finds it, or from a run of it that is made for that alone."""
        if name not in self.limits:
            found = next((result for result in self.results if result.case.key == LIMITS), None)
            median = found.median(name) if found else None
            if median is None:
                run = self.bench.measure(CASES[LIMITS], PEERS[name])
                median = None if run.failures else run.value
            if not median:
                return None
            self.limits[name] = median
        return self.limits[name]


def far(progress: Progress) -> str:
    """For a log, in which no bar moves."""
    task = progress.tasks[0]
    if console.is_terminal or task.finished:
        return ""
    left = "" if task.time_remaining is None else f", about {in_words(task.time_remaining)} left"
    return f" ({task.percentage:.0f} %{left})"

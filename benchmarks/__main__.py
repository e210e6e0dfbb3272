"""Measures the function, its peers and its upper limits: `make bench`. `python -m benchmarks --help` lists the options."""

import json
import os
import platform
import sys
import tempfile
import time
from contextlib import ExitStack
from datetime import UTC, datetime
from pathlib import Path
from typing import Annotated

import typer

from benchmarks import runs
from benchmarks.environment import Bench, bench
from benchmarks.matrix import AWAY, AWAY_QUICK, FAILING, PARTS, Figures, Part, Results, failures, figures, medians
from benchmarks.report import tables
from benchmarks.studies.stub_ceiling import ceiling
from benchmarks.systems import OURS, SYSTEMS, System
from benchmarks.workloads import make


def measure(at: Bench, part: Part, system: str, events: int, *, seed: int, quick: bool) -> Figures:
    """One run of one system."""
    workload = make(part.workload, events, 12, seed)

    def started(env: dict[str, str]) -> System:
        return SYSTEMS[system](env, at.folder, workload)

    if part.rate:
        found = runs.live(at, started, workload, rate=part.rate)
    elif part.workload == "faults":
        found = runs.outage(at, started, workload, seconds=AWAY_QUICK if quick else AWAY, failing=FAILING)
    else:
        found = runs.backlog(at, started, workload)
    return figures(found)


def run_part(at: Bench, part: Part, repeats: int, *, quick: bool) -> dict[str, Figures]:
    """Runs all systems in turn, then again, so that a machine that slows down does so for all of them."""
    sizes = part.quick if quick else part.events
    found: dict[str, list[Figures]] = {system: [] for system in sizes}
    for repeat in range(repeats):
        for number, (system, events) in enumerate(sizes.items()):
            # The real Synapse keeps its accounts, and the ids that a peer corrupted: each run there uses other users.
            seed = 1 + repeat + (1000 * (1 + PARTS.index(part)) + 100 * number if part.real else 0)
            one = measure(at, part, system, events, seed=seed, quick=quick)
            found[system].append(one)
            told = f"{one['events_per_second']:,.0f} events/s" if not part.rate else f"p99 {one['p99_ms']:.0f} ms"
            print(f"  {part.name}: {system}: {told}, {one['lost']:.0f} lost, {one['wrong']:.0f} wrong", flush=True)
    return {system: medians(one) for system, one in found.items()}


def machine() -> dict[str, object]:
    """Returns when and on what machine the figures were taken, and its load before."""
    return {
        "date": datetime.now(UTC).strftime("%Y-%m-%d"), "cores": os.cpu_count(),
        "load before": round(os.getloadavg()[0], 2), "Python": platform.python_version(),
    }  # fmt: skip


def main(
    quick: Annotated[
        bool, typer.Option(help="Check correctness only, in about two minutes; write no figures.")
    ] = False,
    repeats: Annotated[int, typer.Option("--runs", min=1, help="Runs of each system; the median is reported.")] = 3,
    only: Annotated[str, typer.Option(help="Workloads, separated by commas; default: all.")] = "",
    folder: Annotated[
        Path | None, typer.Option(help="Folder for the servers' data and logs; default: a temporary one.")
    ] = None,
) -> None:
    """Measure, print, and unless --quick write benchmarks/results/latest.json and docs/performance.md. Exit code 1: the function
    lost an event or left an account wrong."""
    began, about = time.monotonic(), machine()
    wanted = [name.strip() for name in only.split(",") if name.strip()] or [part.name for part in PARTS]
    if unknown := set(wanted) - {part.name for part in PARTS}:
        raise typer.BadParameter(
            f"no such workload: {', '.join(unknown)}; there are {', '.join(p.name for p in PARTS)}"
        )
    chosen = [part for part in PARTS if part.name in wanted and (part.quick if quick else part.events)]
    results: Results = {}
    for real in (False, True):
        parts = [part for part in chosen if part.real is real]
        if not parts:
            continue
        with ExitStack() as until_done:
            place = folder or Path(until_done.enter_context(tempfile.TemporaryDirectory()))
            at = until_done.enter_context(bench(place / ("real" if real else "stub"), real=real))
            if not real:
                about |= ceiling(at, 500 if quick else 5_000)
            for part in parts:
                results[part.name] = run_part(at, part, 1 if quick else repeats, quick=quick)
                if not quick:
                    keep(results, about)
    print(f"\n{about}\n\n{tables.results_table(results)}\n")
    if not quick:
        print(tables.goals_table(tables.load()) + "\n")
    print(f"{time.monotonic() - began:.0f} s")
    if wrong := failures(results):
        print(f"{OURS} failed: " + "; ".join(wrong), file=sys.stderr)
        raise typer.Exit(1)


def keep(results: Results, about: dict[str, object]) -> None:
    """Writes the figures; workloads that were not run keep their old ones."""
    known = tables.load() | results
    ordered = {part.name: known[part.name] for part in PARTS if part.name in known}
    tables.LATEST.write_text(json.dumps(ordered, indent=1) + "\n")
    tables.MADE.write_text(json.dumps(about, indent=1) + "\n")
    tables.write_pages(ordered)


if __name__ == "__main__":
    cli = typer.Typer(add_completion=False, pretty_exceptions_enable=False)
    cli.command()(main)
    cli()

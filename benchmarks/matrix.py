"""Lists the runs: system, workload and number of events, in order. Knows no server."""

import statistics
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

from benchmarks.runs import Measured
from benchmarks.systems import CLAIMED, LOAD, NOTHING, OURS, PLAIN, WORKERS

AWAY, AWAY_QUICK = 10.0, 3.0  # seconds that Synapse is unavailable in W5
FAILING = 0.02  # share of the calls that fail in W5

Figures = dict[str, float]
Results = dict[str, dict[str, Figures]]  # workload, system, figure


@dataclass(frozen=True, slots=True)
class Part:
    """One workload: the number of events for each system (slow ones get fewer of the same shape), and in a quick run.

    `rate`: events a second, sent while the system runs; 0: all wait in the topic. `real`: on the real Synapse.
    """

    name: str
    workload: str
    events: Mapping[str, int]
    quick: Mapping[str, int]
    rate: float = 0.0
    real: bool = False


PARTS: Sequence[Part] = (
    Part(
        "noise", "noise",
        {OURS: 20_000, PLAIN: 400, WORKERS: 2_400, NOTHING: 50_000, LOAD: 20_000},
        {OURS: 2_000, PLAIN: 100, WORKERS: 300, NOTHING: 5_000, LOAD: 500},
    ),
    Part("noise known", "noise known", {OURS: 20_000}, {}),
    Part(
        "changes", "changes",
        {OURS: 5_000, PLAIN: 400, WORKERS: 2_400, LOAD: 5_000, CLAIMED: 5_000}, {OURS: 600},
    ),
    Part("hot", "hot", {OURS: 5_000, PLAIN: 400, WORKERS: 2_400}, {OURS: 500}),
    Part(
        "deletions", "deletions",
        {OURS: 5_000, PLAIN: 800, WORKERS: 5_000, LOAD: 5_000, CLAIMED: 5_000}, {OURS: 500},
    ),
    Part("faults", "faults", {OURS: 5_000, PLAIN: 400, WORKERS: 2_400}, {OURS: 600}),
    Part("live 20/s", "live", {OURS: 400, PLAIN: 400, WORKERS: 400}, {OURS: 60}, rate=20),
    Part("live noise 500/s", "live noise", {OURS: 10_000}, {}, rate=500),
    Part("real changes", "changes", {OURS: 400, PLAIN: 400, WORKERS: 400, LOAD: 400}, {}, real=True),
    Part("real deletions", "deletions", {OURS: 400, PLAIN: 400, WORKERS: 400, LOAD: 400}, {}, real=True),
)  # fmt: skip


def figures(measured: Measured) -> Figures:
    """Returns one run's figures under their names in latest.json."""
    judged = measured.judgement
    lost = judged.lost if judged else 0
    found = {
        # A lost event was not processed, so it must not raise the rate.
        "events_per_second": measured.rate * (1 - lost / measured.events),
        "calls_per_event": measured.calls / measured.events,
        "lost": lost,
        "wrong": judged.wrong if judged else 0,
        "corrupted": judged.corrupted if judged else 0,
        "p50_ms": measured.latencies[0],
        "p99_ms": measured.latencies[1],
        "cpu_us_per_event": sum(measured.cpu.values()),
        "rss_mb": sum(measured.rss.values()),
        "events": measured.events,
        "start_s": measured.start,
        "drain_s": measured.after_outage,
    }
    found |= {f"cpu_us_per_event_{name}": used for name, used in measured.cpu.items()}
    return found | {f"rss_mb_{name}": held for name, held in measured.rss.items()}


def medians(runs: Iterable[Figures]) -> Figures:
    """Returns the median of each figure over the runs; the worst run's for lost, wrong and corrupted."""
    found = list(runs)
    worst = {name: max(run[name] for run in found) for name in ("lost", "wrong", "corrupted")}
    middle = {name: statistics.median(run[name] for run in found) for name in found[0]}
    return {name: round(value, 3) for name, value in (middle | worst).items()} | {"runs": len(found)}


def failures(results: Results) -> list[str]:
    """Returns the workloads that the function lost events of or left accounts wrong in."""
    return [
        f"{workload}: {system[OURS]['lost']:.0f} lost, {system[OURS]['wrong']:.0f} wrong"
        for workload, system in results.items()
        if OURS in system and (system[OURS]["lost"] or system[OURS]["wrong"])
    ]

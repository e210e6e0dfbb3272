"""Measures what components, collecting time and batch size do to a backlog and to live events:
`python -m benchmarks.studies.batches`. Prints a table of medians; with --keep also writes shapes.json and docs/performance.md."""

import itertools
import sys
import tempfile
import urllib.request
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Annotated

import typer
from prometheus_client.parser import text_string_to_metric_families

from benchmarks import runs
from benchmarks.environment import Bench, bench
from benchmarks.report import tables
from benchmarks.studies.pods import components
from benchmarks.systems import Ours
from benchmarks.workloads import Workload, make

Sizes = dict[float, float]  # number of batches by the largest number of records in them

ALL = ["x".join(one) for one in itertools.product(("1", "2", "3", "6"), ("10", "50", "100"), ("100", "200", "500"))]
HEAD = (
    "components", "ms", "batch", "workload", "events/s", "p50 / p99 ms", "CPU µs: function", "daprd", "records a batch", "batches by size",
    "lost, wrong",
)  # fmt: skip


class Counted(Ours):
    """The function, whose batch sizes are read before it stops."""

    sizes: Sizes
    records = 0.0
    before: tuple[Sizes, float] = {}, 0.0  # after the primer

    def resume(self) -> None:
        self.before = self._read()
        super().resume()

    def stop(self) -> None:
        (sizes, records), (old, before) = self._read(), self.before
        self.sizes = {edge: count - old.get(edge, 0.0) for edge, count in sizes.items()}
        self.records = records - before
        super().stop()

    def _read(self) -> tuple[Sizes, float]:
        with urllib.request.urlopen(f"http://127.0.0.1:{self._env['APP_PORT']}/metrics", timeout=10) as answer:
            families = {one.name: one for one in text_string_to_metric_families(answer.read().decode())}
        samples = families["matrix_account_sync_batch_records"].samples
        sums = {float(one.labels["le"]): one.value for one in samples if one.name.endswith("_bucket")}
        edges = sorted(sums)
        below = [0.0, *(sums[edge] for edge in edges)]
        counts = {edge: sums[edge] - less for edge, less in zip(edges, below, strict=False)}
        return counts, next(one.value for one in samples if one.name.endswith("_sum"))


def measure(at: Bench, shape: Sequence[int], kind: str, events: int, rate: float) -> tuple[str, ...]:
    """Runs one shape on one workload; a rate above 0 sends the events at that rate."""
    count, milliseconds, batch = shape
    workload = make(kind, events, at.partitions)
    made: list[Counted] = []
    command = [sys.executable, "-m", "benchmarks.studies.batch_size", str(batch), str(milliseconds)]

    def started(env: dict[str, str], w: Workload = workload) -> Counted:
        more = env | {"PUBSUB_COMPONENTS": str(count)}
        made.append(Counted(more, at.folder, w, components=components(at.folder, count), command=command))
        return made[-1]

    found = runs.live(at, started, workload, rate=rate) if rate else runs.backlog(at, started, workload)
    [ours], judged = made, found.judgement
    assert judged
    batches = sum(ours.sizes.values())
    sizes = " ".join(f"≤{edge:g}:{number / batches:.0%}" for edge, number in ours.sizes.items() if number)
    speed = "" if rate else f"{found.rate:,.0f}"
    waits = f"{found.latencies[0]:.0f} / {found.latencies[1]:.0f}" if rate else ""
    cpu = (f"{found.cpu[name]:.0f}" for name in ("function", "daprd"))
    row = (str(count), str(milliseconds), str(batch), kind, speed, waits, *cpu, f"{ours.records / batches:.1f}", sizes)
    return (*row, f"{judged.lost}, {judged.wrong}")


def main(
    shapes: Annotated[
        list[str] | None,
        typer.Argument(
            help="Components, milliseconds and batch: `3x50x200`. Default: each of many.", show_default=False
        ),
    ] = None,
    events: int = 20_000,
    kinds: Annotated[
        str, typer.Option("--workloads", help="Backlogs to consume, separated by commas.")
    ] = "noise known",
    live: Annotated[str, typer.Option(help="Rates of live events, such as `20,500`.")] = "",
    repeats: Annotated[int, typer.Option("--runs", help="Rounds of all of them.")] = 1,
    keep: Annotated[bool, typer.Option("--keep", help=tables.KEEP)] = False,
) -> None:
    """Run each shape on each workload, one after the other; print a row for each run, and a table of their medians."""
    wanted = [(kind, events, 0.0) for kind in kinds.split(",") if kind]
    rates = [float(one) for one in live.split(",") if one]
    wanted += [("live" if rate < 100 else "live noise", round(rate * 10), rate) for rate in rates]
    chosen = [[int(one) for one in shape.split("x")] for shape in shapes or ALL]
    rows: list[tuple[str, ...]] = []
    with tempfile.TemporaryDirectory() as folder, bench(Path(folder)) as at:
        for _, shape, (kind, number, rate) in itertools.product(range(repeats), chosen, wanted):
            rows.append(measure(at, shape, kind, number, rate))
            print("  ".join(rows[-1]), flush=True)
    found = medians(rows)
    print("\n" + tables.table(HEAD, found))
    if keep:
        tables.keep("shapes", HEAD, found)


def medians(rows: Iterable[tuple[str, ...]]) -> list[tuple[str, ...]]:
    """Returns for each shape and workload the run with the median of the processor time."""
    of_shape: dict[tuple[str, ...], list[tuple[str, ...]]] = {}
    for row in rows:
        of_shape.setdefault(row[:4], []).append(row)
    return [
        sorted(of_shape[shape], key=lambda row: int(row[6]) + int(row[7]))[(len(of_shape[shape]) - 1) // 2]
        for shape in sorted(of_shape, key=lambda shape: (shape[3], *map(int, shape[:3])))
    ]


if __name__ == "__main__":
    typer.run(main)

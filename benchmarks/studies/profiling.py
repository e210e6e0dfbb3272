"""Profiles the function on noise of known users with py-spy, a sampling profiler: `python -m benchmarks.studies.profiling`.
Prints tables and keeps no files."""

import subprocess
import sys
import tempfile
from collections import Counter
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Annotated

import typer

from benchmarks import runs
from benchmarks.environment import bench
from benchmarks.report import tables
from benchmarks.systems import Ours
from benchmarks.workloads import make
from dev.toolchain import peers_python

RATE = 100  # samples a second

Stack = Sequence[str]  # frames such as `decode (function/events/decode.py:70)`, outermost first


def stacks(raw: str) -> list[tuple[Stack, int]]:
    """Parses py-spy's raw format: frames separated by semicolons, and their number of samples."""
    found: list[tuple[Stack, int]] = []
    for line in raw.splitlines():
        frames, _, count = line.rpartition(" ")
        found.append((frames.split(";"), int(count)))
    return found


def place(frame: str) -> str:
    """Returns a frame without its line number and with a short path."""
    name, _, where = frame.partition(" (")
    path = where.rstrip(")").rpartition(":")[0] or where.rstrip(")")
    return f"{'/'.join(path.split('/')[-2:])} {name}"


def alone(samples: Iterable[tuple[Stack, int]]) -> Counter[str]:
    """Counts the samples in which a function was the innermost frame."""
    found: Counter[str] = Counter()
    for frames, count in samples:
        found[place(frames[-1])] += count
    return found


def tree(samples: Iterable[tuple[Stack, int]], us: float, least: float) -> list[str]:
    """Returns a flame graph as indented lines: microseconds an event, and where; frames below `least` are left out.

    Frames of the libraries between two of the function's are left out too, and so is what all stacks have in common.
    """
    totals: Counter[tuple[str, ...]] = Counter()
    for frames, count in samples:
        own = [place(one) for one in frames if "site-packages" not in one]
        path = (*own, place(frames[-1])) if not own or place(frames[-1]) != own[-1] else tuple(own)
        for depth in range(1, len(path) + 1):
            totals[path[:depth]] += count
    whole = sum(count for path, count in totals.items() if len(path) == 1)
    lines: list[str] = []

    def walk(path: tuple[str, ...], depth: int) -> None:
        below = sorted(
            ((one, n) for one, n in totals.items() if one[:-1] == path and us * n / whole >= least), key=lambda x: -x[1]
        )
        for one, count in below:
            shown = count < 0.95 * whole
            if shown:
                lines.append(f"{us * count / whole:7.1f}  {'  ' * depth}{one[-1]}")
            walk(one, depth + shown)

    walk((), 0)
    return lines


def show(title: str, counts: Counter[str], total: int, cpu_us: float, rows: int) -> None:
    print(f"\n{title}")
    lines = [
        (f"{count / total:.1%}", f"{cpu_us * count / total:.1f}", name) for name, count in counts.most_common(rows)
    ]  # fmt: skip
    print(tables.table(("share", "µs/event", "where"), lines))


def main(
    events: Annotated[int, typer.Argument(help="Number of events.")] = 30_000,
    native: Annotated[bool, typer.Option(help="Also sample C extensions.")] = False,
    command: Annotated[str, typer.Option(help="Command that runs the function instead, separated by spaces.")] = "",
    partitions: int = 12,
    kind: Annotated[str, typer.Option("--workload", help="A workload of the stub.")] = "noise known",
    least: Annotated[float, typer.Option(help="Smallest part of the flame graph, in µs an event.")] = 1.0,
) -> None:
    """Sample the function from its first event to its last."""
    spy = peers_python(print).with_name("py-spy")
    with tempfile.TemporaryDirectory() as folder, bench(Path(folder)) as at:
        raw, workload = Path(folder) / "raw.txt", make(kind, events, partitions)

        class Sampled(Ours):
            """The function, sampled from the start of its backlog."""

            def start(self) -> None:
                super().start()
                if not workload.primer:
                    self.sample()

            def resume(self) -> None:
                self.sample()
                super().resume()

            def sample(self) -> None:
                pid = str(self.servers()["function"].pids()[0])
                words = [
                    str(spy),
                    "record",
                    "-p",
                    pid,
                    "-f",
                    "raw",
                    "-o",
                    str(raw),
                    "-r",
                    str(RATE),
                    "-d",
                    "600",
                    "--gil",
                ]
                self.sampler = subprocess.Popen([*words, *(["--native"] if native else [])], stdout=sys.stderr)

            def stop(self) -> None:
                super().stop()  # py-spy exits with the process that it samples
                self.sampler.wait(60)

        found = runs.backlog(
            at, lambda env: Sampled(env, at.folder, workload, command=command.split()), workload, partitions=partitions
        )
        samples = stacks(raw.read_text())
    total, cpu = sum(count for _, count in samples), found.cpu["function"]
    cpu_text = ", ".join(f"{name} {used:.0f} µs" for name, used in found.cpu.items())
    print(f"{found.rate:,.0f} events/s; processor time an event: {cpu_text}; {total} samples while busy")
    print("\nµs an event, and where\n" + "\n".join(tree(samples, cpu, least)))
    show("Alone", alone(samples), total, cpu, 30)


if __name__ == "__main__":
    typer.run(main)

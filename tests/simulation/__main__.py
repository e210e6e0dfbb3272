"""Simulates the function with faults, one run a seed: `python -m tests.simulation --seeds 10000 --jobs 2`.

Prints the rules that were broken with the first seed of each, and the shortest scenario that shows it. `--seed X` runs one seed and
shrinks it. `--mutations` says how many seeds each fault that is put in on purpose takes to be found. Exits 1 if a rule was broken.
"""

import logging
import time
from collections.abc import Iterable, Iterator
from concurrent.futures import ProcessPoolExecutor
from contextlib import nullcontext
from dataclasses import dataclass, field
from functools import partial
from typing import Annotated

import typer

from tests.simulation.generate import generate
from tests.simulation.mutation import Mutation
from tests.simulation.mutations import MUTATIONS
from tests.simulation.run import Patch, Run, run
from tests.simulation.shrink import shrink

CHUNK = 100  # seeds that a worker runs before it reports


@dataclass
class Chunk:
    """What some seeds gave: their number, those that broke each rule, and totals."""

    seeds: int = 0
    broken: dict[str, list[int]] = field(default_factory=dict)
    totals: dict[str, float] = field(default_factory=dict)

    def add(self, other: "Chunk") -> None:
        self.seeds += other.seeds
        for rule, seeds in other.broken.items():
            self.broken.setdefault(rule, []).extend(seeds)
        for name, count in other.totals.items():
            self.totals[name] = self.totals.get(name, 0) + count


def run_seeds(seeds: Iterable[int], mutation: str = "", until: tuple[str, ...] = (), mas: bool | None = None) -> Chunk:
    """Runs some seeds; stops at the first that breaks a rule in `until`."""
    logging.disable(logging.CRITICAL)
    found, patch = Chunk(), patch_of(mutation)
    for seed in seeds:
        done = run(generate(seed, mas=mas), patch)
        found.seeds += 1
        rules = {one.rule for one in done.complaints}
        if rules and mutation:  # what the code does without the mutation is not its
            rules -= {one.rule for one in run(done.scenario).complaints}
        for rule in rules:
            found.broken.setdefault(rule, []).append(seed)
        totals = {
            "seeds under MAS": float(done.scenario.mas), "steps": done.steps, "requests": done.requests,
            "virtual hours": done.seconds / 3600,
        }  # fmt: skip
        for name, count in totals.items():
            found.totals[name] = found.totals.get(name, 0) + count
        if rules.intersection(until):
            break
    return found


def patch_of(name: str) -> Patch:
    """Returns the patch of a mutation; none for ""."""
    if not name:
        return nullcontext
    known = {one.name: one for one in MUTATIONS}
    if name not in known:
        raise typer.BadParameter(f"unknown: {name}; known: {', '.join(known)}")
    return known[name].patch


def _chunks(start: int, seeds: int, jobs: int, mutation: str, mas: bool | None) -> Iterator[Chunk]:
    parts = [range(first, min(first + CHUNK, start + seeds)) for first in range(start, start + seeds, CHUNK)]
    if jobs == 1:
        yield from (run_seeds(part, mutation, mas=mas) for part in parts)
        return
    with ProcessPoolExecutor(jobs) as pool:
        yield from pool.map(partial(run_seeds, mutation=mutation, mas=mas), parts)


def _show(seed: int, mutation: str, mas: bool | None, rule: str = "") -> None:
    """Prints the shortest scenario that breaks what this seed breaks."""
    patch = patch_of(mutation)
    done = run(generate(seed, mas=mas), patch)
    broken = [one for one in done.complaints if not rule or one.rule == rule]
    if not broken:
        print(f"seed {seed}: every rule holds ({done.steps} steps, {done.seconds:.0f} s of virtual time)")
        return
    done = shrink(Run(done.scenario, broken, done.steps, done.seconds, done.requests, done.deliveries), patch)
    print(f"\nseed {seed}, shortest form:\n{done.scenario}")
    for one in done.complaints:
        print(f"  {one.rule}, user {one.user}: {one.says}")


def _report(mutation: Mutation, start: int, seeds: int, mas: bool | None) -> bool:
    found = run_seeds(range(start, start + seeds), mutation.name, mutation.rules, mutation.mas or mas)
    rules = sorted(set(found.broken) & set(mutation.rules))
    said = f"found after {found.seeds} seeds by {', '.join(rules)}" if rules else f"NOT FOUND in {found.seeds} seeds"
    print(f"{mutation.name:22} {said:60} {mutation.means}", flush=True)
    return bool(rules)


def main(
    seeds: Annotated[int, typer.Option(min=1, help="Number of seeds.")] = 2000,
    start: Annotated[int, typer.Option(help="The first seed.")] = 1,
    seed: Annotated[int | None, typer.Option(help="Run only this seed, and shrink it if it breaks a rule.")] = None,
    jobs: Annotated[int, typer.Option(min=1, help="Number of processes.")] = 1,
    mutation: Annotated[str, typer.Option(help="Run with this fault put in on purpose.")] = "",
    mutations: Annotated[bool, typer.Option("--mutations", help="Report how many seeds each mutation takes.")] = False,
    mas: Annotated[
        bool | None, typer.Option(help="MAS owns the accounts in all scenarios, or in none; by default in a quarter.")
    ] = None,
    stop: Annotated[bool, typer.Option("--stop", help="Stop at the first broken rule.")] = False,
) -> None:
    """Run scenarios in virtual time and report the rules that were broken."""
    logging.disable(logging.CRITICAL)
    if seed is not None:
        _show(seed, mutation, mas)
        return
    if mutations:
        missed = [one for one in MUTATIONS if not _report(one, start, seeds, mas)]
        raise typer.Exit(bool(missed))
    patch_of(mutation)
    began, total, shown = time.monotonic(), Chunk(), time.monotonic()
    for chunk in _chunks(start, seeds, jobs, mutation, mas):
        for rule in chunk.broken.keys() - total.broken.keys():
            print(f"  {rule} is broken by seed {min(chunk.broken[rule])}", flush=True)
        total.add(chunk)
        if time.monotonic() - shown > 5:
            shown = time.monotonic()
            rate = total.seeds / (shown - began)
            print(f"  {total.seeds} of {seeds} seeds, {rate:.0f} a second, {_broken(total)}", flush=True)
        if stop and total.broken:
            break
    print(f"{total.seeds} seeds in {time.monotonic() - began:.0f} s, {_broken(total)}")
    print(", ".join(f"{count:.0f} {name}" for name, count in total.totals.items()))
    for rule, failed in sorted(total.broken.items()):
        print(f"\n{rule}: {len(failed)} seeds, among them {' '.join(map(str, sorted(failed)[:5]))}")
        _show(min(failed), mutation, mas, rule)
    raise typer.Exit(bool(total.broken))


def _broken(total: Chunk) -> str:
    if not total.broken:
        return "every rule holds"
    return ", ".join(f"{rule} {len(seeds)}" for rule, seeds in sorted(total.broken.items()))


if __name__ == "__main__":
    cli = typer.Typer(add_completion=False, pretty_exceptions_enable=False, help=__doc__)
    cli.command()(main)
    cli()

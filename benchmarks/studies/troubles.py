"""Measures what an event costs when calls fail, letters arise or an image host is slow, next to the same work without: `python -m benchmarks.studies.troubles`.
Prints a table; with --keep also writes troubles.json and docs/performance.md.

Every event changes name and avatar, as in W2. In the runs with images each twentieth event has an avatar of one image host.
"""

import statistics
import sys
import tempfile
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Annotated

import typer

from benchmarks import runs
from benchmarks.environment import Bench, bench
from benchmarks.report import tables
from benchmarks.runs import Measured
from benchmarks.stub_synapse.accounts import COPIED
from benchmarks.studies.image_host import image_host
from benchmarks.systems import Ours
from benchmarks.workloads import POISON, Event, Maker, Workload, changes, ended
from dev.identity_events import encode, profile_payload

FAILING, WITH_IMAGE = 0.10, 20
SLOW, NEVER = 0.5, 3600.0  # seconds until the host answers

Make = Callable[[Maker, int], Workload]


def letters(maker: Maker, events: int) -> Workload:
    """Makes W2 with 1% of records that can't be decoded."""
    plain = changes(maker, events)
    mixed = [maker.poison(event) if maker.random.random() < POISON else event for event in plain.events]
    return replace(plain, events=mixed)


def images(url: str, *, served: bool) -> Make:
    """Makes W2 with images of one host; `served`: the host answers, so that the copy becomes the avatar."""

    def made(maker: Maker, events: int) -> Workload:
        plain = changes(maker, events)
        avatars = {user: state.avatar for user, state in plain.accounts.items()}
        mixed = list[Event]()
        for number, event in enumerate(plain.events):
            one = event
            if number % WITH_IMAGE == 0:
                body = profile_payload(event.user_id, event.name, _time(event), avatar=url, username="ada")
                one = replace(event, value=encode(body), avatar=COPIED if served else avatars.get(event.user_id, ""))
            avatars[event.user_id] = one.avatar
            mixed.append(one)
        return replace(plain, events=mixed)

    return made


def _time(event: Event) -> str:
    text = event.value.partition(b'"updated_at":')[2]
    return text.partition(b'"')[2].partition(b'"')[0].decode()


class WithImages(Ours):
    """The function, which trusts the image host's certificate authority and finds it on loopback."""

    def __init__(self, env: dict[str, str], folder: Path, workload: Workload) -> None:
        command = [sys.executable, "-m", "tests.integration.programs.with_local_cdn"]
        super().__init__(env, folder, workload, command=command)


def measure(at: Bench, name: str, events: int, seed: int) -> Measured:
    """Runs one trouble, or one of the two controls: `healthy` and `images`."""
    with tempfile.TemporaryDirectory() as folder:
        if not name.startswith("images"):
            workload = _made(letters if name == "1% letters" else changes, events, seed)
            failing = FAILING if name.startswith("10%") else 0.0
            return runs.backlog(at, lambda env: Ours(env, at.folder, workload), workload, failing=failing)
        seconds = {"images": 0.0, "images, slow host": SLOW}.get(name, NEVER)
        with image_host(Path(folder), seconds) as (origin, authority):
            more = {"AVATAR_ALLOWED_HOSTS": origin, "TEST_CDN_CA": str(authority)}
            workload = _made(images(f"https://{origin}/face.png", served=seconds < NEVER), events, seed)
            return runs.backlog(at, lambda env: WithImages(env | more, at.folder, workload), workload)


def _made(make: Make, events: int, seed: int) -> Workload:
    maker = Maker(seed)
    return ended(make(maker, events), maker, 12)


HEAD = ("what", "events/s", "CPU µs/event", "× time", "× CPU", "lost, wrong")
CONTROLS = {
    "healthy": "healthy", "10% of the calls fail": "healthy", "1% letters": "healthy",
    "images": "images", "images, slow host": "images", "images, dead host": "images",
}  # fmt: skip


def main(
    events: int = 3_000,
    repeats: Annotated[int, typer.Option("--runs", help="Rounds of all of them.")] = 3,
    keep: Annotated[bool, typer.Option("--keep", help=tables.KEEP)] = False,
) -> None:
    """Run each trouble and its control in turn, and print medians with their ratio."""
    found: dict[str, list[Measured]] = {name: [] for name in CONTROLS}
    with tempfile.TemporaryDirectory() as folder, bench(Path(folder)) as at:
        for repeat in range(repeats):
            for name in CONTROLS:
                one = measure(at, name, events, 1 + repeat)
                found[name].append(one)
                print(f"  {name}: {one.rate:,.0f} events/s, {one.judgement}", flush=True)
    rate = {name: statistics.median(one.rate for one in ran) for name, ran in found.items()}
    cpu = {name: statistics.median(sum(one.cpu.values()) for one in ran) for name, ran in found.items()}
    rows = []
    for name, control in CONTROLS.items():
        judged = [one.judgement for one in found[name] if one.judgement]
        worst = f"{max(one.lost for one in judged)}, {max(one.wrong for one in judged)}"
        ratios = f"{rate[control] / rate[name]:.2f}", f"{cpu[name] / cpu[control]:.2f}"
        rows.append((name, f"{rate[name]:,.0f}", f"{cpu[name]:,.0f}", *ratios, worst))
    print("\n" + tables.table(HEAD, rows))
    if keep:
        tables.keep("troubles", HEAD, rows)


if __name__ == "__main__":
    typer.run(main)

"""`dead-letters` and `replay` as jobs: Dapr apps of their own that end by themselves, and what they print."""

import asyncio
import contextlib
import json
import sys
import uuid
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import AbstractAsyncContextManager
from dataclasses import dataclass
from datetime import timedelta

from dapr.aio.clients import DaprClient
from rich.console import Console

from function.cli.progress import progress
from function.dapr.client import open_client, shut_down
from function.dapr.pubsub import Publisher
from function.dapr.state_store import StateStore
from function.dead_letters.checkpoint import LEASE, Busy, ReplayCheckpoint
from function.dead_letters.letter import DeadLetter, DeadLetterFilter, read_letter
from function.dead_letters.reader import SIDECAR_SECONDS, read_topic
from function.dead_letters.replay import Options, Replay
from function.dead_letters.summary import Summary, content, row
from function.outcomes import TryAgain
from function.settings import SidecarSettings

OpenClient = Callable[[float], AbstractAsyncContextManager[DaprClient]]


@dataclass(frozen=True, slots=True)
class ReadOptions:
    """How to read: `quiet` seconds without a new record are the end; `end_sidecar` for a Kubernetes Job."""

    quiet: float
    end_sidecar: bool


@dataclass(frozen=True, slots=True)
class ShowOptions:
    """How to show: the `newest` so many, as `json`, or the letter at one place, and that redacted or `raw`."""

    newest: int
    as_json: bool
    place: str
    raw: bool


async def show_letters(
    settings: SidecarSettings, wanted: DeadLetterFilter, how: ShowOptions, read_options: ReadOptions
) -> bool:
    """Shows the dead letters; whether the one that was asked for is there. Raises TryAgain."""
    summary = Summary(how.newest)
    async with shutting_down_sidecar(read_options), open_client(SIDECAR_SECONDS) as client:
        bookmark = ReplayCheckpoint(StateStore(client, settings.state_store_name), "look")
        await bookmark.read()
        read = 0
        with progress("dead letters read") as advance:
            async with read_topic(settings, settings.dead_letter_topic, read_options.quiet) as batches:
                async for page in batches:
                    read += len(page)
                    letters = [read_letter(record) for record in page if not bookmark.is_done(record)]
                    if how.place and _shown(letters, how):
                        return True
                    for letter in letters if not how.place else ():
                        _add(summary, letter, wanted, how)
                    advance(len(page))
    _warn_of_nothing(settings.dead_letter_topic, read)
    if how.place:
        print(f"no dead letter {how.place}: its number changes when a replay puts it back", file=sys.stderr)
    elif how.as_json:
        print(json.dumps({"summary": summary.as_json()}))
    else:
        _show(summary, settings.dead_letter_topic)
    return not how.place


def _shown(letters: Sequence[DeadLetter], how: ShowOptions) -> bool:
    found = [letter for letter in letters if letter.place == how.place]
    for letter in found:
        print(json.dumps(content(letter, raw=how.raw), indent=2))
    return bool(found)


def _add(summary: Summary, letter: DeadLetter, wanted: DeadLetterFilter, how: ShowOptions) -> None:
    if wanted.matches(letter):
        summary.add(letter)
        if how.as_json:
            print(json.dumps({"letter": row(letter)}))


def _show(summary: Summary, topic: str) -> None:
    console = Console(highlight=False, width=None if sys.stdout.isatty() else 180)
    again = f", {summary.replayed} of them replayed before" if summary.replayed else ""
    console.print(f"{summary.total} dead letter{'' if summary.total == 1 else 's'} in {topic}{again}", markup=False)
    for table in summary.tables() if summary.total else ():
        console.print(table)


async def replay(
    settings: SidecarSettings, options: Options, *, from_events: bool, read_options: ReadOptions,
    opened: OpenClient = open_client, lease: timedelta = LEASE,
) -> bool:  # fmt: skip
    """Moves the letters and prints what became of them; whether all of them could be moved. Raises TryAgain, Busy.

    `opened` and `lease` are seams for tests.
    """
    topic = settings.kafka_identity_events_topic if from_events else settings.dead_letter_topic
    async with shutting_down_sidecar(read_options), opened(SIDECAR_SECONDS) as client:
        bookmark = ReplayCheckpoint(StateStore(client, settings.state_store_name), str(uuid.uuid4()), lease)
        publisher = Publisher(client, settings.dead_letters_pubsub_name)
        work = Replay(
            publisher, None if from_events else bookmark, settings.dead_letter_topic, settings.replay_topic, options,
            _tell if options.dry_run else lambda _: None,
        )  # fmt: skip
        read = 0
        async with _leased(bookmark, needed=not options.dry_run and not from_events):
            with progress("records read" if from_events else "dead letters read") as advance:
                async with read_topic(settings, topic, read_options.quiet) as batches:
                    async for page in batches:
                        await work.process(page)
                        read += len(page)
                        advance(len(page))
                        if work.enough:
                            break
    _warn_of_nothing(topic, read)
    return _report(work, from_events=from_events, dry_run=options.dry_run)


def _warn_of_nothing(topic: str, read: int) -> None:
    """An empty topic, and one that daprd may not or can not read, look the same from here."""
    if not read:
        hint = "if there should be some, look for `Failed to start subscription` in the sidecar's log"
        print(f"nothing was read from {topic}: {hint}", file=sys.stderr)


def _tell(letter: DeadLetter) -> None:
    print("would replay " + " ".join(f"{name}={value}" for name, value in row(letter).items() if name != "detail"))


def _report(work: Replay, *, from_events: bool, dry_run: bool) -> bool:
    tally = work.tally
    would = "would be " if dry_run else ""
    rest = "left where they are" if from_events or dry_run else "put back"
    print(f"{tally.replayed.total()} {would}replayed, {tally.put_back} {rest}, {tally.stuck.total()} stuck")
    for reason, count in tally.replayed.most_common():
        print(f"  {would}replayed: {count} {reason}")
    for reason, count in tally.stuck.most_common():
        print(f"  stuck: {count} {reason}: replayed too often; find out why before raising --max-replays")
    for partition, why in sorted(tally.stopped.items()):
        print(f"  partition {partition} was not gone through: {why}", file=sys.stderr)
    if work.enough:
        print("  stopped at --max; what follows was not looked at")
    return not tally.stopped and not tally.stuck


@contextlib.asynccontextmanager
async def _leased(bookmark: ReplayCheckpoint, *, needed: bool) -> AsyncIterator[None]:
    if not needed:
        await bookmark.read()
        yield
        return
    await bookmark.acquire_lease()
    keeping = asyncio.create_task(_keep(bookmark))
    try:
        yield
    finally:
        keeping.cancel()
        await asyncio.wait([keeping])
        with contextlib.suppress(Busy, TryAgain):  # then the lease ends by itself
            await bookmark.release()


async def _keep(bookmark: ReplayCheckpoint) -> None:
    """A slow replay moves the bookmark less often than its lease wants; a failure shows at the next page."""
    while True:
        await asyncio.sleep(bookmark.lease.total_seconds() / 3)
        await bookmark.renew()


@contextlib.asynccontextmanager
async def shutting_down_sidecar(read_options: ReadOptions) -> AsyncIterator[None]:
    try:
        yield
    finally:
        if read_options.end_sidecar:
            await shut_down()

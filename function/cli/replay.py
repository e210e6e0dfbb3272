"""`replay`: moves dead letters to the replay topic as a Dapr app with its own app id and prints a report."""

import contextlib
import sys
import uuid
from collections.abc import AsyncIterator, Callable
from contextlib import AbstractAsyncContextManager
from datetime import timedelta
from enum import StrEnum
from typing import Annotated

import typer
from dapr.aio.clients import DaprClient

from function.cli.options import (
    EndSidecar,
    Quiet,
    ReadOptions,
    Reasons,
    Since,
    Types,
    Until,
    User,
    Yes,
    check_position,
    confirm,
    letter_filter,
    print_empty_topic,
    run_and_exit,
    shutting_down_sidecar,
    sidecar_settings,
)
from function.cli.progress import progress
from function.dapr.client import open_client
from function.dapr.pubsub import Publisher
from function.dapr.state_store import StateStore
from function.dead_letters.checkpoint import LEASE, ReplayCheckpoint, leased
from function.dead_letters.filter import DeadLetterFilter
from function.dead_letters.letter import DeadLetter
from function.dead_letters.reader import SIDECAR_SECONDS, read_topic
from function.dead_letters.replay import Options, Replay
from function.dead_letters.summary import row
from function.settings import SidecarSettings

OpenClient = Callable[[float], AbstractAsyncContextManager[DaprClient]]


class Source(StrEnum):
    """The topic that `replay` reads."""

    DEAD = "dead"
    EVENTS = "events"


def _check_positions(texts: list[str] | None) -> list[str] | None:
    return [check_position(text) for text in texts] if texts else texts


def command(
    reason: Reasons = None,
    type_: Types = None,
    user: User = "",
    since: Since = None,
    until: Until = None,
    max_: Annotated[
        int | None, typer.Option("--max", min=1, metavar="COUNT", help="Stop after replaying this number of letters.")
    ] = None,
    rate: Annotated[
        float, typer.Option(min=0, metavar="PER_SECOND", help="Maximum replays per second; 0 for no limit.")
    ] = 0,
    max_replays: Annotated[
        int, typer.Option(min=1, metavar="COUNT", help="Put back letters replayed this number of times before: they are stuck.")
    ] = 5,
    source: Annotated[
        Source,
        typer.Option("--from", help="dead: the dead-letter topic. events: the main topic, whose records stay there."),
    ] = Source.DEAD,
    from_offset: Annotated[
        list[str] | None,
        typer.Option(
            callback=_check_positions, metavar="PARTITION:OFFSET",
            help="Only this partition, from this offset on; repeatable, once per partition.",
        ),
    ] = None,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Print what would be replayed; move nothing.")] = False,
    yes: Yes = False,
    quiet: Quiet = 5.0,
    end_sidecar: EndSidecar = False,
) -> None:  # fmt: skip
    """Move dead letters to the replay topic, which the function consumes.

    Letters that do not match the filter are put back at the end of the dead
    letters; without a filter every letter is replayed. A replay is safe: an
    event that is out of date changes nothing. It ends after the letters that
    were there at its start; a killed replay is resumed by the next one. Runs as
    a Dapr app with its own sidecar and app id, matrix-account-sync-replay.

    Preview: --dry-run --reason synapse_error
    Replay the main topic of the last two hours: --from events --since 2h

    Exit codes:
    0: done.
    1: some letters could not be moved, or are stuck.
    2: a setting or an option is invalid.
    3: another replay is running.
    """
    offsets = {partition: int(offset) for partition, _, offset in (text.partition(":") for text in from_offset or ())}
    wanted = letter_filter(reason, type_, user, since, until, offsets)
    settings = sidecar_settings()
    if source is Source.EVENTS and not (since or offsets):
        raise typer.BadParameter("--from events replays from a time or an offset: add --since or --from-offset")
    if source is Source.EVENTS and reason:
        raise typer.BadParameter("--reason is for dead letters; records of the main topic have none")
    if not (yes or dry_run):
        which = "the matching records" if wanted != DeadLetterFilter() else "ALL records"
        confirm(f"Replay {which} of {_topic(settings, source)} to {settings.replay_topic}?")
    options = Options(wanted, max_replays, max_, rate, dry_run)
    read_options = ReadOptions(quiet, end_sidecar)
    run_and_exit(run(settings, options, from_events=source is Source.EVENTS, read_options=read_options))


def _topic(settings: SidecarSettings, source: Source) -> str:
    return settings.dead_letter_topic if source is Source.DEAD else settings.kafka_identity_events_topic


async def run(
    settings: SidecarSettings, options: Options, *, from_events: bool, read_options: ReadOptions,
    opened: OpenClient = open_client, lease: timedelta = LEASE,
) -> bool:  # fmt: skip
    """Moves the letters and prints the report. Returns False if some could not be moved or are stuck.

    Raises TryAgain, Busy. `opened` and `lease` are seams for tests.
    """
    topic = _topic(settings, Source.EVENTS if from_events else Source.DEAD)
    async with shutting_down_sidecar(read_options), opened(SIDECAR_SECONDS) as client:
        checkpoint = ReplayCheckpoint(StateStore(client, settings.state_store_name), str(uuid.uuid4()), lease)
        publisher = Publisher(client, settings.dead_letters_pubsub_name)
        replay = Replay(
            publisher, None if from_events else checkpoint, settings.dead_letter_topic, settings.replay_topic, options,
            _print_letter if options.dry_run else lambda _: None,
        )  # fmt: skip
        read = 0
        async with _opened_checkpoint(checkpoint, lease_needed=not options.dry_run and not from_events):
            with progress("records read" if from_events else "dead letters read") as advance:
                async with read_topic(settings, topic, read_options.quiet) as batches:
                    async for batch in batches:
                        await replay.process(batch)
                        read += len(batch)
                        advance(len(batch))
                        if replay.limit_reached:
                            break
    if not read:
        print_empty_topic(topic)
    return _print_report(replay, from_events=from_events, dry_run=options.dry_run)


@contextlib.asynccontextmanager
async def _opened_checkpoint(checkpoint: ReplayCheckpoint, *, lease_needed: bool) -> AsyncIterator[None]:
    if lease_needed:
        async with leased(checkpoint):
            yield
    else:
        await checkpoint.read()
        yield


def _print_letter(letter: DeadLetter) -> None:
    print("would replay " + " ".join(f"{name}={value}" for name, value in row(letter).items() if name != "detail"))


def _print_report(replay: Replay, *, from_events: bool, dry_run: bool) -> bool:
    tally = replay.tally
    would = "would be " if dry_run else ""
    rest = "left where they are" if from_events or dry_run else "put back"
    print(f"{tally.replayed.total()} {would}replayed, {tally.put_back} {rest}, {tally.stuck.total()} stuck")
    for reason, count in tally.replayed.most_common():
        print(f"  {would}replayed: {count} {reason}")
    for reason, count in tally.stuck.most_common():
        print(f"  stuck: {count} {reason}: replayed too often; find the cause before raising --max-replays")
    for partition, why in sorted(tally.stopped.items()):
        print(f"  partition {partition} was not read to its end: {why}", file=sys.stderr)
    if replay.limit_reached:
        print("  stopped at --max; the letters after it were not read")
    return not tally.stopped and not tally.stuck

"""`replay`: publishes dead letters, or records of the main topic, to the replay topic, and says what became of them."""

from collections.abc import Mapping
from contextlib import AsyncExitStack
from dataclasses import replace
from typing import Annotated

import typer

from function.cli.letters import (
    SIDECAR_SECONDS,
    Ended,
    Ending,
    FromOffset,
    Letters,
    OpenClient,
    OpenTopic,
    check_named,
    ending,
    naming,
    size_of,
    stoppable,
    walk,
)
from function.cli.options import (
    AsJson,
    Output,
    OutputOption,
    Reasons,
    Since,
    Types,
    Until,
    User,
    Yes,
    confirm,
    letter_filter,
    require_terminal,
    run_or_exit,
    tool_settings,
)
from function.cli.progress import progress
from function.cli.replay_report import Job, Report, Source, print_report, say_plan
from function.cli.values import check_period
from function.clock import utc_now
from function.dapr.client import open_client
from function.dapr.pubsub import Publisher
from function.dapr.state_store import StateStore
from function.dead_letters.marks import Marks
from function.dead_letters.positions import Positions
from function.dead_letters.replay import Options, Replay, Tally
from function.dead_letters.selection import Selection, read_places
from function.kafka.client import client_config
from function.kafka.stream import open_topic
from function.processing import deletion_counts
from function.processing.deletion_limit import KEY
from function.settings import ToolSettings
from function.stopping import unless_stopped


def command(
    reason: Reasons = None,
    type_: Types = None,
    user: User = "",
    since: Since = None,
    until: Until = None,
    letter: Letters = None,
    again: Annotated[
        bool, typer.Option("--again", help="Also letters that were replayed before; never those that were discarded.")
    ] = False,
    max_: Annotated[
        int | None, typer.Option("--max", min=1, metavar="COUNT", help="Stop after replaying this number of letters.")
    ] = None,
    rate: Annotated[
        float, typer.Option(min=0, metavar="PER_SECOND", help="Maximum replays per second; 0 for no limit.")
    ] = 0,
    max_replays: Annotated[
        int,
        typer.Option(
            min=1, metavar="COUNT", help="Leave letters that were replayed this number of times: they are stuck."
        ),
    ] = 5,
    source: Annotated[
        Source, typer.Option("--from", help="dead: the dead letters. events: the main topic, by time or offset.")
    ] = Source.DEAD,
    from_offset: FromOffset = None,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Print what would be replayed; change nothing.")] = False,
    yes: Yes = False,
    output: OutputOption = Output.TABLE,
    as_json: AsJson = False,
) -> None:
    """Publish open dead letters to the replay topic, which the function consumes.

    The letters stay where they are and are marked as replayed. A replay is safe:
    an event that is out of date changes nothing. It ends after the letters that
    were there at its start. Run it where the function runs, with the same
    environment: it publishes through the function's sidecar.

    Preview: --dry-run --reason synapse_error
    One letter: --letter 6:4
    The main topic of the last two hours: --from events --since 2h

    Exit codes:
    0: done.
    1: some letters could not be replayed, or are stuck, gone or not there.
    2: a setting or an option is invalid.
    3: Kafka, the sidecar or the state store is unavailable.
    4: the read was cut short.
    130: interrupted.
    The counts are printed in each case but 2.
    """
    places, offsets = frozenset(read_places(letter or ())), dict(read_places(from_offset or ()))
    if source is Source.EVENTS:
        _check_events(bool(since or offsets), {"--reason": reason, "--letter": letter, "--again": again})
    check_named(places, since, until, offsets)
    require_terminal(unless=yes or dry_run)
    check_period(since, until)
    settings = tool_settings()
    # Of the letters exactly those that the list shows. Of the main topic everything from the place where Kafka finds the time:
    # producers' clocks differ, and no event may be left out.
    letters_since = since if source is Source.DEAD else None
    selection = Selection(letter_filter(reason, type_, user, letters_since, until), places, again, since, offsets)
    job = Job(source, selection, Options(max_replays, max_, rate, dry_run), as_json or output is Output.JSON)
    # Of a large main topic there is nothing to be said beforehand if no one is asked.
    if not dry_run and not (yes and source is Source.EVENTS):
        survey = run_or_exit(run(settings, replace(job, silent=True, options=replace(job.options, dry_run=True))))
        if survey.ending.ended not in (Ended.COMPLETE, Ended.MAX) or not survey.tally.replayed:
            raise typer.Exit(print_report(survey, job, done=False))
        say_plan(survey, job)
        # What comes while a person thinks was not agreed to.
        job = replace(job, selection=replace(job.selection, ends=survey.ends))
        if not yes:
            confirm(f"Replay them to {settings.replay_topic}?")
    raise typer.Exit(print_report(run_or_exit(run(settings, job)), job, done=not dry_run))


def _check_events(located: bool, for_letters: Mapping[str, object]) -> None:
    if not located:
        raise typer.BadParameter("--from events replays from a time or an offset: add --since or --from-offset")
    if given := [name for name, value in for_letters.items() if value]:
        raise typer.BadParameter(f"{given[0]} is for dead letters; records of the main topic have none")


async def run(
    settings: ToolSettings, job: Job, opened: OpenClient = open_client, topic: OpenTopic = open_topic
) -> Report:
    """Replays, or in a dry run counts, and returns what came of it. `opened` and `topic` are seams for tests.

    Raises:
        WrongSettings, NoPartition: nothing was done.
    """
    report = Report(Tally(), Ending(Ended.COMPLETE))
    config = client_config(settings)
    with stoppable() as stop, ending() as found:
        async with AsyncExitStack() as stack:
            client = await unless_stopped(stop, stack.enter_async_context(opened(SIDECAR_SECONDS)))
            stream = await stack.enter_async_context(topic(config, _topic(settings, job)))
            state = StateStore(client, settings.state_store_name)
            report.permits = await unless_stopped(stop, _permits(state, settings.matrix_max_deletions_per_hour))
            spans = await unless_stopped(stop, job.selection.spans(stream))
            report.ends = {span.partition: span.end for span in spans}
            marks = Marks(state, settings.dead_letter_topic) if job.source is Source.DEAD else None
            positions = Positions(spans)
            named = naming("replay", as_json=job.as_json) if job.options.dry_run and not job.silent else lambda _: None
            replay = Replay(
                Publisher(client, settings.pubsub_name), marks, settings.replay_topic, job.selection, job.options,
                positions, stop, named,
            )  # fmt: skip
            report.tally = replay.tally
            with progress("records read" if job.source is Source.EVENTS else "dead letters read") as advance:
                report.ending = await walk(
                    job.selection.batches(stream, spans),
                    size_of(spans),
                    replay.process,
                    lambda: replay.limit_reached,
                    stop,
                    advance,
                )
            if report.ending.ended is Ended.COMPLETE:
                positions.complete()
            report.gone, report.foreign = stream.gone, marks.foreign if marks else 0
            report.positions = "" if marks or positions.at_end else str(positions)
    if found:
        report.ending = found[0]
    return report


def _topic(settings: ToolSettings, job: Job) -> str:
    return settings.dead_letter_topic if job.source is Source.DEAD else settings.kafka_identity_events_topic


async def _permits(state: StateStore, limit: int) -> int | None:
    """Returns how many deletions the limit lets pass now; None if there is no limit. Raises TryAgain."""
    if not limit:
        return None
    value, _ = (await state.read_values([KEY]))[KEY]
    counts = deletion_counts.load(value, int(utc_now().timestamp() // 60))
    return max(0, limit - deletion_counts.taken(counts))

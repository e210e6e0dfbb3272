"""`discard`: marks dead letters for which nothing will be done, with the reason why."""

import unicodedata
from collections.abc import Mapping
from contextlib import AsyncExitStack
from dataclasses import dataclass, field, replace
from typing import Annotated

import typer

from function.cli.exit_codes import ExitCode
from function.cli.letters import (
    SIDECAR_SECONDS,
    Ended,
    Ending,
    FromOffset,
    Letters,
    OpenClient,
    OpenTopic,
    check_named,
    counted,
    ending,
    naming,
    place_text,
    print_summary,
    say_rest,
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
from function.cli.output import say
from function.cli.progress import progress
from function.cli.values import check_period
from function.dapr.client import open_client
from function.dapr.state_store import StateStore
from function.dead_letters.discard import Discard, DiscardTally
from function.dead_letters.marks import Marks
from function.dead_letters.selection import Selection, read_places
from function.kafka.client import client_config
from function.kafka.stream import open_topic
from function.settings import ToolSettings
from function.stopping import unless_stopped

MAX_WHY = 200


@dataclass(frozen=True, slots=True)
class Job:
    """What to discard, why, and how to print."""

    selection: Selection
    why: str
    dry_run: bool
    as_json: bool = False
    silent: bool = False  # count only: the letters are not named


@dataclass(slots=True)
class Report:
    """What came of a job."""

    tally: DiscardTally
    ending: Ending
    ends: Mapping[int, int] = field(default_factory=dict)  # of what was read, by partition
    gone: int = 0
    foreign: int = 0


def _check_why(text: str) -> str:
    if not text.strip() or len(text) > MAX_WHY or any(unicodedata.category(letter)[0] == "C" for letter in text):
        raise typer.BadParameter(f"expected one line of 1 to {MAX_WHY} characters")
    return text.strip()


def command(
    why: Annotated[
        str,
        typer.Option(
            "--why", callback=_check_why, metavar="TEXT",
            help="Why nothing will be done about them; kept with the letters. No personal data.",
        ),
    ],
    reason: Reasons = None,
    type_: Types = None,
    user: User = "",
    since: Since = None,
    until: Until = None,
    letter: Letters = None,
    from_offset: FromOffset = None,
    all_: Annotated[bool, typer.Option("--all", help="Discard every open letter, without a filter.")] = False,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Print what would be discarded; change nothing.")] = False,
    yes: Yes = False,
    output: OutputOption = Output.TABLE,
    as_json: AsJson = False,
) -> None:  # fmt: skip
    """Mark open dead letters as discarded: nothing will be done about them.

    They stay in Kafka until their retention ends; the list of open letters and a
    replay leave them out. Run it where the function runs, with the same
    environment.

    Preview: --dry-run --reason not_json --why "test of the producer"
    One letter: --letter 6:4 --why "the account was removed by hand"

    Exit codes:
    0: done.
    1: a letter that was asked for is not there.
    2: a setting or an option is invalid.
    3: Kafka, the sidecar or the state store is unavailable.
    4: the read was cut short.
    130: interrupted.
    The counts are printed in each case but 2.
    """
    places, offsets = frozenset(read_places(letter or ())), dict(read_places(from_offset or ()))
    check_named(places, since, until, offsets)
    selection = Selection(letter_filter(reason, type_, user, since, until), places, since=since, offsets=offsets)
    if selection.everything and not all_:
        raise typer.BadParameter("nothing says which letters: add a filter such as --reason or --letter, or --all")
    require_terminal(unless=yes or dry_run)
    check_period(since, until)
    settings = tool_settings()
    job = Job(selection, why, dry_run, as_json or output is Output.JSON)
    if not (dry_run or yes):
        survey = run_or_exit(run(settings, replace(job, dry_run=True, silent=True)))
        if survey.ending.ended is not Ended.COMPLETE or not survey.tally.discarded:
            raise typer.Exit(print_report(survey, job, done=False))
        chosen = survey.tally.discarded
        say(f"{chosen.total()} letters to discard: {counted(chosen)}")
        confirm("Discard them?")
        # What came while a person thought was not agreed to.
        job = replace(job, selection=replace(job.selection, ends=survey.ends))
    raise typer.Exit(print_report(run_or_exit(run(settings, job)), job, done=not dry_run))


async def run(
    settings: ToolSettings, job: Job, opened: OpenClient = open_client, topic: OpenTopic = open_topic
) -> Report:
    """Discards, or in a dry run counts, and returns what came of it. `opened` and `topic` are seams for tests.

    Raises:
        WrongSettings, NoPartition: nothing was done.
    """
    report = Report(DiscardTally(), Ending(Ended.COMPLETE))
    config = client_config(settings)
    with stoppable() as stop, ending() as found:
        async with AsyncExitStack() as stack:
            client = await unless_stopped(stop, stack.enter_async_context(opened(SIDECAR_SECONDS)))
            stream = await stack.enter_async_context(topic(config, settings.dead_letter_topic))
            marks = Marks(StateStore(client, settings.state_store_name), settings.dead_letter_topic)
            spans = await unless_stopped(stop, job.selection.spans(stream))
            report.ends = {span.partition: span.end for span in spans}
            named = naming("discard", as_json=job.as_json) if job.dry_run and not job.silent else lambda _: None
            discard = Discard(marks, job.selection, job.why, dry_run=job.dry_run, report=named)
            report.tally = discard.tally
            with progress("dead letters read") as advance:
                report.ending = await walk(
                    job.selection.batches(stream, spans), size_of(spans), discard.process, lambda: False, stop, advance
                )
            report.gone, report.foreign = stream.gone, marks.foreign
    if found:
        report.ending = found[0]
    return report


def print_report(report: Report, job: Job, *, done: bool) -> ExitCode:
    """Prints the counts, always; returns the exit code. `done`: letters were discarded, not only counted."""
    tally, ended = report.tally, report.ending.ended
    missing = sorted(job.selection.places - tally.found) if ended is Ended.COMPLETE else []
    if job.as_json:
        print_summary({
            "ended": ended, "complete": ended is Ended.COMPLETE, "why": report.ending.why, "dry_run": not done,
            "read": tally.read, "discarded": dict(tally.discarded), "closed": tally.closed,
            "not_found": [place_text(place) for place in missing], "gone": report.gone, "foreign_marks": report.foreign,
        })  # fmt: skip
    else:
        _print_counts(report, done=done)
    say_rest(report.ending, missing, report.gone, report.foreign)
    return ExitCode.ATTENTION if missing and ended.code is ExitCode.DONE else ended.code


def _print_counts(report: Report, *, done: bool) -> None:
    tally, would = report.tally, "" if done else "would be "
    print(f"{tally.discarded.total()} {would}discarded, {tally.closed} done before")
    if tally.discarded:
        print(f"  {would}discarded: {counted(tally.discarded)}")
    if tally.discarded and done:
        print("  They stay in Kafka until their retention ends; only the list of open letters leaves them out.")

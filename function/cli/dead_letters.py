"""`dead-letters`: reads the dead letters with Kafka's own client, and their marks, and prints tables or JSON. Changes nothing."""

import contextlib
from collections.abc import AsyncIterator, Callable
from contextlib import AbstractAsyncContextManager, AsyncExitStack
from typing import Annotated

import typer

from function.cli.dead_letters_report import Report, Style
from function.cli.exit_codes import ExitCode
from function.cli.follow import follow
from function.cli.letters import (
    SIDECAR_SECONDS,
    Ended,
    Ending,
    FromOffset,
    Letters,
    OpenTopic,
    check_named,
    ending,
    size_of,
    stoppable,
    walk,
)
from function.cli.listing import Asked, Listing
from function.cli.options import (
    AsJson,
    Output,
    OutputOption,
    Reasons,
    Since,
    Types,
    Until,
    User,
    letter_filter,
    run_or_exit,
    tool_settings,
)
from function.cli.output import say
from function.cli.progress import progress
from function.cli.values import check_period
from function.dapr.client import open_client
from function.dapr.state_store import StateStore
from function.dead_letters.lookup import MarkLookup
from function.dead_letters.marks import Marks
from function.dead_letters.selection import Selection, read_places
from function.kafka.client import client_config
from function.kafka.stream import open_topic
from function.settings import ToolSettings
from function.stopping import unless_stopped

OpenState = Callable[[ToolSettings], AbstractAsyncContextManager[StateStore]]


def command(
    reason: Reasons = None,
    type_: Types = None,
    user: User = "",
    since: Since = None,
    until: Until = None,
    letter: Letters = None,
    from_offset: FromOffset = None,
    all_: Annotated[
        bool, typer.Option("--all", help="Also letters that were replayed or discarded, with when, how often and why.")
    ] = False,
    newest: Annotated[int, typer.Option(min=0, metavar="COUNT", help="Number of recent letters to list.")] = 20,
    raw: Annotated[
        bool,
        typer.Option(
            "--raw", help="Show personal data too. With --json: every letter's key, headers and body, unchanged."
        ),
    ] = False,
    watch: Annotated[
        bool, typer.Option("--watch", help="Then print each new letter as it comes, until Ctrl-C.")
    ] = False,
    output: OutputOption = Output.TABLE,
    as_json: AsJson = False,
) -> None:
    """Show the open dead letters and why they were rejected. Changes nothing.

    Open letters are those that were neither replayed nor discarded. Prints counts
    by reason, type and day, what to do about each reason, and the newest letters.
    Personal data is replaced by its size unless --raw is given. Reads up to the
    end that the topic had at the start. Run it where the function runs, with the
    same environment: it asks the function's sidecar what was done about them.

    One reason since yesterday: --reason synapse_error --since 1d
    One letter with headers and body: --letter 6:4

    Exit codes:
    0: done: everything was read, whether there are letters or not.
    1: a letter that was asked for with --letter is not there.
    2: a setting or an option is invalid.
    3: Kafka, the sidecar or the state store is unavailable.
    4: the read was cut short, or the output was closed; the counts are incomplete.
    130: interrupted; also the end of --watch.
    """
    check_period(since, until)
    places, offsets = frozenset(read_places(letter or ())), dict(read_places(from_offset or ()))
    check_named(places, watch, since, until, offsets)
    settings = tool_settings()
    selection = Selection(letter_filter(reason, type_, user, since, until), places, since=since, offsets=offsets)
    style = Style(as_json or output is Output.JSON, raw, newest, whole=bool(places))
    asked = Asked(selection, all_ or bool(places), watch, style)
    raise typer.Exit(run_or_exit(run(settings, asked)))


@contextlib.asynccontextmanager
async def open_state(settings: ToolSettings) -> AsyncIterator[StateStore]:
    """Yields the state store, through the sidecar. Raises TryAgain."""
    async with open_client(SIDECAR_SECONDS) as client:
        yield StateStore(client, settings.state_store_name)


async def run(
    settings: ToolSettings, asked: Asked, state: OpenState = open_state, topic: OpenTopic = open_topic
) -> ExitCode:
    """Reads and prints; returns the exit code. `state` and `topic` are seams for tests. Raises WrongSettings, NoPartition."""
    config, name = client_config(settings), settings.dead_letter_topic
    report = Report(name, asked.style)
    with stoppable() as stop, ending() as found:
        async with AsyncExitStack() as stack:
            store = await unless_stopped(stop, stack.enter_async_context(state(settings)))
            stream = await stack.enter_async_context(topic(config, name))
            marks = MarkLookup(Marks(store, name))
            listing = Listing(asked, marks, report)
            spans = await unless_stopped(stop, asked.selection.spans(stream))
            with progress("dead letters read") as advance:
                report.ending = await walk(
                    listing.noting(asked.selection.batches(stream, spans)), size_of(spans), listing.process,
                    lambda: False, stop, advance,
                )  # fmt: skip
            report.gone, report.foreign = stream.gone, marks.foreign
            if report.ending.ended is Ended.COMPLETE:
                report.missing = asked.selection.places - listing.found
            report.print_all()
            if asked.watch and report.ending.ended is Ended.COMPLETE:
                say(f"watching {name}; Ctrl-C ends")
                await follow(
                    stream,
                    {span.partition: span.end for span in spans},
                    listing.process_new,
                    stop,
                    whole=not asked.selection.offsets,
                )
    if found and not report.printed:
        report.ending = found[0]
        report.print_all()
    return _exit_code(report, found)


def _exit_code(report: Report, found: list[Ending]) -> ExitCode:
    code = found[0].ended.code if found else report.ending.ended.code
    return ExitCode.ATTENTION if code is ExitCode.DONE and report.missing else code

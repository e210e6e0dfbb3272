"""`dead-letters`: reads the dead letters with Kafka's own client, and their marks, and prints tables or JSON. Changes nothing."""

from collections.abc import AsyncIterator
from contextlib import AsyncExitStack
from dataclasses import dataclass, field
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
    OpenClient,
    OpenTopic,
    ending,
    run_or_exit,
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
    letter_filter,
    tool_settings,
)
from function.cli.output import say
from function.cli.progress import progress
from function.cli.values import check_period
from function.dapr.client import open_client
from function.dapr.state_store import StateStore
from function.dead_letters.letter import read_letter
from function.dead_letters.lookup import MarkLookup
from function.dead_letters.marks import Marks, place_of
from function.dead_letters.selection import Selection, read_places
from function.dead_letters.stopping import unless_stopped
from function.kafka.client import client_config
from function.kafka.record import KafkaRecord
from function.kafka.spans import CutShort, Span
from function.kafka.stream import TopicStream, open_topic
from function.settings import ToolSettings


@dataclass(frozen=True, slots=True)
class Asked:
    """What to show: which letters, those that were dealt with too, those that come later too, and how."""

    selection: Selection = field(default_factory=Selection)
    all: bool = False
    watch: bool = False
    style: Style = field(default_factory=Style)


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
    if places and (watch or since or until or offsets):
        raise typer.BadParameter("--letter names the letters: leave out --since, --until, --from-offset and --watch")
    settings = tool_settings()
    selection = Selection(letter_filter(reason, type_, user, since, until), places, since=since, offsets=offsets)
    style = Style(as_json or output is Output.JSON, raw, newest, whole=bool(places))
    asked = Asked(selection, all_ or bool(places), watch, style)
    raise typer.Exit(run_or_exit(run(settings, asked)))


async def run(
    settings: ToolSettings, asked: Asked, opened: OpenClient = open_client, topic: OpenTopic = open_topic
) -> ExitCode:
    """Reads and prints; returns the exit code. `opened` and `topic` are seams for tests. Raises WrongSettings, NoPartition."""
    config, name = client_config(settings), settings.dead_letter_topic
    report = Report(name, asked.style)
    with stoppable() as stop, ending() as found:
        async with AsyncExitStack() as stack:
            client = await unless_stopped(stop, stack.enter_async_context(opened(SIDECAR_SECONDS)))
            stream = await stack.enter_async_context(topic(config, name))
            marks = MarkLookup(Marks(StateStore(client, settings.state_store_name), name))
            listing = Listing(asked, marks, report)
            spans = await unless_stopped(stop, _spans(stream, asked.selection))
            with progress("dead letters read") as advance:
                report.ending = await walk(
                    listing.noting(_batches(stream, spans, asked.selection)), size_of(spans), listing.process,
                    lambda: False, stop, advance,
                )  # fmt: skip
            report.gone, report.foreign = stream.gone, marks.foreign
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


async def _spans(stream: TopicStream, selection: Selection) -> list[Span]:
    """Returns what has to be read: of letters that are named nothing else. Raises TryAgain, NoPartition."""
    if not selection.places:
        return await selection.spans(stream)
    bounds = {span.partition: span for span in await stream.spans(only={number for number, _ in selection.places})}
    return [
        Span(number, offset, offset + 1)
        for number, offset in sorted(selection.places)
        if bounds[number].start <= offset < bounds[number].end
    ]


async def _batches(stream: TopicStream, spans: list[Span], selection: Selection) -> AsyncIterator[list[KafkaRecord]]:
    for some in [[span] for span in spans] if selection.places else [spans]:
        async for batch in stream.batches(some):
            yield batch


class Listing:
    """Filters letters, asks what was done about them, and hands on what is to be shown.

    Args:
        asked: what to show.
        marks: what was done about the letters.
        report: takes what is to be shown.
    """

    def __init__(self, asked: Asked, marks: MarkLookup, report: Report) -> None:
        self._asked, self._marks, self._report = asked, marks, report
        self.found: set[tuple[int, int]] = set()  # of the letters that were named

    async def noting(self, batches: AsyncIterator[list[KafkaRecord]]) -> AsyncIterator[list[KafkaRecord]]:
        """Yields the batches; notes where they are cut short."""
        try:
            async for batch in batches:
                yield batch
        except CutShort as cut:
            self._report.cut = cut
            raise

    async def process(self, batch: list[KafkaRecord]) -> None:
        """Counts and shows the letters of one batch. Raises TryAgain."""
        await self._process(batch, new=False)

    async def process_new(self, batch: list[KafkaRecord]) -> None:
        """Shows letters that came after the first read. Raises TryAgain."""
        await self._process(batch, new=True)

    async def _process(self, batch: list[KafkaRecord], *, new: bool) -> None:
        letters = [letter for record in batch if self._asked.selection.matches(letter := read_letter(record))]
        marks = await self._marks.find([letter.record for letter in letters])
        for letter in letters:
            place = place_of(letter.record)
            mark = marks.get(place)
            self._report.summary.count(mark)
            if self._asked.selection.places:
                self.found.add(place)
            if self._asked.all or mark is None:
                self._report.show(letter, mark, new=new)
        self._report.summary.read += len(batch)

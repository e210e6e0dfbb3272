"""`dead-letters`: reads the dead letters as a Dapr app with its own app id and prints tables or JSON."""

import json
import sys
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import Annotated

import typer
from rich.console import Console, RenderableType
from rich.table import Table
from rich.text import Text

from function.cli.options import (
    AsJson,
    EndSidecar,
    Quiet,
    ReadOptions,
    Reasons,
    Since,
    Types,
    Until,
    User,
    check_position,
    letter_filter,
    print_empty_topic,
    run_and_exit,
    shutting_down_sidecar,
    sidecar_settings,
)
from function.cli.progress import progress
from function.dapr.client import open_client
from function.dapr.state_store import StateStore
from function.dead_letters.checkpoint import ReplayCheckpoint
from function.dead_letters.filter import DeadLetterFilter
from function.dead_letters.letter import DeadLetter, read_letter
from function.dead_letters.reader import SIDECAR_SECONDS, read_topic
from function.dead_letters.redaction import content
from function.dead_letters.summary import Summary, row
from function.outcomes import Reason
from function.settings import SidecarSettings

BAR = 40  # characters of the longest bar
TYPE_PREFIX = "identity.user."  # left out in the list, since every event type starts with it
_REASONS = {reason.value: reason for reason in Reason}


@dataclass(frozen=True, slots=True)
class ShowOptions:
    """Display options: number of recent letters, JSON output, or one letter (`partition:offset`), redacted or raw."""

    newest: int
    as_json: bool
    place: str
    raw: bool


def command(
    reason: Reasons = None,
    type_: Types = None,
    user: User = "",
    since: Since = None,
    until: Until = None,
    show: Annotated[
        str,
        typer.Option(
            callback=check_position,
            metavar="PARTITION:OFFSET",
            help="Show one letter by its position in the list, such as 3:17.",
        ),
    ] = "",
    raw: Annotated[bool, typer.Option("--raw", help="With --show: show personal data too.")] = False,
    newest: Annotated[int, typer.Option(min=0, metavar="COUNT", help="Number of recent letters to list.")] = 20,
    as_json: AsJson = False,
    quiet: Quiet = 5.0,
    end_sidecar: EndSidecar = False,
) -> None:
    """Show the dead letters and why they were rejected. Moves nothing.

    Prints counts by reason, type and day, what to do about each reason, and the
    newest letters. Letters that a replay has moved are not shown. Personal data
    is redacted unless --raw is given. Runs as a Dapr app with its own sidecar
    and app id, matrix-account-sync-dead-letters.

    One reason since yesterday: --reason synapse_error --since 1d
    One letter with its body: --show 3:17

    Exit codes:
    0: done.
    1: the sidecar or the letter was not found.
    2: a setting or an option is invalid.
    """
    show_options = ShowOptions(newest, as_json, show, raw)
    wanted = letter_filter(reason, type_, user, since, until)
    run_and_exit(show_letters(sidecar_settings(), wanted, show_options, ReadOptions(quiet, end_sidecar)))


async def show_letters(
    settings: SidecarSettings, wanted: DeadLetterFilter, show_options: ShowOptions, read_options: ReadOptions
) -> bool:
    """Prints the dead letters. Returns False if the letter asked for was not found. Raises TryAgain."""
    summary = Summary(show_options.newest)
    async with shutting_down_sidecar(read_options), open_client(SIDECAR_SECONDS) as client:
        checkpoint = ReplayCheckpoint(StateStore(client, settings.state_store_name), "look")
        await checkpoint.read()
        read = 0
        with progress("dead letters read") as advance:
            async with read_topic(settings, settings.dead_letter_topic, read_options.quiet) as batches:
                async for batch in batches:
                    read += len(batch)
                    letters = [read_letter(record) for record in batch if not checkpoint.is_done(record)]
                    if show_options.place and _print_letter(letters, show_options):
                        return True
                    for letter in letters if not show_options.place else ():
                        _add(summary, letter, wanted, show_options)
                    advance(len(batch))
    if not read:
        print_empty_topic(settings.dead_letter_topic)
    if show_options.place:
        print(f"no dead letter {show_options.place}: its position changes when a replay puts it back", file=sys.stderr)
    elif show_options.as_json:
        print(json.dumps({"summary": summary.as_json()}))
    else:
        _print_summary(summary, settings.dead_letter_topic)
    return not show_options.place


def _print_letter(letters: Sequence[DeadLetter], show_options: ShowOptions) -> bool:
    found = [letter for letter in letters if letter.place == show_options.place]
    for letter in found:
        print(json.dumps(content(letter, raw=show_options.raw), indent=2))
    return bool(found)


def _add(summary: Summary, letter: DeadLetter, wanted: DeadLetterFilter, show_options: ShowOptions) -> None:
    if wanted.matches(letter):
        summary.add(letter)
        if show_options.as_json:
            print(json.dumps({"letter": row(letter)}))


def _print_summary(summary: Summary, topic: str) -> None:
    console = Console(highlight=False, width=None if sys.stdout.isatty() else 180)
    again = f", {summary.replayed} of them replayed before" if summary.replayed else ""
    console.print(f"{summary.total} dead letter{'' if summary.total == 1 else 's'} in {topic}{again}", markup=False)
    for table in tables(summary) if summary.total else ():
        console.print(table)


def tables(summary: Summary) -> Iterator[RenderableType]:
    """Yields the histograms by reason, type and day, and the list of the newest letters."""
    yield _histogram("reason", summary.reasons, {"can a replay help?": _replay_advice, "what to do": _todo})
    yield _histogram("type", summary.types, {})
    yield _histogram("day (UTC)", Counter(dict(sorted(summary.days.items()))), {}, by_size=False)
    newest = summary.newest
    if newest:
        shown = "all" if len(newest) == summary.total else f"the newest {len(newest)} of {summary.total}"
        table = Table("letter", "since", "reason", "detail", "type", "event id", "from", "replays",
                      title=f"Letters: {shown}", title_justify="left")  # fmt: skip
        for letter in newest:
            short = {"type": letter.event_type.removeprefix(TYPE_PREFIX), "from": letter.origin.split(":", 1)[-1]}
            table.add_row(*(_cell(value) for value in (row(letter) | short).values()))
        yield table


def _histogram(
    name: str, counts: Counter[str], more: dict[str, Callable[[str], str]], *, by_size: bool = True
) -> RenderableType:
    table = Table(name, "letters", "", *more, title=f"By {name.partition(' ')[0]}", title_justify="left")
    longest = max(counts.values(), default=1)
    rows: Iterable[tuple[str, int]] = counts.most_common() if by_size else counts.items()
    for value, count in rows:
        bar = "█" * max(1, round(BAR * count / longest / (2 if more else 1)))
        table.add_row(
            _cell(value or "-"), Text(str(count), justify="right"), bar, *(column(value) for column in more.values())
        )
    return table


def _cell(value: str) -> Text:
    """Returns the value as plain text: headers are untrusted, and rich would read brackets in them as markup."""
    return Text(value.encode("utf-8", "backslashreplace").decode())


def _replay_advice(reason: str) -> str:
    return _REASONS[reason].replay if reason in _REASONS else "unknown to this version"


def _todo(reason: str) -> str:
    return _REASONS[reason].todo if reason in _REASONS else ""

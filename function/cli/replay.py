"""The options of `dead-letters` and `replay`, and how the two end."""

import asyncio
import re
import sys
from collections.abc import Coroutine
from datetime import UTC, datetime, timedelta
from enum import StrEnum
from typing import Annotated, Any, TypeVar
from uuid import UUID

import typer

from function.cli.dead_letters import ReadOptions, ShowOptions, replay, show_letters
from function.dead_letters.checkpoint import Busy
from function.dead_letters.letter import DeadLetterFilter
from function.dead_letters.replay import Options
from function.outcomes import Reason, TryAgain
from function.settings import SidecarSettings, WrongSettings, load
from function.telemetry import logs

_AGO = re.compile(r"(\d+)([smhd])")
_UNITS = {"s": "seconds", "m": "minutes", "h": "hours", "d": "days"}
_PLACE = re.compile(r"\d+:\d+")


class From(StrEnum):
    """The topic that `replay` reads."""

    DEAD = "dead"
    EVENTS = "events"


def _moment(text: str | datetime) -> datetime:
    if isinstance(text, datetime):
        return text
    if ago := _AGO.fullmatch(text):
        return datetime.now(UTC) - timedelta(**{_UNITS[ago[2]]: int(ago[1])})
    try:
        moment = datetime.fromisoformat(text)
    except ValueError:
        raise typer.BadParameter(f"{text!r} is no time; such as 2026-01-31T03:00:00Z, or 90m, 12h, 7d ago") from None
    if moment.tzinfo is None:
        raise typer.BadParameter(f"{text!r} has no zone; add Z for UTC")
    return moment.astimezone(UTC)


def _user(text: str) -> str:
    try:
        return str(UUID(text)) if text else ""
    except ValueError:
        raise typer.BadParameter("expected the user's UUID") from None


def _reasons(names: list[str] | None) -> list[str] | None:
    for name in names or ():
        if name not in set(Reason):
            raise typer.BadParameter(f"{name!r} is no reason; see docs/reasons.md, or: {', '.join(sorted(Reason))}")
    return names


def _place(text: str) -> str:
    if text and not _PLACE.fullmatch(text):
        raise typer.BadParameter("expected a partition and an offset, such as 3:17, as the list shows them")
    return text


def _places(texts: list[str] | None) -> list[str] | None:
    return [_place(text) for text in texts] if texts else texts


Reasons = Annotated[
    list[str] | None, typer.Option("--reason", callback=_reasons, help="Only these reasons; may be given repeatedly.")
]
Types = Annotated[
    list[str] | None,
    typer.Option("--type", help="Only these event types, such as deleted or identity.user.deleted; repeatable."),
]
User = Annotated[str, typer.Option(callback=_user, help="Only the user with this UUID.")]
Moment = Annotated[
    datetime | None,
    typer.Option(parser=_moment, metavar="TIME", help="2026-01-31T03:00:00Z, or so long ago: 90m, 12h, 7d."),
]
Quiet = Annotated[float, typer.Option(min=1, help="Seconds without a new record after which everything has been read.")]
EndSidecar = Annotated[bool, typer.Option("--end-sidecar", help="End the sidecar too, as a Kubernetes Job needs it.")]


def dead_letters(
    reason: Reasons = None,
    type_: Types = None,
    user: User = "",
    since: Moment = None,
    until: Moment = None,
    show: Annotated[str, typer.Option(callback=_place, help="Show one letter, by its number in the list.")] = "",
    raw: Annotated[bool, typer.Option("--raw", help="With --show: also what is personal.")] = False,
    newest: Annotated[int, typer.Option(min=0, help="How many of the newest letters to list.")] = 20,
    as_json: Annotated[
        bool, typer.Option("--json", help="One JSON object a line: each letter, then the summary.")
    ] = False,
    quiet: Quiet = 5.0,
    end_sidecar: EndSidecar = False,
) -> None:
    """Show what is in the dead letters and why, by reason, type and day. Moves nothing.

    Runs as a Dapr app of its own (app id matrix-account-sync-dead-letters), not beside the function's sidecar.
    What a replay has dealt with is not shown. Content is shown without what is personal, unless --raw is given.
    Exit code 0: done. 1: the sidecar or a letter is not there. 2: a setting or an option is wrong.
    """
    wanted = DeadLetterFilter(frozenset(reason or ()), frozenset(type_ or ()), user, since, until)
    how = ShowOptions(newest, as_json, show, raw)
    _run(show_letters(_settings(), wanted, how, ReadOptions(quiet, end_sidecar)))


def replay_command(
    reason: Reasons = None,
    type_: Types = None,
    user: User = "",
    since: Moment = None,
    until: Moment = None,
    max_: Annotated[int | None, typer.Option("--max", min=1, help="Replay so many at most, then stop.")] = None,
    rate: Annotated[float, typer.Option(min=0, help="Replay so many a second at most; 0: as fast as can be.")] = 0,
    max_replays: Annotated[int, typer.Option(min=1, help="What was replayed so often stays, as stuck.")] = 5,
    source: Annotated[
        From, typer.Option("--from", help="dead: the dead letters. events: the main topic, whose records stay there.")
    ] = From.DEAD,
    from_offset: Annotated[
        list[str] | None,
        typer.Option(callback=_places, metavar="PARTITION:OFFSET", help="Only from this offset on; repeatable."),
    ] = None,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Say what would be replayed; move nothing.")] = False,
    yes: Annotated[bool, typer.Option("--yes", help="Do not ask.")] = False,
    quiet: Quiet = 5.0,
    end_sidecar: EndSidecar = False,
) -> None:
    """Put dead letters back into the flow: those chosen go to the replay topic, the rest to the end of the dead letters.

    Runs as a Dapr app of its own (app id matrix-account-sync-replay), not beside the function's sidecar. Without a
    filter it replays everything. Any replay is safe: what is out of date by now changes nothing. It ends when it has
    seen what was there at its start; killed, it goes on where it stopped.
    Exit code 0: done. 1: something could not be moved, or is stuck. 2: a setting or an option is wrong. 3: another
    replay is at work.
    """
    offsets = {partition: int(offset) for partition, _, offset in (text.partition(":") for text in from_offset or ())}
    wanted = DeadLetterFilter(frozenset(reason or ()), frozenset(type_ or ()), user, since, until, offsets)
    settings = _settings()
    if source is From.EVENTS and not (since or offsets):
        raise typer.BadParameter("--from events replays from a time or an offset: add --since or --from-offset")
    if source is From.EVENTS and reason:
        raise typer.BadParameter("--reason is for dead letters; the main topic's records have none")
    if not (yes or dry_run):
        _confirm(settings, wanted, source)
    options = Options(wanted, max_replays, max_, rate, dry_run)
    job = replay(settings, options, from_events=source is From.EVENTS, read_options=ReadOptions(quiet, end_sidecar))
    _run(job)


def _confirm(settings: SidecarSettings, wanted: DeadLetterFilter, source: From) -> None:
    if not sys.stdin.isatty():
        raise typer.BadParameter("nobody is there to ask: add --yes, or --dry-run to see what would be replayed")
    which = "those chosen" if wanted != DeadLetterFilter() else "ALL records"
    topic = settings.dead_letter_topic if source is From.DEAD else settings.kafka_identity_events_topic
    typer.confirm(f"Replay {which} of {topic} to {settings.replay_topic}?", abort=True)


def _settings() -> SidecarSettings:
    logs.configure("ERROR")
    return settings_or_exit(SidecarSettings)


Kind = TypeVar("Kind", bound=SidecarSettings)


def settings_or_exit(kind: type[Kind]) -> Kind:
    """The settings; ends the process with code 2 and a line for each problem where something is wrong."""
    try:
        return load(kind)
    except WrongSettings as wrong:
        for problem in wrong.problems:
            print(f"matrix-account-sync: {problem}", file=sys.stderr)
        raise typer.Exit(2) from None


def _run(job: Coroutine[Any, Any, bool]) -> None:
    try:
        good = asyncio.run(job)
    except Busy as busy:
        until = busy.until.isoformat(timespec="seconds")
        print(f"matrix-account-sync: another replay is at work; if it was killed, try again after {until}",
              file=sys.stderr)  # fmt: skip
        raise typer.Exit(3) from None
    except TryAgain as failure:
        print(f"matrix-account-sync: {failure.reason}: {failure.detail}. {failure.reason.todo}", file=sys.stderr)
        raise typer.Exit(1) from None
    raise typer.Exit(0 if good else 1)

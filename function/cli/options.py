"""Options, prompts and exit codes that several commands share."""

import asyncio
import re
import sys
from collections.abc import Coroutine, Mapping, Sequence
from datetime import UTC, datetime, timedelta
from enum import StrEnum
from typing import Annotated, Any, TypeVar
from uuid import UUID

import typer

from function.cli.exit_codes import ExitCode
from function.dead_letters.filter import DeadLetterFilter
from function.kafka.spans import CutShort, NoPartition
from function.outcomes import Reason, Rejected, TryAgain
from function.settings import CommonSettings, ToolSettings, WrongSettings, load
from function.telemetry import logs

_AGO = re.compile(r"(\d+)([smhd])")
_UNITS = {"s": "seconds", "m": "minutes", "h": "hours", "d": "days"}
_POSITION = re.compile(r"\d+:\d+")


def _parse_time(text: str | datetime) -> datetime:
    if isinstance(text, datetime):
        return text
    if ago := _AGO.fullmatch(text):
        return datetime.now(UTC) - timedelta(**{_UNITS[ago[2]]: int(ago[1])})
    try:
        time = datetime.fromisoformat(text)
    except ValueError:
        raise typer.BadParameter(
            f"{text!r} is no time; expected 2026-01-31T03:00:00Z, or an age: 90m, 12h, 7d"
        ) from None
    if time.tzinfo is None:
        raise typer.BadParameter(f"{text!r} has no time zone; add Z for UTC")
    return time.astimezone(UTC)


def _check_user(text: str) -> str:
    try:
        return str(UUID(text)) if text else ""
    except ValueError:
        raise typer.BadParameter("expected the user's UUID") from None


def _check_reasons(names: list[str] | None) -> list[str] | None:
    for name in names or ():
        if name not in set(Reason):
            raise typer.BadParameter(f"{name!r} is no reason; expected one of: {', '.join(sorted(Reason))}")
    return names


def check_position(text: str) -> str:
    """Validates PARTITION:OFFSET, the form in which the list shows a letter's position."""
    if text and not _POSITION.fullmatch(text):
        raise typer.BadParameter("expected a partition and an offset, such as 3:17, as in the list of dead letters")
    return text


Reasons = Annotated[
    list[str] | None,
    typer.Option(
        "--reason", callback=_check_reasons, metavar="REASON", help="Only letters with this reason; repeatable."
    ),
]
Types = Annotated[
    list[str] | None,
    typer.Option(
        "--type", metavar="TYPE", help="Only this event type, such as deleted or identity.user.deleted; repeatable."
    ),
]
User = Annotated[str, typer.Option(callback=_check_user, metavar="UUID", help="Only events of this user.")]
Since = Annotated[
    datetime | None,
    typer.Option(
        parser=_parse_time, metavar="TIME", help="From this time on: 2026-01-31T03:00:00Z, or an age: 90m, 12h, 7d."
    ),
]
Until = Annotated[
    datetime | None,
    typer.Option(
        parser=_parse_time, metavar="TIME", help="Before this time: 2026-01-31T03:00:00Z, or an age: 90m, 12h, 7d."
    ),
]


class Output(StrEnum):
    """How a command prints its result."""

    TABLE = "table"
    JSON = "json"


OutputOption = Annotated[
    Output,
    typer.Option(
        "--output", "-o", help="table: for a person. json: one JSON object per line; the last one is the summary."
    ),
]
AsJson = Annotated[bool, typer.Option("--json", help="Short for --output json.")]
Yes = Annotated[bool, typer.Option("--yes", help="Do not ask for confirmation.")]


def letter_filter(
    reasons: Sequence[str] | None, types: Sequence[str] | None, user: str, since: datetime | None,
    until: datetime | None, offsets: Mapping[str, int] | None = None,
) -> DeadLetterFilter:  # fmt: skip
    """Returns the filter that the options of a command describe."""
    return DeadLetterFilter(frozenset(reasons or ()), frozenset(types or ()), user, since, until, offsets or {})


Kind = TypeVar("Kind", bound=CommonSettings)


def settings_or_exit(kind: type[Kind]) -> Kind:
    """Returns the settings; if some are invalid, prints a line for each and ends the process with exit code 2."""
    try:
        return load(kind)
    except WrongSettings as wrong:
        raise typer.Exit(print_problems(wrong)) from None


def print_problems(wrong: WrongSettings) -> ExitCode:
    """Prints a line for each setting that is invalid; returns the exit code."""
    for problem in wrong.problems:
        print(f"matrix-account-sync: {problem}", file=sys.stderr)
    return ExitCode.INVALID


def tool_settings() -> ToolSettings:
    """Returns the settings of a tool that looks at Kafka, or ends the process with exit code 2."""
    logs.configure("ERROR")
    return settings_or_exit(ToolSettings)


def confirm(question: str) -> None:
    """Asks; ends the process unless the answer is yes."""
    if not sys.stdin.isatty():
        raise typer.BadParameter("no terminal to confirm on; add --yes, or --dry-run to preview")
    typer.confirm(question, abort=True)


def print_failure(failure: TryAgain | Rejected) -> None:
    """Prints the reason and what to do on standard error."""
    print(f"matrix-account-sync: {failure.reason}: {failure.detail}. {failure.reason.todo}", file=sys.stderr)


def run_and_exit(job: Coroutine[Any, Any, ExitCode]) -> None:
    """Runs the job and ends the process with its exit code, or with that of the failure, which is printed."""
    try:
        code = asyncio.run(job)
    except WrongSettings as wrong:
        code = print_problems(wrong)
    except TryAgain as failure:
        print_failure(failure)
        code = ExitCode.UNAVAILABLE
    except NoPartition as wrong:
        print(f"matrix-account-sync: {wrong}", file=sys.stderr)
        code = ExitCode.INVALID
    except CutShort as cut:
        print(f"matrix-account-sync: incomplete: {cut}", file=sys.stderr)
        code = ExitCode.CUT_SHORT
    except KeyboardInterrupt:
        code = ExitCode.INTERRUPTED
    raise typer.Exit(code)

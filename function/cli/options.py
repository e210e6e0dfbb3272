"""Options, prompts and exit codes that several commands share."""

import asyncio
import contextlib
import re
import sys
from collections.abc import AsyncIterator, Coroutine, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Annotated, Any, TypeVar
from uuid import UUID

import typer

from function.dapr.client import shut_down
from function.dead_letters.checkpoint import Busy
from function.dead_letters.filter import DeadLetterFilter
from function.outcomes import Reason, Rejected, TryAgain
from function.settings import SidecarSettings, WrongSettings, load
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
Quiet = Annotated[
    float,
    typer.Option(min=1, metavar="SECONDS", help="The topic counts as read after this time without a new record."),
]
EndSidecar = Annotated[
    bool, typer.Option("--end-sidecar", help="Shut down the sidecar at the end, so that a Kubernetes Job completes.")
]
AsJson = Annotated[bool, typer.Option("--json", help="Print one JSON object per line; the last one is the summary.")]
Yes = Annotated[bool, typer.Option("--yes", help="Do not ask for confirmation.")]


@dataclass(frozen=True, slots=True)
class ReadOptions:
    """How to read a topic: the end is `quiet` seconds without a new record; `end_sidecar` shuts the sidecar down."""

    quiet: float
    end_sidecar: bool


def letter_filter(
    reasons: Sequence[str] | None, types: Sequence[str] | None, user: str, since: datetime | None,
    until: datetime | None, offsets: Mapping[str, int] | None = None,
) -> DeadLetterFilter:  # fmt: skip
    """Returns the filter that the options of a command describe."""
    return DeadLetterFilter(frozenset(reasons or ()), frozenset(types or ()), user, since, until, offsets or {})


Kind = TypeVar("Kind", bound=SidecarSettings)


def settings_or_exit(kind: type[Kind]) -> Kind:
    """Returns the settings; if some are invalid, prints a line for each and ends the process with exit code 2."""
    try:
        return load(kind)
    except WrongSettings as wrong:
        for problem in wrong.problems:
            print(f"matrix-account-sync: {problem}", file=sys.stderr)
        raise typer.Exit(2) from None


def sidecar_settings() -> SidecarSettings:
    """Returns the settings of a command that needs only the sidecar, or ends the process with exit code 2."""
    logs.configure("ERROR")
    return settings_or_exit(SidecarSettings)


def confirm(question: str) -> None:
    """Asks; ends the process unless the answer is yes."""
    if not sys.stdin.isatty():
        raise typer.BadParameter("no terminal to confirm on; add --yes, or --dry-run to preview")
    typer.confirm(question, abort=True)


def print_failure(failure: TryAgain | Rejected) -> None:
    """Prints the reason and what to do on standard error."""
    print(f"matrix-account-sync: {failure.reason}: {failure.detail}. {failure.reason.todo}", file=sys.stderr)


def print_empty_topic(topic: str) -> None:
    """Prints a hint, since an empty topic and a topic that daprd may not or can't read give the same result."""
    hint = "if there should be records, look for `Failed to start subscription` in the sidecar's log"
    print(f"nothing was read from {topic}: {hint}", file=sys.stderr)


def run_and_exit(job: Coroutine[Any, Any, bool]) -> None:
    """Runs the job and ends the process: exit code 0 if it returned True, 3 if another replay is running, otherwise 1."""
    try:
        succeeded = asyncio.run(job)
    except Busy as busy:
        until = busy.until.isoformat(timespec="seconds")
        print(f"matrix-account-sync: another replay is at work; if it was killed, try again after {until}",
              file=sys.stderr)  # fmt: skip
        raise typer.Exit(3) from None
    except TryAgain as failure:
        print_failure(failure)
        raise typer.Exit(1) from None
    raise typer.Exit(0 if succeeded else 1)


@contextlib.asynccontextmanager
async def shutting_down_sidecar(read_options: ReadOptions) -> AsyncIterator[None]:
    """Shuts the sidecar down at the end if the options say so."""
    try:
        yield
    finally:
        if read_options.end_sidecar:
            await shut_down()

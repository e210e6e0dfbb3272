"""Options, prompts and exit codes that several commands share."""

import asyncio
import sys
from collections.abc import Coroutine, Sequence
from datetime import datetime
from enum import StrEnum
from typing import Annotated, Any, TypeVar

import typer

from function.cli.exit_codes import ExitCode
from function.cli.output import say
from function.cli.values import check_reasons, check_types, check_user, complete_reason, complete_type, parse_time
from function.dead_letters.filter import DeadLetterFilter
from function.environment import WrongSettings, load
from function.kafka.spans import NoPartition
from function.outcomes import Rejected, TryAgain
from function.settings import CommonSettings, ToolSettings
from function.telemetry import logs

Reasons = Annotated[
    list[str] | None,
    typer.Option(
        "--reason", callback=check_reasons, autocompletion=complete_reason, metavar="REASON",
        help="Only letters with this reason; repeatable.",
    ),
]  # fmt: skip
Types = Annotated[
    list[str] | None,
    typer.Option(
        "--type", callback=check_types, autocompletion=complete_type, metavar="TYPE",
        help="Only this event type: deleted, identity.user.deleted or UserDeletedEvent; unknown: every type that is not of "
        "the identity service; =TEXT: exactly this text. Repeatable.",
    ),
]  # fmt: skip
User = Annotated[str, typer.Option(callback=check_user, metavar="UUID", help="Only events of this user.")]
_TIMES = "by Kafka's timestamp: 2026-01-31T03:00:00Z, a date, or an age: 90m, 12h, 7d."
Since = Annotated[datetime | None, typer.Option(parser=parse_time, metavar="TIME", help=f"From this time on, {_TIMES}")]
Until = Annotated[datetime | None, typer.Option(parser=parse_time, metavar="TIME", help=f"Before this time, {_TIMES}")]


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
    until: datetime | None,
) -> DeadLetterFilter:  # fmt: skip
    """Returns the filter that the options of a command describe."""
    return DeadLetterFilter(frozenset(reasons or ()), frozenset(types or ()), user, since, until)


Kind = TypeVar("Kind", bound=CommonSettings)
_Result = TypeVar("_Result")


def settings_or_exit(kind: type[Kind]) -> Kind:
    """Returns the settings; if some are invalid, prints a line for each and ends the process with exit code 2."""
    try:
        return load(kind)
    except WrongSettings as wrong:
        raise typer.Exit(print_problems(wrong)) from None


def print_problems(wrong: WrongSettings) -> ExitCode:
    """Prints a line for each setting that is invalid; returns the exit code."""
    for problem in wrong.problems:
        say(problem)
    return ExitCode.INVALID


def tool_settings() -> ToolSettings:
    """Returns the settings of a tool that looks at Kafka, or ends the process with exit code 2."""
    logs.configure("ERROR")
    return settings_or_exit(ToolSettings)


def require_terminal(*, unless: bool) -> None:
    """Refuses to begin where no one can confirm, before anything is read."""
    if not unless and not sys.stdin.isatty():
        raise typer.BadParameter("no terminal to confirm on; add --yes, or --dry-run to preview")


def confirm(question: str) -> None:
    """Asks on standard error, since standard output may be a file; ends the process unless the answer is yes."""
    require_terminal(unless=False)
    try:
        # typer's own prompt writes a space to standard output.
        print(f"{question} [y/N]: ", end="", file=sys.stderr, flush=True)
        answer = sys.stdin.readline()
    except UnicodeDecodeError:
        answer = "no"
    except KeyboardInterrupt:
        answer = ""
    if answer.strip().lower() in {"y", "yes"}:
        return
    code = ExitCode.DONE if answer else ExitCode.INTERRUPTED  # without even a line: Ctrl-C, or the end of the input
    say("nothing was done")
    raise typer.Exit(code)


def print_failure(failure: TryAgain | Rejected) -> None:
    """Prints the reason and what to do on standard error."""
    say(f"{failure.reason}: {failure.detail}. {failure.reason.todo}")


def run_or_exit(job: Coroutine[Any, Any, _Result]) -> _Result:
    """Runs the job; if it fails, prints why and ends the process with the exit code of the failure."""
    try:
        return asyncio.run(job)
    except WrongSettings as wrong:
        code = print_problems(wrong)
    except NoPartition as wrong:
        say(str(wrong))
        code = ExitCode.INVALID
    except TryAgain as failure:
        print_failure(failure)
        code = ExitCode.UNAVAILABLE
    except KeyboardInterrupt:
        code = ExitCode.INTERRUPTED
    raise typer.Exit(code)

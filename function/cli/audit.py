"""`audit`: compares Synapse with the stored state next to the function; options and exit codes."""

import asyncio
import functools
import signal
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import timedelta
from pathlib import Path
from typing import Annotated

import typer

from function.audit.drift import Kind
from function.audit.findings import AuditSummary, Cursor, Listing, Options
from function.audit.repair import Repairer
from function.audit.scan import Audit
from function.audit.users import UserList, WrongLine
from function.cli.audit_report import Report, stopping
from function.cli.exit_codes import ExitCode
from function.cli.options import (
    AsJson,
    Output,
    OutputOption,
    Yes,
    confirm,
    print_failure,
    run_or_exit,
    settings_or_exit,
)
from function.cli.output import discard_output
from function.cli.progress import progress
from function.health import Health
from function.outcomes import Rejected, TryAgain
from function.parts import OpenParts, open_parts
from function.settings import Settings
from function.telemetry import logs
from function.telemetry.metrics import Metrics

IN_FLIGHT = 4  # calls to Synapse, next to the function's 16, which have the way


@dataclass(frozen=True, slots=True)
class RunOptions:
    """Whether to repair and how fast, where to start, and whom to check instead of Synapse's lists."""

    repair: bool = False
    rate: float = 0
    cursor: Cursor | None = None
    users: UserList | None = None


def _check_cursor(text: str) -> str:
    try:
        return text and str(Cursor.read(text))
    except ValueError:
        raise typer.BadParameter("expected the cursor that a stopped audit printed, such as accounts:1500") from None


def command(
    kind: Annotated[
        list[Kind] | None,
        typer.Option("--kind", metavar="KIND", help=f"Only this kind of drift; repeatable: {', '.join(Kind)}."),
    ] = None,
    rooms: Annotated[
        bool,
        typer.Option(
            "--rooms/--no-rooms", help="Check whether deleted users are still in rooms: one call to Synapse per user."
        ),
    ] = True,
    avatars: Annotated[
        bool,
        typer.Option(
            "--avatars/--no-avatars",
            help="Check whether the image of each avatar still exists: one call to Synapse per avatar.",
        ),
    ] = True,
    media_age: Annotated[
        float,
        typer.Option(
            min=0,
            metavar="MINUTES",
            help="Ignore orphaned images younger than this: they may be about to become an avatar.",
        ),
    ] = 60,
    limit: Annotated[
        int | None, typer.Option(min=1, metavar="COUNT", help="Stop after this number of accounts and images.")
    ] = None,
    users: Annotated[
        str,
        typer.Option(
            metavar="FILE",
            help="Check the users of this file, one UUID on each line, instead of Synapse's lists; - for standard input.",
        ),
    ] = "",
    begin: Annotated[
        str,
        typer.Option(
            "--from",
            callback=_check_cursor,
            metavar="CURSOR",
            help="Continue at the cursor that a stopped audit printed.",
        ),
    ] = "",
    repair: Annotated[bool, typer.Option("--repair", help="Repair the drift; asks for confirmation.")] = False,
    dry_run: Annotated[
        bool, typer.Option("--dry-run", help="With --repair: print what it would do; change nothing.")
    ] = False,
    yes: Yes = False,
    max_repairs: Annotated[
        int,
        typer.Option(min=0, metavar="COUNT", help="With --repair: stop after this number of repairs; 0 for no limit."),
    ] = 100,
    rate: Annotated[
        float, typer.Option(min=0, metavar="PER_SECOND", help="Maximum repairs per second; 0 for no limit.")
    ] = 10,
    in_flight: Annotated[
        int,
        typer.Option(min=1, max=64, metavar="COUNT", help="Calls to Synapse at the same time, next to the function's."),
    ] = IN_FLIGHT,
    output: OutputOption = Output.TABLE,
    as_json: AsJson = False,
) -> None:
    """Compare every account in Synapse with its user's record; repair with --repair.

    Run it where the function runs, with the same environment: it uses the same
    sidecar. Without --repair it writes nothing. Accounts without a record are
    counted and never changed.

    Preview a repair: matrix-account-sync audit --repair --dry-run
    Repair one kind: matrix-account-sync audit --repair --kind reactivated

    Exit codes:
    0: no drift, or all of it repaired.
    1: drift remains, an account could not be checked, or --max-repairs is reached.
    2: a setting or an option is invalid.
    3: Synapse, the sidecar or the state store is unavailable.
    4: standard output was closed, as by head; standard error has the --from to continue with.
    130: interrupted; the last line has the --from to continue with.
    """
    if dry_run and not repair:
        raise typer.BadParameter("--dry-run is for --repair; without --repair nothing is changed anyway")
    cursor = Cursor.read(begin) if begin else None
    user_list = _read_users(users, kind or [], cursor)
    settings = settings_or_exit(Settings)
    logs.configure("ERROR")
    if settings.matrix_dry_run and repair and not dry_run:
        raise typer.BadParameter("with MATRIX_DRY_RUN=true nothing can be repaired: add --dry-run")
    off = _not_removed(settings, kind or [])
    skipped = {Kind.IN_ROOMS: not rooms, Kind.AVATAR_GONE: not avatars, **dict.fromkeys(off, True)}
    kinds = frozenset(one for one in kind or Kind if not skipped.get(one))
    if not kinds:
        raise typer.BadParameter("--no-rooms and --no-avatars leave nothing of --kind to look for")
    if repair and not (yes or dry_run):
        confirm(f"Repair the drift on {settings.matrix_server_name}?")
    cap = max_repairs if repair and max_repairs else None
    run_options = RunOptions(repair and not dry_run, rate, cursor, user_list)
    report = Report(as_json or output is Output.JSON, dry_run, cap)
    options = Options(kinds, limit, timedelta(minutes=media_age), cap)
    parts = functools.partial(open_parts, in_flight=in_flight)
    raise typer.Exit(run_or_exit(run(settings, options, run_options, report, parts)))


def _not_removed(settings: Settings, kinds: list[Kind]) -> list[Kind]:
    """Returns the kinds that the settings leave to erased users. Raises BadParameter if one of them is asked for."""
    needs = {Kind.OWN_MESSAGES: "MATRIX_ERASE_MESSAGES", Kind.OWN_MEDIA: "MATRIX_ERASE_MEDIA"}
    off = [kind for kind, name in needs.items() if not getattr(settings, name.lower())]
    for kind in off:
        if kind in kinds:
            raise typer.BadParameter(f"--kind {kind}: needs {needs[kind]}=true in the environment")
    return off


def _read_users(source: str, kinds: list[Kind], cursor: Cursor | None) -> UserList | None:
    """Returns the users of the file, None without one. Raises BadParameter if it does not fit the other options."""
    if cursor and (cursor.listing is Listing.USERS) != bool(source):
        raise typer.BadParameter(f"--from {cursor}: a cursor such as users:1500 goes with --users, and no other does")
    if not source:
        return None
    if Kind.ORPHANED_MEDIA in kinds:
        raise typer.BadParameter("--kind orphaned_media is found in Synapse's list of uploads: leave --users out")
    try:
        if source == "-":
            found = UserList.read(sys.stdin.buffer)
        else:
            with Path(source).open("rb") as lines:
                found = UserList.read(lines)
    except OSError as error:
        raise typer.BadParameter(f"--users {source}: can't be read: {error.strerror}") from None
    except WrongLine as wrong:
        raise typer.BadParameter(f"--users {source}, {wrong}") from None
    if cursor and cursor.offset > len(found):
        raise typer.BadParameter(f"--from {cursor}: --users {source} has only {len(found)} lines")
    return found


async def run(
    settings: Settings, options: Options, run_options: RunOptions, report: Report, parts: OpenParts = open_parts
) -> ExitCode:
    """Runs the audit and prints it; returns the exit code. `parts` is the seam for tests."""
    # Unless it repairs, the audit runs on the parts of a dry run, which can't write.
    settings = settings.model_copy(update={"matrix_dry_run": settings.matrix_dry_run or not run_options.repair})
    audit: Audit | None = None
    failure: TryAgain | Rejected | None = None
    closed = False
    try:
        async with parts(settings, Health(), Metrics()) as opened:
            repairer = Repairer(opened.synapse, opened.updater, run_options.rate) if run_options.repair else None
            admin = await opened.synapse.probe()  # with a wrong server name no account would have a record
            audit = Audit(
                opened.synapse, admin, opened.users, repairer, options,
                lambda drift: report.drift(drift, opened.synapse.mxid), run_options.cursor, user_list=run_options.users,
            )  # fmt: skip
            with _stopped_by_signals(audit):
                while not audit.finished and audit.cursor:
                    with progress(f"{audit.cursor.listing} checked") as advance:
                        await audit.walk(advance)
    except (TryAgain, Rejected) as error:
        failure = error
    except BrokenPipeError:
        discard_output()
        closed = True
    code = ExitCode.CUT_SHORT if closed else _exit_code(audit, failure)
    if audit:
        report.end(audit.summary, audit.cursor, code, failure)
    elif report.as_json:  # nothing was checked; the last line is a summary all the same
        report.end(AuditSummary(), run_options.cursor, code, failure)
    if failure:
        print_failure(failure)
    return code


def _exit_code(audit: Audit | None, failure: TryAgain | Rejected | None) -> ExitCode:
    if failure or audit is None:
        return ExitCode.UNAVAILABLE
    if audit.stopped and audit.cursor:
        return ExitCode.INTERRUPTED
    left = audit.summary.left or audit.summary.unchecked or audit.capped
    return ExitCode.ATTENTION if left else ExitCode.DONE


@contextmanager
def _stopped_by_signals(audit: Audit) -> Iterator[None]:
    """Lets the first Ctrl-C or SIGTERM stop the audit, and the second one end the process."""
    loop = asyncio.get_running_loop()
    signals = (signal.SIGINT, signal.SIGTERM)

    def stop() -> None:
        audit.stop()
        for number in signals:
            loop.remove_signal_handler(number)
            signal.signal(number, signal.default_int_handler)
        stopping(audit.cursor, repairing=audit.repairing)

    for number in signals:
        loop.add_signal_handler(number, stop)
    try:
        yield
    finally:
        for number in signals:
            loop.remove_signal_handler(number)
        signal.signal(signal.SIGTERM, signal.SIG_DFL)

"""`audit`: compares Synapse with the stored state next to the function, prints the drift and the summary."""

import asyncio
import json
import signal
import sys
from contextlib import ExitStack
from dataclasses import dataclass
from datetime import timedelta
from typing import Annotated

import typer
from rich.console import Console
from rich.table import Table

from function.app import OpenParts, open_parts
from function.audit.drift import Kind
from function.audit.findings import AuditSummary, Cursor, Drift, Options
from function.audit.repair import Repairer
from function.audit.scan import Audit
from function.cli.options import AsJson, Yes, confirm, print_failure, settings_or_exit
from function.cli.progress import progress
from function.health import Health
from function.outcomes import Rejected, TryAgain
from function.settings import Settings
from function.telemetry import logs
from function.telemetry.metrics import Metrics

INTERRUPTED = 130


@dataclass(frozen=True, slots=True)
class RunOptions:
    """Whether to repair, how fast, and how to print."""

    repair: bool
    dry_run: bool
    rate: float
    as_json: bool


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
    rate: Annotated[
        float, typer.Option(min=0, metavar="PER_SECOND", help="Maximum repairs per second; 0 for no limit.")
    ] = 10,
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
    1: drift remains, or an account could not be checked.
    2: a setting or an option is invalid.
    3: Synapse, the sidecar or the state store is unavailable.
    130: interrupted; the last line has the --from to continue with.
    """
    if dry_run and not repair:
        raise typer.BadParameter("--dry-run is for --repair; without --repair nothing is changed anyway")
    settings = settings_or_exit(Settings)
    logs.configure("ERROR")
    if settings.matrix_dry_run and repair and not dry_run:
        raise typer.BadParameter("with MATRIX_DRY_RUN=true nothing can be repaired: add --dry-run")
    kinds = frozenset(kind or Kind) - (frozenset() if rooms else {Kind.IN_ROOMS})
    if repair and not (yes or dry_run):
        confirm(f"Repair the drift on {settings.matrix_server_name}?")
    options = Options(kinds, limit, timedelta(minutes=media_age))
    run_options = RunOptions(repair and not dry_run, dry_run, rate, as_json)
    raise typer.Exit(asyncio.run(run(settings, options, Cursor.read(begin) if begin else None, run_options)))


async def run(
    settings: Settings, options: Options, cursor: Cursor | None, run_options: RunOptions, parts: OpenParts = open_parts
) -> int:
    """Runs the audit and prints it; returns the exit code. `parts` is the seam for tests."""
    # Unless it repairs, the audit runs on the parts of a dry run, which can't write.
    settings = settings.model_copy(update={"matrix_dry_run": settings.matrix_dry_run or not run_options.repair})
    audit: Audit | None = None
    try:
        async with parts(settings, Health(), Metrics()) as opened:
            repairer = Repairer(opened.synapse, opened.updater, run_options.rate)
            admin = await opened.synapse.probe()  # with a wrong server name no account would have a record
            audit = Audit(
                opened.synapse, admin, opened.users, repairer if run_options.repair else None, options,
                lambda drift: _print_drift(drift, opened.synapse.mxid(drift.user_id), run_options), cursor,
            )  # fmt: skip
            await _walk(audit)
    except (TryAgain, Rejected) as failure:
        if audit:
            _print_summary(audit, run_options)
        print_failure(failure)
        return 3
    _print_summary(audit, run_options)
    if audit.stopped and audit.cursor:
        return INTERRUPTED
    return 1 if audit.summary.left or audit.summary.unchecked else 0


async def _walk(audit: Audit) -> None:
    """Walks to the end. The first Ctrl-C ends the walk after the current repair, the second ends the process."""
    loop = asyncio.get_running_loop()

    def stop() -> None:
        audit.stop()
        for number in signals:
            loop.remove_signal_handler(number)

    signals = (signal.SIGINT, signal.SIGTERM)
    with ExitStack() as undo:
        for number in signals:
            loop.add_signal_handler(number, stop)
            undo.callback(loop.remove_signal_handler, number)
        while not audit.finished and audit.cursor:
            with progress(f"{audit.cursor.listing} checked") as advance:
                await audit.walk(advance)


def _print_drift(drift: Drift, mxid: str, run_options: RunOptions) -> None:
    result = {None: "found", True: "repaired", False: f"left: {drift.why}"}[drift.repaired]
    if run_options.dry_run:
        result = f"would: {drift.kind.repair}"
    if run_options.as_json:
        body = {"kind": drift.kind, "user": mxid, "detail": drift.detail, "result": result.partition(":")[0]}
        line = json.dumps({"drift": body | ({"reason": drift.why} if drift.why else {})})
    else:
        line = "  ".join(word for word in (f"{drift.kind:14}", mxid, drift.detail, result) if word)
    print(line, flush=True)  # flushed, so that every repair is on record however the process ends


def _print_summary(audit: Audit, run_options: RunOptions) -> None:
    if run_options.as_json:
        print(json.dumps({"summary": audit.summary.as_json() | {"next": str(audit.cursor) if audit.cursor else None}}))
    else:
        _print_table(audit.summary)
    if audit.cursor:
        print(f"matrix-account-sync: not finished; go on with --from {audit.cursor}", file=sys.stderr)


def _print_table(summary: AuditSummary) -> None:
    console = Console(highlight=False, width=None if sys.stdout.isatty() else 160)
    counts = {"accounts": summary.accounts, "uploaded images": summary.media, "drift": summary.found.total(),
              "repaired": summary.repaired.total(), "accounts without a record": summary.no_record,
              "deactivated by another client": summary.deactivated_elsewhere}  # fmt: skip
    console.print("; ".join(f"{what}: {count}" for what, count in counts.items()))
    for reason, count in summary.unchecked.items():
        console.print(f"{count} could not be checked: {reason}. {reason.todo}")
    if summary.found:
        table = Table("drift", "found", "repaired", "what it means", "what --repair does")
        for kind in (kind for kind in Kind if summary.found[kind]):
            table.add_row(kind, str(summary.found[kind]), str(summary.repaired[kind]), kind.means, kind.repair)
        console.print(table)

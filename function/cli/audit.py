"""The options of `audit`, what it prints, and how it ends."""

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
from function.cli.progress import progress
from function.cli.replay import settings_or_exit
from function.health import Health
from function.outcomes import Rejected, TryAgain
from function.settings import Settings
from function.telemetry import logs
from function.telemetry.metrics import Metrics

INTERRUPTED = 130


@dataclass(frozen=True, slots=True)
class RunOptions:
    """Whether to repair and how fast, and how to show what is found."""

    repair: bool
    dry_run: bool
    rate: float
    as_json: bool


def _place(text: str) -> str:
    try:
        return text and str(Cursor.read(text))
    except ValueError:
        raise typer.BadParameter("expected what an audit that stopped has printed, such as accounts:1500") from None


def audit_command(
    kind: Annotated[
        list[Kind] | None, typer.Option("--kind", metavar="KIND", help="Only such drift; may be given repeatedly.")
    ] = None,
    rooms: Annotated[
        bool, typer.Option("--rooms/--no-rooms", help="Ask for the rooms of each deleted user: one call for each.")
    ] = True,
    media_age: Annotated[
        float,
        typer.Option(
            min=0, metavar="MINUTES", help="Younger images are never orphaned: they may be about to be shown."
        ),
    ] = 60,
    limit: Annotated[int | None, typer.Option(min=1, help="Look at so many accounts and images, then stop.")] = None,
    begin: Annotated[
        str, typer.Option("--from", callback=_place, metavar="TOKEN", help="Go on where an audit stopped.")
    ] = "",
    repair: Annotated[bool, typer.Option("--repair", help="Repair what is found; asks first.")] = False,
    dry_run: Annotated[
        bool, typer.Option("--dry-run", help="With --repair: say what it would do; change nothing.")
    ] = False,
    yes: Annotated[bool, typer.Option("--yes", help="Do not ask.")] = False,
    rate: Annotated[float, typer.Option(min=0, help="Repair so many a second at most; 0: as fast as can be.")] = 10,
    as_json: Annotated[
        bool, typer.Option("--json", help="One JSON object a line: each drift, then the summary.")
    ] = False,
) -> None:
    """Compare every account of Synapse with its user's record, say what differs, and repair it if asked to.

    Run it where the function runs, with the same environment: it uses the same sidecar. Without --repair it writes
    nothing. Accounts without a record are counted and never touched.
    Exit code 0: no drift, or all repaired. 1: drift is left. 2: a setting or an option is wrong. 3: Synapse, the
    sidecar or the state store is not well. 130: interrupted; the line it prints says how to go on.
    """
    if dry_run and not repair:
        raise typer.BadParameter("--dry-run is for --repair; without it nothing is changed anyway")
    settings = settings_or_exit(Settings)
    logs.configure("ERROR")
    if settings.matrix_dry_run and repair and not dry_run:
        raise typer.BadParameter("with MATRIX_DRY_RUN=true nothing can be repaired: add --dry-run")
    kinds = frozenset(kind or Kind) - (frozenset() if rooms else {Kind.IN_ROOMS})
    if repair and not (yes or dry_run):
        _confirm(settings)
    options = Options(kinds, limit, timedelta(minutes=media_age))
    manner = RunOptions(repair and not dry_run, dry_run, rate, as_json)
    raise typer.Exit(asyncio.run(run(settings, options, Cursor.read(begin) if begin else None, manner)))


def _confirm(settings: Settings) -> None:
    if not sys.stdin.isatty():
        raise typer.BadParameter("nobody is there to ask: add --yes, or --dry-run to see what would be repaired")
    typer.confirm(f"Repair what differs on {settings.matrix_server_name}?", abort=True)


async def run(
    settings: Settings, options: Options, cursor: Cursor | None, manner: RunOptions, parts: OpenParts = open_parts
) -> int:
    """Audits and prints; the exit code. `parts` is the seam for tests."""
    # What may not write is given nothing that can: a dry run's parts look and do not touch.
    settings = settings.model_copy(update={"matrix_dry_run": settings.matrix_dry_run or not manner.repair})
    audit: Audit | None = None
    try:
        async with parts(settings, Health(), Metrics()) as opened:
            repairs = Repairer(opened.synapse, opened.users, opened.reconciler, opened.room_cleanup, manner.rate)
            admin = await opened.synapse.probe()  # a wrong server name would make every account a stranger
            audit = Audit(
                opened.synapse, admin, opened.users, repairs if manner.repair else None, options,
                lambda drift: _tell(drift, opened.synapse.mxid(drift.user_id), manner), cursor,
            )  # fmt: skip
            await _walk(audit)
    except (TryAgain, Rejected) as failure:
        if audit:
            _summarise(audit, manner)
        print(f"matrix-account-sync: {failure.reason}: {failure.detail}. {failure.reason.todo}", file=sys.stderr)
        return 3
    _summarise(audit, manner)
    if audit.stopped and audit.cursor:
        return INTERRUPTED
    return 1 if audit.summary.left or audit.summary.unchecked else 0


async def _walk(audit: Audit) -> None:
    """The first Ctrl-C ends the walk after what is in hand; the second one ends the process."""
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
        while not audit.over and audit.cursor:
            with progress(f"{audit.cursor.listing} looked at") as advance:
                await audit.walk(advance)


def _tell(drift: Drift, mxid: str, manner: RunOptions) -> None:
    outcome = {None: "found", True: "repaired", False: f"left: {drift.why}"}[drift.repaired]
    if manner.dry_run:
        outcome = f"would: {drift.kind.repair}"
    if manner.as_json:
        body = {"kind": drift.kind, "user": mxid, "detail": drift.detail, "fate": outcome.partition(":")[0]}
        line = json.dumps({"drift": body | ({"reason": drift.why} if drift.why else {})})
    else:
        line = "  ".join(word for word in (f"{drift.kind:14}", mxid, drift.detail, outcome) if word)
    print(line, flush=True)  # at once: what was repaired must be known, however this ends


def _summarise(audit: Audit, manner: RunOptions) -> None:
    if manner.as_json:
        print(json.dumps({"summary": audit.summary.as_json() | {"next": str(audit.cursor) if audit.cursor else None}}))
    else:
        _show(audit.summary)
    if audit.cursor:
        print(f"matrix-account-sync: not at the end; go on with --from {audit.cursor}", file=sys.stderr)


def _show(summary: AuditSummary) -> None:
    console = Console(highlight=False, width=None if sys.stdout.isatty() else 160)
    counts = {"accounts": summary.accounts, "uploaded images": summary.media, "drift": summary.found.total(),
              "repaired": summary.repaired.total(), "accounts without a record": summary.no_record,
              "ended by somebody else": summary.deactivated_elsewhere}  # fmt: skip
    console.print("; ".join(f"{what}: {count}" for what, count in counts.items()))
    for reason, count in summary.unchecked.items():
        console.print(f"{count} could not be looked at: {reason}. {reason.todo}")
    if summary.found:
        table = Table("drift", "found", "repaired", "what it means", "what --repair does")
        for kind in (kind for kind in Kind if summary.found[kind]):
            table.add_row(kind, str(summary.found[kind]), str(summary.repaired[kind]), kind.means, kind.repair)
        console.print(table)

"""`warm-up`: learns the accounts before a switch-over; options and exit codes."""

from typing import Annotated

import typer

from function.audit.warm_up import Learned, WarmUp
from function.cli.exit_codes import ExitCode
from function.cli.options import AsJson, Output, OutputOption, print_failure, run_or_exit, settings_or_exit
from function.cli.output import print_json, say
from function.cli.progress import progress
from function.health import Health
from function.outcomes import Rejected, TryAgain
from function.parts import OpenParts, open_parts
from function.settings import Settings
from function.telemetry import logs
from function.telemetry.metrics import Metrics


def command(
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Only count; write nothing.")] = False,
    output: OutputOption = Output.TABLE,
    as_json: AsJson = False,
) -> None:
    """Learn every account in Synapse before the switch-over, a thousand with a call.

    Without it the first event of each user reads the user's account: one call
    each, also if the event changes nothing. Nothing in Synapse is changed, and a
    user who has a record keeps it.

    Run it where the function runs, with the same environment, once the old
    consumer has stopped: what another program changes after an account was read
    would go unseen. The function may run at the same time. If it is cut short,
    run it again: it goes on with those that are missing.

    Exit codes:
    0: every active account is known.
    2: a setting or an option is invalid, or MAS owns the accounts.
    3: Synapse, the sidecar or the state store is unavailable; run it again.
    4: standard output was closed, as by head; the accounts are known all the same.
    130: interrupted; run it again.
    """
    settings = settings_or_exit(Settings)
    logs.configure("ERROR")
    if settings.matrix_mas_url:
        raise typer.BadParameter(
            "MATRIX_MAS_URL is set: Synapse's list does not say what MAS knows of an account, so nothing can be learned from it"
        )
    raise typer.Exit(run_or_exit(run(settings, dry_run=dry_run, as_json=as_json or output is Output.JSON)))


async def run(settings: Settings, *, dry_run: bool, as_json: bool, parts: OpenParts = open_parts) -> ExitCode:
    """Learns the accounts and prints the counts, also if it ends early; returns the exit code. `parts` is the seam for tests."""
    settings = settings.model_copy(update={"matrix_dry_run": settings.matrix_dry_run or dry_run})
    counts, failure = Learned(), None
    try:
        async with parts(settings, Health(), Metrics()) as opened:
            await opened.synapse.probe()  # with a wrong server name no account would be one of ours
            warm_up = WarmUp(opened.synapse, opened.users)
            counts = warm_up.counts
            with progress("accounts read") as advance:
                await warm_up.walk(advance)
    except (TryAgain, Rejected) as error:
        failure = error
    code = ExitCode.UNAVAILABLE if failure else ExitCode.DONE
    if as_json:
        more = {"dry_run": settings.matrix_dry_run, "exit_code": int(code)}
        print_json({"summary": counts.as_json() | more | ({"failure": failure.reason.value} if failure else {})})
    else:
        print(line(counts, dry_run=settings.matrix_dry_run), flush=True)
    if failure:
        print_failure(failure)
        say("not finished; run it again: it goes on with the accounts that are missing")
    return code


def line(counts: Learned, *, dry_run: bool) -> str:
    """Returns the counts for a person."""
    learned = "would be learned" if dry_run else "learned"
    return (
        f"{counts.accounts:,} accounts read: {counts.learned:,} {learned}, {counts.known:,} known before, "
        f"{counts.left_out:,} left out (deactivated)"
    )

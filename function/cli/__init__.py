"""The command line: `serve` runs the function, `check` says whether everything it needs is there; replay.py has
the commands about dead letters, audit.py has `audit`."""

import asyncio
import functools
import gc
import sys
from typing import Annotated

import typer
import uvicorn
from rich.console import Console
from rich.table import Table

from function import __version__
from function.app import MissingExtra, create_app, open_parts, open_traces
from function.cli import check
from function.cli.audit import audit_command
from function.cli.replay import dead_letters, replay_command, settings_or_exit
from function.dapr.http_server import UVICORN_OPTIONS
from function.settings import Settings
from function.telemetry import logs

GRACE_SECONDS = 25  # a batch may finish; below Kubernetes' default grace of 30 s
GC_THRESHOLD = 20_000  # objects; Python's 700 (3.11) has a collection several times a batch

cli = typer.Typer(
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    help="Keeps Matrix accounts in step with an identity service. Settings come from the environment; the README lists them.",
)


def main() -> None:
    """Entry point of the console script."""
    cli()


def _version(wanted: bool) -> None:
    if wanted:
        print(__version__)
        raise typer.Exit


@cli.callback()
def options(
    version: Annotated[
        bool, typer.Option("--version", callback=_version, is_eager=True, help="Show the version.")
    ] = False,
) -> None:
    """Common options."""


@cli.command()
def serve() -> None:
    """Run the function beside its Dapr sidecar until SIGTERM.

    Listens on APP_HOST:APP_PORT. GET /health/ready says whether it consumes, and if not, why.
    Exit code 2: a setting is wrong.
    """
    settings = settings_or_exit(Settings)
    logs.configure(settings.log_level)
    try:
        traces = open_traces()
    except MissingExtra as error:
        print(error, file=sys.stderr)
        raise typer.Exit(2) from None
    app = traces.extract_context(create_app(settings, functools.partial(open_parts, traces=traces)))
    # Modules and routes stay: no collection need look at them again. A batch makes many objects and hardly a cycle.
    gc.freeze()
    gc.set_threshold(GC_THRESHOLD)
    uvicorn.run(
        app,
        host=settings.app_host,
        port=settings.app_port,
        timeout_graceful_shutdown=GRACE_SECONDS,
        **UVICORN_OPTIONS,
    )


@cli.command("check")
def check_command() -> None:
    """Check settings, sidecar, state store, secret, token, server name and rate limit, and say what to do.

    Run it where the function runs, with the same environment: it uses the same sidecar.
    Exit code 0: all is well. 1: something is not. 2: a setting is wrong.
    """
    settings = settings_or_exit(Settings)
    logs.configure("ERROR")
    found = asyncio.run(_collect(settings))
    table = Table("", "checked", "found", "what to do", title="matrix-account-sync check")
    for finding in found:
        mark = "[green]ok[/]" if finding.ok else "[red]not ok[/]"
        table.add_row(mark, finding.what, finding.found, "" if finding.ok else finding.advice)
    Console(width=None if sys.stdout.isatty() else 130).print(table)
    raise typer.Exit(0 if all(finding.ok for finding in found) else 1)


async def _collect(settings: Settings) -> list[check.Finding]:
    return [finding async for finding in check.findings(settings)]


cli.command("audit")(audit_command)
cli.command("dead-letters")(dead_letters)
cli.command("replay")(replay_command)

"""`serve`: runs the function's HTTP server until SIGTERM."""

import functools
import gc

import typer
import uvicorn

from function.app import MissingExtra, create_app, open_traces
from function.cli.exit_codes import ExitCode
from function.cli.options import print_problems, settings_or_exit
from function.cli.output import say
from function.dapr.http_server import UVICORN_OPTIONS
from function.environment import WrongSettings
from function.parts import open_parts
from function.settings import Settings
from function.telemetry import logs

GRACE_SECONDS = 25  # a batch may finish; below Kubernetes' default grace period of 30 s
GC_THRESHOLD = 20_000  # objects; with Python's 700 (3.11) the collector runs several times per batch


def command() -> None:
    """Run the function next to its Dapr sidecar until SIGTERM.

    Listens on APP_HOST:APP_PORT. GET /health/ready returns whether it consumes
    events and, if not, the reason.

    Exit codes:
    2: a setting is invalid; each one is named on standard error.
    143: stopped by SIGTERM, after the batches in flight.
    """
    settings = settings_or_exit(Settings)
    logs.configure(settings.log_level)
    try:
        traces = open_traces()
    except MissingExtra as error:
        say(str(error))
        raise typer.Exit(ExitCode.INVALID) from None
    try:
        app = traces.extract_context(create_app(settings, functools.partial(open_parts, traces=traces)))
    except WrongSettings as wrong:
        raise typer.Exit(print_problems(wrong)) from None
    # Modules and routes live until the end: the collector skips them. A batch creates many objects and hardly any cycle.
    gc.freeze()
    gc.set_threshold(GC_THRESHOLD)
    uvicorn.run(
        app,
        host=settings.app_host,
        port=settings.app_port,
        timeout_graceful_shutdown=GRACE_SECONDS,
        **UVICORN_OPTIONS,
    )

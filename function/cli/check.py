"""`check`: prints a row for each thing that the function needs, as soon as it is known, and how to fix what fails."""

import asyncio
from collections import Counter
from collections.abc import AsyncIterator
from typing import Annotated

import typer

from function.check.finding import Finding, Mark, failed
from function.check.run import Outside, findings, settings_rows
from function.cli.exit_codes import ExitCode
from function.cli.options import AsJson, Output, OutputOption
from function.cli.output import print_json
from function.cli.rows import Rows
from function.environment import WrongSettings, load
from function.kafka.client import client_config
from function.settings import Settings
from function.telemetry import logs

_SHOWN = {Mark.OK: ("ok", "green"), Mark.WARNING: ("warning", "yellow"), Mark.FAILED: ("not ok", "red")}
_INDENT = 9


def command(
    *,
    settings_only: Annotated[
        bool, typer.Option("--settings-only", help="Check the settings only: without sidecar and network.")
    ] = False,
    output: OutputOption = Output.TABLE,
    as_json: AsJson = False,
) -> None:
    """Check everything that the function needs and say how to fix what fails.

    Checks settings, Kafka's brokers, topics and consumer group, the sidecar's
    components and subscriptions, the right to publish, state store, who owns
    the accounts, secret, MAS (Matrix Authentication Service) if it does, token,
    admin account, rate limit, uploads and deactivations. Run it where the
    function runs, with the same environment: it uses the same sidecar.

    It changes no account and leaves no record in Kafka: it uploads an image of
    2 MB and deletes it, asks to deactivate an id that no account has, and asks
    to publish to a partition that no topic has. A personal session that it
    makes in MAS, for the token, ends with it. Warnings do not fail.

    Exit codes:
    0: every check passed.
    1: a check failed.
    2: a setting is invalid.
    4: the output was closed before its end.
    130: interrupted.
    """
    logs.configure("ERROR")
    show = Printer(Output.JSON if as_json else output)
    try:
        settings = load(Settings)
        config = client_config(settings)
    except WrongSettings as wrong:
        for problem in wrong.problems:
            show.row(failed("settings", problem, "Correct it where the function gets its environment from."))
        raise typer.Exit(show.summary(ExitCode.INVALID)) from None
    if settings_only:
        for row in settings_rows(settings):
            show.row(row)
        raise typer.Exit(show.summary(ExitCode.DONE))
    try:
        asyncio.run(_show_all(findings(settings, config, Outside()), show))
    except KeyboardInterrupt:
        raise typer.Exit(show.summary(ExitCode.INTERRUPTED)) from None
    raise typer.Exit(show.summary(ExitCode.ATTENTION if show.failed else ExitCode.DONE))


async def _show_all(found: AsyncIterator[Finding], show: "Printer") -> None:
    async for row in found:
        show.row(row)


class Printer:
    """Prints rows on standard output as they come, and counts them."""

    def __init__(self, output: Output) -> None:
        self._output = output
        self._counts = Counter[Mark]()
        self._rows = Rows(_INDENT)

    @property
    def failed(self) -> bool:
        return self._counts[Mark.FAILED] > 0

    def row(self, row: Finding) -> None:
        """Prints one row."""
        self._counts[row.mark] += 1
        if self._output is Output.JSON:
            print_json({"check": {"what": row.what, "mark": row.mark, "found": row.found, "advice": row.advice}})
            return
        word, color = _SHOWN[row.mark]
        self._rows.row(word, color, f"{row.what}: {row.found}", [row.advice])

    def summary(self, code: ExitCode) -> ExitCode:
        """Prints the counts; returns the exit code."""
        ok, warnings, wrong = (self._counts[mark] for mark in Mark)
        if self._output is Output.JSON:
            print_json({"summary": {"ok": ok, "warnings": warnings, "failed": wrong, "exit_code": int(code)}})
        else:
            print(f"{ok} ok, {warnings} warning{'' if warnings == 1 else 's'}, {wrong} not ok")
        return code

"""`check`: prints a row for each thing that the function needs, as soon as it is known, and how to fix what fails."""

import asyncio
import json
import os
import sys
import textwrap
from collections import Counter
from collections.abc import AsyncIterator
from typing import Annotated

import typer
from rich.console import Console
from rich.text import Text

from function.check.finding import Finding, Mark, failed
from function.check.run import Outside, findings, settings_rows
from function.cli.exit_codes import ExitCode
from function.cli.options import AsJson, Output, OutputOption
from function.kafka.client import client_config
from function.settings import Settings, WrongSettings, load
from function.telemetry import logs

_SHOWN = {Mark.OK: ("ok", "green"), Mark.WARNING: ("warning", "yellow"), Mark.FAILED: ("not ok", "red")}
_INDENT = 9
_NARROW = 20  # columns that a row has at least
_WIDE = 120  # columns where there is no terminal, such as a pipe or `kubectl exec` without -t


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
    components and subscriptions, the right to publish, state store, secret,
    token, admin account, rate limit, uploads and deactivations. Run it where
    the function runs, with the same environment: it uses the same sidecar.

    It changes no account and leaves no record in Kafka: it uploads an image of
    2 MB and deletes it, asks to deactivate an id that no account has, and asks
    to publish to a partition that no topic has. Warnings do not fail.

    Exit codes:
    0: every check passed.
    1: a check failed.
    2: a setting is invalid.
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
        self._console = Console(
            width=None if sys.stdout.isatty() or "COLUMNS" in os.environ else _WIDE, highlight=False
        )

    @property
    def failed(self) -> bool:
        return self._counts[Mark.FAILED] > 0

    def row(self, row: Finding) -> None:
        """Prints one row."""
        self._counts[row.mark] += 1
        if self._output is Output.JSON:
            body = {"what": row.what, "mark": row.mark, "found": row.found, "advice": row.advice}
            print(json.dumps({"check": body}), flush=True)
            return
        word, colour = _SHOWN[row.mark]
        width = max(_NARROW, self._console.width - _INDENT)
        first, *further = textwrap.wrap(self._writable(f"{row.what}: {row.found}"), width)
        self._console.print(Text(f"{word:{_INDENT}}", colour) + Text(first))
        for line in further:
            self._console.print(" " * _INDENT + line, markup=False)
        for line in textwrap.wrap(self._writable(row.advice), width):
            self._console.print(Text(" " * _INDENT) + Text(line, "bold"))

    def summary(self, code: ExitCode) -> ExitCode:
        """Prints the counts; returns the exit code."""
        counts = {
            "ok": self._counts[Mark.OK],
            "warnings": self._counts[Mark.WARNING],
            "failed": self._counts[Mark.FAILED],
        }
        if self._output is Output.JSON:
            print(json.dumps({"summary": counts | {"exit_code": int(code)}}), flush=True)
        else:
            self._console.print(f"{counts['ok']} ok, {counts['warnings']} warnings, {counts['failed']} not ok")
        return code

    def _writable(self, text: str) -> str:
        """Returns the text in what the terminal can show."""
        encoding = self._console.encoding
        shown = "".join(letter if letter.isprintable() else "?" for letter in text)
        return shown.encode(encoding, "backslashreplace").decode(encoding)

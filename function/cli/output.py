"""Prints what commands print so that any terminal, pipe and file can take it. Knows nothing of what is printed."""

import json
import os
import sys
import unicodedata
from collections.abc import Mapping
from contextlib import suppress
from io import TextIOWrapper, UnsupportedOperation
from typing import Any

from rich.console import Console
from rich.text import Text
from typer import Context, Exit
from typer.core import TyperGroup

from function.cli.exit_codes import ExitCode


class Commands(TyperGroup):
    """The commands. Ends them quietly if the reader of their output closes it, as `head` does."""

    def invoke(self, ctx: Context) -> Any:  # type: ignore[override]  # typer's own name of click's class
        """Runs the command, and writes out what it printed while a closed pipe can still be told."""
        try:
            try:
                return super().invoke(ctx)
            finally:
                sys.stdout.flush()
        except BrokenPipeError:
            discard_output()
            raise Exit(ExitCode.CUT_SHORT) from None


def accept_any_encoding() -> None:
    """Lets both streams escape what their encoding can't express, instead of failing."""
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, TextIOWrapper):
            stream.reconfigure(errors="backslashreplace")


def discard_output() -> None:
    """Sends what is left to print nowhere: Python would complain at its exit that the pipe is closed."""
    with suppress(UnsupportedOperation):
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())


def say(line: str) -> None:
    """Prints a line for a person on standard error; standard output has the result only."""
    with suppress(BrokenPipeError):
        print(f"matrix-account-sync: {line}", file=sys.stderr, flush=True)


def print_json(value: Mapping[str, Any], *, flush: bool = True) -> None:
    """Prints one JSON object on a line of its own. Without `flush` it may be written later: for many of them."""
    print(json.dumps(value), flush=flush)


def table_console() -> Console:
    """Returns the console for tables: as wide as the terminal or COLUMNS, else 80 columns."""
    return Console(highlight=False, soft_wrap=False)


def printable(text: str) -> str:
    """Escapes what would steer a terminal or can't be seen: control characters, surrogates, marks of direction."""
    return text if text.isprintable() else "".join(map(_escaped, text))


def cell(text: str) -> Text:
    """Returns a table's cell: rich would read brackets in a plain string as markup."""
    return Text(printable(text), overflow="fold")


def _escaped(letter: str) -> str:
    if unicodedata.category(letter)[0] != "C":
        return letter
    return letter.encode("unicode_escape").decode()

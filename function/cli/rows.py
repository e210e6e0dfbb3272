"""Prints rows of a word, a text and an advice, wrapped to the terminal. Knows nothing of what they say."""

import os
import shutil
import sys
import textwrap
from collections.abc import Iterable
from typing import Any

import typer

from function.cli.output import printable

_NARROW = 20  # columns that a row has at least


class Rows:
    """Prints rows on standard output.

    Args:
        indent: the columns that the word has.
    """

    def __init__(self, indent: int) -> None:
        self._indent = indent
        self._width = max(_NARROW, shutil.get_terminal_size().columns - indent)
        self._colored = sys.stdout.isatty() and not os.environ.get("NO_COLOR")

    def row(self, word: str, color: str, text: str, advice: Iterable[str] = ()) -> None:
        """Prints the word, the text next to it, and below it each piece of advice on lines of its own."""
        for line in self._wrapped(text):
            print(self._styled(f"{word:{self._indent}}", fg=color) + line, flush=True)
            word = ""
        for piece in advice:
            for line in self._wrapped(piece):
                print(" " * self._indent + self._styled(line, bold=True), flush=True)

    def _styled(self, text: str, **style: Any) -> str:
        return typer.style(text, **style) if self._colored else text

    def _wrapped(self, text: str) -> list[str]:
        return textwrap.wrap(printable(text), self._width)

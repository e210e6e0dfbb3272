"""Reads a large JSON object member by member, so that its reader can pause in between; a small one at once.

Neither the whole text nor the whole object of a large one is in memory at once. Python's own parser reads the values.
"""

import codecs
import json
import re
from collections.abc import Iterable, Iterator
from typing import Any

from pydantic_core import from_json

WINDOW_BYTES = 512 * 1024  # of text that is decoded at once; more if a value is longer

_BLANK = re.compile(r"[ \t\n\r]*")
_VALUE = json.JSONDecoder()


def members(chunks: Iterable[bytes], listed: str) -> Iterator[tuple[str, Any]]:
    """Yields name and value of each member of the object; of the array that the member `listed` holds, each element.

    Args:
        chunks: the object as UTF-8, in pieces of any length; bytes that are not UTF-8 are replaced.
        listed: the name of the member whose elements are yielded one by one.

    Raises:
        ValueError: not a JSON object, or one in which `listed` is not an array. What was read before has been yielded.
        RecursionError: nested too deeply.
    """
    cursor, found = _Cursor(chunks), False
    cursor.pass_over("{")
    for _ in cursor.items("}"):
        name = cursor.value()
        if not isinstance(name, str):
            raise ValueError("a name that is no string")  # noqa: TRY004 - as for other text that is not JSON
        cursor.pass_over(":")
        if name != listed:
            yield name, cursor.value()
            continue
        found = True
        cursor.pass_over("[")
        for _ in cursor.items("]"):
            yield name, cursor.value()
    if not found or not cursor.at_end():
        raise ValueError(f"no {listed}, or more than one value")


def members_at_once(text: bytes, listed: str) -> list[tuple[str, Any]] | None:
    """Returns what `members` yields, in any order, at a third of its time; None if only `members` can tell."""
    try:
        found = from_json(text)
        elements = found.pop(listed)
    except (ValueError, KeyError, TypeError, AttributeError):
        return None
    return [*found.items(), *((listed, one) for one in elements)] if isinstance(elements, list) else None


class _Cursor:
    """A position in a JSON text, of which only a window is held."""

    def __init__(self, chunks: Iterable[bytes]) -> None:
        self._chunks = iter(chunks)
        self._decoder = codecs.getincrementaldecoder("utf-8")("replace")
        self._text, self._at, self._complete = "", 0, False

    def value(self) -> Any:
        """Reads the next value."""
        while True:
            self._skip_blanks()
            try:
                value, end = _VALUE.raw_decode(self._text, self._at)
            except ValueError:
                if self._complete:
                    raise
            else:
                if end < len(self._text) or self._complete:  # a number may go on behind the window
                    self._at = end
                    return value
            # Twice as much each time: reading a value costs no more than twice its length.
            self._widen(max(WINDOW_BYTES, len(self._text) - self._at))

    def items(self, end: str) -> Iterator[None]:
        """Yields before each item of an array or object up to `end`; the caller reads the item."""
        if self._passes(end):
            return
        yield
        while self._passes(","):
            yield
        self.pass_over(end)

    def pass_over(self, character: str) -> None:
        """Raises ValueError if another character is next."""
        if not self._passes(character):
            raise ValueError(f"expected {character}")

    def at_end(self) -> bool:
        self._skip_blanks()
        return self._at == len(self._text)

    def _passes(self, character: str) -> bool:
        if not self._text.startswith(character, self._at):
            self._skip_blanks()
            if not self._text.startswith(character, self._at):
                return False
        self._at += 1
        return True

    def _skip_blanks(self) -> None:
        """Moves to the next character that is not blank, or to the end of the whole text."""
        if self._text[self._at : self._at + 1] > " ":
            return  # as daprd writes it
        while True:
            if blank := _BLANK.match(self._text, self._at):
                self._at = blank.end()
            if self._at < len(self._text) or self._complete:
                return
            self._widen(WINDOW_BYTES)

    def _widen(self, size: int) -> None:
        """Drops the text before the position, and adds `size` bytes or the rest."""
        pieces = [self._text[self._at :]]
        while size > 0 and not self._complete:
            chunk = next(self._chunks, None)
            self._complete = chunk is None
            pieces.append(self._decoder.decode(chunk or b"", final=self._complete))
            size -= len(chunk or b"")
        self._text, self._at = "".join(pieces), 0

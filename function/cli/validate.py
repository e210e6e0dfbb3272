"""`validate`: tells what would become of the records in a file. Reads no setting and asks no service."""

import io
import sys
from collections import Counter
from collections.abc import Iterable, Iterator
from contextlib import closing
from datetime import UTC, datetime
from pathlib import Path
from typing import Annotated, Any, BinaryIO

import typer

from function.cli.exit_codes import ExitCode
from function.cli.options import AsJson, Output, OutputOption
from function.cli.output import print_json, printable, say
from function.cli.record_file import FORM, FoundRecord, Unreadable, read_record, texts
from function.cli.rows import Rows
from function.processing.forecast import Forecast, Prospect, forecast

UNREADABLE = "unreadable"
_SHOWN = {
    Prospect.ACCEPTED: ("accepted", "green"), Prospect.IGNORED: ("ignored", "yellow"),
    Prospect.DEAD_LETTER: ("dead letter", "red"),
}  # fmt: skip
_INDENT = 19


def command(
    file: Annotated[str, typer.Argument(metavar="FILE", help="A file of records; - for standard input.")],
    *,
    output: OutputOption = Output.TABLE,
    as_json: AsJson = False,
) -> None:
    """Tell what would become of the records in a file, for teams that produce them.

    Needs no setting, no network and no sidecar. A line is a record: its value
    alone, or with key, headers and timestamp as kcat -J prints it. A file that
    has one object over several lines is one record. Shows no value of a record.

    Says which event it is and what it does, or why it is ignored, or why it
    would be a dead letter and what to do; also if the key is not the user id, or
    a time is in the future. Whether Matrix has the account is not asked.

    Exit codes:
    0: no record would be a dead letter.
    1: a record would be a dead letter.
    2: the file, or a record in it, can't be read; the message names the line.
    4: the output was closed before its end.
    130: interrupted.
    """
    show = Printer(Output.JSON if as_json else output)
    try:
        with closing(_opened(file)) as stream:
            show.all(texts(stream), datetime.now(UTC))
    except OSError as error:
        if isinstance(error, BrokenPipeError):
            raise
        say(f"{printable(file)}: {error.strerror or type(error).__name__}")
        raise typer.Exit(ExitCode.INVALID) from None
    except KeyboardInterrupt:
        raise typer.Exit(show.summary(ExitCode.INTERRUPTED)) from None
    if not show.total:
        say(f"{printable(file)}: no record in it; expected a record's value on each line, or {FORM}")
        raise typer.Exit(ExitCode.INVALID)
    raise typer.Exit(show.summary(show.code))


def _opened(file: str) -> BinaryIO:
    if file != "-":
        return Path(file).open("rb")
    return sys.stdin.buffer if sys.stdin else io.BytesIO()  # a process can begin without standard input


class Printer:
    """Prints a row for each record on standard output, and counts them."""

    def __init__(self, output: Output) -> None:
        self._json = output is Output.JSON
        self._counts = Counter[str]()
        self._rows = Rows(_INDENT)

    @property
    def total(self) -> int:
        return self._counts.total()

    @property
    def code(self) -> ExitCode:
        if self._counts[UNREADABLE]:
            return ExitCode.INVALID
        return ExitCode.ATTENTION if self._counts[Prospect.DEAD_LETTER] else ExitCode.DONE

    def all(self, found: Iterable[tuple[int, bytes]], now: datetime) -> None:
        """Prints a row for each record."""
        for line, text in found:
            try:
                record = read_record(line, text)
            except Unreadable as error:
                self._unreadable(line, str(error))
            else:
                self._record(record, forecast(record.record, now, whole=record.whole))

    def _record(self, found: FoundRecord, told: Forecast) -> None:
        self._counts[told.prospect] += 1
        if self._json:
            print_json({"record": {
                "line": found.line, **_place(found), "result": told.prospect, "type": told.event_type,
                "case": told.case, "reason": told.reason, "detail": told.detail, "means": told.means, "advice": told.advice,
                "notes": list(told.notes),
            }}, flush=False)  # fmt: skip
            return
        word, color = _SHOWN[told.prospect]
        self._rows.row(f"{found.line:>4}  {word}", color, _told(told), _advice(told))

    def _unreadable(self, line: int, expected: str) -> None:
        self._counts[UNREADABLE] += 1
        if self._json:
            print_json({"record": {"line": line, "result": UNREADABLE, "advice": expected}}, flush=False)
        else:
            self._rows.row(f"{line:>4}  {UNREADABLE}", "red", expected)

    def summary(self, code: ExitCode) -> ExitCode:
        """Prints the counts; returns the exit code."""
        counts = {name: self._counts[name] for name in (*Prospect, UNREADABLE)}
        if self._json:
            print_json({"summary": {**counts, "exit_code": int(code)}})
        else:
            accepted, ignored, letters, unreadable = counts.values()
            print(
                f"{accepted} accepted, {ignored} ignored, {letters} dead letter{'' if letters == 1 else 's'}, "
                f"{unreadable} unreadable"
            )
        return code


def _place(found: FoundRecord) -> dict[str, Any]:
    """Returns where the record is in Kafka, if the file says so."""
    partition, offset = (found.record.kafka_field(name) for name in ("partition", "offset"))
    return {"place": f"{partition}:{offset}"} if found.whole and int(offset) >= 0 else {}


def _told(told: Forecast) -> str:
    if told.prospect is Prospect.ACCEPTED:
        return f"{told.event_type}{told.case and f', {told.case}'}: {told.means}"
    if told.prospect is Prospect.IGNORED:
        return f"{told.means} ({told.reason})"
    return f"{told.reason} ({told.detail}): {told.means}" if told.detail else f"{told.reason}: {told.means}"


def _advice(told: Forecast) -> Iterator[str]:
    if told.advice:
        yield told.advice
    for note in told.notes:
        yield f"Note: {note}"

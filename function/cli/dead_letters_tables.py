"""Draws dead letters for a person, on any width: columns that do not fit are left out and named, and no id is cut."""

import json
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from rich.console import ConsoleOptions, RenderableType
from rich.table import Table
from rich.text import Text

from function.cli.output import cell, printable
from function.dead_letters.letter import UNKNOWN
from function.dead_letters.summary import Row, Summary
from function.outcomes import Reason

DAYS = 31  # that are listed; the earlier ones are summed up
TYPE_PREFIX = "identity.user."  # left out in the list, since nearly every event type starts with it
BAR = 30  # characters of the longest bar
_REASONS = {reason.value: reason for reason in Reason}
_FRAME = 3  # characters around each column
_TITLES = {
    "letter": "letter",
    "time": "Kafka time (UTC)",
    "reason": "reason",
    "done": "done",
    "detail": "detail",
    "type": "type",
    "why": "why",
    "replays": "replays",
    "event_id": "event id",
    "from": "from",
}  # fmt: skip - the first ones are kept longest
_FOLDED = {"why": 20, "detail": 20}  # characters that are enough; every other column is as wide as its longest text
_ORDER = ("letter", "time", "reason", "detail", "type", "event_id", "from", "replays", "done", "why")


def tables(summary: Summary, options: ConsoleOptions) -> Iterator[RenderableType]:
    """Yields the histograms by reason, type and day, what to do, and the list of the newest letters."""
    if not summary.shown:
        return
    bar = "#" if options.ascii_only else "█"
    yield _histogram("reason", summary.reasons.most_common(), bar, options.max_width)
    yield _advice(summary.reasons)
    yield _histogram("type", summary.types.most_common(), bar, options.max_width)
    yield _histogram("day (UTC)", _days(summary.days), bar, options.max_width)
    if summary.newest:
        yield from _letters(summary, options.max_width)


def _histogram(name: str, counts: Sequence[tuple[str, int]], bar: str, width: int) -> RenderableType:
    table = _table(f"By {name.partition(' ')[0]}", name, "letters", "")
    longest = max(count for _, count in counts)
    room = min(BAR, max(1, width - max(len(value) for value, _ in counts) - 24))
    for value, count in counts:
        table.add_row(
            cell(value or "-"), Text(str(count), justify="right"), bar * max(1, round(room * count / longest))
        )
    return table


def _advice(reasons: Counter[str]) -> RenderableType:
    table = _table("What to do", "reason", "can a replay help?", "what to do")
    for value, _ in reasons.most_common():
        known = _REASONS.get(value)
        replay, todo = (known.replay, known.todo) if known else ("unknown to this version", _unknown(value))
        table.add_row(cell(value or "-"), cell(replay), cell(todo))
    return table


def _unknown(reason: str) -> str:
    return "Look at the header x-dead-letter-reason with --letter and --raw." if reason == UNKNOWN else ""


def _days(days: Counter[str]) -> list[tuple[str, int]]:
    """Returns the last days; the earlier ones are one row."""
    known = list(days.items())
    earlier = sum(count for _, count in known[:-DAYS])
    return ([("earlier", earlier)] if earlier else []) + known[-DAYS:]


def _letters(summary: Summary, width: int) -> Iterator[RenderableType]:
    rows = [_short(one) for one in summary.newest]
    shown = "all" if len(rows) == summary.shown else f"the newest {len(rows)} of {summary.shown}"
    chosen, left_out = _fitting(rows, width)
    table = _table(f"Letters: {shown}", *(_TITLES[name] for name in chosen))
    for name, column in zip(chosen, table.columns, strict=True):
        column.no_wrap = name not in _FOLDED
    for one in rows:
        table.add_row(*(cell(one.get(name, "")) for name in chosen))
    yield table
    if left_out:
        names = ", ".join(_TITLES[name] for name in left_out)
        yield Text(f"Too narrow for: {names}. Set COLUMNS, or use --letter or --output json.")


def _short(one: Row) -> Row:
    """Returns the row as the list has it: without what is the same in each."""
    done = f"{one['done']} {one['done_at']}" if "done" in one else ""
    changed = {"type": one["type"].removeprefix(TYPE_PREFIX), "from": one["from"].split(":", 1)[-1], "done": done}
    return one | changed


def _fitting(rows: Sequence[Row], width: int) -> tuple[list[str], list[str]]:
    """Returns the columns that fit, in the order in which they are printed, and those that are left out."""
    used = {name for name in _TITLES if any(one.get(name) for one in rows)}
    room, chosen = width - 1, list[str]()
    for name in (name for name in _TITLES if name in used):
        longest = max(len(_TITLES[name]), *(len(printable(one.get(name, ""))) for one in rows))
        needed = _FRAME + min(longest, _FOLDED.get(name, longest))
        if needed <= room or not chosen:
            chosen.append(name)
            room -= needed
    return [name for name in _ORDER if name in chosen], [name for name in _ORDER if name in used - set(chosen)]


def _table(title: str, *columns: str) -> Table:
    return Table(*columns, title=title, title_justify="left")


def line(columns: Row) -> str:
    """Returns a letter on one line, for `--watch`."""
    shown = (columns[name] for name in ("time", "letter", "reason", "type", "event_id", "detail"))
    return printable("  ".join(text for text in shown if text))


def letter_text(columns: Row, whole: Mapping[str, Any]) -> str:
    """Returns a letter with key, headers and body."""
    shown = [f"{name + ':':10}{printable(text)}" for name, text in columns.items() if text]
    shown.append(f"{'key:':10}{printable(whole['key'] or '-')}")
    shown.append("headers:")
    shown += [f"  {printable(name)}: {printable(text)}" for name, text in whole["headers"].items()]
    body = json.dumps(whole["body"], indent=2, ensure_ascii=False)
    shown += ["body:", *(printable(part) for part in body.split("\n")), ""]
    return "\n".join(shown)

"""What `dead-letters` shows: counts by reason, type and day, the newest letters, or one letter with its content.

Holds counts and a page of letters, however many there are.
"""

import heapq
import json
import re
from collections import Counter
from collections.abc import Callable, Iterable, Iterator
from typing import Any

from rich.console import RenderableType
from rich.table import Table
from rich.text import Text

from function.dead_letters.letter import DeadLetter
from function.dead_letters.publish import IDS, PREFIX
from function.outcomes import Reason

_REASONS = {reason.value: reason for reason in Reason}
TYPE_PREFIX = "identity.user."  # left out in the list, since all of ours begin with it
BAR = 40  # characters of the longest bar
# Values of a body and headers that say nothing of a person.
_SHOWN = frozenset({
    "specversion", "type", "event_type", "schema_version", "source", "time", "timestamp", "created_at", "updated_at",
    "deleted_at", "changed_at", "enabled_at", "soft_delete", "invalidate_all_sessions", "is_verified", "event_id", "id",
    "aggregate_type", "content-type", "datacontenttype", "ce_id", "ce_type", "ce_time", "ce_specversion", "ce_source",
    "data",
})  # fmt: skip

_PLAIN = re.compile(r"[A-Za-z0-9._:/+;=\-]{0,128}")  # an id, a type or a time; the producer could put anything there


class Summary:
    """Takes letters one after the other.

    Args:
        newest: how many of the newest letters to keep for the list.
    """

    def __init__(self, newest: int) -> None:
        self._keep, self._heap, self._order = newest, list[tuple[float, int, DeadLetter]](), 0
        self.reasons: Counter[str] = Counter()
        self.types: Counter[str] = Counter()
        self.days: Counter[str] = Counter()
        self.replayed = 0

    def add(self, letter: DeadLetter) -> None:
        self.reasons[letter.reason] += 1
        self.types[letter.event_type] += 1
        self.days[letter.at.date().isoformat()] += 1
        self.replayed += letter.replays > 0
        self._order += 1
        if self._keep:
            push = heapq.heappush if len(self._heap) < self._keep else heapq.heappushpop
            push(self._heap, (letter.at.timestamp(), self._order, letter))

    @property
    def total(self) -> int:
        return self.reasons.total()

    @property
    def newest(self) -> list[DeadLetter]:
        return [letter for _, _, letter in sorted(self._heap, reverse=True)]

    def as_json(self) -> dict[str, Any]:
        counted = {"reasons": self.reasons, "types": self.types, "days": self.days}
        return {"letters": self.total, "replayed_before": self.replayed} | {k: dict(v) for k, v in counted.items()}

    def tables(self) -> Iterator[RenderableType]:
        """The histograms and the list, for a person."""
        yield _histogram("reason", self.reasons, {"can a replay help?": _replay, "what to do": _todo})
        yield _histogram("type", self.types, {})
        yield _histogram("day (UTC)", Counter(dict(sorted(self.days.items()))), {}, by_size=False)
        if self._heap:
            shown = "all" if len(self._heap) == self.total else f"the newest {len(self._heap)} of {self.total}"
            table = Table("letter", "since", "reason", "detail", "type", "event id", "from", "replays",
                          title=f"Letters: {shown}", title_justify="left")  # fmt: skip
            for letter in self.newest:
                short = {"type": letter.event_type.removeprefix(TYPE_PREFIX), "from": letter.origin.split(":", 1)[-1]}
                table.add_row(*(_cell(value) for value in (row(letter) | short).values()))
            yield table


def row(letter: DeadLetter) -> dict[str, str]:
    """A letter in a line; nothing in it says whose it is."""
    return {
        "letter": letter.place,
        "since": letter.at.isoformat(timespec="seconds").replace("+00:00", "Z"),
        "reason": letter.reason,
        "detail": letter.detail,
        "type": letter.event_type,
        "event_id": letter.event_id,
        "from": letter.origin,
        "replays": str(letter.replays),
    }


def content(letter: DeadLetter, *, raw: bool) -> dict[str, Any]:
    """A letter with headers and body; where not `raw`, only what says nothing of a person, and of the rest the size."""
    headers = {name: text for name, text in letter.record.metadata.items() if raw or not name.startswith("__")}
    if not raw:
        headers = {name: _header(name.lower(), text) for name, text in headers.items()}
    return {"letter": letter.place, "reason": letter.reason, "headers": headers, "body": _body(letter, raw=raw)}


def _header(name: str, text: str) -> str:
    return text if name.startswith(PREFIX) and name != IDS else str(_redacted(text, name))


def _body(letter: DeadLetter, *, raw: bool) -> Any:
    try:
        body = json.loads(letter.record.value)
    except (ValueError, RecursionError):
        return repr(letter.record.value) if raw else f"<{len(letter.record.value)} bytes, not JSON>"
    return body if raw else _redacted(body)


def _redacted(value: Any, name: str = "") -> Any:
    if isinstance(value, dict):
        return {plain_name: _redacted(inner, plain_name) for plain_name, inner in value.items()}
    if isinstance(value, list):
        return [_redacted(inner) for inner in value]
    shown = name in _SHOWN and not (isinstance(value, str) and not _PLAIN.fullmatch(value))
    return value if shown or value is None or isinstance(value, bool) else _size(value)


def _size(value: Any) -> str:
    return f"<{len(value)} characters>" if isinstance(value, str) else f"<{type(value).__name__}>"


def _histogram(
    name: str, counts: Counter[str], more: dict[str, Callable[[str], str]], *, by_size: bool = True
) -> RenderableType:
    table = Table(name, "letters", "", *more, title=f"By {name.partition(' ')[0]}", title_justify="left")
    longest = max(counts.values(), default=1)
    rows: Iterable[tuple[str, int]] = counts.most_common() if by_size else counts.items()
    for value, count in rows:
        bar = "█" * max(1, round(BAR * count / longest / (2 if more else 1)))
        table.add_row(
            _cell(value or "-"), Text(str(count), justify="right"), bar, *(say(value) for say in more.values())
        )
    return table


def _cell(value: str) -> Text:
    """As text: a letter's headers are a stranger's, and rich takes brackets for its own."""
    return Text(value.encode("utf-8", "backslashreplace").decode())


def _replay(reason: str) -> str:
    return _REASONS[reason].replay if reason in _REASONS else "unknown to this version"


def _todo(reason: str) -> str:
    return _REASONS[reason].todo if reason in _REASONS else ""

"""Counts dead letters by reason, type and day, and keeps the newest. Uses the same memory however many letters are added."""

import heapq
from collections import Counter
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from functools import partial
from typing import Any

from function.dead_letters.letter import DeadLetter
from function.dead_letters.marks import Mark
from function.dead_letters.redaction import shown_detail, shown_event_id

Row = dict[str, str]

TYPES = 1000  # texts of types that are told apart; a producer can write any number of them
OTHERS = "(others)"
SMALL = 16 * 1024  # bytes of a record that may be kept for its row
_DAY = 24 * 60 * 60 * 1000
_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)


class Summary:
    """Counts the letters that are added, one at a time.

    Args:
        newest: how many of the newest letters to keep for the list.
        raw: whether types are counted as the records name them; a producer can write a name of a person there.

    Attributes:
        read: how many letters were read, also those that do not match.
        matching: how many match the filter.
        replayed: how many of them were replayed.
        discarded: how many of them were discarded.
    """

    def __init__(self, newest: int, *, raw: bool = False) -> None:
        self._keep, self._raw = newest, raw
        self._heap, self._order = list[tuple[int, int, Callable[[], Row]]](), 0
        self.reasons: Counter[str] = Counter()
        self.types: Counter[str] = Counter()
        self._days: Counter[int] = Counter()
        self.read = self.matching = self.replayed = self.discarded = 0

    def count(self, mark: Mark | None) -> None:
        """Counts a letter that matches, shown or not, by what was done about it."""
        self.matching += 1
        if mark:
            self.discarded += mark.discarded
            self.replayed += not mark.discarded

    def add(self, letter: DeadLetter, mark: Mark | None = None) -> None:
        """Counts a letter that is shown."""
        self.reasons[letter.reason] += 1
        self.types[self._type(letter)] += 1
        at = letter.milliseconds
        self._days[at // _DAY] += 1
        self._order += 1
        if len(self._heap) < self._keep:
            heapq.heappush(self._heap, (at, self._order, self._columns(letter, mark)))
        elif self._heap and self._heap[0][0] <= at:
            heapq.heapreplace(self._heap, (at, self._order, self._columns(letter, mark)))

    def _columns(self, letter: DeadLetter, mark: Mark | None) -> Callable[[], Row]:
        """Returns what makes the row. Usually each letter is newer than those before: most rows are never needed."""
        make = partial(row, letter, mark, raw=self._raw)
        if letter.record.size <= SMALL:
            return make
        made = make()
        return lambda: made

    def _type(self, letter: DeadLetter) -> str:
        if not self._raw:
            return letter.event_type
        return letter.type_text if len(self.types) < TYPES or letter.type_text in self.types else OTHERS

    @property
    def shown(self) -> int:
        return self.reasons.total()

    @property
    def open(self) -> int:
        return self.matching - self.replayed - self.discarded

    @property
    def days(self) -> Counter[str]:
        """The letters by day in UTC, the earliest first."""
        named = {(_EPOCH + timedelta(days=day)).date().isoformat(): count for day, count in sorted(self._days.items())}
        return Counter(named)

    @property
    def newest(self) -> list[Row]:
        """The rows of the letters kept, newest first."""
        return [columns() for _, _, columns in sorted(self._heap, key=lambda kept: kept[:2], reverse=True)]

    def as_json(self) -> dict[str, Any]:
        counts = {"read": self.read, "open": self.open, "replayed": self.replayed, "discarded": self.discarded}
        counted = {"reasons": self.reasons, "types": self.types, "days": self.days}
        return {"letters": self.shown} | counts | {name: dict(found) for name, found in counted.items()}


def row(letter: DeadLetter, mark: Mark | None = None, *, raw: bool = False) -> Row:
    """Returns a letter's columns in the list. Unless `raw`, none of them identifies the user.

    Args:
        letter: the letter.
        mark: what was done about it; its columns are there only if something was.
        raw: show id, type and detail as the record has them.
    """
    columns = {
        "letter": letter.place,
        "time": utc_text(letter.at),
        "reason": letter.reason,
        "detail": letter.detail if raw else shown_detail(letter),
        "type": letter.type_text if raw else letter.event_type,
        "event_id": letter.event_id if raw else shown_event_id(letter),
        "from": letter.origin,
        "replays": str(letter.replays + (mark.replays if mark else 0)),
    }
    if mark:
        columns["done"] = "discarded" if mark.discarded else "replayed"
        columns["done_at"] = utc_text(_EPOCH + timedelta(seconds=min(mark.at, 250_000_000_000)))
        columns["why"] = mark.why
    return columns


def utc_text(time: datetime) -> str:
    """Returns the time in UTC to the second, such as 2026-01-31T03:00:00Z."""
    return time.isoformat(timespec="seconds").replace("+00:00", "Z")

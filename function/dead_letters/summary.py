"""Counts dead letters by reason, type and day, and keeps the newest. Uses the same memory however many letters are added."""

import heapq
from collections import Counter
from typing import Any

from function.dead_letters.letter import DeadLetter


class Summary:
    """Counts the letters that are added, one at a time.

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
        """The letters kept, newest first."""
        return [letter for _, _, letter in sorted(self._heap, reverse=True)]

    def as_json(self) -> dict[str, Any]:
        counted = {"reasons": self.reasons, "types": self.types, "days": self.days}
        return {"letters": self.total, "replayed_before": self.replayed} | {k: dict(v) for k, v in counted.items()}


def row(letter: DeadLetter) -> dict[str, str]:
    """Returns a letter's columns in the list. None of them identifies the user."""
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

"""Knows from which offset of each partition a read that did not get to its end has to go on. Pure."""

from collections.abc import Sequence

from function.dead_letters.marks import Place
from function.kafka.spans import Span


class Positions:
    """The first offset of each partition that is not done yet.

    Args:
        spans: what is to be read.
    """

    def __init__(self, spans: Sequence[Span]) -> None:
        self._ends = {span.partition: span.end for span in spans}
        self._next = {span.partition: span.start for span in spans}
        self._held: set[int] = set()

    def done(self, place: Place) -> None:
        """Moves on, unless something before it is not done."""
        partition, offset = place
        if partition not in self._held:
            self._next[partition] = offset + 1

    def not_done(self, place: Place) -> None:
        """Holds the position at this place."""
        self._held.add(place[0])

    def complete(self) -> None:
        """Moves on to the end everywhere, unless something before it is not done: the rest of the offsets have no record."""
        self._next |= {number: end for number, end in self._ends.items() if number not in self._held}

    @property
    def at_end(self) -> bool:
        return self._next == self._ends

    def __str__(self) -> str:
        """Returns the positions as an argument of --from-offset."""
        return ",".join(f"{number}:{offset}" for number, offset in sorted(self._next.items()))

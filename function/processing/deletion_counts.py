"""The stored count of the deletion limit: permits by the minute in which they were taken. Pure: no clock, no I/O.

Stored as JSON: `{"v":1,"minutes":{"29383920":[25,17]}}`, with the minutes since 1970, the permits taken in each and not given
back, and those of them that are known to have deactivated an account.
"""

from dataclasses import dataclass
from typing import Annotated, Literal

from pydantic import BaseModel, ConfigDict, NonNegativeInt, ValidationError
from pydantic.types import Strict

from function.outcomes import Reason, TryAgain

USABLE = 2  # minutes: a permit is handed out in the minute in which it was taken, or in the next
SETTLED = 4  # minutes: by then the deletion that uses it has ended, or the process that took it is gone
COUNTED = (
    60 + SETTLED
)  # minutes: an hour, counted from the latest moment at which the account can have been deactivated


@dataclass(frozen=True, slots=True)
class Count:
    """The permits taken in one minute and not given back, and those of them known to have deactivated an account."""

    taken: int = 0
    ended: int = 0


Counts = dict[int, Count]  # by minute since 1970

_Number = Annotated[NonNegativeInt, Strict()]


class _Stored(BaseModel):
    model_config = ConfigDict(extra="forbid")

    v: Literal[1]
    minutes: dict[int, tuple[_Number, _Number]]


def load(value: bytes, minute: int) -> Counts:
    """Returns the counts that are inside the window at `minute`; a minute in the future, from a wrong clock, counts as now.

    Raises:
        TryAgain: this version can't read the value. Starting from zero instead would lift the limit.
    """
    if not value:
        return {}
    try:
        stored = _Stored.model_validate_json(value).minutes
    except ValidationError:
        raise TryAgain(Reason.DELETION_COUNT_UNREADABLE, "key deletion-limit") from None
    counts: Counts = {}
    for written, (permits, ended) in sorted(stored.items()):
        at = written if written <= minute + SETTLED else minute
        if minute - at < COUNTED:
            found = counts.get(at, Count())
            counts[at] = Count(found.taken + permits, found.ended + ended)
    return counts


def dump(counts: Counts) -> bytes:
    """Returns the bytes that `load` reads."""
    minutes = {at: (count.taken, count.ended) for at, count in sorted(counts.items()) if count.taken}
    return _Stored(v=1, minutes=minutes).model_dump_json().encode()


def taken(counts: Counts) -> int:
    """Returns the number of permits that are inside the window."""
    return sum(count.taken for count in counts.values())


def undecided(counts: Counts, minute: int) -> int:
    """Returns the number of permits that may still be given back."""
    return sum(max(0, count.taken - count.ended) for at, count in counts.items() if minute - at < SETTLED)


def free_again(counts: Counts, limit: int) -> int:
    """Returns the minute in which fewer than `limit` permits are left inside the window; 0 if that is so already."""
    left, minute = taken(counts), 0
    for at, count in sorted(counts.items()):
        if left < limit:
            break
        left, minute = left - count.taken, at + COUNTED
    return minute

"""What an audit is asked, where it is, and what it has found. Values only; audit.py walks."""

import re
from collections import Counter
from dataclasses import dataclass, field
from datetime import timedelta
from enum import StrEnum
from typing import Any, Self

from function.audit.drift import Kind
from function.outcomes import Reason


class Listing(StrEnum):
    """The two lists that are walked, in this order."""

    ACCOUNTS = "accounts"
    MEDIA = "media"


@dataclass(frozen=True, slots=True)
class Cursor:
    """Where an audit is: in which list, and behind how many of its rows."""

    listing: Listing
    offset: int = 0

    def __str__(self) -> str:
        return f"{self.listing}:{self.offset}"

    @classmethod
    def read(cls, text: str) -> Self:
        """The place of what `str` gave. Raises ValueError."""
        if not (match := re.fullmatch(r"(\w+):(\d{1,9})", text)):
            raise ValueError(text)
        return cls(Listing(match[1]), int(match[2]))


@dataclass(frozen=True, slots=True)
class Drift:
    """One thing that differs. `detail` is a number of rooms or an image; `repaired` is None where nobody tried; `why` says
    why it could not be repaired."""

    kind: Kind
    user_id: str
    detail: str = ""
    repaired: bool | None = None
    why: Reason | None = None


@dataclass(frozen=True, slots=True)
class Options:
    """What a person asked for.

    Args:
        kinds: of which drift to look for.
        limit: after so many rows of the lists, stop.
        media_age: how long ago an image must have been uploaded to count as orphaned; the function may be about to show it.
    """

    kinds: frozenset[Kind] = frozenset(Kind)
    limit: int | None = None
    media_age: timedelta = timedelta(hours=1)

    @property
    def start(self) -> Cursor:
        return Cursor(Listing.ACCOUNTS if self.kinds - {Kind.ORPHANED_MEDIA} else Listing.MEDIA)


@dataclass(slots=True)
class AuditSummary:
    """What was seen. `unknown` accounts have no record; `ended_elsewhere` are deactivated though their user was not
    deleted; `unlooked` could not be judged."""

    rows: int = 0
    accounts: int = 0
    media: int = 0
    no_record: int = 0
    deactivated_elsewhere: int = 0
    unchecked: Counter[Reason] = field(default_factory=Counter)
    found: Counter[Kind] = field(default_factory=Counter)
    repaired: Counter[Kind] = field(default_factory=Counter)

    @property
    def left(self) -> int:
        return self.found.total() - self.repaired.total()

    def as_json(self) -> dict[str, Any]:
        """The counts by name; the kinds that were found only."""
        drift = {
            kind: {"found": self.found[kind], "repaired": self.repaired[kind]} for kind in Kind if self.found[kind]
        }
        return {
            "accounts": self.accounts,
            "media": self.media,
            "unknown": self.no_record,
            "ended_elsewhere": self.deactivated_elsewhere,
            "unlooked": dict(self.unchecked),
            "drift": drift,
            "left": self.left,
        }

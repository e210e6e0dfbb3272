"""Value types of an audit: options, cursor, drift, summary."""

import re
from collections import Counter
from dataclasses import dataclass, field
from datetime import timedelta
from enum import StrEnum
from typing import Any, Self

from function.audit.drift import Kind
from function.outcomes import Reason


class Listing(StrEnum):
    """The two lists that an audit walks, in this order."""

    ACCOUNTS = "accounts"
    MEDIA = "media"


@dataclass(frozen=True, slots=True)
class Cursor:
    """Position of an audit: the list, and how many of its rows are done."""

    listing: Listing
    offset: int = 0

    def __str__(self) -> str:
        return f"{self.listing}:{self.offset}"

    @classmethod
    def read(cls, text: str) -> Self:
        """Parses the text that `str` returns. Raises ValueError."""
        if not (match := re.fullmatch(r"(\w+):(\d{1,9})", text)):
            raise ValueError(text)
        return cls(Listing(match[1]), int(match[2]))


@dataclass(frozen=True, slots=True)
class Drift:
    """One difference between an account and its record.

    `detail` is a number of rooms or an mxc URI. `repaired` is None without --repair. `why` is the reason if the repair
    failed.
    """

    kind: Kind
    user_id: str
    detail: str = ""
    repaired: bool | None = None
    why: Reason | None = None


@dataclass(frozen=True, slots=True)
class Options:
    """Options of an audit.

    Args:
        kinds: kinds of drift to look for.
        limit: stop after this number of accounts and images; None for all.
        media_age: minimum age of an orphaned image; the function may be about to set a newer one as an avatar.
    """

    kinds: frozenset[Kind] = frozenset(Kind)
    limit: int | None = None
    media_age: timedelta = timedelta(hours=1)

    @property
    def start(self) -> Cursor:
        return Cursor(Listing.ACCOUNTS if self.kinds - {Kind.ORPHANED_MEDIA} else Listing.MEDIA)


@dataclass(slots=True)
class AuditSummary:
    """Counts of an audit.

    `no_record`: accounts without a record. `deactivated_elsewhere`: accounts that are deactivated although their user was
    not deleted. `unchecked`: accounts and records that could not be read, by reason.
    """

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
        """Returns the counts by name; of the kinds only those found."""
        drift = {
            kind: {"found": self.found[kind], "repaired": self.repaired[kind]} for kind in Kind if self.found[kind]
        }
        return {
            "accounts": self.accounts,
            "media": self.media,
            "no_record": self.no_record,
            "deactivated_elsewhere": self.deactivated_elsewhere,
            "unchecked": dict(self.unchecked),
            "drift": drift,
            "left": self.left,
        }

"""Value types of an audit: options, cursor, drift, verdicts, summary."""

import hashlib
import re
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import timedelta
from enum import StrEnum
from typing import Any, Self

from function.audit.drift import REMOVED, Kind
from function.outcomes import Reason


class Listing(StrEnum):
    """The lists that an audit walks: Synapse's two, in this order, or a list of users that the caller has."""

    ACCOUNTS = "accounts"
    MEDIA = "media"
    USERS = "users"


@dataclass(frozen=True, slots=True)
class Mark:
    """The last row that is done: when it was created (ms), and a digest of its id, which may be a user's."""

    at: int
    digest: str

    @classmethod
    def of(cls, at: int, row_id: str) -> Self:
        return cls(at, hashlib.sha256(row_id.encode("utf-8", "surrogatepass")).hexdigest()[:8])


@dataclass(frozen=True, slots=True)
class Cursor:
    """Position of an audit: the list, how many of its rows are done, and the last of these. Without a mark the rows before
    it are believed to be the same as before."""

    listing: Listing
    offset: int = 0
    mark: Mark | None = None

    def __str__(self) -> str:
        mark = f":{self.mark.at}:{self.mark.digest}" if self.mark else ""
        return f"{self.listing}:{self.offset}{mark}"

    @classmethod
    def read(cls, text: str) -> Self:
        """Parses the text that `str` returns. Raises ValueError."""
        if not (match := re.fullmatch(r"([a-z]+):([0-9]{1,9})(?::([0-9]{1,15}):([0-9a-f]{8}))?", text)):
            raise ValueError(text)
        return cls(Listing(match[1]), int(match[2]), Mark(int(match[3]), match[4]) if match[3] else None)


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
class Verdict:
    """What a check of one account or one image found.

    `kinds`: the drift. `detail`: of the drift, as in `Drift`. `unchecked`: why it could not be checked. `no_record`,
    `deactivated_elsewhere`: as in `AuditSummary`.
    """

    user_id: str
    kinds: Sequence[Kind] = ()
    detail: str = ""
    unchecked: Reason | None = None
    no_record: bool = False
    deactivated_elsewhere: bool = False


@dataclass(frozen=True, slots=True)
class Options:
    """Options of an audit.

    Args:
        kinds: kinds of drift to look for; what erased users leave behind only where the function removes it.
        limit: stop after this number of rows; None for all.
        media_age: minimum age of an orphaned image; the function may be about to set a newer one as an avatar.
        max_repairs: stop before the repair after this number of accounts and images; None for no limit.
    """

    kinds: frozenset[Kind] = frozenset(Kind) - frozenset(REMOVED)
    limit: int | None = None
    media_age: timedelta = timedelta(hours=1)
    max_repairs: int | None = None

    @property
    def start(self) -> Cursor:
        return Cursor(Listing.ACCOUNTS if self.kinds - {Kind.ORPHANED_MEDIA} else Listing.MEDIA)


@dataclass(slots=True)
class AuditSummary:
    """Counts of an audit.

    `no_record`: accounts, or users of a given list, without a record. `deactivated_elsewhere`: accounts that are deactivated
    although their user was not deleted. `unchecked`: accounts and images that could not be checked, by reason.
    `not_attempted`: accounts and images known to differ that the limit of repairs left.
    """

    rows: int = 0
    accounts: int = 0
    media: int = 0
    no_record: int = 0
    deactivated_elsewhere: int = 0
    not_attempted: int = 0
    unchecked: Counter[Reason] = field(default_factory=Counter)
    found: Counter[Kind] = field(default_factory=Counter)
    repaired: Counter[Kind] = field(default_factory=Counter)

    @property
    def left(self) -> int:
        return self.found.total() - self.repaired.total()

    def count(self, verdict: Verdict, listing: Listing) -> None:
        """Counts a check; its drift is counted when it is reported."""
        if listing is Listing.MEDIA:
            self.media += 1
        else:
            self.accounts += 1
        self.no_record += verdict.no_record
        self.deactivated_elsewhere += verdict.deactivated_elsewhere
        if verdict.unchecked:
            self.unchecked[verdict.unchecked] += 1

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
            "not_attempted": self.not_attempted,
        }

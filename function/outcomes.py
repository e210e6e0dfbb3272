"""The two error words of the project; reasons.py has every reason they carry.

`Rejected`: this event can't succeed; it goes to the dead letters with the reason.
`TryAgain`: the world is broken, not the event; it is answered RETRY and waits in Kafka.

A detail names fields, codes and statuses, never values: names, addresses, ids and tokens stay out of it.
"""

from dataclasses import dataclass
from enum import StrEnum

from function.reasons import Reason as Reason  # noqa: PLC0414 - the failures and their reasons are one import


class Rejected(Exception):
    """Hopeless: retrying can't help while the event and the world are as they are. Also used as a value.

    `ids` are the Matrix ids that a person needs to decide; they stand in the dead letter and nowhere else.
    """

    def __init__(self, reason: Reason, detail: str = "", ids: str = "") -> None:
        super().__init__(reason, detail)
        self.reason = reason
        self.detail = detail
        self.ids = ids


class TryAgain(Exception):
    """Passing: the same event can succeed later."""

    def __init__(self, reason: Reason, detail: str = "") -> None:
        super().__init__(reason, detail)
        self.reason = reason
        self.detail = detail


class Outcome(StrEnum):
    """What became of one event."""

    APPLIED = "applied"  # at least one call changed Synapse
    UNCHANGED = "unchanged"  # Synapse was as the event says already
    STALE = "stale"  # something newer, or a deletion, is known
    NO_ACCOUNT = "no_account"  # nobody to write to: remembered, not an error
    IGNORED = "ignored"  # not for this service
    DEAD_LETTER = "dead_letter"
    RETRY = "retry"


@dataclass(frozen=True, slots=True)
class EventResult:
    """The fate of one record; `reason` for a dead letter and a retry."""

    outcome: Outcome
    failure: Rejected | TryAgain | None = None

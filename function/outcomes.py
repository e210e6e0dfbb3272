"""Defines how the processing of an event can end: its outcome, and the two exceptions that carry a reason.

`Rejected`: the event can't succeed; it is dead-lettered with the reason.
`TryAgain`: a dependency failed, not the event; it is answered RETRY and waits in Kafka.

A detail names fields, codes and statuses, never values: no names, addresses, ids or tokens.
"""

from dataclasses import dataclass
from enum import StrEnum

from function.reasons import Reason as Reason  # noqa: PLC0414 - exceptions and their reasons are one import


class Rejected(Exception):
    """A permanent failure of one event: retries are useless. Also used as a value.

    `ids` are the Matrix ids that a person needs to decide; they are written to the dead letter and nowhere else.
    `in_doubt`: Synapse may have carried out the request, or may still do so.
    """

    def __init__(self, reason: Reason, detail: str = "", ids: str = "", *, in_doubt: bool = False) -> None:
        super().__init__(reason, detail)
        self.reason = reason
        self.detail = detail
        self.ids = ids
        self.in_doubt = in_doubt


class TryAgain(Exception):
    """A temporary failure: the same event can succeed later.

    `in_doubt`: Synapse may have carried out the request, or may still do so.
    """

    def __init__(self, reason: Reason, detail: str = "", *, in_doubt: bool = False) -> None:
        super().__init__(reason, detail)
        self.reason = reason
        self.detail = detail
        self.in_doubt = in_doubt


class Outcome(StrEnum):
    """How the processing of one event ended."""

    APPLIED = "applied"  # at least one call changed Synapse
    UNCHANGED = "unchanged"  # Synapse already matched the event
    STALE = "stale"  # something newer, or a deletion, is known
    NO_ACCOUNT = "no_account"  # the user has no Matrix account: stored, not an error
    IGNORED = "ignored"  # not a type that this service handles
    DEAD_LETTER = "dead_letter"
    RETRY = "retry"  # not final: the event stays in Kafka


@dataclass(frozen=True, slots=True)
class EventResult:
    """The result of one record; `failure` has the reason of a dead letter or a retry, `cause` why it was ignored."""

    outcome: Outcome
    failure: Rejected | TryAgain | None = None
    cause: str = ""

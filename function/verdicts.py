"""What became of each event: the words, and how one reconciliation is shared out to the events folded into it. Pure."""

from collections.abc import Sequence
from dataclasses import dataclass
from enum import StrEnum

from function.desired import Status, is_late
from function.events import Event, ProfileUpdated, UserDeleted
from function.failures import Rejected, TryAgain
from function.reconcile import Deactivate, Outcome


class Fate(StrEnum):
    """What became of one event."""

    APPLIED = "applied"  # at least one call changed Synapse
    UNCHANGED = "unchanged"  # Synapse was as the event says already
    STALE = "stale"  # something newer, or a deletion, is known
    NO_ACCOUNT = "no_account"  # nobody to write to: remembered, not an error
    IGNORED = "ignored"  # not for this service
    DEAD_LETTER = "dead_letter"
    RETRY = "retry"


@dataclass(frozen=True, slots=True)
class Verdict:
    """The fate of one record; `reason` for a dead letter and a retry."""

    fate: Fate
    failure: Rejected | TryAgain | None = None


def verdicts_of(events: Sequence[Event], outcome: Outcome) -> list[Verdict]:
    """What one reconciliation means for each of the events that were folded into it."""
    latest = max((e.at for e in events if isinstance(e, ProfileUpdated)), default=None)
    last = max((i for i, e in enumerate(events) if isinstance(e, ProfileUpdated) and e.at == latest), default=-1)
    return [
        _deletion(outcome) if isinstance(event, UserDeleted) else _profile(event, outcome, newest=place == last)
        for place, event in enumerate(events)
    ]


def _deletion(outcome: Outcome) -> Verdict:
    for step, rejected in outcome.refused:
        if isinstance(step, Deactivate):
            return Verdict(Fate.DEAD_LETTER, rejected)
    if not outcome.account.exists:
        return Verdict(Fate.NO_ACCOUNT)
    return Verdict(Fate.APPLIED if outcome.done else Fate.UNCHANGED)


def _profile(event: ProfileUpdated, outcome: Outcome, *, newest: bool) -> Verdict:
    record = outcome.record
    if record.status is not Status.ACTIVE or not newest or is_late(record, event):
        return Verdict(Fate.STALE)
    if not outcome.account.exists or outcome.account.deactivated:
        return Verdict(Fate.NO_ACCOUNT)
    for _, rejected in outcome.refused:
        return Verdict(Fate.DEAD_LETTER, rejected)
    if isinstance(event.avatar, Rejected):
        return Verdict(Fate.DEAD_LETTER, event.avatar)
    return Verdict(Fate.APPLIED if outcome.done else Fate.UNCHANGED)

"""What became of each event: the words, and how one reconciliation is shared out to the events folded into it. Pure."""

from collections.abc import Sequence
from dataclasses import dataclass
from enum import StrEnum

from function.accounts.plan import PROFILE_STEPS, CreateAccount, Deactivate, DeleteMedia, EndSessions, Step
from function.accounts.reconcile import Outcome
from function.accounts.user_state import Status, is_late
from function.events.decode import Event, PasswordChanged, ProfileUpdated, UserCreated, UserDeleted
from function.outcomes import Rejected, TryAgain


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
    return [_verdict(event, outcome, newest=place == last) for place, event in enumerate(events)]


def deactivates(outcome: Outcome) -> bool:
    """Whether an account was ended."""
    return any(isinstance(step, Deactivate) for step in outcome.done)


def _verdict(event: Event, outcome: Outcome, *, newest: bool) -> Verdict:
    match event:
        case UserDeleted():
            return _deletion(outcome)
        case ProfileUpdated():
            return _profile(event, outcome, newest=newest)
        case UserCreated():
            return _late(event, outcome) or _of_steps(outcome, CreateAccount)
        case PasswordChanged():
            gone = None if outcome.account.exists else Verdict(Fate.NO_ACCOUNT)
            return _late(event, outcome) or gone or _of_steps(outcome, EndSessions)


def _deletion(outcome: Outcome) -> Verdict:
    if refused := _refusal(outcome, Deactivate, DeleteMedia):
        return refused
    if not outcome.account.exists:
        return Verdict(Fate.NO_ACCOUNT)
    return Verdict(Fate.APPLIED if outcome.done else Fate.UNCHANGED)


def _profile(event: ProfileUpdated, outcome: Outcome, *, newest: bool) -> Verdict:
    if not newest:
        return Verdict(Fate.STALE)
    if late := _late(event, outcome):
        return late
    if not outcome.account.exists or outcome.account.deactivated:
        return Verdict(Fate.NO_ACCOUNT)
    if refused := _refusal(outcome, *PROFILE_STEPS):
        return refused
    if isinstance(event.avatar, Rejected):
        return Verdict(Fate.DEAD_LETTER, event.avatar)
    return _of_steps(outcome, *PROFILE_STEPS)


def _late(event: Event, outcome: Outcome) -> Verdict | None:
    record = outcome.record
    return Verdict(Fate.STALE) if record.status is not Status.ACTIVE or is_late(record, event) else None


def _of_steps(outcome: Outcome, *kinds: type[Step]) -> Verdict:
    if refused := _refusal(outcome, *kinds):
        return refused
    done = any(isinstance(step, kinds) for step in outcome.done)
    return Verdict(Fate.APPLIED if done else Fate.UNCHANGED)


def _refusal(outcome: Outcome, *kinds: type[Step]) -> Verdict | None:
    refused = (rejected for step, rejected in outcome.refused if isinstance(step, kinds))
    return next((Verdict(Fate.DEAD_LETTER, rejected) for rejected in refused), None)

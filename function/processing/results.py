"""Derives the result of each event from the one reconciliation that it was folded into. Pure."""

from collections.abc import Sequence

from function.accounts.plan import ReconcileResult
from function.accounts.steps import (
    PROFILE_STEPS,
    CreateAccount,
    Deactivate,
    DeleteMedia,
    DeleteOwnAvatar,
    EndSessions,
    LinkIdentity,
    Step,
)
from function.accounts.user_state import Status, is_late
from function.events.types import Event, PasswordChanged, ProfileUpdated, UserCreated, UserDeleted
from function.outcomes import EventResult, Outcome, Rejected


def event_results(events: Sequence[Event], reconciled: ReconcileResult) -> list[EventResult]:
    """Returns the result of each event that was folded into the reconciliation."""
    if len(events) == 1:
        return [_event_result(events[0], reconciled, newest=True)]
    latest = max((e.at for e in events if isinstance(e, ProfileUpdated)), default=None)
    last = max((i for i, e in enumerate(events) if isinstance(e, ProfileUpdated) and e.at == latest), default=-1)
    return [_event_result(event, reconciled, newest=place == last) for place, event in enumerate(events)]


def may_have_deactivated(reconciled: ReconcileResult) -> bool:
    """Returns whether an account was deactivated, or may still be."""
    refused = (step for step, rejected in reconciled.refused if rejected.in_doubt)
    return any(isinstance(step, Deactivate) for step in (*reconciled.done, *refused))


def _event_result(event: Event, reconciled: ReconcileResult, *, newest: bool) -> EventResult:
    match event:
        case UserDeleted():
            return _deletion(reconciled)
        case ProfileUpdated():
            return _profile(event, reconciled, newest=newest)
        case UserCreated():
            return _late(event, reconciled) or _of_steps(reconciled, CreateAccount, LinkIdentity)
        case PasswordChanged():
            account = reconciled.account
            gone = None if account.exists or account.mas_active else EventResult(Outcome.NO_ACCOUNT)
            return _late(event, reconciled) or gone or _of_steps(reconciled, EndSessions)


def _deletion(reconciled: ReconcileResult) -> EventResult:
    if refused := _refusal(reconciled, Deactivate, DeleteMedia, DeleteOwnAvatar):
        return refused
    if not reconciled.account.exists:
        return EventResult(Outcome.NO_ACCOUNT)
    return EventResult(Outcome.APPLIED if reconciled.done else Outcome.UNCHANGED)


def _profile(event: ProfileUpdated, reconciled: ReconcileResult, *, newest: bool) -> EventResult:
    if not newest:
        return EventResult(Outcome.STALE)
    if late := _late(event, reconciled):
        return late
    if not reconciled.account.writable:
        return EventResult(Outcome.NO_ACCOUNT)
    if refused := _refusal(reconciled, *PROFILE_STEPS):
        return refused
    if isinstance(event.avatar, Rejected):
        return EventResult(Outcome.DEAD_LETTER, event.avatar)
    return _of_steps(reconciled, *PROFILE_STEPS)


def _late(event: Event, reconciled: ReconcileResult) -> EventResult | None:
    state = reconciled.state
    return EventResult(Outcome.STALE) if state.status is not Status.ACTIVE or is_late(state, event) else None


def _of_steps(reconciled: ReconcileResult, *kinds: type[Step]) -> EventResult:
    if refused := _refusal(reconciled, *kinds):
        return refused
    done = any(isinstance(step, kinds) for step in reconciled.done)
    return EventResult(Outcome.APPLIED if done else Outcome.UNCHANGED)


def _refusal(reconciled: ReconcileResult, *kinds: type[Step]) -> EventResult | None:
    refused = (rejected for step, rejected in reconciled.refused if isinstance(step, kinds))
    return next((EventResult(Outcome.DEAD_LETTER, rejected) for rejected in refused), None)

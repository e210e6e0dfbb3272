"""Says which changes of an account are evidence for which event. Pure.

What a call changed is told once its answer was seen. Before the calls, the claim announces the events they are made for: if the
process dies, or an answer is lost, the next look at the account shows what became of them.
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from datetime import datetime

from function.accounts.plan import Decision, ReconcileResult, plan
from function.accounts.steps import (
    CopyAvatar,
    CreateAccount,
    Deactivate,
    DeleteMedia,
    DeleteOwnAvatar,
    EndSessions,
    LinkIdentity,
    SetAvatar,
    SetDisplayName,
    Step,
)
from function.accounts.traces import Part, RemovalResult
from function.accounts.user_state import Status, UserState
from function.changes import Announced, Change, Done
from function.events.types import TYPES, Event, EventType
from function.telemetry.logs import plain

_TYPES: dict[type[Event], EventType] = {kind.event: kind for kind in EventType}
# The events that ask for each, the first kind before the second.
_ASKED_BY: dict[Done, tuple[EventType, ...]] = {
    Done.ACCOUNT_CREATED: (EventType.CREATED, EventType.PROFILE_UPDATED),
    Done.IDENTITY_LINKED: (EventType.CREATED,),
    Done.DISPLAY_NAME_SET: (EventType.PROFILE_UPDATED,),
    Done.AVATAR_SET: (EventType.PROFILE_UPDATED,),
    Done.AVATAR_REMOVED: (EventType.PROFILE_UPDATED,),
    Done.SESSIONS_ENDED: (EventType.PASSWORD_CHANGED,),
    Done.DEACTIVATED: (EventType.DELETED,),
    Done.ERASED: (EventType.DELETED,),
    Done.MEDIA_DELETED: (EventType.DELETED, EventType.PROFILE_UPDATED),
}
_REMOVED = {Part.MESSAGES: Done.MESSAGES_REDACTED, Part.MEDIA: Done.FILES_DELETED}
_REPAIR = Announced()
_AVATAR = (Done.AVATAR_SET, Done.AVATAR_REMOVED)


@dataclass(frozen=True, slots=True)
class Told:
    """What is told of a reconciliation now, and what is left to be found out."""

    changes: tuple[Change, ...]
    announced: tuple[Announced, ...]


def announced(decision: Decision, events: Sequence[Event]) -> tuple[Announced, ...]:
    """Returns what the claim of a decision announces: what earlier claims did, and what its own calls may do."""
    own = _causes(events)
    words = _all_words(decision.state) if decision.look else _words(decision.steps, decision.state, own)
    may: dict[Announced, tuple[Done, ...]] = {}
    for word in words:
        for owner in _owners(word, own, decision.state) or [_REPAIR]:
            may[owner] = (*may.get(owner, ()), word)
    if _REPAIR in may:  # sessions are ended for an event only
        may[_REPAIR] = tuple(word for word in may[_REPAIR] if word is not Done.SESSIONS_ENDED)
    new = (replace(cause, may=done) for cause in (*own, _REPAIR) if (done := may.get(cause)))
    return _merged([*(decision.state.announced or ()), *new])


def told(decision: Decision, events: Sequence[Event], result: ReconcileResult, now: datetime) -> Told:
    """Returns what is told once a decision was carried out, as far as it was.

    A change belongs to the event that asked for it, whichever process made the call; a change that no event asked for is a repair.
    """
    carried = decision.state.announced or ()
    causes = sorted(_merged([*carried, *_causes(events), _REPAIR]), key=lambda cause: cause.event_type is None)
    answered = _answered(result, causes)
    looked = decision.look and result.failure is None
    changes: list[Change] = []
    for cause in causes:
        if done := answered.get(cause, ()):
            changes.append(Change(done, now, cause.event_id, cause.event_type))
        found = tuple(word for word in _rest(cause, changes) if _found(word, cause, result)) if looked else ()
        if found:
            changes.append(Change(found, now, cause.event_id, cause.event_type, found=True))
    # What an erased user left behind is removed later, by no event of its own, and told once it is done.
    if removed := tuple(_REMOVED[one.part] for one in result.removals if one.result is RemovalResult.DONE):
        changes.append(Change(removed, now))
    left = [cause for cause in carried if _is_open(cause, result, changes, looked=looked)]
    if _in_doubt(result):
        left += announced(decision, events)
    rests = (replace(cause, may=rest) for cause in _merged(left) if (rest := _rest(cause, changes)))
    return Told(tuple(changes), tuple(cause for cause in rests if _is_wanted(cause, result.state)))


def _causes(events: Sequence[Event]) -> list[Announced]:
    return [
        Announced((), _TYPES[type(event)].value, event.at, None if (found := plain(event.id)) == "-" else found)
        for event in events
    ]


def _merged(causes: Iterable[Announced]) -> tuple[Announced, ...]:
    """Returns each event once, with all that may have been done for it."""
    found: dict[Announced, Announced] = {}
    for one in causes:
        key = replace(one, may=())
        before = found.get(key, one).may
        found[key] = replace(one, may=tuple(dict.fromkeys((*before, *one.may))))
    return tuple(found.values())


def _answered(result: ReconcileResult, causes: Sequence[Announced]) -> dict[Announced, tuple[Done, ...]]:
    """Returns what was done for each cause; what no event asked for is a repair."""
    repair = next(cause for cause in causes if cause.event_type is None)
    found: dict[Announced, tuple[Done, ...]] = {}
    for word in _words(result.done, result.state, causes):
        for owner in _owners(word, causes, result.state) or [repair]:
            found[owner] = (*found.get(owner, ()), word)
    return found


def _owners(word: Done, causes: Sequence[Announced], state: UserState) -> list[Announced]:
    for kind in _ASKED_BY[word]:
        found = [cause for cause in causes if cause.event_type == kind and _counts(word, cause, state)]
        if found:
            return found[-1:] if kind is EventType.PROFILE_UPDATED else found
    return []


def _counts(word: Done, cause: Announced, state: UserState) -> bool:
    """Returns whether the state is as this event asks, and not as a newer one does."""
    if cause.event_type == EventType.DELETED:
        return state.status is not Status.ACTIVE
    newest = {
        EventType.PROFILE_UPDATED: state.avatar_at if word in _AVATAR else state.profile_at,
        EventType.CREATED: state.created_at,
        EventType.PASSWORD_CHANGED: state.sessions_at,
    }.get(TYPES[cause.event_type or ""])
    return newest is not None and cause.at == newest


def _words(steps: Sequence[Step], state: UserState, causes: Sequence[Announced]) -> tuple[Done, ...]:
    words = dict.fromkeys(word for step in steps for word in words_of(step))
    if Done.ACCOUNT_CREATED in words and _owners(Done.DISPLAY_NAME_SET, causes, state):
        words[Done.DISPLAY_NAME_SET] = None  # an account is created with its name
    return tuple(words)


def words_of(step: Step) -> tuple[Done, ...]:  # noqa: PLR0911 - one for each kind of step
    """Returns what a step does, in words."""
    match step:
        case Deactivate(erase):
            return (Done.DEACTIVATED, Done.ERASED) if erase else (Done.DEACTIVATED,)
        case CreateAccount():
            return (Done.ACCOUNT_CREATED,)
        case LinkIdentity():
            return (Done.IDENTITY_LINKED,)
        case EndSessions():
            return (Done.SESSIONS_ENDED,)
        case SetDisplayName():
            return (Done.DISPLAY_NAME_SET,)
        case SetAvatar(address):
            return (Done.AVATAR_SET,) if address else (Done.AVATAR_REMOVED,)
        case CopyAvatar():
            return (Done.AVATAR_SET,)
        case DeleteMedia() | DeleteOwnAvatar():
            return (Done.MEDIA_DELETED,)


def _all_words(state: UserState) -> tuple[Done, ...]:
    """Returns all that may be done to an account that has not been looked at."""
    if state.status is not Status.ACTIVE:
        return (Done.DEACTIVATED, Done.ERASED) if state.status is Status.ERASED else (Done.DEACTIVATED,)
    created = () if state.username is None else (Done.ACCOUNT_CREATED, Done.IDENTITY_LINKED)
    name = () if state.display_name is None else (Done.DISPLAY_NAME_SET,)
    avatar = () if state.avatar is None else (Done.AVATAR_SET,) if state.avatar else (Done.AVATAR_REMOVED,)
    return (*created, Done.SESSIONS_ENDED, *name, *avatar)


def _found(word: str, cause: Announced, result: ReconcileResult) -> bool:
    """Returns whether the account, after a look, is as an announced event asks, or a newer event that asks for the same."""
    state, account = result.state, result.account
    if not account.exists:
        return False
    if state.status is not Status.ACTIVE:
        ended = account.deactivated and not account.mas_active
        return ended and (word == Done.DEACTIVATED or (word == Done.ERASED and account.erased))
    if not account.writable:
        return False
    avatar_differs = any(isinstance(step, SetAvatar | CopyAvatar) for step in plan(state, account))
    return {
        Done.ACCOUNT_CREATED.value: True,
        Done.IDENTITY_LINKED.value: account.linked is True,
        Done.SESSIONS_ENDED.value: _sessions_ended(cause, state),
        Done.DISPLAY_NAME_SET.value: state.display_name == account.display_name,
        Done.AVATAR_SET.value: not avatar_differs,
        Done.AVATAR_REMOVED.value: not avatar_differs,
    }.get(word, False)


def _sessions_ended(cause: Announced, state: UserState) -> bool:
    return state.ended_at is not None and cause.at is not None and state.ended_at >= cause.at


def _is_open(cause: Announced, result: ReconcileResult, changes: Sequence[Change], *, looked: bool) -> bool:
    """Returns whether it is still not known what became of an announced event."""
    if result.failure is None and not result.account.exists:
        return False
    if cause.event_type == EventType.PASSWORD_CHANGED and result.failure is None:
        return not _sessions_ended(cause, result.state)  # until it is delivered again
    return not looked and bool(_rest(cause, changes))


def _rest(cause: Announced, changes: Sequence[Change]) -> tuple[str, ...]:
    """Returns what may have been done for a cause and is not told; what was told of an event needs no repair."""
    is_repair = cause.event_type is None
    own = (one for one in changes if is_repair or (one.event_type, one.event_id) == (cause.event_type, cause.event_id))
    done = {word for one in own for word in one.done}
    return tuple(word for word in cause.may if word not in done)


def _in_doubt(result: ReconcileResult) -> bool:
    """Returns whether a call may have been, or may still be, carried out without its answer."""
    asked = [rejected.in_doubt for _, rejected in result.refused]
    lost = result.failure is not None and (result.failure.in_doubt or result.state.known is None)
    return lost or any(asked)


def _is_wanted(cause: Announced, state: UserState) -> bool:
    """Returns whether no deletion took the place of what an event asks for."""
    return state.status is Status.ACTIVE or Done.DEACTIVATED in cause.may or Done.ERASED in cause.may

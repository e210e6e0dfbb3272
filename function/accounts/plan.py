"""Decides what one user's events ask of Synapse, and plans the fewest steps to get there. Pure."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta

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
    apply_step,
)
from function.accounts.traces import Removal
from function.accounts.user_state import Status, UserState, digest, fold, without_future
from function.copies import replace
from function.events.types import Event, PasswordChanged, ProfileUpdated, UserCreated, UserDeleted
from function.homeserver.account import Account
from function.outcomes import Rejected, TryAgain

ABSENT = Account(exists=False)
# Another client may have deactivated the account since it was last read, or activated it again. A write to an erased account
# would bring personal data back, so after this time the account is read before a profile is written.
ACCOUNT_TTL = timedelta(minutes=10)
CLOCK_SKEW = timedelta(minutes=1)  # between replicas


@dataclass(frozen=True, slots=True)
class Asked:
    """What a user's events of one batch ask for beyond the state: it is done for these events, and for no later ones.

    Attributes:
        deletions: digests of the deletions that were not carried out yet; "" for one without an id.
        sessions: whether a password was changed, and sessions have not been ended for it.
        created: whether an account was created.
    """

    deletions: tuple[str, ...] = ()
    sessions: bool = False
    created: bool = False


NOTHING = Asked()


@dataclass(frozen=True)
class Decision:
    """What to do for a user's events.

    Attributes:
        state: the state after the events.
        asked: what the events ask for beyond it.
        look: whether the account must be read before anything is planned.
        steps: the steps from what is known to the state, the deletions of images last; empty with `look`.
    """

    state: UserState
    asked: Asked
    look: bool
    steps: Sequence[Step]

    @property
    def needs_calls(self) -> bool:
        """Whether Synapse or an image host is needed; for most events it is not."""
        return self.look or bool(self.steps)


@dataclass(frozen=True, slots=True)
class ReconcileResult:
    """The result of a reconciliation: the state with what is now known, and what became of each step.

    Attributes:
        state: without a claim.
        account: the account as it was last seen or written.
        done: the steps that Synapse took.
        refused: the steps that it refused.
        removals: what was done about the traces of an erased user.
        failure: why the other steps have to wait; None if there are none.
    """

    state: UserState
    account: Account = ABSENT
    done: Sequence[Step] = ()
    refused: Sequence[tuple[Step, Rejected]] = ()
    removals: Sequence[Removal] = ()
    failure: TryAgain | None = None


def decide(before: UserState, events: Sequence[Event], now: datetime, *, look: bool = False) -> Decision:
    """Folds a user's events into the state and plans what follows from them.

    Args:
        before: the state before the events; not claimed.
        events: in the order of their arrival.
        now: in UTC.
        look: read the account first, whatever is known.
    """
    state = before = without_future(before, now)
    for event in events:
        state = fold(state, event)
    asked = _asked(before, state, events)
    known = known_account(state)
    steps = [*plan(state, known, asked, seen=False), *orphaned_uploads(state, known)]
    if look or _needs_look(before, state, asked, steps, now) or _is_stale_news(state, events, steps, now):
        return Decision(state, asked, look=True, steps=())
    return Decision(state, asked, look=False, steps=steps)


def known_account(state: UserState) -> Account:
    """Returns the account that the state knows of; ABSENT if it knows nothing."""
    if state.known is None:
        return ABSENT
    return state.known if state.linked in (None, state.known.linked) else replace(state.known, linked=state.linked)


def _asked(before: UserState, state: UserState, events: Sequence[Event]) -> Asked:
    if all(isinstance(event, ProfileUpdated) for event in events):  # most are
        return NOTHING
    deletions = tuple(
        one
        for one in (digest(e) for e in events if isinstance(e, UserDeleted))
        if not one or one not in before.deleted_by
    )
    changed = any(isinstance(event, PasswordChanged) for event in events)
    at, ended = state.sessions_at, state.ended_at
    sessions = changed and at is not None and (ended is None or ended < at)
    created = any(isinstance(event, UserCreated) for event in events)
    return Asked(deletions, sessions, created) if deletions or sessions or created else NOTHING


def _needs_look(before: UserState, state: UserState, asked: Asked, steps: Sequence[Step], now: datetime) -> bool:
    """Returns whether what is known of the account is not enough to plan.

    A profile is never written before the account is known to exist. A deletion needs no look: its call is made whatever is
    known, and is answered 404 if there is no account.
    """
    if state.status is not Status.ACTIVE:
        return False
    known = state.known
    if known is None or state.in_doubt:
        return True
    fresh = is_fresh(state.seen_at, now)
    if not known.exists:
        return not fresh or state != before  # the user may have logged in since
    if known.deactivated or known.erased:
        return not fresh
    if asked.created and state.linked is None:
        return True
    # CopyAvatar reads the account itself if the image has changed, which is rare.
    return not fresh and any(isinstance(step, SetDisplayName | SetAvatar | LinkIdentity) for step in steps)


def _is_stale_news(state: UserState, events: Sequence[Event], steps: Sequence[Step], now: datetime) -> bool:
    """Returns whether something came of a user that was deleted a while ago: another client may have activated the account."""
    if state.status is Status.ACTIVE or steps or is_fresh(state.seen_at, now):
        return False
    return any(not isinstance(event, UserDeleted) for event in events)


def is_fresh(seen_at: datetime | None, now: datetime) -> bool:
    """Returns whether an account that was read at that time is still believed; not by a clock that was ahead."""
    return seen_at is not None and now - ACCOUNT_TTL < seen_at <= now + CLOCK_SKEW


def plan(state: UserState, account: Account, asked: Asked = NOTHING, *, seen: bool = True) -> list[Step]:
    """Returns the steps from `account` to `state`.

    Args:
        state: what the account is to become.
        account: what is known of the account.
        asked: what the events ask for beyond the state.
        seen: whether `account` was read from Synapse in this reconciliation. A deletion relies on nothing else.
    """
    if state.status is not Status.ACTIVE:
        return _deletion(state, account, asked, seen=seen)
    steps: list[Step] = []
    # A user who is active in MAS goes on there, whatever Synapse has.
    if asked.sessions and state.sessions_at and (account.writable or account.mas_active):
        steps.append(EndSessions(state.sessions_at))
    if account.deactivated or account.erased or account.mas_active is False:
        return steps  # never written to
    if not account.exists:
        if state.username is None:
            return steps
        created = CreateAccount(state.display_name or state.username)
        steps.append(created)
        account = apply_step(account, created)
    elif state.username is not None and account.linked is False:
        steps.append(LinkIdentity())
    if state.display_name is not None and state.display_name != account.display_name:
        steps.append(SetDisplayName(state.display_name))
    return steps + _avatar(state, account)


def _deletion(state: UserState, account: Account, asked: Asked, *, seen: bool) -> list[Step]:
    erase = state.status is Status.ERASED
    ended = account.deactivated and not account.mas_active and (not erase or account.erased)
    clean = ended and not (erase and (account.display_name or account.avatar))
    if seen:
        gone = not account.exists and not account.mas_active
        return [] if clean or gone else [Deactivate(erase)]
    carried_out = state.known is not None and (ended or not account.exists)
    return [] if carried_out and not asked.deletions else [Deactivate(erase)]


def _avatar(state: UserState, account: Account) -> list[Step]:
    wanted = state.avatar
    if wanted is None:
        return []
    if not wanted.startswith("https://"):
        return [] if wanted == account.avatar else [SetAvatar(wanted)]
    copy = state.copy
    current = copy is not None and copy.source == wanted and copy.at == state.avatar_at and copy.mxc == account.avatar
    return [] if current else [CopyAvatar(wanted)]


def orphaned_uploads(state: UserState, account: Account) -> list[Step]:
    """Returns the deletions of images that are not needed: all of an erased user's, otherwise all but the current avatar.

    A copy that is still to be set as the avatar, after a failure, is needed.
    """
    if state.status is Status.DEACTIVATED:
        return []
    if state.status is Status.ERASED:
        own: list[Step] = [DeleteOwnAvatar(state.last_avatar)] if state.last_avatar else []
        return [*(DeleteMedia(mxc) for mxc in state.uploads), *own]
    wanted = state.copy.mxc if state.copy and state.copy.source == state.avatar else ""
    return [DeleteMedia(mxc) for mxc in state.uploads if mxc not in (account.avatar, wanted)]

"""The steps from what Synapse has to what a user's record says: the fewest. Pure."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from datetime import datetime, timedelta

from function.accounts.user_state import Status, UserState
from function.homeserver.account import Account
from function.outcomes import Rejected

ABSENT = Account(exists=False)
# Somebody else may have ended the account since it was last seen. A write to an erased account would bring personal
# data back, so after this long Synapse is asked before a profile is written.
ACCOUNT_TTL = timedelta(minutes=10)


@dataclass(frozen=True, slots=True)
class Deactivate:
    """Ends the account; with `erase`, also takes its name and avatar away."""

    erase: bool


@dataclass(frozen=True, slots=True)
class CreateAccount:
    """Makes the account ahead of the first login."""

    name: str


@dataclass(frozen=True, slots=True)
class EndSessions:
    """Logs out whoever is logged in."""

    at: datetime


@dataclass(frozen=True, slots=True)
class SetDisplayName:
    name: str


@dataclass(frozen=True, slots=True)
class SetAvatar:
    address: str


@dataclass(frozen=True, slots=True)
class CopyAvatar:
    """Copies an https image into the media store, unless the copy that is there is still right, and shows it."""

    source: str


@dataclass(frozen=True, slots=True)
class DeleteMedia:
    """Deletes an image that this service uploaded and that nobody shows any more."""

    mxc: str


Step = Deactivate | CreateAccount | EndSessions | SetDisplayName | SetAvatar | CopyAvatar | DeleteMedia
PROFILE_STEPS = (CreateAccount, SetDisplayName, SetAvatar, CopyAvatar)


@dataclass(frozen=True, slots=True)
class ReconcileResult:
    """The result of a reconciliation: the state with what is now known, the steps that Synapse took and those it refused."""

    state: UserState
    done: Sequence[Step] = ()
    refused: Sequence[tuple[Step, Rejected]] = ()

    @property
    def account(self) -> Account:
        return self.state.known or ABSENT


def plan(state: UserState, account: Account) -> list[Step]:
    """The steps from `account` to what `record` says. An account that is deactivated is never written to, except
    to end it more thoroughly."""
    if state.status is Status.ERASED:
        clean = account.deactivated and account.erased and not account.display_name and not account.avatar
        return [] if clean or not account.exists else [Deactivate(erase=True)]
    if state.status is Status.DEACTIVATED:
        return [] if account.deactivated or not account.exists else [Deactivate(erase=False)]
    if account.deactivated or account.erased:
        return []
    steps: list[Step] = []
    if not account.exists:
        if state.username is None:
            return []
        steps.append(CreateAccount(state.display_name or state.username))
        account = apply_step(account, steps[0])
    elif state.sessions_at and (state.ended_at is None or state.ended_at < state.sessions_at):
        steps.append(EndSessions(state.sessions_at))
    if state.display_name is not None and state.display_name != account.display_name:
        steps.append(SetDisplayName(state.display_name))
    return steps + _avatar(state, account)


def _avatar(state: UserState, account: Account) -> list[Step]:
    wanted = state.avatar
    if wanted is None:
        return []
    if not wanted.startswith("https://"):
        return [] if wanted == account.avatar else [SetAvatar(wanted)]
    copy = state.copy
    current = copy is not None and copy.source == wanted and copy.at == state.avatar_at and copy.mxc == account.avatar
    return [] if current else [CopyAvatar(wanted)]


def orphaned_uploads(state: UserState, account: Account) -> list[DeleteMedia]:
    """What this service uploaded and nobody needs any more: everything of an erased person, else all but the image
    that is shown."""
    if state.status is Status.DEACTIVATED:
        return []
    shown = "" if state.status is Status.ERASED else account.avatar
    return [DeleteMedia(mxc) for mxc in state.uploads if mxc != shown]


def apply_step(account: Account, step: Step) -> Account:
    """The account once Synapse has taken `step`; what a copied avatar's address is, only the copying tells."""
    match step:
        case Deactivate(erase=True):
            return Account(deactivated=True, erased=True)
        case Deactivate():
            return replace(account, exists=True, deactivated=True)
        case CreateAccount(name):
            return Account(display_name=name)
        case SetDisplayName(name):
            return replace(account, display_name=name)
        case SetAvatar(address):
            return replace(account, avatar=address)
    return account


def needs_lookup(state: UserState, now: datetime, *, verify: bool) -> bool:
    """Whether Synapse has to be asked first. A profile is never written before the account is known to exist; a
    deactivation tells by itself whether it does."""
    if verify:
        return True
    if state.status is not Status.ACTIVE:
        return False
    if state.known is None or not state.known.exists:
        return True
    fresh = state.seen_at is not None and now - state.seen_at < ACCOUNT_TTL
    # A copied avatar looks by itself, once it is known to be another: most are the same.
    return not fresh and any(isinstance(step, SetDisplayName | SetAvatar) for step in plan(state, state.known))


def coalesces_a_write(folded: Sequence[UserState]) -> bool:
    """Whether an earlier one of the records that a batch folded through asks for a step that the last one does not.

    An earlier delivery may have done that step and died before it was remembered: name A, then B, then A again would
    then look like nothing to do, while Synapse still says B.
    """
    *earlier, last = folded
    if last.known is None or last.status is not Status.ACTIVE:
        return False
    final = plan(last, last.known)
    return any(not _done_anyway(step, final) for state in earlier for step in plan(state, last.known))


def _done_anyway(step: Step, final: Sequence[Step]) -> bool:
    """Whether the final steps leave nothing of an earlier one. A copy is written only where it turns out to be new: so
    it makes up for a copy of the same image, and for nothing else."""
    if isinstance(step, CopyAvatar):
        return step in final or any(isinstance(one, SetAvatar) for one in final)
    return any(type(one) is type(step) for one in final)

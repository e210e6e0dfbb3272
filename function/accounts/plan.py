"""Plans the fewest steps from the account that Synapse has to the state that events ask for. Pure."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from datetime import datetime, timedelta

from function.accounts.user_state import Status, UserState
from function.homeserver.account import Account
from function.outcomes import Rejected

ABSENT = Account(exists=False)
# Another client may have deactivated the account since it was last seen. A write to an erased account would bring personal
# data back, so after this time the account is read before a profile is written.
ACCOUNT_TTL = timedelta(minutes=10)


@dataclass(frozen=True, slots=True)
class Deactivate:
    """Deactivates the account; with `erase`, also removes its name and avatar."""

    erase: bool


@dataclass(frozen=True, slots=True)
class CreateAccount:
    """Creates the account ahead of the first login."""

    name: str


@dataclass(frozen=True, slots=True)
class EndSessions:
    """Ends every session."""

    at: datetime


@dataclass(frozen=True, slots=True)
class SetDisplayName:
    name: str


@dataclass(frozen=True, slots=True)
class SetAvatar:
    address: str


@dataclass(frozen=True, slots=True)
class CopyAvatar:
    """Copies an https image into the media store, unless the existing copy is current, and sets it as the avatar."""

    source: str


@dataclass(frozen=True, slots=True)
class DeleteMedia:
    """Deletes an image that this service uploaded and that is no longer the avatar."""

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
    """Returns the steps from `account` to `state`.

    A deactivated account is never written to, except to erase it.
    """
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
    """Returns the uploads that can be deleted: all of an erased user's, otherwise all but the current avatar."""
    if state.status is Status.DEACTIVATED:
        return []
    shown = "" if state.status is Status.ERASED else account.avatar
    return [DeleteMedia(mxc) for mxc in state.uploads if mxc != shown]


def apply_step(account: Account, step: Step) -> Account:
    """Returns the account after `step`. For CopyAvatar the mxc URI is unknown until the upload."""
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
    """Returns whether the account must be read from Synapse first.

    A profile is never written before the account is known to exist; a deactivation returns 404 if it does not.
    """
    if verify:
        return True
    if state.status is not Status.ACTIVE:
        return False
    if state.known is None or not state.known.exists:
        return True
    fresh = state.seen_at is not None and now - state.seen_at < ACCOUNT_TTL
    # CopyAvatar reads the account itself if the image has changed, which is rare.
    return not fresh and any(isinstance(step, SetDisplayName | SetAvatar) for step in plan(state, state.known))


def coalesces_a_write(folded: Sequence[UserState]) -> bool:
    """Returns whether an earlier state of the batch asks for a step that the last state does not.

    An earlier delivery may have executed that step and crashed before it saved the state: name A, then B, then A again
    would look unchanged, while Synapse still has B.
    """
    *earlier, last = folded
    if last.known is None or last.status is not Status.ACTIVE:
        return False
    final = plan(last, last.known)
    return any(not _done_anyway(step, final) for state in earlier for step in plan(state, last.known))


def _done_anyway(step: Step, final: Sequence[Step]) -> bool:
    """Returns whether the final steps overwrite whatever the earlier step wrote.

    CopyAvatar writes only if the image changed, so it only covers a copy of the same image.
    """
    if isinstance(step, CopyAvatar):
        return step in final or any(isinstance(one, SetAvatar) for one in final)
    return any(type(one) is type(step) for one in final)

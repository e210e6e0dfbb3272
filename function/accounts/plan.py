"""The steps from what Synapse has to what a user's record says: the fewest. Pure."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from datetime import datetime, timedelta

from function.accounts.user_state import Account, Record, Status

ABSENT = Account(exists=False)
# Somebody else may have ended the account since it was last seen. A write to an erased account would bring personal
# data back, so after this long Synapse is asked before a profile is written.
KNOWN_FOR = timedelta(minutes=10)


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


def plan(record: Record, account: Account) -> list[Step]:
    """The steps from `account` to what `record` says. An account that is deactivated is never written to, except
    to end it more thoroughly."""
    if record.status is Status.ERASED:
        clean = account.deactivated and account.erased and not account.display_name and not account.avatar
        return [] if clean or not account.exists else [Deactivate(erase=True)]
    if record.status is Status.DEACTIVATED:
        return [] if account.deactivated or not account.exists else [Deactivate(erase=False)]
    if account.deactivated or account.erased:
        return []
    steps: list[Step] = []
    if not account.exists:
        if record.username is None:
            return []
        steps.append(CreateAccount(record.display_name or record.username))
        account = after(account, steps[0])
    elif record.sessions_at and (record.ended_at is None or record.ended_at < record.sessions_at):
        steps.append(EndSessions(record.sessions_at))
    if record.display_name is not None and record.display_name != account.display_name:
        steps.append(SetDisplayName(record.display_name))
    return steps + _avatar(record, account)


def _avatar(record: Record, account: Account) -> list[Step]:
    wanted = record.avatar
    if wanted is None:
        return []
    if not wanted.startswith("https://"):
        return [] if wanted == account.avatar else [SetAvatar(wanted)]
    copy = record.copy
    current = copy is not None and copy.source == wanted and copy.at == record.avatar_at and copy.mxc == account.avatar
    return [] if current else [CopyAvatar(wanted)]


def leftovers(record: Record, account: Account) -> list[DeleteMedia]:
    """What this service uploaded and nobody needs any more: everything of an erased person, else all but the image
    that is shown."""
    if record.status is Status.DEACTIVATED:
        return []
    shown = "" if record.status is Status.ERASED else account.avatar
    return [DeleteMedia(mxc) for mxc in record.uploads if mxc != shown]


def after(account: Account, step: Step) -> Account:
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


def must_look(record: Record, now: datetime, *, doubtful: bool) -> bool:
    """Whether Synapse has to be asked first. A profile is never written before the account is known to exist; a
    deactivation tells by itself whether it does."""
    if doubtful:
        return True
    if record.status is not Status.ACTIVE:
        return False
    if record.known is None or not record.known.exists:
        return True
    fresh = record.seen_at is not None and now - record.seen_at < KNOWN_FOR
    # A copied avatar looks by itself, once it is known to be another: most are the same.
    return not fresh and any(isinstance(step, SetDisplayName | SetAvatar) for step in plan(record, record.known))


def hides_a_step(folded: Sequence[Record]) -> bool:
    """Whether an earlier one of the records that a batch folded through asks for a step that the last one does not.

    An earlier delivery may have done that step and died before it was remembered: name A, then B, then A again would
    then look like nothing to do, while Synapse still says B.
    """
    *earlier, last = folded
    if last.known is None or last.status is not Status.ACTIVE:
        return False
    final = plan(last, last.known)
    return any(not _done_anyway(step, final) for record in earlier for step in plan(record, last.known))


def _done_anyway(step: Step, final: Sequence[Step]) -> bool:
    """Whether the final steps leave nothing of an earlier one. A copy is written only where it turns out to be new: so
    it makes up for a copy of the same image, and for nothing else."""
    if isinstance(step, CopyAvatar):
        return step in final or any(isinstance(one, SetAvatar) for one in final)
    return any(type(one) is type(step) for one in final)

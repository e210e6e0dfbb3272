"""Defines the steps that change an account, and what each makes of it. Pure."""

from dataclasses import dataclass
from datetime import datetime

from function.copies import replace
from function.homeserver.account import Account


@dataclass(frozen=True, slots=True)
class Deactivate:
    """Deactivates the account; with `erase`, also removes its name and avatar."""

    erase: bool


@dataclass(frozen=True, slots=True)
class CreateAccount:
    """Creates the account ahead of the first login."""

    name: str


@dataclass(frozen=True, slots=True)
class LinkIdentity:
    """Adds the user's identity to the account, so that the first login uses it."""


@dataclass(frozen=True, slots=True)
class EndSessions:
    """Ends the sessions that began by a time; a Synapse that owns its accounts ends all of them."""

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


@dataclass(frozen=True, slots=True)
class DeleteOwnAvatar:
    """Deletes the avatar of an erased user, if the user uploaded it."""

    mxc: str


Step = (
    Deactivate | CreateAccount | LinkIdentity | EndSessions | SetDisplayName | SetAvatar | CopyAvatar | DeleteMedia | DeleteOwnAvatar
)  # fmt: skip
PROFILE_STEPS = (CreateAccount, SetDisplayName, SetAvatar, CopyAvatar)


def apply_step(account: Account, step: Step) -> Account:
    """Returns the account after `step`. For CopyAvatar the mxc URI is unknown until the upload."""
    match step:
        case Deactivate(erase):
            kept = Account() if erase else account
            mas_active = None if account.mas_active is None else False
            erased = erase or account.erased
            return replace(kept, exists=True, deactivated=True, erased=erased, mas_active=mas_active)
        case CreateAccount(name):
            return Account(display_name=name, linked=True)
        case LinkIdentity():
            return replace(account, linked=True)
        case SetDisplayName(name):
            return replace(account, display_name=name)
        case SetAvatar(address):
            return replace(account, avatar=address)
    return account

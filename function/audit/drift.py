"""How an account can differ from what its user's record says, in words for a person. Pure: asks nobody.

docs/audit.md is compared with the words.
"""

from collections.abc import Iterator
from enum import StrEnum
from typing import Self

from function.accounts.plan import orphaned_uploads
from function.accounts.user_state import Status, UserState
from function.homeserver.account import Account


class Kind(StrEnum):
    """A kind of drift; the value is the option of `audit` and the field of its output."""

    means: str
    repair: str

    def __new__(cls, value: str, means: str, repair: str) -> Self:
        """A member, with its words beside its value."""
        member = str.__new__(cls, value)
        member._value_ = value
        member.means, member.repair = means, repair
        return member

    # The order is that of the audit's summary: what is worst stands first.
    ACTIVE = (
        "active",
        "The user was deleted and the account was never ended: the deletion failed, or the account was made after it.",
        "Ends the account; a hard deletion also erases it.",
    )
    REACTIVATED = (
        "reactivated",
        "The user was deleted and the account was ended; somebody else has activated it again.",
        "Ends the account again; a hard deletion also erases it.",
    )
    NOT_ERASED = (
        "not_erased",
        "The user was deleted for good, and the account is deactivated but not erased.",
        "Erases the account.",
    )
    PERSONAL_DATA = (
        "personal_data",
        "The account is erased and has a name or an avatar all the same: somebody has written it since.",
        "Erases the account again, which takes both away.",
    )
    IN_ROOMS = (
        "in_rooms",
        "The user was deleted and the account is deactivated, but still a member of rooms.",
        "Deactivates the account once more, which makes it leave every room.",
    )
    DISPLAY_NAME = (
        "display_name",
        "The account's name is not the one that the events gave.",
        "Sets the name.",
    )
    AVATAR = (
        "avatar",
        "The account's avatar is not the one that the events gave, nor this service's copy of it.",
        "Sets the avatar; one from `https://` is asked for again first.",
    )
    LEFTOVER_MEDIA = (
        "leftover_media",
        "An image that was uploaded for the user is still there, though nothing shows it or the user is erased.",
        "Deletes the image.",
    )
    ORPHANED_MEDIA = (
        "orphaned_media",
        "An image was uploaded for a user; no record lists it, and the user's account does not show it.",
        "Deletes the image.",
    )


def drift_of(state: UserState, account: Account, rooms: int = 0) -> tuple[Kind, ...]:
    """The drift of one account; empty where all is as the events say. `rooms` is how many the account is in."""
    return tuple(_living(state, account) if state.status is Status.ACTIVE else _deleted(state, account, rooms))


def _living(state: UserState, account: Account) -> Iterator[Kind]:
    if account.deactivated or account.erased:
        return  # somebody else's decision: nothing is written to such an account
    if state.display_name is not None and state.display_name != account.display_name:
        yield Kind.DISPLAY_NAME
    if (shown := _avatar_to_show(state)) is not None and shown != account.avatar:
        yield Kind.AVATAR
    elif orphaned_uploads(state, account):  # else the copy that should be shown would count as one
        yield Kind.LEFTOVER_MEDIA


def _avatar_to_show(state: UserState) -> str | None:
    """None where no event has said, or where the image could not be copied: its dead letter says why."""
    wanted, copy = state.avatar, state.copy
    if wanted is None or not wanted.startswith("https://"):
        return wanted
    return copy.mxc if copy and copy.source == wanted else None


def _deleted(state: UserState, account: Account, rooms: int) -> Iterator[Kind]:
    if not account.deactivated:
        yield Kind.REACTIVATED if state.known and state.known.deactivated else Kind.ACTIVE
    elif state.status is Status.ERASED and not account.erased:
        yield Kind.NOT_ERASED
    elif state.status is Status.ERASED and (account.display_name or account.avatar):
        yield Kind.PERSONAL_DATA
    if account.deactivated and rooms:
        yield Kind.IN_ROOMS
    if orphaned_uploads(state, account):
        yield Kind.LEFTOVER_MEDIA

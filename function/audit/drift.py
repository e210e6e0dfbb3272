"""Compares an account with its user's record and names each kind of drift. Pure.

A test compares the texts with docs/audit.md.
"""

from collections.abc import Iterator
from datetime import datetime
from enum import StrEnum
from typing import Self

from function.accounts.plan import orphaned_uploads
from function.accounts.traces import Part, Progress
from function.accounts.user_state import Status, UserState
from function.homeserver.account import Account


class Kind(StrEnum):
    """A kind of drift; the value is used by `audit --kind` and in the output."""

    means: str
    repair: str

    def __new__(cls, value: str, means: str, repair: str) -> Self:
        """Creates a member with its value and its texts."""
        member = str.__new__(cls, value)
        member._value_ = value
        member.means, member.repair = means, repair
        return member

    # In the order of the audit's summary: most severe first.
    MISSING = (
        "missing",
        "The record knows an account, or a created event asked for one, and there is none: Synapse was restored or replaced.",
        "Creates the account if a created event asked for it; otherwise notes that there is none, as before a first login.",
    )
    ACTIVE = (
        "active",
        "The user was deleted, but the account was never deactivated: the deletion failed, or the account was created later.",
        "Deactivates the account; after a hard deletion also erases it.",
    )
    REACTIVATED = (
        "reactivated",
        "The user was deleted and the account was deactivated; another client has reactivated it.",
        "Deactivates the account again; after a hard deletion also erases it.",
    )
    ACTIVE_IN_MAS = (
        "active_in_mas",
        "The user was deleted and Synapse has no active account, but MAS has the user active: the person can log in and go on.",
        "Deactivates the user in MAS, and the account in Synapse again; after a hard deletion also erases it.",
    )
    NOT_ERASED = (
        "not_erased",
        "The user was hard-deleted, and the account is deactivated but not erased.",
        "Erases the account.",
    )
    PERSONAL_DATA = (
        "personal_data",
        "The account is erased but has a display name or an avatar: another client has set it since.",
        "Erases the account again, which removes both.",
    )
    IN_ROOMS = (
        "in_rooms",
        "The user was deleted and the account is deactivated, but still joined to rooms.",
        "Deactivates the account again, which makes it leave every room.",
    )
    DISPLAY_NAME = (
        "display_name",
        "The account's display name differs from the one in the events.",
        "Sets the display name.",
    )
    AVATAR = (
        "avatar",
        "The account's avatar is neither the one in the events nor this service's copy of it.",
        "Sets the avatar; an `https://` avatar is downloaded again first.",
    )
    AVATAR_GONE = (
        "avatar_gone",
        "The account's avatar is right, but its image no longer exists: another client has deleted it.",
        "Downloads and uploads an `https://` avatar again. An `mxc://` avatar of the events can't be repaired.",
    )
    LEFTOVER_MEDIA = (
        "leftover_media",
        "An image uploaded for the user still exists, although it is not the avatar or the user is erased.",
        "Deletes the image.",
    )
    OWN_MESSAGES = (
        "own_messages",
        "The user was hard-deleted, and the messages were not redacted, or not all of them. Only with `MATRIX_ERASE_MESSAGES=true`.",
        "Begins to redact them; the function follows it to its end.",
    )
    OWN_MEDIA = (
        "own_media",
        "The user was hard-deleted, and files that the user uploaded still exist. Only with `MATRIX_ERASE_MEDIA=true`.",
        "Deletes them; the function goes on with what is left.",
    )
    ORPHANED_MEDIA = (
        "orphaned_media",
        "An image was uploaded for a user, but it is in no record and is not the account's avatar.",
        "Deletes the image.",
    )


# What an erased user leaves behind, by the kind of drift that an audit finds.
REMOVED = {Kind.OWN_MESSAGES: Part.MESSAGES, Kind.OWN_MEDIA: Part.MEDIA}


def left_messages(state: UserState, now: datetime) -> bool:
    """Returns whether an erased user's messages were not redacted, or not all of them; not while it runs."""
    traces = state.traces
    if state.status is not Status.ERASED or (traces and traces.messages is Progress.DONE):
        return False
    return traces is None or traces.messages is not Progress.OUTSTANDING or traces.overdue(now)


def drift_of(state: UserState, account: Account, rooms: int = 0, *, image_exists: bool = True) -> tuple[Kind, ...]:
    """Returns the drift of one account, empty if there is none. Of an account that does not exist, only that it is missing.

    Args:
        state: the user's.
        account: as Synapse has it, and MAS.
        rooms: the number of rooms the account is joined to.
        image_exists: whether the image of the account's avatar exists.
    """
    if not account.exists:
        if account.mas_active and state.status is not Status.ACTIVE:
            return (Kind.ACTIVE_IN_MAS,)
        expected = state.username is not None or bool(state.known and state.known.exists)
        return (Kind.MISSING,) if expected and state.status is Status.ACTIVE else ()
    if state.status is not Status.ACTIVE:
        return tuple(_of_deleted_user(state, account, rooms))
    kinds = tuple(_of_active_user(state, account))
    gone = not image_exists and shows_expected_avatar(state, account)
    return (*kinds, Kind.AVATAR_GONE) if gone else kinds


def shows_expected_avatar(state: UserState, account: Account) -> bool:
    """Returns whether the account shows the image that the events ask for."""
    expected = _expected_avatar(state)
    active = state.status is Status.ACTIVE and not account.deactivated
    return active and bool(expected) and expected == account.avatar


def _of_active_user(state: UserState, account: Account) -> Iterator[Kind]:
    if not account.writable:
        return  # deactivated by another client: the service does not write to such an account
    if state.display_name is not None and state.display_name != account.display_name:
        yield Kind.DISPLAY_NAME
    if (expected := _expected_avatar(state)) is not None and expected != account.avatar:
        yield Kind.AVATAR
    elif orphaned_uploads(
        state, account
    ):  # not after AVATAR: the copy that the account should have would count as orphaned
        yield Kind.LEFTOVER_MEDIA


def _expected_avatar(state: UserState) -> str | None:
    """Returns None if no event set an avatar, or if the image could not be copied: its dead letter has the reason."""
    wanted, copy = state.avatar, state.copy
    if wanted is None or not wanted.startswith("https://"):
        return wanted
    return copy.mxc if copy and copy.source == wanted else None


def _of_deleted_user(state: UserState, account: Account, rooms: int) -> Iterator[Kind]:
    if not account.deactivated:
        yield Kind.REACTIVATED if state.known and state.known.deactivated else Kind.ACTIVE
    elif account.mas_active:
        yield Kind.ACTIVE_IN_MAS
    elif state.status is Status.ERASED and not account.erased:
        yield Kind.NOT_ERASED
    elif state.status is Status.ERASED and (account.display_name or account.avatar):
        yield Kind.PERSONAL_DATA
    if account.deactivated and rooms:
        yield Kind.IN_ROOMS
    if orphaned_uploads(state, account):
        yield Kind.LEFTOVER_MEDIA

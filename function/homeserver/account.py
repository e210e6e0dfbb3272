"""Describes what the homeserver holds: accounts, uploads, and pages of both. Pure."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Generic, TypeVar

T = TypeVar("T")


@dataclass(frozen=True)
class Account:
    """A Synapse account as last seen or written. Name and avatar are "" when unset.

    `linked`: whether it has the user's identity at the provider; None if it was not asked. A state keeps it apart from the
    account, since an earlier release takes no account with a field that it does not know. `mas_active`: whether MAS has the
    user and has not deactivated it; None if MAS was not asked or has no such user. It is in no state.
    """

    exists: bool = True
    deactivated: bool = False
    erased: bool = False
    display_name: str = ""
    avatar: str = ""
    linked: bool | None = None
    mas_active: bool | None = None

    @property
    def ended(self) -> bool:
        """Whether the account is deactivated wherever it is: no one can use it."""
        return (self.deactivated or not self.exists) and not self.mas_active

    @property
    def writable(self) -> bool:
        """Whether name and avatar may be set: neither Synapse nor MAS has deactivated the account."""
        return self.exists and not self.deactivated and not self.erased and self.mas_active is not False

    @property
    def half_ended(self) -> bool:
        """Whether Synapse and MAS say different things: one has ended the account, or only MAS has it."""
        return self.mas_active is not None and self.mas_active == (self.deactivated or not self.exists)


@dataclass(frozen=True, slots=True)
class Media:
    """An avatar that was uploaded for a user."""

    mxc: str
    user_id: str
    at: datetime


@dataclass(frozen=True, slots=True)
class Row(Generic[T]):
    """A row of a list: when it was created (ms), its id, and what it holds; None if it is not one of this service."""

    at: int
    id: str
    item: T | None


@dataclass(frozen=True, slots=True)
class Page(Generic[T]):
    """A part of a list: its rows, the oldest first, the offset of what follows (None at the end), and how many rows there
    are in all."""

    rows: Sequence[Row[T]]
    following: int | None
    total: int

    @property
    def items(self) -> list[T]:
        return [row.item for row in self.rows if row.item is not None]

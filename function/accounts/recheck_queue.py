"""Remembers users whose accounts have to be checked again later, in the state store, so that a crash loses none.

The users are spread over 64 keys, so that a value stays small and a value that can't be read stops only the users in it.
Stored as JSON: `{"v":1,"users":{"<user id>":[due,attempts,added]}}`, with `due` and `added` in milliseconds since 1970. Does
not know what a check is: see recheck_loop.py.
"""

import asyncio
import logging
import zlib
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta
from typing import Annotated, Literal

from pydantic import BaseModel, ConfigDict, NonNegativeInt, ValidationError
from pydantic.types import Strict

from function.clock import Clock
from function.dapr.state_store import StateStore, TooLargeError
from function.outcomes import Reason, TryAgain
from function.telemetry.logs import log

KEYS = tuple(f"recheck-{number:02x}" for number in range(64))
LEASE = timedelta(seconds=60)  # a check takes less; a pod that was killed holds a user for no longer
MAX_ATTEMPTS = 5
MAX_DUE = 100
MAX_AHEAD = timedelta(days=1)  # a later time comes from a wrong clock, and counts as due
UPDATE_ATTEMPTS = 10  # against other pods that change the same key

_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_MILLISECOND = timedelta(milliseconds=1)


@dataclass(frozen=True, slots=True)
class Recheck:
    """One user to check again.

    Attributes:
        user_id: a lower-case UUID.
        due: when to check, in UTC; while a process is at it, the end of its lease.
        attempts: checks that did not settle it.
        added: milliseconds since 1970; tells a later `add` of the same user from this one.
    """

    user_id: str
    due: datetime
    attempts: int = 0
    added: int = 0


_Entries = dict[str, Recheck]  # by user id
_Number = Annotated[NonNegativeInt, Strict()]


class _Stored(BaseModel):
    model_config = ConfigDict(extra="forbid")

    v: Literal[1]
    users: dict[str, tuple[_Number, _Number, _Number]]


class RecheckQueue:
    """A queue of users by due time, shared by every process on one state store.

    Args:
        state: the state store.
        clock: gives the time in UTC.
    """

    def __init__(self, state: StateStore, clock: Clock) -> None:
        self._state, self._clock = state, clock
        self._changing = asyncio.Lock()  # other processes cause enough conflicts
        self._unreadable: frozenset[str] = frozenset()
        self.next_due: datetime | None = None  # the earliest that this process knows of
        self.size = 0  # users at the last read

    async def add(self, users: Mapping[str, datetime]) -> None:
        """Adds users by the time at which they are due, less than MAX_AHEAD from now.

        A user that is there already is due at the later of the two times, and starts over with no attempts.

        Raises:
            TryAgain: not all of them were added.
        """
        by_key: dict[str, dict[str, datetime]] = {}
        for user_id, due in users.items():
            by_key.setdefault(key_of(user_id), {})[user_id] = due
        now = _milliseconds(self._clock())
        failures: dict[str, TryAgain] = {}

        def change(values: dict[str, bytes]) -> dict[str, bytes]:
            changed = {}
            for key, value in values.items():
                try:
                    changed[key] = _dump(_added(_load(key, value), by_key[key], now))
                    failures.pop(key, None)  # it could not be read before a conflict
                except TryAgain as failure:  # the users of the other keys are added all the same
                    failures[key] = failure
            return changed

        if users:
            async with self._changing:
                await self._update(list(by_key), change)
            self._expect(min(users.values()))
        if failures:
            raise next(iter(failures.values()))

    async def due(self) -> list[Recheck]:
        """Returns at most MAX_DUE users whose time has come, longest due first.

        A value that can't be read is logged and left out. Raises TryAgain if the store is unavailable.
        """
        entries: list[Recheck] = []
        unreadable = set()
        for key, (value, _) in (await self._state.read_values(KEYS)).items():
            try:
                entries += _load(key, value).values()
            except TryAgain:
                unreadable.add(key)
        self._report(frozenset(unreadable))
        self.size = len(entries)
        entries.sort(key=lambda one: one.due)
        now = self._clock()
        due = [one for one in entries if one.due <= now or one.due > now + MAX_AHEAD][:MAX_DUE]
        self.next_due = now if due else min((one.due for one in entries), default=None)
        return due

    async def take(self, one: Recheck) -> bool:
        """Leases a user to this process for LEASE; returns False if another process took it, or it was changed.

        Raises TryAgain.
        """

        def change(entries: _Entries) -> bool:
            if entries.get(one.user_id) != one:
                return False
            entries[one.user_id] = replace(one, due=_whole(self._clock() + LEASE))
            return True

        return await self._change(one.user_id, change)

    async def done(self, one: Recheck) -> None:
        """Removes a user that was taken, unless it was added again in the meantime. Raises TryAgain."""

        def change(entries: _Entries) -> bool:
            if not _same(entries.get(one.user_id), one):
                return False
            del entries[one.user_id]
            return True

        await self._change(one.user_id, change)

    async def again(self, one: Recheck, after: timedelta) -> bool:
        """Makes a user that was taken due again after a time, with one attempt more.

        Returns False if that was its last attempt: it is removed. Has no effect if it was added again in the meantime.
        Raises TryAgain.
        """
        last = one.attempts + 1 >= MAX_ATTEMPTS

        def change(entries: _Entries) -> bool:
            if not _same(entries.get(one.user_id), one):
                return False
            if last:
                del entries[one.user_id]
            else:
                entries[one.user_id] = replace(one, due=_whole(self._clock() + after), attempts=one.attempts + 1)
            return True

        return not (await self._change(one.user_id, change) and last)

    async def postpone(self, one: Recheck, after: timedelta) -> None:
        """Makes a user that was taken due again after a time, with no attempts: something runs that is only followed.

        Has no effect if it was added again in the meantime. Raises TryAgain.
        """

        def change(entries: _Entries) -> bool:
            if not _same(entries.get(one.user_id), one):
                return False
            entries[one.user_id] = replace(one, due=_whole(self._clock() + after), attempts=0)
            return True

        await self._change(one.user_id, change)

    async def _change(self, user_id: str, change: Callable[[_Entries], bool]) -> bool:
        """Applies `change` to the users under one key and returns what it returned: whether it changed them."""
        key, changed = key_of(user_id), False

        def rewrite(value: bytes) -> bytes:
            nonlocal changed
            entries = _load(key, value)
            changed = change(entries)
            return _dump(entries) if changed else value

        async with self._changing:
            await self._state.update(key, rewrite, UPDATE_ATTEMPTS)
        return changed

    async def _update(self, keys: Sequence[str], change: Callable[[dict[str, bytes]], Mapping[str, bytes]]) -> None:
        """Changes the users under several keys: at once, unless the store does not take so much."""
        try:
            await self._state.update_values(keys, change, UPDATE_ATTEMPTS)
        except TooLargeError:
            if len(keys) == 1:
                raise
            for some in (keys[::2], keys[1::2]):
                await self._update(some, change)

    def _expect(self, due: datetime) -> None:
        if self.next_due is None or due < self.next_due:
            self.next_due = due

    def _report(self, unreadable: frozenset[str]) -> None:
        if unreadable - self._unreadable:
            log(logging.ERROR, "recheck_unreadable", size=len(unreadable))
        self._unreadable = unreadable


def key_of(user_id: str) -> str:
    """Returns the key under which a user is stored."""
    return KEYS[zlib.crc32(user_id.encode()) % len(KEYS)]


def _added(entries: _Entries, users: Mapping[str, datetime], now: int) -> _Entries:
    for user_id, due in users.items():
        before = entries.get(user_id, Recheck(user_id, due))
        entries[user_id] = Recheck(user_id, max(before.due, _whole(due)), added=max(before.added + 1, now))
    return entries


def _same(stored: Recheck | None, one: Recheck) -> bool:
    """Whether nothing happened to the user since it was taken, but for a lease that ended."""
    return stored is not None and (stored.added, stored.attempts) == (one.added, one.attempts)


def _load(key: str, value: bytes) -> _Entries:
    """Returns the users under `key`. Raises TryAgain if this version can't read them."""
    if not value:
        return {}
    try:
        users = _Stored.model_validate_json(value).users
        return {
            user_id: Recheck(user_id, _EPOCH + due * _MILLISECOND, attempts, added)
            for user_id, (due, attempts, added) in users.items()
        }
    except (ValidationError, OverflowError):
        raise TryAgain(Reason.RECHECK_UNREADABLE, key) from None


def _dump(entries: _Entries) -> bytes:
    users = {one.user_id: (_milliseconds(one.due), one.attempts, one.added) for one in entries.values()}
    return _Stored(v=1, users=users).model_dump_json().encode()


def _milliseconds(moment: datetime) -> int:
    return -((_EPOCH - moment) // _MILLISECOND)  # rounded up: not due before its time


def _whole(moment: datetime) -> datetime:
    return _EPOCH + _milliseconds(moment) * _MILLISECOND

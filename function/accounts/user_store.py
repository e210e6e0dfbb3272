"""Keeps each user's state in the state store, under the user id: JSON with a schema version, without unset fields."""

import json
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, fields
from datetime import datetime
from typing import Any

from function.accounts.user_state import Copy, Status, UserState
from function.dapr.state_store import StateStore
from function.homeserver.account import Account
from function.outcomes import Reason, TryAgain

SCHEMA = 1
_TIMES = ("profile_at", "avatar_at", "created_at", "sessions_at", "ended_at", "seen_at", "written_at")
_TEXTS = ("display_name", "avatar", "username")
_COMPACT = json.JSONEncoder(separators=(",", ":"))


@dataclass(frozen=True, slots=True)
class Versioned:
    """A user's state and the ETag under which it was read; "" if none was stored."""

    state: UserState
    etag: str = ""


class UserStore:
    """Reads and writes user states by user id (a lower-case UUID).

    Args:
        store: the state store.
    """

    def __init__(self, store: StateStore) -> None:
        self._store = store

    async def read(self, user_ids: Iterable[str]) -> dict[str, Versioned]:
        """Returns the state of each user; an empty one for a user not seen before. Raises TryAgain."""
        found = await self.read_each(user_ids)
        for state in found.values():
            if isinstance(state, TryAgain):
                raise state
        return {user_id: state for user_id, state in found.items() if isinstance(state, Versioned)}

    async def read_each(self, user_ids: Iterable[str]) -> dict[str, Versioned | TryAgain]:
        """Returns what `read` does, with the failure in place of a state that can't be read. Raises TryAgain."""
        values = await self._store.read_values(user_ids)
        return {user_id: _versioned(value, etag) for user_id, (value, etag) in values.items()}

    async def write(self, states: Mapping[str, Versioned]) -> None:
        """Writes all of the states or none of them, each only over the ETag that it was read with.

        Raises:
            Conflict: another writer changed at least one of them; nothing was written.
            TryAgain: the store did not take them.
        """
        await self._store.write_values({user_id: (dump(one.state), one.etag) for user_id, one in states.items()})


def _versioned(value: bytes, etag: str) -> Versioned | TryAgain:
    try:
        return Versioned(load(value), etag) if value else Versioned(UserState())
    except TryAgain as failure:
        return failure


def dump(state: UserState) -> bytes:
    """Returns the bytes of a user's state."""
    body: dict[str, object] = {"v": SCHEMA, "status": state.status}
    body |= {name: at.isoformat() for name in _TIMES if (at := getattr(state, name))}
    body |= {name: value for name in _TEXTS if (value := getattr(state, name)) is not None}
    if state.known:
        known = state.known
        body["known"] = {name: value for name in Account.__slots__ if (value := getattr(known, name)) != ""}
    if state.copy:
        body["copy"] = {f.name: str(value) for f in fields(Copy) if (value := getattr(state.copy, f.name))}
    if state.uploads:
        body["uploads"] = state.uploads
    return _COMPACT.encode(body).encode()


def load(value: bytes | str) -> UserState:
    """Returns the user state from the bytes that `dump` wrote.

    Raises:
        TryAgain: another version of the function wrote it, and this one can't read it.
    """
    try:
        body = json.loads(value)
        if body["v"] != SCHEMA:
            raise TryAgain(Reason.STATE_UNAVAILABLE, "a record has another schema version")
        known, copy = body.get("known"), body.get("copy")
        times: dict[str, Any] = {name: datetime.fromisoformat(body[name]) for name in _TIMES if name in body}
        texts: dict[str, Any] = {name: body.get(name) for name in _TEXTS}
        return UserState(
            status=Status(body["status"]),
            known=Account(**known) if known else None,
            copy=Copy(**copy | {"at": datetime.fromisoformat(copy["at"])}) if copy else None,
            uploads=tuple(body.get("uploads", ())),
            **times,
            **texts,
        )
    except (ValueError, KeyError, TypeError):
        raise TryAgain(Reason.STATE_UNAVAILABLE, "a record can't be read") from None

"""Keeps each user's state in the state store, under the user id: JSON with a schema version, without unset fields.

Fields that this release does not know, of a later release running at the same time, are kept as they are. A state of a release without
claims is recognised by its missing mark; nothing that it knows of the account is trusted, since a process of that release may
have died between a call and its save.
"""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, fields
from datetime import datetime
from typing import Any

from pydantic import TypeAdapter
from pydantic_core import from_json, to_json

from function.accounts.traces import Traces
from function.accounts.user_state import Claim, Copy, Status, UserState
from function.copies import replace
from function.dapr.state_store import StateStore
from function.homeserver.account import Account
from function.outcomes import Reason, TryAgain

SCHEMA = 1
_HEAD = b'{"v":%d,"claims":1,' % SCHEMA
_STATE = TypeAdapter(UserState)
_FIELDS = frozenset(one.name for one in fields(UserState)) | {"v", "claims"}
_NESTED: Mapping[str, frozenset[str]] = {
    name: frozenset(one.name for one in fields(kind))
    for name, kind in {"known": Account, "copy": Copy, "claim": Claim, "traces": Traces}.items()
}
Unknown = Mapping[str, Any]


@dataclass(frozen=True)
class Versioned:
    """A user's state, the ETag under which it was read ("" if none was stored), and the fields that were not known."""

    state: UserState
    etag: str = ""
    unknown: Unknown = field(default_factory=dict)


class UserStore:
    """Reads and writes user states by user id (a lower-case UUID).

    Args:
        store: the state store.
    """

    def __init__(self, store: StateStore) -> None:
        self._store = store

    @property
    def read_only(self) -> bool:
        """Whether writes do nothing, as in a dry run."""
        return self._store.read_only

    async def read(self, user_id: str) -> Versioned:
        """Returns the state of one user; an empty one for a user not seen before. Raises TryAgain."""
        found = (await self.read_each([user_id]))[user_id]
        if isinstance(found, TryAgain):
            raise found
        return found

    async def read_each(self, user_ids: Iterable[str]) -> dict[str, Versioned | TryAgain]:
        """Returns the state of each user, or why it can't be read. Raises TryAgain if the store is unavailable."""
        values = await self._store.read_values(user_ids)
        return {user_id: _versioned(value, etag) for user_id, (value, etag) in values.items()}

    async def read_claims(self, user_ids: Iterable[str]) -> dict[str, tuple[Claim | None, str]]:
        """Returns each user's claim and ETag, without the cost of the whole state. Raises TryAgain."""
        values = await self._store.read_values(user_ids)
        return {user_id: (_claim(value), etag) for user_id, (value, etag) in values.items()}

    async def write(self, states: Mapping[str, Versioned]) -> None:
        """Writes all of the states or none of them, each only over the ETag that it was read with.

        Raises:
            Conflict: another writer changed at least one of them; nothing was written.
            TryAgain: the store did not take them.
        """
        await self._store.write_values(
            {user_id: (dump(one.state, one.unknown), one.etag) for user_id, one in states.items()}
        )


def _versioned(value: bytes, etag: str) -> Versioned | TryAgain:
    if not value:
        return Versioned(UserState())
    try:
        state, unknown = load(value)
    except TryAgain as failure:
        return failure
    return Versioned(state, etag, unknown)


def _claim(value: bytes) -> Claim | None:
    try:
        claim = from_json(value)["claim"]
        return Claim(claim["by"], datetime.fromisoformat(claim["until"]))
    except (ValueError, KeyError, TypeError):
        return None


def dump(state: UserState, unknown: Unknown | None = None) -> bytes:
    """Returns the bytes of a user's state; an erased user's keeps no field that is not known, which may be personal."""
    value = _HEAD + _STATE.dump_json(state, exclude_none=True).removeprefix(b"{")
    if not unknown or state.status is Status.ERASED:
        return value
    body = from_json(value)
    for name, more in unknown.items():
        if name not in _NESTED:
            body[name] = more
        elif name in body:
            body[name] = more | body[name]
    return to_json(body)


def load(value: bytes | str) -> tuple[UserState, Unknown]:
    """Returns the user state from the bytes that `dump` wrote, and the fields that this release does not know.

    Raises:
        TryAgain: this release can't read the state; a later one may have written it.
    """
    try:
        body = from_json(value)
        state = _STATE.validate_json(value, strict=True)
        known = body["v"] == SCHEMA and "status" in body
    except (ValueError, KeyError, TypeError):
        raise TryAgain(Reason.STATE_UNREADABLE, "it does not fit the schema") from None
    if not known:
        raise TryAgain(Reason.STATE_UNREADABLE, "it has another schema version")
    if "claims" not in body:
        state = replace(state, known=None)
    return state, _unknown(body)


def _unknown(body: Mapping[str, Any]) -> Unknown:
    found = {} if body.keys() <= _FIELDS else {name: body[name] for name in body.keys() - _FIELDS}
    for name, known in _NESTED.items():
        if (nested := body.get(name)) and not nested.keys() <= known:
            found[name] = {key: nested[key] for key in nested.keys() - known}
    return found

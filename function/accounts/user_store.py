"""Keeps each user's state in the state store, under the user id: JSON with a schema version, without unset fields."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass

from pydantic import TypeAdapter
from pydantic_core import from_json

from function.accounts.user_state import UserState
from function.dapr.state_store import StateStore
from function.homeserver.account import Account
from function.outcomes import Reason, TryAgain

SCHEMA = 1
_STATE = TypeAdapter(UserState)
_ACCOUNT_FIELDS = frozenset(Account.__slots__)


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
    return b'{"v":%d,' % SCHEMA + _STATE.dump_json(state, exclude_none=True).removeprefix(b"{")


def load(value: bytes | str) -> UserState:
    """Returns the user state from the bytes that `dump` wrote.

    Raises:
        TryAgain: another version of the function wrote it, and this one can't read it.
    """
    try:
        body = from_json(value)
        state = _STATE.validate_json(value, strict=True)
        known = body["v"] == SCHEMA and "status" in body and set(body.get("known") or ()) <= _ACCOUNT_FIELDS
    except (ValueError, KeyError, TypeError):
        raise TryAgain(Reason.STATE_UNAVAILABLE, "a state can't be read") from None
    if not known:  # dropping a field that a later version wrote would lose it at the next save
        raise TryAgain(Reason.STATE_UNAVAILABLE, "a state has another schema version")
    return state

"""A user's record as the state store keeps it: JSON with a schema version, without what is not set. Pure."""

import json
from dataclasses import fields
from datetime import datetime
from typing import Any

from function.accounts.user_state import Account, Copy, Status, UserState
from function.outcomes import Reason, TryAgain

SCHEMA = 1
_TIMES = ("profile_at", "avatar_at", "created_at", "sessions_at", "ended_at", "seen_at", "written_at")
_TEXTS = ("display_name", "avatar", "username")
_COMPACT = json.JSONEncoder(separators=(",", ":"))


def dump(state: UserState) -> bytes:
    """The bytes of a record."""
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
    """The record of the bytes that `dump` wrote.

    Raises:
        TryAgain: another version of the function wrote a record that this one can't read.
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

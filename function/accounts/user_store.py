"""A user's record as the state store keeps it: JSON with a schema version, without what is not set. Pure."""

import json
from dataclasses import fields
from datetime import datetime
from typing import Any

from function.accounts.user_state import Account, Copy, Record, Status
from function.outcomes import Reason, TryAgain

SCHEMA = 1
_TIMES = ("profile_at", "avatar_at", "created_at", "sessions_at", "ended_at", "seen_at", "written_at")
_TEXTS = ("display_name", "avatar", "username")
_COMPACT = json.JSONEncoder(separators=(",", ":"))


def dump(record: Record) -> bytes:
    """The bytes of a record."""
    body: dict[str, object] = {"v": SCHEMA, "status": record.status}
    body |= {name: at.isoformat() for name in _TIMES if (at := getattr(record, name))}
    body |= {name: value for name in _TEXTS if (value := getattr(record, name)) is not None}
    if record.known:
        known = record.known
        body["known"] = {name: value for name in Account.__slots__ if (value := getattr(known, name)) != ""}
    if record.copy:
        body["copy"] = {f.name: str(value) for f in fields(Copy) if (value := getattr(record.copy, f.name))}
    if record.uploads:
        body["uploads"] = record.uploads
    return _COMPACT.encode(body).encode()


def load(value: bytes | str) -> Record:
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
        return Record(
            status=Status(body["status"]),
            known=Account(**known) if known else None,
            copy=Copy(**copy | {"at": datetime.fromisoformat(copy["at"])}) if copy else None,
            uploads=tuple(body.get("uploads", ())),
            **times,
            **texts,
        )
    except (ValueError, KeyError, TypeError):
        raise TryAgain(Reason.STATE_UNAVAILABLE, "a record can't be read") from None

"""Copies of records."""

import dataclasses
from datetime import UTC, datetime
from typing import Any

import pytest

from function.accounts.user_state import Status, UserState
from function.copies import replace
from function.homeserver.account import Account, Media

AT = datetime(2026, 1, 1, tzinfo=UTC)


@pytest.mark.parametrize(
    ("record", "changes"),
    [
        (UserState(), {}),
        (UserState(display_name="Ada", known=Account(avatar="mxc://a/b")), {"profile_at": AT, "known": None}),
        (UserState(Status.ERASED), {"uploads": ("mxc://a/b",), "status": Status.ACTIVE}),
        (Account(display_name="Ada"), {"exists": False, "linked": True}),
    ],
)
def test_a_copy_is_what_dataclasses_make(record: Any, changes: dict[str, Any]) -> None:
    before = dataclasses.asdict(record)
    copy = replace(record, **changes)
    assert copy == dataclasses.replace(record, **changes)
    assert type(copy) is type(record)
    assert dataclasses.asdict(record) == before


def test_a_record_with_slots_is_refused() -> None:
    """Its copy would be empty."""
    with pytest.raises(AttributeError):
        replace(Media("mxc://a/b", "user", AT), user_id="other")

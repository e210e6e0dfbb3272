"""The bytes of a user's state: what is written is read back, in the form of earlier versions too."""

import json
from dataclasses import replace
from datetime import UTC, datetime

import pytest
from hypothesis import given

from function.accounts.user_state import Copy, Status, UserState, fold
from function.accounts.user_store import dump, load
from function.events.types import UserDeleted
from function.homeserver.account import Account
from function.outcomes import Reason, TryAgain
from tests.support.events import ALICE
from tests.support.strategies import STATES

AT = datetime(2026, 1, 1, 9, 30, 0, 123456, tzinfo=UTC)
FULL = UserState(
    Status.ACTIVE, AT, "Ada 💚", "https://cdn.example/ada.png", Account(display_name="Ada", avatar="mxc://a.b/c"), AT, AT,
    "ada", AT, AT, Copy("https://cdn.example/ada.png", "mxc://a.b/c", AT, "5f", '"1"', "Thu"), ("mxc://a.b/c",), AT, AT,
)  # fmt: skip


def test_unset_fields_are_not_written() -> None:
    """Most users have few; a batch reads and writes a hundred states."""
    assert json.loads(dump(UserState(profile_at=AT))).keys() == {
        "v", "claims", "status", "profile_at", "uploads", "deleted_by",
    }  # fmt: skip


def test_a_state_in_the_form_of_earlier_versions_is_read() -> None:
    """They left out empty fields of the account, and wrote times with an offset, the copy's with a blank."""
    body = {
        "v": 1, "status": "active", "profile_at": "2026-01-01T09:30:00.123456+00:00", "display_name": "Ada 💚",
        "known": {"exists": True, "deactivated": False, "erased": False, "display_name": "Ada"},
        "copy": {"source": "https://a/b", "mxc": "mxc://a.b/c", "at": "2026-01-01 09:30:00.123456+00:00", "sha256": "5f"},
    }  # fmt: skip
    copy = Copy("https://a/b", "mxc://a.b/c", AT, "5f")
    state, unknown = load(json.dumps(body | {"claims": 1}))
    assert state == UserState(profile_at=AT, display_name="Ada 💚", known=Account(display_name="Ada"), copy=copy)
    assert unknown == {}


def test_what_a_release_without_claims_knew_of_the_account_is_not_trusted() -> None:
    """A process of that release may have died between a call and its save."""
    body = json.loads(dump(FULL))
    del body["claims"]
    assert load(json.dumps(body))[0] == replace(FULL, known=None)


def test_fields_of_a_later_release_are_kept() -> None:
    """In a rolling update both write the same states."""
    later = {"locked": True, "known": {"rooms": 5}, "copy": {"size": 9}}
    body = json.loads(dump(FULL)) | {"locked": True}
    body["known"]["rooms"], body["copy"]["size"] = 5, 9
    state, unknown = load(json.dumps(body))
    assert (state, unknown) == (FULL, later)
    again = json.loads(dump(replace(state, known=Account(display_name="New"), copy=None), unknown))
    assert (again["locked"], again["known"]["rooms"], again["known"]["display_name"]) == (True, 5, "New")
    assert "copy" not in again


def test_fields_of_a_later_release_do_not_outlive_an_erasure() -> None:
    """They may be personal data."""
    assert "nickname" not in json.loads(dump(UserState(Status.ERASED), {"nickname": "Ann"}))


def test_an_earlier_version_can_read_the_times() -> None:
    """In a rolling update old and new pods share a store; the old ones parse times with the standard library."""
    body = json.loads(dump(FULL))
    times = [body[name] for name in body if name.endswith("_at")] + [body["copy"]["at"]]
    assert {datetime.fromisoformat(time) for time in times} == {AT}


@given(STATES)
def test_a_record_survives_the_store(record: UserState) -> None:
    """Every field, None and "" kept apart."""
    assert load(dump(record)) == (record, {})
    assert load(dump(record).decode()) == (record, {})


@pytest.mark.parametrize(
    "value",
    [
        b'{"v":2,"status":"active"}',
        b'{"v":0,"status":"active"}',
        b'{"v":"1","status":"active"}',
        b'{"status":"active"}',
        b'{"v":1}',
        b'{"v":1,"status":"asleep"}',
        b'{"v":1,"status":"active","profile_at":"yesterday"}',
        b'{"v":1,"status":"active","profile_at":5}',
        b'{"v":1,"status":"active","known":5}',
        b"[]",
        b'"text"',
        b"5",
        b"null",
        b"{",
        b"\xff",
    ],
)
def test_a_record_that_cannot_be_read_makes_its_user_wait(value: bytes) -> None:
    """A newer version wrote it, or it is damaged: starting over could revive a deleted user."""
    with pytest.raises(TryAgain) as caught:
        load(value)
    assert caught.value.reason is Reason.STATE_UNREADABLE


def test_an_erased_record_is_small_and_impersonal() -> None:
    """What is kept for good is a status."""
    record = replace(
        fold(UserState(profile_at=AT, display_name="Ann"), UserDeleted("e", ALICE, AT, erase=True)),
        known=Account(deactivated=True, erased=True),
    )
    body = json.loads(dump(record))
    known = {"exists": True, "deactivated": True, "erased": True, "display_name": "", "avatar": ""}
    assert body == {"v": 1, "claims": 1, "status": "erased", "known": known, "uploads": [], "deleted_by": []}

"""Which differences count as drift."""

from dataclasses import replace

import pytest
from hypothesis import given

from function.accounts.plan import ABSENT, plan
from function.accounts.steps import CopyAvatar
from function.accounts.user_state import Status, UserState
from function.audit.drift import Kind, drift_of
from function.homeserver.account import Account
from tests.support.events import EPOCH
from tests.support.strategies import ACCOUNTS, COPY, FACE, RECORDS

ANN = UserState(Status.ACTIVE, EPOCH, "Ann", "mxc://test.example/one")
WITH_COPY = replace(ANN, avatar=FACE, avatar_at=EPOCH, copy=COPY, uploads=(COPY.mxc,))
SHOWN = Account(display_name="Ann", avatar=COPY.mxc)
DELETED, ERASED = UserState(Status.DEACTIVATED), UserState(Status.ERASED)
ENDED, GONE = Account(deactivated=True), Account(deactivated=True, erased=True)


@pytest.mark.parametrize(
    ("record", "account", "rooms", "kinds"),
    [
        (ANN, Account(display_name="Ann", avatar="mxc://test.example/one"), 0, []),
        (ANN, Account(display_name="Eve", avatar="mxc://test.example/one"), 0, [Kind.DISPLAY_NAME]),
        (ANN, Account(display_name="Ann"), 0, [Kind.AVATAR]),
        (ANN, Account(), 0, [Kind.DISPLAY_NAME, Kind.AVATAR]),
        (replace(ANN, avatar=""), Account(display_name="Ann", avatar="mxc://a/b"), 0, [Kind.AVATAR]),
        (UserState(), Account(display_name="as it was", avatar="mxc://a/b"), 0, []),
        (ANN, replace(ENDED, display_name="Eve"), 2, []),
        (ANN, GONE, 0, []),
        (WITH_COPY, SHOWN, 0, []),
        (WITH_COPY, replace(SHOWN, avatar="mxc://a/b"), 0, [Kind.AVATAR]),
        (replace(WITH_COPY, uploads=(COPY.mxc, "mxc://test.example/old")), SHOWN, 0, [Kind.LEFTOVER_MEDIA]),
        (replace(WITH_COPY, avatar="https://new.example/one.png"), SHOWN, 0, []),
        (replace(WITH_COPY, copy=None, uploads=()), replace(SHOWN, avatar=""), 0, []),
        (DELETED, Account(), 0, [Kind.ACTIVE]),
        (replace(DELETED, known=Account()), Account(), 3, [Kind.ACTIVE]),
        (replace(DELETED, known=ENDED), Account(), 0, [Kind.REACTIVATED]),
        (replace(ERASED, known=GONE), Account(display_name="Ann"), 0, [Kind.REACTIVATED]),
        (DELETED, replace(ENDED, display_name="Ann"), 0, []),
        (DELETED, ENDED, 3, [Kind.IN_ROOMS]),
        (replace(DELETED, uploads=(COPY.mxc,)), replace(ENDED, avatar=COPY.mxc), 0, []),
        (ERASED, GONE, 0, []),
        (ERASED, ENDED, 0, [Kind.NOT_ERASED]),
        (ERASED, replace(GONE, display_name="Ann"), 0, [Kind.PERSONAL_DATA]),
        (ERASED, replace(GONE, avatar="mxc://a/b"), 1, [Kind.PERSONAL_DATA, Kind.IN_ROOMS]),
        (replace(ERASED, uploads=(COPY.mxc,)), GONE, 0, [Kind.LEFTOVER_MEDIA]),
        (replace(ANN, known=Account()), ABSENT, 0, [Kind.MISSING]),
        (replace(ANN, username="ann"), ABSENT, 0, [Kind.MISSING]),
        (replace(ANN, known=ABSENT), ABSENT, 0, []),
        (ANN, ABSENT, 0, []),
        (replace(DELETED, known=Account()), ABSENT, 0, []),
        (replace(ERASED, uploads=(COPY.mxc,)), ABSENT, 0, []),
    ],
)
def test_each_difference_has_its_kind(record: UserState, account: Account, rooms: int, kinds: list[Kind]) -> None:
    """All differences. An image that was never copied is no drift: its dead letter has the reason."""
    assert list(drift_of(record, account, rooms)) == kinds


@given(RECORDS, ACCOUNTS)
def test_an_account_without_drift_has_an_empty_plan(record: UserState, account: Account) -> None:
    """Except for an image that could not be copied."""
    if not drift_of(record, account):
        assert all(isinstance(step, CopyAvatar) for step in plan(record, account))


@given(RECORDS, ACCOUNTS)
def test_with_an_empty_plan_only_images_can_drift(record: UserState, account: Account) -> None:
    """So every other kind of drift has a step that repairs it."""
    if not plan(record, account):
        assert set(drift_of(record, account)) <= {Kind.LEFTOVER_MEDIA}

"""The plan: the fewest calls from what an account is to what its user's record says."""

from dataclasses import replace
from functools import reduce

import pytest
from hypothesis import given
from hypothesis import strategies as st

from function.accounts.plan import (
    ABSENT,
    ACCOUNT_TTL,
    Deactivate,
    SetAvatar,
    SetDisplayName,
    apply_step,
    needs_lookup,
    plan,
)
from function.accounts.user_state import Status, UserState
from function.homeserver.account import Account
from function.outcomes import Reason, Rejected
from tests.support.events import ALICE, EPOCH
from tests.support.harness import world
from tests.support.strategies import AVATARS, NAMES

ACCOUNTS = st.builds(Account, st.just(True), st.booleans(), st.booleans(), NAMES, AVATARS)
RECORDS = st.builds(
    UserState,
    st.sampled_from(Status),
    st.just(EPOCH),
    st.none() | NAMES,
    st.none() | AVATARS,
    st.none() | ACCOUNTS | st.just(ABSENT),
)
ANN = UserState(Status.ACTIVE, EPOCH, "Ann", "mxc://test.example/one")


@given(RECORDS, ACCOUNTS)
def test_a_plan_that_was_carried_out_leaves_nothing_to_do(record: UserState, account: Account) -> None:
    """Or every look would cost a write."""
    assert plan(record, reduce(apply_step, plan(record, account), account)) == []


@given(RECORDS)
def test_nothing_is_planned_for_an_account_that_is_not_there(record: UserState) -> None:
    """A write would make the id unusable for its first login."""
    assert plan(record, ABSENT) == []
    assert plan(record, Account(exists=False, display_name="left over")) == []


@given(RECORDS, ACCOUNTS)
def test_nothing_but_an_end_is_planned_for_an_ended_account(record: UserState, account: Account) -> None:
    """A write would bring personal data back to an account that says it is erased."""
    if account.deactivated or account.erased:
        assert all(isinstance(step, Deactivate) for step in plan(record, account))


@given(RECORDS, ACCOUNTS)
def test_nothing_but_an_end_is_planned_for_an_ended_user(record: UserState, account: Account) -> None:
    """A name that Synapse refuses must never hold up a deletion."""
    if record.status is not Status.ACTIVE:
        assert all(isinstance(step, Deactivate) for step in plan(record, account))


@given(RECORDS, ACCOUNTS)
def test_no_step_repeats_what_is_so_already(record: UserState, account: Account) -> None:
    """An unchanged write costs Synapse as much as a change."""
    for step in plan(record, account):
        assert apply_step(account, step) != account


@pytest.mark.parametrize(
    ("record", "account", "steps"),
    [
        (ANN, Account(), [SetDisplayName("Ann"), SetAvatar("mxc://test.example/one")]),
        (ANN, Account(display_name="Ann"), [SetAvatar("mxc://test.example/one")]),
        (ANN, Account(display_name="Ann", avatar="mxc://test.example/one"), []),
        (replace(ANN, avatar=""), Account(display_name="Ann", avatar="mxc://test.example/one"), [SetAvatar("")]),
        (replace(ANN, avatar=None), Account(display_name="Ann", avatar="mxc://test.example/one"), []),
        (UserState(), Account(display_name="as it was"), []),
        (ANN, Account(deactivated=True), []),
        (replace(ANN, status=Status.DEACTIVATED), Account(), [Deactivate(erase=False)]),
        (replace(ANN, status=Status.DEACTIVATED), Account(deactivated=True, display_name="x"), []),
        (UserState(Status.DEACTIVATED), Account(deactivated=True, erased=True), []),
        (UserState(Status.ERASED), Account(display_name="Ann"), [Deactivate(erase=True)]),
        (UserState(Status.ERASED), Account(deactivated=True), [Deactivate(erase=True)]),
        (UserState(Status.ERASED), Account(deactivated=True, erased=True), []),
        (
            UserState(Status.ERASED),
            Account(deactivated=True, erased=True, display_name="Ann"),
            [Deactivate(erase=True)],
        ),
        (
            UserState(Status.ERASED),
            Account(deactivated=True, erased=True, avatar="mxc://a/b"),
            [Deactivate(erase=True)],
        ),
        (UserState(Status.ERASED), Account(erased=True), [Deactivate(erase=True)]),
    ],
)
def test_the_plan_is_the_difference(record: UserState, account: Account, steps: list[object]) -> None:
    """The table of everything that can differ."""
    assert plan(record, account) == steps


@pytest.mark.parametrize(
    ("record", "verify", "looks"),
    [
        (ANN, False, True),
        (replace(ANN, known=ABSENT), False, True),
        (replace(ANN, known=Account(), seen_at=EPOCH), False, False),
        (replace(ANN, known=Account(), seen_at=EPOCH - ACCOUNT_TTL), False, True),
        (replace(ANN, known=Account(display_name="Ann", avatar=ANN.avatar or ""), seen_at=None), False, False),
        (replace(ANN, known=Account()), True, True),
        (UserState(Status.ERASED), False, False),
        (UserState(Status.DEACTIVATED, known=ABSENT), False, False),
        (UserState(Status.ERASED, known=Account()), True, True),
    ],
)
def test_synapse_is_asked_only_where_it_is_not_known(record: UserState, verify: bool, looks: bool) -> None:
    """A deactivation tells by itself whether there is an account."""
    assert needs_lookup(record, EPOCH, verify=verify) is looks


@pytest.mark.anyio
async def test_a_refused_name_does_not_hold_back_the_avatar() -> None:
    """Each step stands alone."""
    async with world(ALICE) as w:
        w.homeserver.refused_names.add("Ann")
        outcome = await w.reconciler.reconcile(ALICE, ANN, verify=False)
    assert outcome.done == [SetAvatar("mxc://test.example/one")]
    [(step, rejected)] = outcome.refused
    assert (step, rejected.reason) == (SetDisplayName("Ann"), Reason.SYNAPSE_REFUSED)
    assert isinstance(rejected, Rejected)
    assert outcome.account == Account(display_name=f"nova-{ALICE}", avatar="mxc://test.example/one")


@pytest.mark.anyio
async def test_a_first_deletion_of_an_unknown_account_costs_one_call() -> None:
    """No look before: the answer tells."""
    async with world() as w:
        outcome = await w.reconciler.reconcile(ALICE, UserState(Status.ERASED), verify=False)
        assert outcome.account == ABSENT
        assert outcome.done == []
        assert [method for method, _ in w.homeserver.calls()] == ["POST"]


@pytest.mark.anyio
async def test_a_name_that_came_back_on_an_erased_account_is_erased_again() -> None:
    """Another service may write to an erased account; the next look repairs it."""
    async with world(ALICE) as w:
        w.account().update(deactivated=True, erased=True)
        outcome = await w.reconciler.reconcile(ALICE, UserState(Status.ERASED), verify=True)
        assert outcome.done == [Deactivate(erase=True)]
        assert w.account()["displayname"] is None

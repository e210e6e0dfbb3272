"""The plan: the fewest calls from what an account is to what its user's record says."""

from dataclasses import replace
from datetime import datetime, timedelta
from functools import reduce

import pytest
from hypothesis import given
from hypothesis import strategies as st

from function.accounts.plan import ABSENT, ACCOUNT_TTL, ReconcileResult, decide, plan
from function.accounts.steps import (
    Deactivate,
    DeleteOwnAvatar,
    EndSessions,
    LinkIdentity,
    SetAvatar,
    SetDisplayName,
    apply_step,
)
from function.accounts.user_state import Status, UserState, digest
from function.events.types import Event, PasswordChanged, ProfileUpdated, UserCreated, UserDeleted
from function.homeserver.account import Account
from function.outcomes import Reason, Rejected
from tests.support.events import ALICE, EPOCH
from tests.support.harness import Harness, world
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


KNOWN = replace(ANN, avatar_at=EPOCH, known=Account(display_name="Ann", avatar=ANN.avatar or ""), seen_at=EPOCH)
NEWS = ProfileUpdated("news", ALICE, EPOCH + timedelta(seconds=1), "Bea", "")
SAME = replace(NEWS, display_name="Ann", avatar=ANN.avatar or "")
AGAIN = replace(SAME, at=EPOCH)
GONE = UserDeleted("gone", ALICE, EPOCH, erase=True)
HELD = (digest(GONE),)
BORN = UserCreated("born", ALICE, EPOCH, "ally")
PASSWORD = PasswordChanged("password", ALICE, EPOCH)
NOW, LATER = EPOCH + timedelta(seconds=5), EPOCH + ACCOUNT_TTL
ERASED = UserState(Status.ERASED, known=Account(deactivated=True, erased=True), seen_at=EPOCH, deleted_by=HELD)


@pytest.mark.parametrize(
    ("before", "event", "now", "looks"),
    [
        (UserState(), NEWS, NOW, True),
        (replace(KNOWN, known=ABSENT), NEWS, NOW, True),
        (replace(KNOWN, known=ABSENT), AGAIN, NOW, False),
        (replace(KNOWN, known=ABSENT), AGAIN, LATER, True),
        (KNOWN, NEWS, NOW, False),
        (KNOWN, NEWS, LATER, True),
        (KNOWN, SAME, LATER, False),
        (replace(KNOWN, seen_at=None), SAME, NOW, False),
        (replace(KNOWN, seen_at=None), NEWS, NOW, True),
        (replace(KNOWN, seen_at=EPOCH + timedelta(hours=2)), NEWS, NOW, True),
        (replace(KNOWN, doubt_until=LATER), SAME, NOW, True),
        (replace(KNOWN, known=Account(deactivated=True)), NEWS, NOW, False),
        (replace(KNOWN, known=Account(deactivated=True)), SAME, LATER, True),
        (KNOWN, BORN, NOW, True),
        (replace(KNOWN, linked=True), BORN, NOW, False),
        (KNOWN, GONE, LATER, False),
        (UserState(), GONE, NOW, False),
        (ERASED, NEWS, NOW, False),
        (ERASED, NEWS, LATER, True),
        (ERASED, GONE, LATER, False),
    ],
)
def test_synapse_is_asked_only_where_it_is_not_known(
    before: UserState, event: Event, now: datetime, looks: bool
) -> None:
    """A deactivation tells by itself whether there is an account."""
    assert decide(before, [event], now).look is looks


@pytest.mark.parametrize(
    ("before", "events", "steps"),
    [
        (KNOWN, [NEWS], [SetDisplayName("Bea"), SetAvatar("")]),
        (KNOWN, [AGAIN], []),
        (KNOWN, [GONE], [Deactivate(erase=True), DeleteOwnAvatar("mxc://test.example/one")]),
        (replace(KNOWN, known=Account(deactivated=True)), [GONE], [Deactivate(erase=True)]),
        (replace(KNOWN, known=Account(deactivated=True, erased=True)), [GONE], [Deactivate(erase=True)]),
        (replace(KNOWN, known=ABSENT), [GONE], [Deactivate(erase=True)]),
        (ERASED, [GONE], []),
        (ERASED, [GONE, NEWS], []),
        (ERASED, [replace(GONE, id="another")], [Deactivate(erase=True)]),
        (ERASED, [replace(GONE, id="-")], [Deactivate(erase=True)]),
        (replace(ERASED, known=None), [NEWS], [Deactivate(erase=True)]),
        (replace(KNOWN, linked=False), [BORN], [LinkIdentity()]),
        (replace(KNOWN, linked=True), [BORN], []),
        (KNOWN, [PASSWORD], [EndSessions(EPOCH)]),
        (replace(KNOWN, sessions_at=EPOCH, ended_at=EPOCH), [PASSWORD], []),
        (replace(KNOWN, sessions_at=EPOCH), [SAME], []),
    ],
)
def test_the_events_decide_what_is_done(before: UserState, events: list[Event], steps: list[object]) -> None:
    """A deletion makes its call whatever is known; sessions end by their own event alone; what was confirmed costs nothing."""
    decision = decide(before, events, NOW)
    assert (decision.look, list(decision.steps)) == (False, steps)


async def reconciled(w: Harness, state: UserState, *, look: bool) -> ReconcileResult:
    return await w.reconciler.reconcile(ALICE, decide(state, [], NOW, look=look), NOW + timedelta(seconds=30))


@pytest.mark.anyio
async def test_a_refused_name_does_not_hold_back_the_avatar() -> None:
    """Each step stands alone."""
    async with world(ALICE) as w:
        w.homeserver.refused_names.add("Ann")
        result = await reconciled(w, ANN, look=False)
    assert result.done == [SetAvatar("mxc://test.example/one")]
    [(step, rejected)] = result.refused
    assert (step, rejected.reason) == (SetDisplayName("Ann"), Reason.SYNAPSE_REFUSED)
    assert isinstance(rejected, Rejected)
    expected = Account(display_name=f"nova-{ALICE}", avatar="mxc://test.example/one", linked=False)
    assert result.account == expected
    assert (result.state.known, result.state.linked) == (replace(expected, linked=None), False)


@pytest.mark.anyio
async def test_a_first_deletion_of_an_unknown_account_costs_one_call() -> None:
    """No look before: the answer tells."""
    async with world() as w:
        result = await reconciled(w, UserState(Status.ERASED), look=False)
        assert (result.account, result.done) == (ABSENT, [])
        assert [method for method, _ in w.homeserver.calls()] == ["POST"]


@pytest.mark.anyio
async def test_a_name_that_came_back_on_an_erased_account_is_erased_again() -> None:
    """Another service may write to an erased account; the next look repairs it."""
    async with world(ALICE) as w:
        w.account().update(deactivated=True, erased=True)
        assert (await reconciled(w, UserState(Status.ERASED), look=True)).done == [Deactivate(erase=True)]
        assert w.account()["displayname"] is None

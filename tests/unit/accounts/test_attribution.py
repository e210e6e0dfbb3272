"""Which changes belong to which event."""

from collections.abc import Sequence
from dataclasses import replace
from datetime import timedelta
from typing import get_args

import pytest
from hypothesis import given

from function.accounts.attribution import announced, told, words_of
from function.accounts.plan import Decision, ReconcileResult, decide
from function.accounts.steps import (
    CopyAvatar,
    CreateAccount,
    Deactivate,
    DeleteMedia,
    DeleteOwnAvatar,
    EndSessions,
    LinkIdentity,
    SetAvatar,
    SetDisplayName,
    Step,
)
from function.accounts.traces import Part, Removal, RemovalResult
from function.accounts.user_state import Status, UserState
from function.events.types import Event, PasswordChanged, ProfileUpdated, UserCreated, UserDeleted
from function.homeserver.account import Account
from function.outcomes import Outcome, Reason, TryAgain
from function.processing.results import event_results
from tests.support import strategies
from tests.support.events import ALICE, EPOCH

STEPS: list[Step] = [
    Deactivate(erase=False), Deactivate(erase=True), CreateAccount("Ann"), LinkIdentity(), EndSessions(EPOCH), SetDisplayName("Ann"),
    SetAvatar("mxc://a/b"), SetAvatar(""), CopyAvatar("https://a/b"), DeleteMedia("mxc://a/b"), DeleteOwnAvatar("mxc://a/b"),
]  # fmt: skip
PROFILE = ProfileUpdated("p", ALICE, EPOCH, "Ann", "mxc://a/b")
OLDER = ProfileUpdated("o", ALICE, EPOCH - timedelta(seconds=5), "Old", "mxc://a/b")
CREATED = UserCreated("c", ALICE, EPOCH, "ann")
PASSWORD = PasswordChanged("s", ALICE, EPOCH)
SOFT, HARD = UserDeleted("d", ALICE, EPOCH, erase=False), UserDeleted("e", ALICE, EPOCH, erase=True)
THERE = Account()
Said = list[tuple[str | None, tuple[str, ...]]]


def said(decision: Decision, events: Sequence[Event], result: ReconcileResult) -> Said:
    return [(one.event_id, one.done) for one in told(decision, events, result, EPOCH).changes]


def carried_out(events: Sequence[Event], *done: Step) -> Said:
    decision = decide(UserState(), events, EPOCH)
    return said(decision, events, ReconcileResult(decision.state, THERE, done))


def test_each_kind_of_step_has_words() -> None:
    assert {type(step) for step in STEPS} == set(get_args(Step))
    assert all(words_of(step) for step in STEPS)


def test_each_event_of_a_batch_gets_its_own() -> None:
    steps = (CreateAccount("Ann"), EndSessions(EPOCH), SetAvatar("mxc://a/b"))
    assert carried_out([CREATED, PASSWORD, OLDER, PROFILE], *steps) == [
        ("c", ("account_created",)), ("s", ("sessions_ended",)), ("p", ("avatar_set", "display_name_set")),
    ]  # fmt: skip


def test_each_deletion_is_told() -> None:
    assert carried_out([SOFT, HARD], Deactivate(erase=True), DeleteMedia("mxc://a/b")) == [
        (one, ("deactivated", "erased", "media_deleted")) for one in ("d", "e")
    ]


def test_what_an_erased_user_left_behind_is_told_once_it_is_gone() -> None:
    """Not when its removal begins, and not if it failed."""
    ends = (RemovalResult.BEGUN, RemovalResult.WAITS, RemovalResult.FAILED)
    running = [Removal(part, end) for part in Part for end in ends]
    decision = decide(UserState(Status.ERASED, known=Account(deactivated=True, erased=True)), [], EPOCH, look=True)
    assert said(decision, [], ReconcileResult(decision.state, THERE, removals=running)) == []
    done = [Removal(part, RemovalResult.DONE) for part in Part]
    assert said(decision, [], ReconcileResult(decision.state, THERE, removals=done)) == [
        (None, ("messages_redacted", "files_deleted"))
    ]


def test_what_no_event_asked_for_is_a_repair() -> None:
    assert carried_out([PASSWORD], EndSessions(EPOCH), SetDisplayName("Ann")) == [
        ("s", ("sessions_ended",)), (None, ("display_name_set",)),
    ]  # fmt: skip


def test_an_event_without_an_id_is_told_without_one() -> None:
    assert carried_out([replace(SOFT, id="-")], Deactivate(erase=False)) == [(None, ("deactivated",))]


def test_without_a_look_exactly_the_steps_are_announced() -> None:
    known = UserState(known=THERE, seen_at=EPOCH)
    decision = decide(known, [OLDER, PROFILE], EPOCH)
    assert [(one.event_id, one.may) for one in announced(decision, [OLDER, PROFILE])] == [
        ("p", ("display_name_set", "avatar_set"))
    ]


@pytest.mark.parametrize("in_doubt", [True, False])
def test_an_announced_event_stays_until_its_end_is_known(in_doubt: bool) -> None:
    decision = decide(UserState(), [PROFILE], EPOCH)
    failed = ReconcileResult(
        replace(decision.state, known=THERE), THERE, failure=TryAgain(Reason.TOO_SLOW, in_doubt=in_doubt)
    )
    left = told(decision, [PROFILE], failed, EPOCH).announced
    assert [one.event_id for one in left] == (["p"] if in_doubt else [])
    later = decide(replace(decision.state, announced=left), [], EPOCH, look=True)
    shown = ReconcileResult(later.state, Account(display_name="Ann", avatar="mxc://a/b"))
    assert said(later, [], shown) == ([("p", ("display_name_set", "avatar_set"))] if in_doubt else [])
    assert told(later, [], shown, EPOCH).announced == ()


def test_a_password_change_stays_until_it_is_delivered_again() -> None:
    before = replace(
        UserState(known=THERE, seen_at=EPOCH), announced=announced(decide(UserState(), [PASSWORD], EPOCH), [PASSWORD])
    )
    looked = decide(replace(before, sessions_at=EPOCH), [], EPOCH, look=True)
    left = told(looked, [], ReconcileResult(looked.state, THERE), EPOCH)
    assert (left.changes, [one.event_id for one in left.announced]) == ((), ["s"])
    again = decide(replace(looked.state, announced=left.announced), [PASSWORD], EPOCH, look=True)
    assert said(again, [PASSWORD], ReconcileResult(replace(again.state, ended_at=EPOCH), THERE)) == [
        ("s", ("sessions_ended",))
    ]


@given(strategies.arrivals())
def test_each_applied_event_is_told(history: tuple[list[Event], list[Event]]) -> None:
    _, events = history
    for known in (THERE, Account(linked=False, display_name="Other", avatar="mxc://a/c"), Account(exists=False)):
        decision = decide(UserState(known=known, seen_at=EPOCH, linked=known.linked), events, EPOCH)
        result = ReconcileResult(decision.state, replace(known, exists=True), decision.steps)
        outcomes = zip(events, event_results(events, result), strict=True)
        applied = {event.id for event, one in outcomes if one.outcome is Outcome.APPLIED}
        assert applied <= {event_id for event_id, _ in said(decision, events, result)}

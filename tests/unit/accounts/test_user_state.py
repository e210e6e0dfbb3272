"""The fold: what a user's record says, in whatever order and however often the events arrive."""

from dataclasses import replace
from datetime import timedelta
from functools import reduce

from hypothesis import given

from function.accounts.user_state import (
    LATE_EFFECT,
    Claim,
    Status,
    UserState,
    carried_out,
    digest,
    fold,
    is_late,
    taken_over,
    without_future,
)
from function.events.types import Event, ProfileUpdated, UserDeleted
from function.homeserver.account import Account
from tests.support.events import ALICE, EPOCH
from tests.support.strategies import NO_AVATAR, STATES, arrivals, events

RANK = list(Status)


def folded(arriving: list[Event], start: UserState | None = None) -> UserState:
    return reduce(fold, arriving, start or UserState())


def named(name: str, second: int = 0, avatar: str = "") -> ProfileUpdated:
    return ProfileUpdated("e", ALICE, EPOCH + timedelta(seconds=second), name, avatar)


def gone(*, erase: bool, second: int = 0) -> UserDeleted:
    return UserDeleted("e", ALICE, EPOCH + timedelta(seconds=second), erase=erase)


@given(arrivals(unusable_avatars=False))
def test_any_order_and_any_repetition_end_in_the_same_record(case: tuple[list[Event], list[Event]]) -> None:
    """The outbox reorders and repeats; what a user looks like must not depend on it."""
    happened, arriving = case
    assert folded(arriving) == folded(happened)


@given(arrivals())
def test_an_unusable_avatar_does_not_make_the_order_matter(case: tuple[list[Event], list[Event]]) -> None:
    """The profile that holds it may arrive before or after an older one with a good avatar."""
    happened, arriving = case
    assert folded(arriving) == folded(happened)


@given(arrivals(deletions=False, unusable_avatars=False, others=False))
def test_the_newest_profile_wins(case: tuple[list[Event], list[Event]]) -> None:
    """By its own time, not by its arrival."""
    happened, arriving = case
    record = folded(arriving)
    if happened:
        newest = happened[-1]
        assert isinstance(newest, ProfileUpdated)
        assert (record.profile_at, record.display_name, record.avatar) == (
            newest.at,
            newest.display_name,
            newest.avatar,
        )


@given(arrivals(), STATES)
def test_status_only_ever_moves_down(case: tuple[list[Event], list[Event]], record: UserState) -> None:
    """No event reactivates a deleted user."""
    for event in case[1]:
        after = fold(record, event)
        assert RANK.index(after.status) >= RANK.index(record.status)
        record = after


@given(events(), STATES)
def test_an_erased_user_stays_erased_and_nameless(arriving: list[Event], record: UserState) -> None:
    """A record of an erased user keeps nothing personal."""
    erased = fold(record, gone(erase=True))
    after = folded(arriving, erased)
    assert after == erased
    assert (after.status, after.profile_at, after.display_name, after.avatar) == (Status.ERASED, None, None, None)


@given(arrivals())
def test_a_deletion_is_never_lost_in_a_crowd(case: tuple[list[Event], list[Event]]) -> None:
    """The strongest deletion decides the status, whatever its time."""
    happened, arriving = case
    erasures = [event.erase for event in happened if isinstance(event, UserDeleted)]
    expected = Status.ERASED if any(erasures) else Status.DEACTIVATED if erasures else Status.ACTIVE
    assert folded(arriving).status is expected


def test_of_two_profiles_of_one_time_the_later_arrival_wins() -> None:
    """One of them has to, and the outbox mostly keeps the order."""
    assert folded([named("Ann"), named("Bea")]).display_name == "Bea"


def test_an_older_deletion_still_deletes() -> None:
    """It may have waited in the dead letters while newer profiles were written."""
    record = folded([named("Ann", 10), gone(erase=False, second=1)])
    assert record.status is Status.DEACTIVATED


def test_a_soft_deletion_after_a_hard_one_changes_nothing() -> None:
    """An erasure can't be weakened."""
    erased = fold(UserState(), gone(erase=True))
    assert fold(erased, gone(erase=False, second=9)) == erased


def test_an_unusable_avatar_leaves_the_one_before() -> None:
    """The name of the same event is taken; the avatar waits until it can be shown."""
    first = named("Ann", 1, "mxc://test.example/one")
    second = replace(named("Bea", 2), avatar=NO_AVATAR)
    record = folded([first, second])
    assert (record.display_name, record.avatar) == ("Bea", "mxc://test.example/one")


def test_what_is_known_of_synapse_is_not_the_folds_affair() -> None:
    """Only a reconciliation learns about Synapse."""
    known = Account(display_name="Ann")
    for event in (named("Bea"), gone(erase=False)):
        assert fold(UserState(known=known), event).known == known


def test_an_erased_record_keeps_no_name_even_of_what_was_known_of_synapse() -> None:
    """The record is saved also when Synapse refuses the erasure."""
    known = Account(display_name="Ann", avatar="mxc://test.example/one")
    assert fold(UserState(known=known), gone(erase=True)).known == Account()


def test_only_an_older_profile_is_late() -> None:
    """As old is not late: it may be a redelivery whose call was lost."""
    record = fold(UserState(), named("Ann", 5))
    assert is_late(record, named("Bea", 4))
    assert not is_late(record, named("Bea", 5))
    assert not is_late(record, named("Bea", 6))
    assert not is_late(UserState(), named("Bea", 4))


def test_a_deletion_is_recognised_by_its_id_once_it_was_carried_out() -> None:
    """The newest few: a redelivery comes soon."""
    state = UserState(Status.ERASED)
    for number in range(6):
        state = carried_out(state, (digest(UserDeleted(f"event-{number}", ALICE, EPOCH, erase=True)),))
    assert state.deleted_by == tuple(digest(UserDeleted(f"event-{n}", ALICE, EPOCH, erase=True)) for n in (2, 3, 4, 5))
    assert carried_out(state, (state.deleted_by[0], "")).deleted_by == (*state.deleted_by[1:], state.deleted_by[0])


def test_a_deletion_without_an_id_is_never_recognised() -> None:
    assert digest(UserDeleted("-", ALICE, EPOCH, erase=True)) == ""


def test_a_claim_that_is_taken_over_leaves_nothing_known() -> None:
    """The other process may still be calling Synapse."""
    until = EPOCH + timedelta(seconds=30)
    state = UserState(known=Account(display_name="Ann"), linked=True, seen_at=EPOCH, claim=Claim("other", until))
    taken = taken_over(state, EPOCH + timedelta(seconds=40))
    assert (taken.claim, taken.known, taken.linked) == (None, None, None)
    assert taken.doubt_until == EPOCH + timedelta(seconds=40) + LATE_EFFECT
    assert taken.in_doubt
    assert taken_over(UserState(), EPOCH) == UserState()


def test_a_doubt_ends_with_a_look_after_its_time() -> None:
    until = EPOCH + LATE_EFFECT
    state = UserState(doubt_until=until)
    assert state.in_doubt
    assert replace(state, seen_at=until - timedelta(seconds=1)).in_doubt
    assert not replace(state, seen_at=until).in_doubt


def test_a_time_far_ahead_counts_as_unset() -> None:
    """An earlier release stored it: every later profile would be stale."""
    state = UserState(profile_at=EPOCH + timedelta(days=365), avatar_at=EPOCH, sessions_at=EPOCH + timedelta(hours=1))
    assert without_future(state, EPOCH) == replace(state, profile_at=None)


def test_an_erased_state_remembers_the_avatar_that_the_user_may_have_uploaded() -> None:
    """And not an image of this service, which is deleted anyway."""
    state = UserState(known=Account(avatar="mxc://test.example/own"), uploads=("mxc://test.example/copy",))
    assert fold(state, gone(erase=True)).last_avatar == "mxc://test.example/own"
    shown = replace(state, known=Account(avatar="mxc://test.example/copy"))
    assert fold(shown, gone(erase=True)).last_avatar is None

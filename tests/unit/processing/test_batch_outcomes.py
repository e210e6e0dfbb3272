"""The outcome of each kind of event, and what it costs Synapse and the state store."""

from datetime import timedelta

import pytest

from function.accounts.user_state import Status
from function.outcomes import Outcome, Reason
from tests.support.events import (
    ALICE,
    BOB,
    CAROL,
    EPOCH,
    deletion,
    delivered,
    profile,
)
from tests.support.harness import Harness, world

pytestmark = pytest.mark.anyio

GET, PUT, POST = "GET", "PUT", "POST"


def methods(w: Harness) -> list[str]:
    return [method for method, _ in w.homeserver.calls()]


async def test_a_changed_profile_is_applied() -> None:
    """Writes name and avatar after one lookup."""
    async with world(ALICE) as w:
        assert await w.process(profile(avatar_url="mxc://test.example/one")) == [Outcome.APPLIED]
        assert w.account()["displayname"] == "Alice Example"
        assert w.account()["avatar_url"] == "mxc://test.example/one"
        assert methods(w) == [GET, PUT, PUT]


async def test_an_unchanged_profile_costs_no_request() -> None:
    """Most edits of a profile change nothing in Matrix."""
    async with world(ALICE) as w:
        await w.process(profile(second=1))
        before = len(w.homeserver.requests)
        assert await w.process(profile(second=2, bio="other words")) == [Outcome.UNCHANGED]
        assert len(w.homeserver.requests) == before
        assert w.state.record(ALICE).profile_at == EPOCH + timedelta(seconds=2)


async def test_only_the_field_that_changed_is_written() -> None:
    """A known account needs no lookup, and each field has its own call."""
    async with world(ALICE) as w:
        await w.process(profile(second=1, avatar_url="mxc://test.example/one"))
        w.homeserver.requests.clear()
        assert await w.process(profile(second=2, avatar_url="mxc://test.example/two")) == [Outcome.APPLIED]
        [(method, path)] = w.homeserver.requests
        assert (method, path.rpartition("/")[2]) == (PUT, "avatar_url")


async def test_a_cleared_avatar_is_cleared_in_matrix() -> None:
    """The producer clears with an empty string."""
    async with world(ALICE) as w:
        await w.process(profile(second=1, avatar_url="mxc://test.example/one"))
        assert await w.process(profile(second=2, avatar_url="")) == [Outcome.APPLIED]
        assert w.account()["avatar_url"] is None


@pytest.mark.parametrize("soft", [True, False])
async def test_a_deletion_deactivates_with_one_call(soft: bool) -> None:
    """And erases where it was a hard one."""
    async with world(ALICE) as w:
        assert await w.process(deletion(soft=soft)) == [Outcome.APPLIED]
        assert (w.account()["deactivated"], w.account()["erased"]) == (True, not soft)
        assert methods(w) == [POST]


async def test_a_redelivered_deletion_is_unchanged() -> None:
    """It was confirmed, so it costs no call."""
    async with world(ALICE) as w:
        await w.process(deletion())
        assert await w.process(deletion()) == [Outcome.UNCHANGED]
        assert methods(w) == [POST]


async def test_an_older_profile_is_stale_and_writes_nothing() -> None:
    """The outbox repeats old rows after newer ones."""
    async with world(ALICE) as w:
        await w.process(profile(second=5, display_name="New"))
        w.homeserver.requests.clear()
        assert await w.process(profile(second=1, display_name="Old")) == [Outcome.STALE]
        assert w.account()["displayname"] == "New"
        assert PUT not in methods(w)


async def test_a_profile_without_an_account_is_no_account_and_never_written() -> None:
    """Writing it would make the id unusable for the first login."""
    async with world() as w:
        assert await w.process(profile(second=1)) == [Outcome.NO_ACCOUNT]
        assert await w.process(profile(second=2, display_name="Other")) == [Outcome.NO_ACCOUNT]
        assert methods(w) == [GET, GET]
        assert w.homeserver.poisoned == set()


async def test_a_profile_is_written_once_the_account_is_there() -> None:
    """The next event after the first login writes what earlier events said."""
    async with world() as w:
        await w.process(profile(second=1))
        w.login(ALICE)
        assert await w.process(profile(second=2)) == [Outcome.APPLIED]
        assert w.account()["displayname"] == "Alice Example"


async def test_a_deletion_without_an_account_is_no_account() -> None:
    """This is no error: not every user uses the chat."""
    async with world() as w:
        assert await w.process(deletion()) == [Outcome.NO_ACCOUNT]
        assert w.state.record(ALICE).status is Status.DEACTIVATED


@pytest.mark.parametrize("soft", [True, False])
async def test_a_deletion_before_the_account_exists_is_remembered(soft: bool) -> None:
    """A late profile must not reactivate a user who was deleted before the first login."""
    async with world() as w:
        await w.process(deletion(second=1, soft=soft))
        w.login(ALICE)
        assert await w.process(profile(second=2)) == [Outcome.STALE]
        assert w.account()["displayname"] == f"nova-{ALICE}" or w.account()["erased"]
        assert PUT not in methods(w)


@pytest.mark.parametrize("soft", [True, False])
async def test_a_late_profile_after_a_deletion_writes_nothing(soft: bool) -> None:
    """A newer one neither: deletion is terminal."""
    async with world(ALICE) as w:
        await w.process(profile(second=5))
        await w.process(deletion(second=6, soft=soft))
        state = dict(w.account())
        w.homeserver.requests.clear()
        for late in (profile(second=1, display_name="Old"), profile(second=9, display_name="New")):
            assert await w.process(late) == [Outcome.STALE]
        assert w.account() == state
        assert PUT not in methods(w)


async def test_an_account_that_another_service_deactivated_is_left_alone() -> None:
    """Nothing is written to a deactivated account, whichever service deactivated it."""
    async with world(ALICE) as w:
        w.account().update(deactivated=True)
        assert await w.process(profile()) == [Outcome.NO_ACCOUNT]
        assert methods(w) == [GET]


async def test_an_older_deletion_still_deletes() -> None:
    """For example a deletion replayed from the dead letters."""
    async with world(ALICE) as w:
        await w.process(profile(second=9))
        assert await w.process(deletion(second=1)) == [Outcome.APPLIED]
        assert w.account()["deactivated"] is True


async def test_a_hard_deletion_upgrades_a_soft_one_but_not_the_reverse() -> None:
    """An erasure can't be taken back."""
    async with world(ALICE) as w:
        await w.process(deletion(second=1, soft=True))
        assert await w.process(deletion(second=2, soft=False)) == [Outcome.APPLIED]
        assert await w.process(deletion(second=3, soft=True)) == [Outcome.UNCHANGED]
        assert (w.account()["erased"], w.account()["displayname"]) == (True, None)


async def test_events_of_other_types_and_tombstones_are_ignored_without_any_request() -> None:
    """Other groups' types and tombstones."""
    async with world(ALICE) as w:
        other = delivered({"user_id": ALICE}, "identity.user.two_fa_enabled")
        assert await w.process(other, delivered(b"null")) == [Outcome.IGNORED, Outcome.IGNORED]
        assert (w.state.reads, w.homeserver.requests, w.letters.letters) == (0, [], [])


async def test_a_record_that_is_not_an_event_is_a_dead_letter() -> None:
    """It has the reason and the unchanged record, and delays no other event."""
    async with world(ALICE) as w:
        broken = delivered(b"{not json", "identity.user.deleted", offset=7)
        assert await w.process(broken, deletion()) == [Outcome.DEAD_LETTER, Outcome.APPLIED]
        [letter] = w.letters.letters
        assert (letter.record, letter.reason, letter.event_id) == (broken, Reason.NOT_JSON, "event-7")


async def test_an_avatar_that_cannot_be_shown_is_a_dead_letter_and_the_name_is_applied() -> None:
    """A bad avatar never holds back the name, not even when the event is replayed."""
    async with world(ALICE) as w:
        event = profile(avatar_url="https://cdn.example/a.png")
        assert await w.process(event) == [Outcome.DEAD_LETTER]
        assert w.account()["displayname"] == "Alice Example"
        assert await w.process(event) == [Outcome.DEAD_LETTER]
        assert w.letters.reasons == [Reason.AVATAR_HOST_NOT_ALLOWED] * 2


async def test_a_name_that_synapse_refuses_is_a_dead_letter() -> None:
    """A module of the homeserver may refuse what Synapse itself takes."""
    async with world(ALICE) as w:
        w.homeserver.refused_names.add("Rude")
        assert await w.process(profile(display_name="Rude")) == [Outcome.DEAD_LETTER]
        assert w.letters.reasons == [Reason.SYNAPSE_REFUSED]


@pytest.mark.parametrize("soft", [True, False])
async def test_a_user_with_a_refused_name_can_be_deleted(soft: bool) -> None:
    """In the same batch and in a later one."""
    async with world(ALICE, BOB) as w:
        w.homeserver.refused_names.add("Rude")
        await w.process(profile(ALICE, 1, display_name="Rude"))
        assert await w.process(deletion(ALICE, 2, soft=soft)) == [Outcome.APPLIED]
        await w.process(profile(BOB, 1, display_name="Rude"), deletion(BOB, 2, soft=soft))
        for user in (ALICE, BOB):
            assert w.account(user)["deactivated"] is True


async def test_a_user_with_a_name_that_breaks_synapse_can_be_deleted() -> None:
    """The name is refused before it is sent; the deletion goes on."""
    async with world(ALICE) as w:
        fates = await w.process(profile(second=1, display_name="a\0b"), deletion(second=2))
        assert fates == [Outcome.DEAD_LETTER, Outcome.APPLIED]
        assert w.letters.reasons == [Reason.INVALID_DISPLAY_NAME]


async def test_ten_profiles_of_one_user_cost_one_write() -> None:
    """Folded together; the older ones are stale by the time of the write."""
    async with world(ALICE) as w:
        batch = [profile(second=i, display_name=f"Name {i}", offset=i) for i in range(10)]
        assert await w.process(*batch) == [Outcome.STALE] * 9 + [Outcome.APPLIED]
        assert w.account()["displayname"] == "Name 9"
        assert methods(w) == [GET, PUT]
        again = [profile(second=i, display_name=f"Name {i}", offset=i) for i in range(10, 20)]
        await w.process(*again)
        assert methods(w) == [GET, PUT, PUT]


async def test_a_batch_is_two_reads_and_two_writes_of_the_state_store() -> None:
    """However many users it holds: the states, the claims, the ETags of the claims, what became of them."""
    async with world(ALICE, BOB, CAROL) as w:
        await w.process(profile(ALICE), profile(BOB), deletion(CAROL), profile(BOB, 2))
        assert (w.state.reads, w.state.writes) == (2, 2)


async def test_the_newest_of_a_batch_wins_wherever_it_stands() -> None:
    """Order within a user is not guaranteed."""
    async with world(ALICE) as w:
        fates = await w.process(profile(second=9, display_name="New"), profile(second=1, display_name="Old"))
        assert fates == [Outcome.APPLIED, Outcome.STALE]
        assert w.account()["displayname"] == "New"


async def test_a_profile_and_a_deletion_in_one_batch_are_one_call() -> None:
    """An account is not written to right before its deactivation."""
    async with world(ALICE) as w:
        assert await w.process(profile(second=1), deletion(second=2)) == [Outcome.STALE, Outcome.APPLIED]
        assert methods(w) == [POST]


async def test_an_empty_batch_has_no_outcomes() -> None:
    """daprd does not send one; a test of the route does."""
    async with world() as w:
        assert await w.process() == []

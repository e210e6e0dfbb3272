"""Crashes between the calls to Synapse and the write to the state store, and writes of other replicas."""

from datetime import timedelta

import pytest

from function.accounts.user_state import Status, UserState
from function.homeserver.account import Account
from function.outcomes import Outcome
from function.processing.user import SAVE_ATTEMPTS
from tests.support.events import (
    ALICE,
    BOB,
    CAROL,
    EPOCH,
    deletion,
    profile,
)
from tests.support.harness import world

pytestmark = pytest.mark.anyio

GET, PUT, POST = "GET", "PUT", "POST"


async def test_a_crash_between_call_and_save_is_repaired_by_the_redelivery() -> None:
    """The account is already right; the state catches up."""
    async with world(ALICE) as w:
        w.state.losing = 1
        assert await w.process(profile(second=5)) == [Outcome.RETRY]
        assert w.account()["displayname"] == "Alice Example"
        w.health.failure = None
        assert await w.process(profile(second=5)) == [Outcome.UNCHANGED]
        assert w.state.record(ALICE).known == Account(display_name="Alice Example")


async def test_a_newer_record_of_another_writer_wins() -> None:
    """Our write may have gone over the newer name: it is looked at and put right."""
    async with world(ALICE) as w:
        at = EPOCH + timedelta(seconds=9)
        newer = UserState(Status.ACTIVE, at, "Newer", "", Account(display_name="Newer"), at)
        w.state.rivals = [{ALICE: newer}]
        assert await w.process(profile(second=1, display_name="Older")) == [Outcome.STALE]
        assert w.account()["displayname"] == "Newer"
        kept = w.state.record(ALICE)
        assert (kept.profile_at, kept.display_name, kept.known) == (newer.profile_at, "Newer", newer.known)


async def test_a_deletion_of_another_writer_wins() -> None:
    """Our name may have been written after another replica erased the account: it is erased again."""
    async with world(ALICE) as w:
        await w.process(profile(second=1, display_name="First"))

        async def erase(method: str, path: str) -> None:
            if method == PUT:
                w.account().update(deactivated=True, erased=True, displayname=None, avatar_url=None)

        w.homeserver.before = erase
        w.state.rivals = [{ALICE: UserState(Status.ERASED, known=Account(deactivated=True, erased=True))}]
        assert await w.process(profile(second=2, display_name="Second")) == [Outcome.STALE]
        assert (w.account()["erased"], w.account()["displayname"]) == (True, None)
        assert b"Second" not in w.state.stored_bytes(ALICE)


async def test_an_older_record_of_another_writer_loses() -> None:
    """The second writer sees both."""
    async with world(ALICE) as w:
        w.state.rivals = [{ALICE: UserState(Status.ACTIVE, EPOCH, "Older", "", Account(display_name="Older"))}]
        assert await w.process(profile(second=9, display_name="Newer")) == [Outcome.UNCHANGED]
        assert w.account()["displayname"] == "Newer"
        assert w.state.record(ALICE).display_name == "Newer"


async def test_a_conflict_on_one_user_leaves_the_others_of_the_batch_done() -> None:
    """One stale etag fails the whole transaction: then each user is saved alone."""
    async with world(ALICE, BOB, CAROL) as w:
        w.state.rivals = [{BOB: UserState(Status.DEACTIVATED)}]
        fates = await w.process(profile(ALICE), profile(BOB), deletion(CAROL))
        assert fates == [Outcome.APPLIED, Outcome.STALE, Outcome.APPLIED]
        assert w.account(BOB)["deactivated"] is True
        assert w.state.record(ALICE).display_name == "Alice Example"
        assert w.state.record(CAROL).status is Status.DEACTIVATED


async def test_conflicts_without_end_delay_only_that_user() -> None:
    """Attempts are bounded, no other user waits, and the service stays ready."""
    async with world(ALICE, BOB) as w:
        rival = {ALICE: UserState(Status.ACTIVE, EPOCH, "Rival", "")}
        # The batch's own write, then Alice's and Bob's alone; Alice's are disturbed each time.
        w.state.rivals = [rival] * (1 + SAVE_ATTEMPTS)
        assert await w.process(profile(ALICE, 9), deletion(BOB)) == [Outcome.RETRY, Outcome.APPLIED]
        assert w.health.failure is None
        assert await w.process(profile(ALICE, 9)) == [Outcome.UNCHANGED]


async def test_the_state_of_an_erased_user_has_no_personal_data() -> None:
    """Neither what was wished nor what was known."""
    async with world(ALICE) as w:
        await w.process(profile(second=1, avatar_url="mxc://test.example/face"))
        await w.process(deletion(second=2, soft=False))
        kept = w.state.stored_bytes(ALICE)
        assert b"Alice" not in kept
        assert b"face" not in kept


async def test_a_value_that_is_replaced_within_a_batch_is_not_left_in_synapse() -> None:
    """The function died after it wrote the middle one: the redelivered batch ends where the record already is."""
    async with world(ALICE) as w:
        await w.process(profile(second=1, display_name="A"))
        w.account()["displayname"] = "B"  # the lost delivery's call
        batch = [profile(second=2, display_name="B"), profile(second=3, display_name="A")]
        assert await w.process(*batch) == [Outcome.STALE, Outcome.APPLIED]
        assert w.account()["displayname"] == "A"

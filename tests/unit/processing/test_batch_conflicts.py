"""Crashes between the calls to Synapse and the write to the state store, and writes of other replicas."""

from datetime import timedelta

import pytest

from function.accounts.recheck_loop import Checked
from function.accounts.updater import ATTEMPTS, CLAIM
from function.accounts.user_state import LATE_EFFECT, Status, UserState
from function.homeserver.account import Account
from function.outcomes import Outcome, Reason, TryAgain
from tests.support.events import (
    ALICE,
    BOB,
    CAROL,
    EPOCH,
    deletion,
    password,
    profile,
)
from tests.support.harness import world

pytestmark = pytest.mark.anyio

GET, PUT, POST = "GET", "PUT", "POST"


async def test_a_crash_between_call_and_save_is_repaired_by_the_redelivery() -> None:
    """The account is already right; the state catches up."""
    async with world(ALICE) as w:
        w.state.sparing, w.state.losing = 1, 1
        assert await w.process(profile(second=5)) == [Outcome.RETRY]
        assert w.account()["displayname"] == "Alice Example"
        w.health.failure = None
        assert await w.process(profile(second=5)) == [Outcome.UNCHANGED]
        assert w.state.record(ALICE).known == Account(display_name="Alice Example")


async def test_no_call_is_made_that_is_not_announced() -> None:
    """The claim was not saved."""
    async with world(ALICE) as w:
        w.state.losing = 1
        assert await w.process(profile(second=5)) == [Outcome.RETRY]
        assert w.homeserver.calls() == []


async def test_another_process_waits_for_the_claim_of_one_that_died() -> None:
    """And then reads the account, now and once more after everything that was under way has had its effect."""
    async with world(ALICE, BOB) as w:
        w.state.sparing, w.state.losing = 1, 1
        await w.process(profile(second=5, display_name="First"))
        w.health.failure = None
        w.restart()
        newer = profile(second=6, display_name="Newer")
        results = await w.processor.process([newer, profile(BOB, 1)])
        assert [result.outcome for result in results] == [Outcome.RETRY, Outcome.APPLIED]
        assert isinstance(results[0].failure, TryAgain)
        assert results[0].failure.reason is Reason.CLAIMED
        assert w.health.failure is None
        w.clock.now += CLAIM
        w.homeserver.requests.clear()
        assert await w.process(newer) == [Outcome.APPLIED]
        assert [method for method, _ in w.homeserver.calls()] == [GET, PUT]
        assert w.rechecks.due == {ALICE: w.clock.now + LATE_EFFECT}
        assert w.state.record(ALICE).in_doubt


async def test_a_late_write_of_a_process_that_lost_its_claim_is_set_right() -> None:
    """It wrote after the takeover and then died; nothing but the later look can tell."""
    async with world(ALICE) as w:
        w.state.sparing, w.state.losing = 1, 1
        await w.process(profile(second=5, display_name="Late"))
        w.health.failure = None
        w.restart()
        w.clock.now += CLAIM
        assert await w.process(profile(second=6, display_name="Newer")) == [Outcome.APPLIED]
        w.account()["displayname"] = "Late"
        w.clock.now += LATE_EFFECT
        assert await w.processor.recheck(ALICE) is Checked.CHANGED
        assert w.account()["displayname"] == "Newer"
        assert await w.processor.recheck(ALICE) is Checked.SETTLED
        assert not w.state.record(ALICE).in_doubt


async def test_what_was_confirmed_costs_no_call_when_it_comes_again() -> None:
    """Nor a write."""
    async with world(ALICE, BOB, CAROL) as w:
        batch = [profile(second=5), deletion(BOB), deletion(CAROL, soft=False), profile(BOB, 1), password()]
        await w.process(*batch)
        w.homeserver.requests.clear()
        w.state.writes = 0
        again = await w.process(*batch)
        assert again == [Outcome.UNCHANGED, Outcome.UNCHANGED, Outcome.UNCHANGED, Outcome.STALE, Outcome.UNCHANGED]
        assert (w.homeserver.calls(), w.state.writes) == ([], 0)


async def test_a_newer_record_of_another_writer_wins() -> None:
    """Our write may have gone over the newer name: it is looked at and put right."""
    async with world(ALICE) as w:
        at = EPOCH + timedelta(seconds=9)
        newer = UserState(Status.ACTIVE, at, "Newer", "", Account(display_name="Newer"), at)
        w.state.rivals = [{}, {ALICE: newer}]
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
        w.state.rivals = [{}, {ALICE: UserState(Status.ERASED, known=Account(deactivated=True, erased=True))}]
        assert await w.process(profile(second=2, display_name="Second")) == [Outcome.STALE]
        assert (w.account()["erased"], w.account()["displayname"]) == (True, None)
        assert b"Second" not in w.state.stored_bytes(ALICE)


async def test_an_older_record_of_another_writer_loses() -> None:
    """The second writer sees both."""
    async with world(ALICE) as w:
        w.state.rivals = [{}, {ALICE: UserState(Status.ACTIVE, EPOCH, "Older", "", Account(display_name="Older"))}]
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
        # The batch's claims, Bob's claim and what became of him, then Alice's claims, each disturbed.
        w.state.rivals = [rival] * (1 + 2 + ATTEMPTS)
        assert await w.process(profile(ALICE, 9), deletion(BOB)) == [Outcome.RETRY, Outcome.APPLIED]
        assert w.health.failure is None
        assert await w.process(profile(ALICE, 9)) == [Outcome.APPLIED]


async def test_the_state_of_an_erased_user_has_no_personal_data() -> None:
    """Neither what was wished nor what was known."""
    async with world(ALICE) as w:
        await w.process(profile(second=1, avatar_url="mxc://test.example/face"))
        await w.process(deletion(second=2, soft=False))
        kept = w.state.stored_bytes(ALICE)
        assert b"Alice" not in kept
        assert b"face" not in kept

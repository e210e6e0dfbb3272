"""A deleted user is looked at once more: rooms that a queued profile write joined again, and a name that came back."""

from datetime import timedelta

import pytest

from function.accounts.later_looks import CHECK_AFTER
from function.accounts.recheck_loop import Checked
from function.accounts.reconcile import RECENT
from function.outcomes import Outcome, TryAgain
from tests.support.events import ALICE, deletion, profile
from tests.support.harness import world

pytestmark = pytest.mark.anyio


async def test_rooms_joined_after_a_deactivation_are_left_by_a_second_one() -> None:
    """Joins that a profile write had queued run late."""
    async with world(ALICE) as w:
        await w.one_by_one([profile(second=1, display_name="Ada"), deletion(second=2)])
        assert w.rechecks.due == {ALICE: w.clock.now + CHECK_AFTER}
        w.homeserver.rooms[w.homeserver.mxid(ALICE)] = 3
        assert await w.processor.recheck(ALICE) is Checked.CHANGED
        assert w.homeserver.rooms == {}
        assert await w.processor.recheck(ALICE) is Checked.SETTLED


async def test_a_name_that_came_back_after_an_erasure_is_removed() -> None:
    """Synapse carried out a write that we had given up."""
    async with world(ALICE) as w:
        await w.one_by_one([profile(second=1, display_name="Ada"), deletion(second=2, soft=False)])
        w.account()["displayname"] = "Ada"
        assert await w.processor.recheck(ALICE) is Checked.CHANGED
        assert w.account()["displayname"] is None
        assert await w.processor.recheck(ALICE) is Checked.SETTLED


async def test_no_recheck_follows_a_deletion_without_a_recent_profile_write() -> None:
    """No join can be queued, and a look would cost each deletion a call."""
    async with world(ALICE) as w:
        await w.process(profile(second=1, display_name="Ada"))
        w.clock.now += RECENT
        await w.process(deletion(second=2))
        assert w.rechecks.due == {}


async def test_a_recheck_is_remembered_before_the_call_is_made() -> None:
    """So a crash forgets no user."""
    async with world(ALICE) as w:
        await w.process(profile(second=1, display_name="Ada"))
        remembered = []

        async def before(method: str, _path: str) -> None:
            if method == "POST":
                remembered.append(dict(w.rechecks.due))

        w.homeserver.before = before
        assert await w.process(deletion(second=2)) == [Outcome.APPLIED]
        assert remembered == [{ALICE: w.clock.now + CHECK_AFTER}]


async def test_a_user_without_a_state_needs_no_recheck() -> None:
    """Its key was deleted in the meantime: nothing says how the account should be."""
    async with world(ALICE) as w:
        assert await w.processor.recheck(ALICE) is Checked.SETTLED
        assert w.homeserver.calls() == []


async def test_a_recheck_that_can_not_be_done_says_so() -> None:
    """And is tried again."""
    async with world(ALICE) as w:
        await w.one_by_one([profile(second=1), deletion(second=2)])
        w.clock.now += timedelta(minutes=1)
        w.homeserver.down = True
        with pytest.raises(TryAgain):
            await w.processor.recheck(ALICE)
        assert w.health.failure is not None

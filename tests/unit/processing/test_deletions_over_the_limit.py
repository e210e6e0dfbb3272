"""The deletion limit in the processing of events: deletions beyond it are dead-lettered."""

import pytest

from function.accounts.user_state import Status
from function.outcomes import Outcome, Reason
from tests.support.events import ALICE, BOB, CAROL, deletion, profile
from tests.support.harness import world

pytestmark = pytest.mark.anyio


async def test_a_deletion_over_the_limit_is_dead_lettered_and_changes_nothing() -> None:
    """The deletions may turn out to be a mistake; until a replay the users stay active."""
    async with world(ALICE, BOB, CAROL, deletions=1) as w:
        fates = await w.one_by_one([deletion(ALICE), deletion(BOB, soft=False), profile(BOB, 9, display_name="alive")])
        assert fates == [Outcome.APPLIED, Outcome.DEAD_LETTER, Outcome.APPLIED]
        assert w.letters.reasons == [Reason.DELETION_LIMIT]
        assert w.account(BOB)["displayname"] == "alive"
        assert w.state.record(BOB).status is Status.ACTIVE
        assert w.processor.deletions_exhausted


async def test_a_deletion_over_the_limit_is_applied_by_its_replay_once_the_limit_allows_it() -> None:
    async with world(ALICE, BOB, deletions=1) as w:
        await w.one_by_one([deletion(ALICE), deletion(BOB)])
    async with world(ALICE, BOB, deletions=2) as w:
        assert await w.one_by_one([deletion(ALICE), deletion(BOB)]) == [Outcome.APPLIED, Outcome.APPLIED]


async def test_deletions_without_an_active_account_do_not_count() -> None:
    """The users have no account, or are already deactivated."""
    async with world(ALICE, deletions=1) as w:
        fates = await w.one_by_one([deletion(BOB), deletion(CAROL), deletion(ALICE), deletion(ALICE, soft=False)])
        assert fates == [Outcome.NO_ACCOUNT, Outcome.NO_ACCOUNT, Outcome.APPLIED, Outcome.APPLIED]


async def test_one_batch_applies_no_more_deletions_than_the_limit() -> None:
    """The users of a batch are processed concurrently."""
    async with world(ALICE, BOB, CAROL, deletions=2) as w:
        fates = await w.process(deletion(ALICE), deletion(BOB), deletion(CAROL))
        assert sorted(fates) == [Outcome.APPLIED, Outcome.APPLIED, Outcome.DEAD_LETTER]

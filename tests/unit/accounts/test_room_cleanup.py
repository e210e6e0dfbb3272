"""A deactivated user leaves the rooms that a queued profile write joined again."""

from datetime import timedelta

import pytest

from function.accounts.room_cleanup import CHECK_AFTER, KEY
from tests.support.events import ALICE, deletion, profile
from tests.support.harness import world

pytestmark = pytest.mark.anyio


async def test_rooms_joined_after_a_deactivation_are_left_by_a_second_one() -> None:
    """Joins that a profile write had queued run late."""
    async with world(ALICE) as w:
        await w.process(profile(second=1, display_name="Ada"))
        await w.process(deletion(second=2))
        w.homeserver.rooms[w.homeserver.mxid(ALICE)] = 3
        w.clock.now += CHECK_AFTER[0]
        await w.room_cleanup.check_due()
        assert w.homeserver.rooms == {}
        for pause in (*CHECK_AFTER, *CHECK_AFTER):
            w.clock.now += pause
            await w.room_cleanup.check_due()
        assert w.state.stored_bytes(KEY) == b"{}"


async def test_no_room_check_follows_a_deletion_without_a_recent_profile_write() -> None:
    """No join can be queued, and a check would cost each deletion a call."""
    async with world(ALICE) as w:
        await w.process(profile(second=1, display_name="Ada"))
        w.clock.now += timedelta(hours=1)
        await w.process(deletion(second=2))
        w.homeserver.requests.clear()
        w.clock.now += CHECK_AFTER[-1]
        await w.room_cleanup.check_due()
        assert w.homeserver.requests == []


async def test_a_room_check_is_saved_before_the_deletion_is_acknowledged() -> None:
    """So a crash forgets no user."""
    async with world(ALICE) as w:
        await w.process(profile(second=1, display_name="Ada"))
        await w.process(deletion(second=2, soft=False))
        assert ALICE.encode() in w.state.stored_bytes(KEY)
        assert b"true" in w.state.stored_bytes(KEY)

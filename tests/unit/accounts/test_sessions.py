"""A changed password ends the sessions of the old one."""

from datetime import timedelta

import pytest

from function.outcomes import Outcome
from tests.support.events import ALICE, delivered, moment, password, profile
from tests.support.harness import world

pytestmark = pytest.mark.anyio


async def test_a_changed_password_ends_every_session() -> None:
    async with world(ALICE) as w:
        w.homeserver.devices[w.homeserver.mxid(ALICE)] = ["PHONE", "LAPTOP"]
        assert await w.process(password()) == [Outcome.APPLIED]
        assert w.homeserver.devices[w.homeserver.mxid(ALICE)] == []


async def test_neither_a_redelivery_nor_an_old_replay_ends_a_new_session() -> None:
    """The person has logged in with the new password."""
    async with world(ALICE) as w:
        w.homeserver.devices[w.homeserver.mxid(ALICE)] = ["PHONE"]
        await w.process(password(second=5))
        w.homeserver.devices[w.homeserver.mxid(ALICE)] = ["NEW"]
        assert await w.process(password(second=5), password(second=1)) == [Outcome.UNCHANGED, Outcome.STALE]
        assert w.homeserver.devices[w.homeserver.mxid(ALICE)] == ["NEW"]


async def test_a_password_that_was_changed_before_the_first_login_ends_nothing_later() -> None:
    async with world() as w:
        assert await w.process(password()) == [Outcome.NO_ACCOUNT]
        w.login(ALICE)
        w.homeserver.devices[w.homeserver.mxid(ALICE)] = ["FIRST"]
        await w.process(profile(second=9))
        assert w.homeserver.devices[w.homeserver.mxid(ALICE)] == ["FIRST"]


async def test_a_changed_password_that_ends_no_session_is_ignored() -> None:
    async with world(ALICE) as w:
        assert await w.process(password(ends=False)) == [Outcome.IGNORED]


async def test_sessions_that_begin_after_the_creation_are_not_ended_by_a_later_profile() -> None:
    """Account and password came in one batch; there was no session then."""
    async with world() as w:
        created = delivered({"user_id": ALICE, "username": "ally", "created_at": moment(0)}, "identity.user.created")
        await w.process(created, password(second=1))
        w.homeserver.devices[w.homeserver.mxid(ALICE)] = ["FIRST"]
        w.clock.now += timedelta(days=3)
        await w.process(profile(second=9))
        assert w.homeserver.devices[w.homeserver.mxid(ALICE)] == ["FIRST"]


async def test_a_password_change_whose_call_failed_ends_sessions_by_its_own_redelivery_only() -> None:
    """A profile days later must not log the user out."""
    async with world(ALICE) as w:
        await w.process(profile(second=1))
        w.homeserver.devices[w.homeserver.mxid(ALICE)] = ["PHONE"]
        w.homeserver.failing_for.add(w.homeserver.mxid(ALICE))
        assert await w.process(password(second=2)) == [Outcome.DEAD_LETTER]
        w.homeserver.failing_for.clear()
        await w.process(profile(second=9, display_name="Later"))
        assert w.homeserver.devices[w.homeserver.mxid(ALICE)] == ["PHONE"]
        assert await w.process(password(second=2)) == [Outcome.APPLIED]
        assert w.homeserver.devices[w.homeserver.mxid(ALICE)] == []

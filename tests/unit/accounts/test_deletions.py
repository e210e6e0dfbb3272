"""A deletion makes its call whatever is known of the account, unless it was carried out before for the same event."""

from datetime import timedelta

import pytest

from dev.identity_events import DELETED
from function.accounts.plan import ACCOUNT_TTL
from function.outcomes import Outcome, Reason
from tests.support.events import ALICE, deleted_payload, deletion, delivered, profile
from tests.support.harness import Harness, world

pytestmark = pytest.mark.anyio

FACE = "https://cdn.example/face.png"


async def seen_deactivated(w: Harness) -> None:
    """Another client deactivates the account, and the function sees it so."""
    await w.process(profile(second=1))
    w.account().update(deactivated=True)
    w.clock.now += ACCOUNT_TTL
    assert await w.process(profile(second=2, display_name="New")) == [Outcome.NO_ACCOUNT]


@pytest.mark.parametrize("soft", [True, False])
async def test_an_account_that_was_deactivated_and_activated_again_by_another_client_is_deactivated(soft: bool) -> None:
    async with world(ALICE) as w:
        await seen_deactivated(w)
        w.account().update(deactivated=False)
        assert await w.process(deletion(second=3, soft=soft)) == [Outcome.APPLIED]
        assert (w.account()["deactivated"], w.account()["erased"]) == (True, not soft)


async def test_an_account_that_another_client_erased_and_named_again_is_erased() -> None:
    async with world(ALICE) as w:
        await seen_deactivated(w)
        w.account().update(erased=True, displayname="back")
        assert await w.process(deletion(second=3, soft=False)) == [Outcome.APPLIED]
        assert w.account()["displayname"] is None


async def test_a_second_deletion_of_a_user_makes_its_call() -> None:
    """It is another event: a person asked again, perhaps because the account was active again."""
    async with world(ALICE) as w:
        await w.process(deletion(second=1, offset=1))
        w.account().update(deactivated=False)
        assert await w.process(deletion(second=2, offset=2)) == [Outcome.APPLIED]
        assert w.account()["deactivated"] is True


async def test_a_deletion_without_an_id_makes_its_call_each_time() -> None:
    async with world(ALICE) as w:
        nameless = delivered(deleted_payload(second=1), DELETED, event_id="")
        await w.process(nameless)
        w.account().update(deactivated=False)
        assert await w.process(nameless) == [Outcome.APPLIED]
        assert w.account()["deactivated"] is True


async def test_an_account_that_is_active_again_gets_profiles_again() -> None:
    """It is looked at once in a while, and not for each event."""
    async with world(ALICE) as w:
        await seen_deactivated(w)
        w.account().update(deactivated=False)
        w.homeserver.requests.clear()
        assert await w.process(profile(second=3, display_name="Newer")) == [Outcome.NO_ACCOUNT]
        assert w.homeserver.calls() == []
        w.clock.now += ACCOUNT_TTL
        assert await w.process(profile(second=4, display_name="Newest")) == [Outcome.APPLIED]
        assert w.account()["displayname"] == "Newest"


async def test_what_was_done_is_remembered_when_the_next_step_fails() -> None:
    """The account is erased once, however often the deletion of its image fails."""
    async with world(ALICE) as w:
        w.avatars.images[FACE] = b"face"
        await w.process(profile(second=1, avatar_url=FACE))

        async def before(_method: str, path: str) -> None:
            w.homeserver.down = "/media/" in path

        w.homeserver.before = before
        hard = deletion(second=2, soft=False)
        for _ in range(3):
            assert (await w.process(hard))[0] in {Outcome.RETRY, Outcome.DEAD_LETTER}
            w.health.failure = None
        assert [path for method, path in w.homeserver.calls("POST") if "deactivate" in path] == [
            f"/_synapse/admin/v1/deactivate/{w.homeserver.mxid(ALICE)}"
        ]
        w.homeserver.before, w.homeserver.down = None, False
        assert await w.process(hard) == [Outcome.APPLIED]
        assert w.homeserver.media == {}


async def test_a_write_does_not_count_as_a_look() -> None:
    """An account that another client erased is written to for ten minutes at most, however often its profile changes."""
    async with world(ALICE) as w:
        for second in range(1, 7):
            await w.process(profile(second=second, display_name=f"Ada {second}"))
            w.clock.now += timedelta(minutes=9)
            if second == 1:
                w.account().update(deactivated=True, erased=True, displayname=None)
        assert w.account()["displayname"] == "Ada 2"
        assert len(w.homeserver.calls("PUT")) == 2


async def test_a_look_in_the_future_does_not_count() -> None:
    """It was noted by a replica whose clock was ahead."""
    async with world(ALICE) as w:
        w.clock.now += timedelta(days=1)
        await w.process(profile(second=1))
        w.clock.now -= timedelta(days=1)
        w.account().update(deactivated=True, erased=True, displayname=None)
        assert await w.process(profile(second=2, display_name="New")) == [Outcome.NO_ACCOUNT]
        assert w.account()["displayname"] is None


async def test_a_state_that_can_not_be_read_makes_only_its_user_wait() -> None:
    async with world(ALICE) as w:
        await w.state.write_values({ALICE: (b'{"v":2,"status":"active"}', "")})
        [result] = await w.processor.process([deletion()])
        assert result.outcome is Outcome.RETRY
        assert result.failure
        assert result.failure.reason is Reason.STATE_UNREADABLE
        assert w.health.failure is None
        assert w.homeserver.calls() == []

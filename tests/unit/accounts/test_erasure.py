"""Deactivated and erased accounts: nothing personal is left, and they stay that way."""

from datetime import timedelta

import pytest

from function.accounts.user_state import Status
from function.outcomes import Outcome
from tests.support.events import ALICE, deletion, profile
from tests.support.harness import world

pytestmark = pytest.mark.anyio

FACE = "https://cdn.example/face.png"


async def test_an_erased_user_leaves_no_image_behind() -> None:
    """Synapse keeps what the admin uploaded."""
    async with world(ALICE) as w:
        w.avatars.images[FACE] = b"face"
        await w.process(profile(second=1, avatar_url=FACE))
        assert await w.process(deletion(second=2, soft=False)) == [Outcome.APPLIED]
        assert w.homeserver.media == {}
        record = w.state.record(ALICE)
        assert (record.status, record.uploads, record.copy, record.avatar) == (Status.ERASED, (), None, None)


async def test_a_soft_deletion_keeps_the_image_and_the_hard_one_after_it_deletes_it() -> None:
    async with world(ALICE) as w:
        w.avatars.images[FACE] = b"face"
        await w.process(profile(second=1, avatar_url=FACE))
        await w.process(deletion(second=2, soft=True))
        assert len(w.homeserver.media) == 1
        assert await w.process(deletion(second=3, soft=False)) == [Outcome.APPLIED]
        assert (w.homeserver.media, w.account()["erased"]) == ({}, True)


async def test_an_account_that_another_client_erased_is_not_written_to() -> None:
    """The last lookup was a while ago, so the account is looked up first."""
    async with world(ALICE) as w:
        await w.process(profile(second=1, display_name="Ada"))
        w.account().update(deactivated=True, erased=True, displayname=None)
        w.clock.now += timedelta(minutes=10)
        assert await w.process(profile(second=2, display_name="Ada L.")) == [Outcome.NO_ACCOUNT]
        assert w.account()["displayname"] is None


async def test_a_changed_image_of_an_account_that_another_client_erased_is_not_uploaded() -> None:
    async with world(ALICE) as w:
        w.avatars.images[FACE] = b"face"
        await w.process(profile(second=1, avatar_url=FACE))
        w.account().update(deactivated=True, erased=True, displayname=None, avatar_url=None)
        w.avatars.images[FACE] = b"other"
        w.clock.now += timedelta(minutes=10)
        await w.process(profile(second=2, avatar_url=FACE))
        assert w.account()["avatar_url"] is None
        assert b"other" not in w.homeserver.media.values()


async def test_an_account_that_another_client_reactivated_is_deactivated_again_at_the_next_event() -> None:
    """A deletion is final for the identity service. Until the account has not been read for a while, it is trusted."""
    async with world(ALICE) as w:
        await w.process(deletion(soft=False))
        w.clock.now += timedelta(minutes=10)
        w.account().update(deactivated=False, erased=False, displayname="back")
        assert await w.process(profile(second=9)) == [Outcome.STALE]
        assert (w.account()["deactivated"], w.account()["erased"], w.account()["displayname"]) == (True, True, None)


@pytest.mark.parametrize("own", [True, False])
async def test_an_erased_user_leaves_no_avatar_that_the_user_uploaded(own: bool) -> None:
    """An image that another account uploaded stays: others may show it too."""
    picture = "mxc://test.example/picture"
    async with world(ALICE) as w:
        w.homeserver.media[picture] = b"picture"
        owner = w.homeserver.mxid(ALICE) if own else w.homeserver.service_user
        w.homeserver.uploads[picture] = {"media_id": "picture", "user_id": owner}
        await w.process(profile(second=1, avatar_url=picture))
        assert await w.process(deletion(second=2, soft=False)) == [Outcome.APPLIED]
        assert (picture in w.homeserver.media) is not own
        assert w.state.record(ALICE).last_avatar is None

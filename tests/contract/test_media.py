"""What Synapse tells of the files in its media store, on the fake and on a real one."""

import pytest

from tests.contract.servers.homeservers import Homeserver
from tests.support.images import PNG

pytestmark = pytest.mark.anyio

ELSEWHERE = "mxc://elsewhere.example/abcdef"


async def test_what_a_user_uploads_is_the_users(homeserver: Homeserver, user: str) -> None:
    """An erasure deletes the user's own avatar; Synapse leaves it."""
    await homeserver.create(user)
    mxc = await homeserver.upload_as(await homeserver.act_as(user))
    await homeserver.synapse.deactivate(user, erase=True)
    assert await homeserver.synapse.uploaded_by(mxc) == homeserver.synapse.mxid(user)
    assert await homeserver.synapse.media_exists(mxc)


async def test_what_the_admin_uploads_is_not_the_users(homeserver: Homeserver, user: str) -> None:
    """It may be an image that many accounts show."""
    mxc = await homeserver.synapse.upload(PNG, "image/png", user)
    assert await homeserver.synapse.uploaded_by(mxc) == homeserver.service_user


async def test_an_avatar_that_the_admin_uploaded_outlives_the_erasure_of_its_user(
    homeserver: Homeserver, user: str
) -> None:
    """So an erasure deletes the copy of the avatar too."""
    await homeserver.create(user)
    mxc = await homeserver.synapse.upload(PNG, "image/png", user)
    await homeserver.synapse.set_avatar(user, mxc)
    await homeserver.synapse.deactivate(user, erase=True)
    assert await homeserver.has_media(mxc)


async def test_deleted_media_is_known_to_be_gone(homeserver: Homeserver, user: str) -> None:
    """The avatar of a live account may have been deleted by an administrator."""
    mxc = await homeserver.synapse.upload(PNG, "image/png", user)
    assert await homeserver.synapse.media_exists(mxc)
    await homeserver.synapse.delete_media(mxc)
    assert not await homeserver.synapse.media_exists(mxc)
    assert await homeserver.synapse.uploaded_by(mxc) is None


async def test_quarantined_media_exists_and_is_no_ones_to_delete(homeserver: Homeserver, user: str) -> None:
    """A moderator keeps it from being shown; uploading it again would undo that, deleting it would end the evidence."""
    await homeserver.create(user)
    mxc = await homeserver.upload_as(await homeserver.act_as(user))
    await homeserver.quarantine(mxc)
    assert await homeserver.synapse.media_exists(mxc)
    assert await homeserver.synapse.uploaded_by(mxc) is None


@pytest.mark.parametrize("mxc", [ELSEWHERE, "mxc://{server}/a?b", "mxc://{server}/../users", "https://{server}/a", ""])
async def test_media_of_other_servers_is_never_gone_and_no_ones(homeserver: Homeserver, mxc: str) -> None:
    """Synapse knows only what it has cached of them; what is no mxc URI is not asked for either."""
    address = mxc.format(server=homeserver.server_name)
    assert await homeserver.synapse.media_exists(address)
    assert await homeserver.synapse.uploaded_by(address) is None

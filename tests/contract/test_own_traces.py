"""What a user leaves behind, and its removal after the erasure, on the fake and on a real Synapse."""

import anyio
import anyio.lowlevel
import pytest

from function.homeserver.own_traces import Redaction, RedactionStatus
from function.outcomes import Rejected
from tests.contract.servers.homeservers import Homeserver

pytestmark = pytest.mark.anyio

MESSAGES = 5


async def ended(homeserver: Homeserver, redact_id: str) -> Redaction:
    with anyio.fail_after(60):
        while (found := await homeserver.synapse.redaction(redact_id)).running:
            await anyio.lowlevel.checkpoint()
        return found


async def left_rooms(homeserver: Homeserver, user: str) -> None:
    with anyio.fail_after(60):
        while await homeserver.synapse.joined_rooms(user):
            await anyio.lowlevel.checkpoint()


async def test_messages_of_an_erased_user_who_has_left_can_be_redacted(homeserver: Homeserver, user: str) -> None:
    """So the deletion waits for nothing: the redaction comes after it."""
    await homeserver.create(user)
    rooms = [await homeserver.post_messages(user, MESSAGES) for _ in range(2)]
    mxid = homeserver.synapse.mxid(user)
    await homeserver.synapse.deactivate(user, erase=True)
    await left_rooms(homeserver, user)
    assert [await homeserver.readable_messages(user, room) for room in rooms] == [MESSAGES, MESSAGES]
    assert set(await homeserver.synapse.rooms_of(mxid)) == set(rooms)
    found = await ended(homeserver, await homeserver.synapse.redact(mxid, rooms))
    assert found == Redaction(RedactionStatus.COMPLETE, 0)
    assert [await homeserver.readable_messages(user, room) for room in rooms] == [0, 0]


async def test_a_redaction_takes_only_the_rooms_that_it_is_given(homeserver: Homeserver, user: str) -> None:
    """No rooms mean those that the user is in: none, after a deletion. So they are listed first."""
    await homeserver.create(user)
    room, other = [await homeserver.post_messages(user, 1) for _ in range(2)]
    mxid = homeserver.synapse.mxid(user)
    await homeserver.synapse.deactivate(user, erase=True)
    await left_rooms(homeserver, user)
    for rooms, readable in (([], [1, 1]), ([room], [0, 1])):
        assert (await ended(homeserver, await homeserver.synapse.redact(mxid, rooms))).failed == 0
        assert [await homeserver.readable_messages(user, one) for one in (room, other)] == readable


async def test_a_redaction_that_was_never_begun_is_unknown(homeserver: Homeserver) -> None:
    """Synapse forgets one a week after its end."""
    assert await homeserver.synapse.redaction("never-begun") == Redaction(RedactionStatus.UNKNOWN)


async def test_a_user_in_no_room_has_none(homeserver: Homeserver, user: str) -> None:
    """As has one without an account."""
    assert await homeserver.synapse.rooms_of(homeserver.synapse.mxid(user)) == []
    await homeserver.create(user)
    assert await homeserver.synapse.rooms_of(homeserver.synapse.mxid(user)) == []


async def test_own_media_is_listed_until_it_is_deleted(homeserver: Homeserver, user: str) -> None:
    """After the erasure too."""
    await homeserver.create(user)
    token = await homeserver.act_as(user)
    uploads = [await homeserver.upload_as(token) for _ in range(3)]
    mxid = homeserver.synapse.mxid(user)
    await homeserver.synapse.deactivate(user, erase=True)
    page = await homeserver.synapse.own_media(mxid)
    assert (sorted(page.items), page.following) == (sorted(uploads), None)
    await homeserver.synapse.delete_media(uploads[0])
    assert sorted((await homeserver.synapse.own_media(mxid)).items) == sorted(uploads[1:])
    assert (await homeserver.synapse.own_media(mxid, 1)).total == 2


async def test_quarantined_media_is_listed_without_its_address(homeserver: Homeserver, user: str) -> None:
    """A moderator keeps it as evidence."""
    await homeserver.create(user)
    mxc = await homeserver.upload_as(await homeserver.act_as(user))
    await homeserver.quarantine(mxc)
    page = await homeserver.synapse.own_media(homeserver.synapse.mxid(user))
    assert (page.items, len(page.rows)) == ([], 1)


async def test_a_user_without_an_account_has_no_media(homeserver: Homeserver, user: str) -> None:
    assert (await homeserver.synapse.own_media(homeserver.synapse.mxid(user))).rows == []


async def test_only_one_redaction_of_a_user_runs_at_a_time(homeserver: Homeserver, user: str) -> None:
    """The second is refused, not queued."""
    await homeserver.create(user)
    room = await homeserver.post_messages(user, 60)
    if homeserver.fake:
        homeserver.fake.redaction_looks = 3
    mxid = homeserver.synapse.mxid(user)
    first = await homeserver.synapse.redact(mxid, [room])
    with anyio.fail_after(60):
        while (await homeserver.synapse.redaction(first)).status is RedactionStatus.SCHEDULED:
            await anyio.lowlevel.checkpoint()
    with pytest.raises(Rejected):
        await homeserver.synapse.redact(mxid, [room])
    await ended(homeserver, first)

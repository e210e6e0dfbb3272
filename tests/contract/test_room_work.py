"""Whether a profile change still reaches rooms, on the fake and on a real Synapse."""

import anyio
import anyio.lowlevel
import pytest

from tests.contract.servers.homeservers import Homeserver

pytestmark = pytest.mark.anyio


async def test_a_profile_change_reaches_the_rooms_after_its_answer(homeserver: Homeserver, user: str) -> None:
    """So a deactivation right after it can lose against it: the user would be joined again."""
    await homeserver.create(user)
    for _ in range(5):
        await homeserver.join_a_room(user)
    await homeserver.synapse.set_display_name(user, "New Name")
    assert await homeserver.synapse.room_work(user) is True
    with anyio.fail_after(60):
        while await homeserver.synapse.room_work(user):
            await anyio.lowlevel.checkpoint()
    assert await homeserver.synapse.joined_rooms(user) == 5


async def test_a_user_without_changes_has_no_room_work(homeserver: Homeserver, user: str) -> None:
    assert await homeserver.synapse.room_work(user) is False


@pytest.mark.real
@pytest.mark.parametrize("open_homeserver", ["real"], indirect=True)  # on the fake the rooms are left at once
async def test_a_deactivation_is_answered_before_the_rooms_are_left(homeserver: Homeserver, user: str) -> None:
    """So a deletion is looked at again later: function/accounts/later_looks.py."""
    await homeserver.create(user)
    for _ in range(5):
        await homeserver.join_a_room(user)
    await homeserver.synapse.deactivate(user, erase=False)
    assert await homeserver.synapse.joined_rooms(user) > 0
    with anyio.fail_after(60):
        while await homeserver.synapse.joined_rooms(user):
            await anyio.lowlevel.checkpoint()

"""Which sessions end, and by what, on the fake and on a real Synapse."""

import pytest

from tests.contract.servers.homeservers import Homeserver
from tests.support.events import EPOCH

pytestmark = pytest.mark.anyio


async def test_ending_sessions_ends_all_of_them(homeserver: Homeserver, user: str) -> None:
    """And says whether there was one."""
    await homeserver.create(user)
    assert await homeserver.synapse.end_sessions(user, EPOCH) is False
    for _ in range(3):
        await homeserver.open_session(user)
    assert await homeserver.synapse.end_sessions(user, EPOCH) is True
    assert await homeserver.devices(user) == []


async def test_ending_the_sessions_of_an_unknown_account_is_no_error(homeserver: Homeserver, user: str) -> None:
    assert await homeserver.synapse.end_sessions(user, EPOCH) is False


async def test_a_session_ends_and_the_account_is_as_before(homeserver: Homeserver, user: str) -> None:
    """The token is dead; name, identities and password are those of before."""
    await homeserver.create(user)
    token, _ = await homeserver.log_in(user)
    before = await homeserver.raw_account(user)
    assert await homeserver.is_valid(token)
    assert await homeserver.synapse.end_sessions(user, EPOCH) is True
    assert not await homeserver.is_valid(token)
    assert await homeserver.devices(user) == []
    after = await homeserver.raw_account(user)
    assert before is not None
    assert after is not None
    assert before | {"last_seen_ts": None} == after | {"last_seen_ts": None}


async def test_deleting_devices_that_are_gone_is_harmless(homeserver: Homeserver, user: str) -> None:
    """A deletion whose answer was lost is repeated with the same devices: their tokens may still be there."""
    await homeserver.create(user)
    _, device = await homeserver.log_in(user)
    assert await homeserver.synapse.end_sessions(user, EPOCH) is True
    assert await homeserver.delete_devices(user, [device]) == 200


async def test_the_token_of_an_admin_who_acts_as_the_user_outlives_everything(
    homeserver: Homeserver, user: str
) -> None:
    """It is a session of the admin. No call about the user ends it: neither device deletion nor deactivation or erasure."""
    await homeserver.create(user)
    token = await homeserver.act_as(user)
    assert await homeserver.synapse.end_sessions(user, EPOCH) is False
    assert await homeserver.is_valid(token)
    await homeserver.synapse.deactivate(user, erase=True)
    assert await homeserver.is_valid(token)


async def test_a_new_password_does_not_end_it_either(homeserver: Homeserver, user: str) -> None:
    """So setting one would add nothing to the deletion of devices."""
    await homeserver.create(user)
    token = await homeserver.act_as(user)
    await homeserver.set_password(user, "another password")
    assert await homeserver.is_valid(token)

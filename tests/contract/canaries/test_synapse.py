"""What Synapse does beyond its documentation and no other contract test holds. A failure says what becomes simpler: docs/canaries.md."""

from collections.abc import AsyncIterator

import httpx
import pytest

from dev.servers.synapse import ADMIN_ID
from dev.servers.synapse import Synapse as Server
from tests.contract.servers import homeservers
from tests.contract.servers.homeservers import Homeserver

pytestmark = [pytest.mark.real, pytest.mark.anyio]

BURST = 10  # of rc_message, by default; then one request in five seconds


@pytest.fixture
async def limited(running_synapse: Server) -> AsyncIterator[Homeserver]:
    """Yields the homeserver; its users have Synapse's default limits."""
    async with homeservers.over_http(running_synapse.url, running_synapse.token, ADMIN_ID) as opened:
        yield opened


async def rename(homeserver: Homeserver, user_id: str, token: str, body: bytes) -> httpx.Response:
    path = f"/_matrix/client/v3/profile/{homeserver.synapse.mxid(user_id)}/displayname"
    headers = {"Authorization": f"Bearer {token}", "Content-Type": "application/json"}
    return await homeserver.http.put(path, content=body, headers=headers)


async def test_a_request_that_was_limited_was_carried_out(limited: Homeserver, user: str) -> None:
    await limited.create(user)
    token = await limited.act_as(user)
    for number in range(BURST + 1):
        answer = await rename(limited, user, token, f'{{"displayname": "name {number}"}}'.encode())
    assert answer.status_code == 429
    account = await limited.raw_account(user)
    assert account
    assert account["displayname"] == f"name {BURST}", "a 429 leaves no doubt: function/homeserver/requests.py"


async def test_a_name_that_no_database_can_hold_is_an_error_of_the_server(limited: Homeserver, user: str) -> None:
    await limited.create(user)
    answer = await rename(limited, user, limited.token, rb'{"displayname": "\ud800"}')
    assert answer.status_code == 500, "Synapse refuses it itself: function/events/names.py need not look for it"

"""What Synapse does beyond its documentation and no other contract test holds. A failure says what becomes simpler: docs/canaries.md."""

from collections.abc import AsyncIterator, Iterator
from urllib.parse import quote

import httpx
import pytest

from dev.servers.synapse import ADMIN_ID
from dev.servers.synapse import Synapse as Server
from tests.contract.servers import homeservers
from tests.contract.servers.homeservers import Homeserver

pytestmark = [pytest.mark.real, pytest.mark.anyio]

MOST = 40  # requests; by default, Synapse limits a user's eleventh


@pytest.fixture
async def real(running_synapse: Server) -> AsyncIterator[Homeserver]:
    async with homeservers.over_http(running_synapse.url, running_synapse.token, ADMIN_ID) as opened:
        yield opened


@pytest.fixture
def limited(real: Homeserver, running_synapse: Server) -> Iterator[Homeserver]:
    """Yields the homeserver; its admin account has Synapse's default limits."""
    path = f"/_synapse/admin/v1/users/{quote(ADMIN_ID)}/override_ratelimit"
    token = running_synapse.token
    running_synapse.admin("DELETE", path, {}, token).raise_for_status()
    yield real
    running_synapse.admin("POST", path, {"messages_per_second": 0, "burst_count": 0}, token).raise_for_status()


async def rename(homeserver: Homeserver, user_id: str, body: bytes) -> httpx.Response:
    path = f"/_matrix/client/v3/profile/{homeserver.synapse.mxid(user_id)}/displayname"
    headers = {"Authorization": f"Bearer {homeserver.token}", "Content-Type": "application/json"}
    return await homeserver.http.put(path, content=body, headers=headers)


async def test_a_request_that_was_limited_was_carried_out(limited: Homeserver, user: str) -> None:
    await limited.create(user)
    statuses: list[int] = []
    while 429 not in statuses and len(statuses) < MOST:
        number = len(statuses)
        statuses.append((await rename(limited, user, f'{{"displayname": "name {number}"}}'.encode())).status_code)
    assert statuses[-1] == 429
    account = await limited.raw_account(user)
    assert account
    assert account["displayname"] == f"name {number}", "a 429 leaves no doubt: function/homeserver/requests.py"


async def test_a_name_that_no_database_can_hold_is_an_error_of_the_server(real: Homeserver, user: str) -> None:
    await real.create(user)
    answer = await rename(real, user, rb'{"displayname": "\ud800"}')
    assert answer.status_code == 500, "Synapse refuses it itself: function/events/names.py need not look for it"

"""What Synapse answers when the admin's own account is unusable, and what a refused deactivation leaves: on the fake and on a
real Synapse."""

import asyncio
import sqlite3
import uuid
from collections.abc import AsyncIterator, Iterator

import pytest

from dev.processes import free_port
from dev.servers.synapse import ADMIN_ID, Synapse
from function.check.homeserver import NO_ONE, UPLOADER, sample_image
from function.homeserver import synapse as under_test
from function.homeserver.account import Account
from function.outcomes import Reason, Rejected, TryAgain
from tests.contract.servers import homeservers
from tests.contract.servers.homeservers import Homeserver
from tests.support.fake_dapr import FakeTokens

pytestmark = pytest.mark.anyio


class OtherAdmin:
    """An admin account that a test may make unusable, and a client with its token."""

    def __init__(self, homeserver: Homeserver, token: str, user_id: str) -> None:
        self._homeserver, self._path = homeserver, homeserver.synapse.mxid(user_id)
        self.synapse = homeserver.with_tokens(FakeTokens(token))

    async def put(self, route: str, body: dict[str, object]) -> None:
        headers = {"Authorization": f"Bearer {self._homeserver.token}"}
        path = f"/_synapse/admin/{route}/{self._path}"
        (await self._homeserver.http.put(path, json=body, headers=headers)).raise_for_status()


@pytest.fixture
async def other_admin(homeserver: Homeserver) -> OtherAdmin:
    user_id = str(uuid.uuid4())
    await homeserver.create(user_id)
    path, headers = (
        f"/_synapse/admin/v1/users/{homeserver.synapse.mxid(user_id)}/login",
        {"Authorization": f"Bearer {homeserver.token}"},
    )
    token = (await homeserver.http.post(path, json={}, headers=headers)).json()["access_token"]
    found = OtherAdmin(homeserver, token, user_id)
    await found.put("v2/users", {"admin": True})
    return found


async def reason(client: under_test.Synapse) -> Reason | None:
    try:
        await client.probe()
    except TryAgain as failure:
        return failure.reason
    return None


@pytest.mark.parametrize(
    ("route", "on", "off"),
    [("v1/suspend", {"suspend": True}, {"suspend": False}), ("v2/users", {"locked": True}, {"locked": False})],
    ids=["suspended", "locked"],
)
async def test_while_the_admin_is_unusable_everything_waits(
    homeserver: Homeserver,
    other_admin: OtherAdmin,
    user: str,
    route: str,
    on: dict[str, object],
    off: dict[str, object],
) -> None:
    """The probe names it, again and again, and no event becomes a dead letter."""
    await homeserver.create(user, "Before")
    assert await reason(other_admin.synapse) is None
    await other_admin.put(route, on)
    for _ in range(3):
        assert await reason(other_admin.synapse) is Reason.ADMIN_SUSPENDED
    with pytest.raises(TryAgain) as caught:
        await other_admin.synapse.set_display_name(user, "After")
    assert (caught.value.reason, caught.value.in_doubt) == (Reason.ADMIN_SUSPENDED, False)
    await other_admin.put(route, off)
    assert await reason(other_admin.synapse) is None
    await other_admin.synapse.set_display_name(user, "After")
    assert await homeserver.synapse.account(user) == Account(display_name="After")


async def test_the_id_that_check_asks_to_deactivate_has_no_account(homeserver: Homeserver) -> None:
    assert await homeserver.synapse.deactivate(NO_ONE, erase=False) is False


async def test_the_image_that_check_uploads_is_gone_afterwards(homeserver: Homeserver) -> None:
    mxc = await homeserver.synapse.upload(sample_image(), "image/png", UPLOADER)
    assert await homeserver.has_media(mxc)
    await homeserver.synapse.delete_media(mxc)
    assert not await homeserver.has_media(mxc)


async def test_an_account_says_whether_it_has_the_users_identity(homeserver: Homeserver, user: str) -> None:
    created = await homeserver.synapse.create(user, "Ada", "oidc-nova")
    assert created == Account(display_name="Ada", linked=True)
    assert await homeserver.synapse.account(user, "oidc-nova") == created
    assert await homeserver.synapse.account(user, "oidc-other") == Account(display_name="Ada", linked=False)
    assert await homeserver.synapse.account(user) == Account(display_name="Ada")


# --- a Synapse with a quota, whose database a test may change


@pytest.fixture(scope="module")
def strict_synapse(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[Synapse, str]]:
    folder = tmp_path_factory.mktemp("strict-synapse")
    limits = {"media_upload_limits": [{"time_period": "1d", "max_size": "1M"}]}
    server = Synapse(folder, free_port(), None, limits)
    try:
        server.start()
        yield server, str(folder / "synapse" / "homeserver.db")
    finally:
        server.stop()


@pytest.fixture
async def strict(strict_synapse: tuple[Synapse, str]) -> AsyncIterator[Homeserver]:
    server, _ = strict_synapse
    async with homeservers.over_http(server.url, server.token, ADMIN_ID) as opened:
        yield opened


@pytest.mark.real
async def test_an_upload_quota_of_the_admin_account_makes_everything_wait(strict: Homeserver) -> None:
    """The account does not show it; the probe remembers."""
    with pytest.raises(TryAgain) as caught:
        await strict.synapse.upload(sample_image(), "image/png", UPLOADER)
    assert (caught.value.reason, caught.value.in_doubt) == (Reason.ADMIN_LIMITED, False)
    assert await reason(strict.synapse) is Reason.ADMIN_LIMITED


@pytest.mark.real
async def test_an_identity_server_that_is_away_leaves_the_account_active(
    strict: Homeserver, strict_synapse: tuple[Synapse, str], user: str
) -> None:
    """Synapse unbinds third-party ids first, and gives up if it can't."""
    await strict.create(user)
    bound = (strict.synapse.mxid(user), "email", "a@example.org", "identity.invalid")
    await asyncio.to_thread(
        _execute, strict_synapse[1], "INSERT INTO user_threepid_id_server VALUES (?, ?, ?, ?)", bound
    )
    with pytest.raises(Rejected) as caught:
        await strict.synapse.deactivate(user, erase=True)
    assert (caught.value.reason, caught.value.detail) == (Reason.DEACTIVATION_INCOMPLETE, "400 M_UNKNOWN")
    assert caught.value.in_doubt is False
    account = await strict.synapse.account(user)
    assert account is not None
    assert (account.deactivated, account.erased) == (False, False)
    await asyncio.to_thread(
        _execute, strict_synapse[1], "DELETE FROM user_threepid_id_server WHERE user_id = ?", bound[:1]
    )
    assert await strict.synapse.deactivate(user, erase=True) is True


def _execute(database: str, statement: str, values: tuple[str, ...]) -> None:
    with sqlite3.connect(database, timeout=30) as connection:
        connection.execute(statement, values)
    connection.close()

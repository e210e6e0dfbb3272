"""What `check` says where Matrix Authentication Service (MAS) owns the accounts, and that it changes no user there."""

from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager

import pytest
from starlette.responses import Response

from function.check.finding import Finding, Mark
from function.check.homeserver import homeserver_rows
from function.homeserver.client_credentials import ClientCredentials
from function.homeserver.delegated import Delegated
from function.homeserver.mas import Mas
from function.homeserver.service_token import PersonalSession
from function.settings import Settings
from tests.support.events import ALICE
from tests.support.fake_synapse import ADMIN_TOKEN
from tests.support.http import settings_with
from tests.support.mas_world import URL, FakeSecret, MasHarness, mas_http, mas_in_memory, mas_world

pytestmark = pytest.mark.anyio
SERVICE = "service"
Change = Callable[[MasHarness], Awaitable[object]]


def settings(w: MasHarness, **changes: object) -> Settings:
    mine = {"matrix_mas_url": URL, "matrix_mas_provider": w.provider, "matrix_precreate_users": True}
    return settings_with(**(mine | changes))


async def checked(w: MasHarness, secret: FakeSecret | None = None, **changes: object) -> dict[str, Finding]:
    """Returns the rows of the homeserver."""
    given = secret or FakeSecret(MATRIX_ADMIN_TOKEN=ADMIN_TOKEN)
    return {row.what: row async for row in homeserver_rows(settings(w, **changes), w.client, given)}


@asynccontextmanager
async def healthy() -> AsyncIterator[MasHarness]:
    async with mas_world(ALICE) as w:
        w.homeserver.overrides[w.homeserver.service_user] = {"messages_per_second": 0, "burst_count": 0}
        yield w


def wrong(found: dict[str, Finding]) -> list[str]:
    return [row.what for row in found.values() if row.mark is not Mark.OK]


async def test_all_is_well_on_both_sides_and_no_user_is_changed() -> None:
    async with healthy() as w:
        found = await checked(w)
        assert wrong(found) == []
        assert list(found) == [
            "accounts", "secret", "admin token", "MAS", "token and Synapse", "admin account", "owner of the token", "upstream provider",
            "rate limit", "uploads", "deactivations", "deactivations in MAS",
        ]  # fmt: skip
        assert found["accounts"].found == "owned by MAS at http://mas.example:80"
        assert found["admin token"].found == "MATRIX_ADMIN_TOKEN of the secret"
        user = await w.at_mas.user(f"nova-{ALICE}")
        assert user
        assert user["deactivated_at"] is None
        assert not w.account()["deactivated"]


async def test_without_creation_no_provider_is_needed() -> None:
    async with healthy() as w:
        found = await checked(w, matrix_precreate_users=False, matrix_mas_provider="")
        assert wrong(found) == []
        assert "upstream provider" not in found


async def client(w: MasHarness, **changes: object) -> None:
    await w.at_mas.control("PUT", "client", changes)


async def wrong_secret(w: MasHarness) -> None:
    await client(w, secret="another-secret-of-the-client")


async def no_admin_client(w: MasHarness) -> None:
    await client(w, admin=False)


async def mas_off(w: MasHarness) -> None:
    w.homeserver.delegates = False


@pytest.mark.parametrize(
    ("change", "what", "says", "advice"),
    [
        (wrong_secret, "MAS", "mas_token_refused: token: 401 invalid_client", "an entry of MAS's `clients`"),
        (no_admin_client, "MAS", "mas_token_refused: token: 403 invalid_scope", "`policy.data.admin_clients`"),
        (mas_off, "accounts", "mas_off: MATRIX_MAS_URL is set", "Unset `MATRIX_MAS_URL`"),
    ],
)
async def test_what_is_wrong_is_the_last_row_with_its_fix(change: Change, what: str, says: str, advice: str) -> None:
    async with healthy() as w:
        await change(w)
        found = await checked(w)
        assert wrong(found) == [what]
        assert list(found)[-1] == what
        assert found[what].found == says
        assert advice in found[what].advice


async def test_a_provider_that_mas_does_not_have_is_named_and_the_rest_is_checked() -> None:
    async with healthy() as w:
        found = await checked(w, matrix_mas_provider="01HFVBY12TMNTYTBV8W921M5FA")
        assert wrong(found) == ["upstream provider"]
        assert list(found)[-1] == "deactivations in MAS"


@pytest.mark.parametrize("key", ["MATRIX_MAS_CLIENT_ID", "MATRIX_MAS_CLIENT_SECRET"])
async def test_a_key_of_the_client_that_the_secret_lacks_is_named(key: str) -> None:
    async with healthy() as w:
        found = await checked(w, FakeSecret(**{key: " "}))
        assert wrong(found) == ["secret"]
        assert key in found["secret"].found


async def listener_without(w: MasHarness, path: str) -> None:
    await w.at_mas.control("POST", "faults", {"path": path, "status": 404})


@pytest.mark.parametrize(
    ("path", "says", "advice"),
    [
        ("/api/admin", "mas_unexpected: probe: 404", "Add the resource `adminapi`"),
        ("/oauth2", "mas_unexpected: token: 404", "the resources `oauth` and `adminapi`"),
    ],
)
async def test_a_listener_that_lacks_a_resource_is_told(path: str, says: str, advice: str) -> None:
    async with healthy() as w:
        await listener_without(w, path)
        found = await checked(w)
        assert wrong(found) == ["MAS"]
        assert found["MAS"].found == says
        assert advice in found["MAS"].advice


async def test_synapse_that_can_not_ask_mas_is_told_as_what_mas_is() -> None:
    """Synapse asks MAS before it says who owns the accounts: it fails as long as MAS does."""
    async with healthy() as w:
        w.homeserver.intercepts = lambda _, path: Response(status_code=500) if "auth_metadata" in path else None
        await w.at_mas.control("POST", "faults", {"status": 502})
        found = await checked(w)
        assert wrong(found) == ["MAS"]
        assert found["MAS"].found == "mas_unavailable: token: 502"


async def test_a_proxy_that_lets_no_deactivation_through_is_told() -> None:
    async with healthy() as w:
        await listener_without(w, "/api/admin/v1/users/00000000000000000000000000/deactivate")
        found = await checked(w)
        assert wrong(found) == ["deactivations in MAS"]
        assert found["deactivations in MAS"].found == "unexpected_answer: POST: 404"


async def test_a_dry_run_reads_both_sides_and_tries_no_deactivation() -> None:
    async with healthy() as w:
        found = await checked(w, matrix_dry_run=True, kafka_consumer_group_id="test-dry-run")
        assert wrong(found) == []
        assert found["deactivations in MAS"].found == "not tried: MATRIX_DRY_RUN"
        assert "upstream provider" in found
        assert await w.at_mas.writes() == []


@asynccontextmanager
async def session_of(localpart: str) -> AsyncIterator[MasHarness]:
    """Yields a world in which the token is that of a personal session of the user with this localpart."""
    async with (
        mas_world(ALICE) as w,
        w.homeserver.client() as http,
        mas_in_memory(w.homeserver) as (app, control),
        mas_http(app) as to_mas,
    ):
        credentials = ClientCredentials(to_mas, FakeSecret())
        session = PersonalSession(Mas(to_mas, credentials), localpart)
        w.client = Delegated(http, session, w.homeserver.server_name, to_mas, credentials)
        w.mas = control
        yield w


async def before_1_5(w: MasHarness) -> None:
    await w.at_mas.control("POST", "users", {"username": "sync-bot", "password": "secret"})
    await listener_without(w, "/api/admin/v1/personal-sessions")


async def deactivated(w: MasHarness) -> None:
    made = await w.at_mas.control("POST", "users", {"username": "sync-bot", "password": "secret"})
    await w.delegated.mas.deactivate(made["id"], erase=False)


async def nothing(_: MasHarness) -> None:
    pass


@pytest.mark.parametrize(
    ("localpart", "change", "says", "advice"),
    [
        ("sync-bot", nothing, "MATRIX_SERVICE_USER is no user of MAS", "Create the service user"),
        ("sync-bot", deactivated, "MATRIX_SERVICE_USER is deactivated in MAS", "Reactivate"),
        ("sync-bot", before_1_5, "personal session: POST: 404", "before 1.5"),
        ("", nothing, "the secret has no MATRIX_ADMIN_TOKEN, and MATRIX_SERVICE_USER is not set", "Set MATRIX_SERVICE_USER"),
    ],
)  # fmt: skip
async def test_why_there_is_no_personal_session_is_told_under_the_service_user(
    localpart: str, change: Change, says: str, advice: str
) -> None:
    async with session_of(localpart) as w:
        await change(w)
        found = await checked(w, FakeSecret())
        assert wrong(found) == ["service user"]
        assert found["service user"].found == f"mas_token_refused: {says}"
        assert advice in found["service user"].advice


async def test_another_mas_than_that_of_synapse_is_told_by_the_owner_of_the_token() -> None:
    """Its users would be none of those whom Synapse has, and each deletion one of Synapse alone."""
    async with mas_world() as w:
        w.homeserver.overrides[w.homeserver.service_user] = {"messages_per_second": 0, "burst_count": 0}
        await w.at_mas.control("DELETE", f"users/{SERVICE}")
        found = await checked(w)
        assert wrong(found) == ["owner of the token"]
        assert "Set MATRIX_MAS_URL to the MAS to which Synapse delegates" in found["owner of the token"].advice

"""The tokens under MAS: made, renewed before their end, rotated without a restart, and in no text."""

import logging
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass

import anyio
import pytest

from function.homeserver.client_credentials import ClientCredentials
from function.homeserver.mas import Mas
from function.homeserver.service_token import LIFE, RENEW_AFTER, PersonalSession, ServiceToken
from function.outcomes import Reason, TryAgain
from function.settings import MAS_CLIENT_ID_KEY, MAS_CLIENT_SECRET_KEY, SECRET_KEY
from function.telemetry.metrics import Metrics
from tests.support.mas_world import PASSWORD, FakeDelegatingSynapse, FakeSecret, MasControl, mas_http, mas_in_memory

pytestmark = pytest.mark.anyio

SERVICE = "sync-bot"
OTHER_CLIENT = "01HFVBY12TMNTYTBV8W921M5FB"


class Seconds:
    """A monotonic clock that a test moves."""

    def __init__(self) -> None:
        self.now = 1000.0

    def __call__(self) -> float:
        return self.now


@dataclass
class Tokens:
    """The token sources before a MAS that has the service user."""

    mas: MasControl
    secret: FakeSecret
    clock: Seconds
    credentials: ClientCredentials
    session: PersonalSession
    service: ServiceToken

    async def personal_sessions(self) -> list[dict[str, object]]:
        answer = await self.mas.admin("GET", "personal-sessions?filter[status]=active&page[first]=100")
        return [row["attributes"] for row in answer.json()["data"]]


@asynccontextmanager
async def tokens(localpart: str = SERVICE, **keys: str) -> AsyncIterator[Tokens]:
    async with mas_in_memory(FakeDelegatingSynapse()) as (app, control), mas_http(app) as http:
        await control.control("POST", "users", {"username": SERVICE, "password": "secret"})
        secret, clock = FakeSecret(**keys), Seconds()
        credentials = ClientCredentials(http, secret, clock)
        session = PersonalSession(Mas(http, credentials), localpart, clock)
        yield Tokens(control, secret, clock, credentials, session, ServiceToken(secret, session, Metrics()))


async def refused(t: Tokens) -> TryAgain:
    with pytest.raises(TryAgain) as caught:
        await t.credentials.token()
    return caught.value


async def test_a_token_of_the_client_is_kept_until_shortly_before_its_end() -> None:
    async with tokens() as t:
        first = await t.credentials.token()
        t.clock.now += 239
        assert await t.credentials.token() == first
        t.clock.now += 2
        assert await t.credentials.token() != first
        assert t.secret.reads == 1


async def test_many_who_need_a_token_at_once_fetch_one() -> None:
    async with tokens() as t:
        found: list[str] = []

        async def ask() -> None:
            found.append(await t.credentials.token())

        async with anyio.create_task_group() as group:
            for _ in range(20):
                group.start_soon(ask)
        assert len(set(found)) == 1


async def test_a_rotated_client_secret_is_read_again() -> None:
    async with tokens() as t:
        await t.credentials.token()
        await t.mas.control("PUT", "client", {"secret": "rotated"})
        t.secret.keys[MAS_CLIENT_SECRET_KEY] = "rotated"
        t.clock.now += 1000
        assert await t.credentials.token()


async def test_a_wrong_client_secret_is_told_by_its_code() -> None:
    async with tokens() as t:
        t.secret.keys[MAS_CLIENT_SECRET_KEY] = "wrong"
        failure = await refused(t)
        assert (failure.reason, failure.detail) == (Reason.MAS_TOKEN_REFUSED, "token: 401 invalid_client")


async def test_a_client_that_is_no_admin_is_told_by_its_code() -> None:
    async with tokens() as t:
        await t.mas.control("PUT", "client", {"admin": False})
        failure = await refused(t)
        assert failure.reason is Reason.MAS_TOKEN_REFUSED
        assert "invalid_scope" in failure.detail


@pytest.mark.parametrize("key", [MAS_CLIENT_ID_KEY, MAS_CLIENT_SECRET_KEY])
async def test_a_secret_without_the_client_names_the_key(key: str) -> None:
    async with tokens() as t:
        t.secret.keys[key] = " "
        failure = await refused(t)
        assert failure.reason is Reason.SECRET_UNAVAILABLE
        assert key in failure.detail


@pytest.mark.parametrize(("status", "reason"), [(502, Reason.MAS_UNAVAILABLE), (404, Reason.MAS_UNEXPECTED)])
async def test_what_is_no_answer_of_mas_is_told_apart(status: int, reason: Reason) -> None:
    async with tokens() as t:
        await t.mas.control("POST", "faults", {"path": "/oauth2/token", "status": status})
        assert (await refused(t)).reason is reason


async def test_the_token_of_the_secret_is_used_if_there_is_one() -> None:
    async with tokens(**{SECRET_KEY: "given"}) as t:
        assert await t.service.token() == "given"
        assert await t.personal_sessions() == []


async def test_a_rotated_token_of_the_secret_is_read_again() -> None:
    async with tokens(**{SECRET_KEY: "given"}) as t:
        await t.service.token()
        t.secret.keys[SECRET_KEY] = "rotated"
        assert await t.service.renewed("given") == "rotated"
        assert await t.service.token() == "rotated"
        reads = t.secret.reads
        assert await t.service.renewed("given") == "rotated"  # a second request that was refused at the same time
        assert t.secret.reads == reads


async def test_without_one_a_session_is_made_for_the_service_user() -> None:
    async with tokens() as t:
        token = await t.service.token()
        assert token.startswith("mpt_")
        assert await t.service.token() == token
        (made,) = await t.personal_sessions()
        assert made["scope"] == "urn:matrix:client:api:* urn:synapse:admin:*"
        assert made["expires_at"]


async def test_a_session_is_renewed_before_its_end_and_stays_one() -> None:
    async with tokens() as t:
        first = await t.service.token()
        t.clock.now += RENEW_AFTER + 1
        second = await t.service.token()
        assert second != first
        assert len(await t.personal_sessions()) == 1


async def test_a_renewal_that_fails_is_tried_again_while_the_token_is_valid(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.WARNING, "function")
    async with tokens() as t:
        first = await t.service.token()
        await t.mas.control("POST", "faults", {"path": "/api/admin/v1/personal-sessions", "status": 500})
        t.clock.now += RENEW_AFTER + 1
        assert await t.service.token() == first
        assert "token_not_renewed" in caplog.text
        await t.mas.control("DELETE", "faults")
        t.clock.now += 31
        assert await t.service.token() != first


async def test_a_token_whose_end_has_come_is_not_used() -> None:
    async with tokens() as t:
        await t.service.token()
        await t.mas.control("POST", "faults", {})
        t.clock.now += LIFE + 1
        with pytest.raises(TryAgain) as caught:
            await t.service.token()
        assert caught.value.reason is Reason.MAS_UNAVAILABLE


async def test_a_session_that_somebody_ended_is_made_again() -> None:
    async with tokens() as t:
        first = await t.service.token()
        await t.mas.control("DELETE", "tokens")
        second = await t.service.renewed(first)
        assert second != first
        assert await t.service.renewed(first) == second
        assert len(await t.personal_sessions()) == 1


async def test_a_session_that_was_revoked_is_replaced() -> None:
    async with tokens() as t:
        first = await t.service.token()
        (session,) = (await t.mas.admin("GET", "personal-sessions?filter[status]=active")).json()["data"]
        await t.mas.admin("POST", f"personal-sessions/{session['id']}/revoke")
        assert await t.service.renewed(first) != first
        assert len(await t.personal_sessions()) == 1


async def test_a_token_that_is_put_into_the_secret_later_replaces_the_session() -> None:
    async with tokens() as t:
        first = await t.service.token()
        t.secret.keys[SECRET_KEY] = "given"
        assert await t.service.renewed(first) == "given"
        assert await t.service.token() == "given"


async def test_the_session_ends_with_the_process() -> None:
    async with tokens() as t:
        await t.service.token()
        await t.session.end()
        assert await t.personal_sessions() == []


async def test_a_mas_that_is_away_holds_up_no_end() -> None:
    async with tokens() as t:
        await t.service.token()
        await t.mas.control("POST", "faults", {})
        await t.session.end()
        await t.session.end()  # once is enough
        await t.mas.control("DELETE", "faults")
        assert len(await t.personal_sessions()) == 1


@pytest.mark.parametrize(
    ("localpart", "told"), [("", "MATRIX_SERVICE_USER is not set"), ("no-one", "MATRIX_SERVICE_USER is no user of MAS")]
)
async def test_a_service_user_who_is_not_there_is_told(localpart: str, told: str) -> None:
    async with tokens(localpart) as t:
        with pytest.raises(TryAgain) as caught:
            await t.service.token()
        assert caught.value.reason is Reason.MAS_TOKEN_REFUSED
        assert told in caught.value.detail


async def test_a_deactivated_service_user_is_told() -> None:
    async with tokens() as t:
        found = await t.mas.user(SERVICE) or {}
        await t.mas.admin("POST", f"users/{found['id']}/deactivate")
        with pytest.raises(TryAgain) as caught:
            await t.service.token()
        assert "MATRIX_SERVICE_USER is deactivated in MAS" in caught.value.detail


async def test_no_token_is_in_a_log_or_a_text(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.DEBUG, "function")
    async with tokens() as t:
        token = await t.service.token()
        t.clock.now += RENEW_AFTER + 1
        renewed = await t.service.token()
        await t.service.renewed(renewed)
        secrets = {token, renewed, await t.credentials.token(), PASSWORD}
        texts = caplog.text + repr(vars(t.session)) + repr(vars(t.service))
        assert not [secret for secret in secrets if secret in texts]


async def test_a_client_that_is_no_admin_is_replaced_by_another_one_without_a_restart() -> None:
    """MAS knows the first one, so it does not answer 401."""
    async with tokens() as t:
        await t.mas.control("PUT", "client", {"admin": False})
        await refused(t)
        await t.mas.control("PUT", "client", {"id": OTHER_CLIENT, "admin": True})
        t.secret.keys[MAS_CLIENT_ID_KEY] = OTHER_CLIENT
        await t.mas.control("POST", "faults", {"path": "/oauth2/token", "status": 403, "times": 1})
        assert await t.credentials.token()

"""Where Matrix Authentication Service (MAS) owns the accounts: what Synapse is told alone is undone, and what this project tells
MAS holds. A real Synapse that delegates to the stand-in for MAS; people log in, out and on."""

import uuid
from collections.abc import AsyncIterator, Iterator, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta

import anyio.to_thread
import pytest
from httpx_aiohttp import AiohttpTransport

from function.homeserver.client_credentials import ClientCredentials
from function.homeserver.delegated import Delegated
from function.homeserver.mas import Mas
from function.homeserver.service_token import PersonalSession
from function.homeserver.synapse import Synapse
from function.homeserver.transport import HttpClient
from function.outcomes import Reason, Rejected, TryAgain
from function.settings import MAS_CLIENT_ID_KEY, MAS_CLIENT_SECRET_KEY
from tests.contract.mas.server import Login, Person, Server, on_stand_in, soon
from tests.support.fake_dapr import FakeTokens
from tests.support.mas_world import FakeSecret

pytestmark = pytest.mark.anyio

WRONG_BODY = {400, 415, 422}


@dataclass(frozen=True)
class Deployment:
    """One deployment, and the function's two clients for it: that of today's Synapse alone, and the one for both sides."""

    server: Server
    alone: Synapse
    both: Delegated
    session: PersonalSession
    service_user: str

    def person(self, user_id: str) -> Person:
        return self.server.person(f"nova-{user_id}")

    def sides(self, user_id: str) -> tuple[bool, bool, bool]:
        """Returns whether MAS and Synapse have the user deactivated, and whether Synapse has it erased."""
        account = self.server.account(f"@nova-{user_id}:{self.server.server_name}")
        user = self.server.user(f"nova-{user_id}")
        return user["deactivated_at"] is not None, bool(account["deactivated"]), bool(account["erased"])

    def goes_on(self, login: Login) -> bool:
        """Whether the person can sync and make a room."""
        sync = self.server.synapse("GET", "/_matrix/client/v3/sync?timeout=0", token=login.token)
        room = self.server.synapse("POST", "/_matrix/client/v3/createRoom", {}, token=login.token)
        return (sync.status_code, room.status_code) == (200, 200)


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    with on_stand_in(tmp_path_factory.mktemp("mas")) as started:
        yield started


@pytest.fixture
async def deployment(server: Server) -> AsyncIterator[Deployment]:
    """Also checks at the end that MAS could read each request."""
    mas = server.stand_in
    assert mas
    mas.control("DELETE", "requests")
    secret = FakeSecret(**{MAS_CLIENT_ID_KEY: mas.client_id, MAS_CLIENT_SECRET_KEY: mas.client_secret})
    async with (
        HttpClient(AiohttpTransport(), str(server.homeserver.base_url), "tests") as to_synapse,
        HttpClient(AiohttpTransport(), mas.url, "tests") as to_mas,
    ):
        credentials = ClientCredentials(to_mas, secret)
        service_user = str(server.create()["username"])
        session = PersonalSession(Mas(to_mas, credentials), service_user)
        alone = Synapse(to_synapse, FakeTokens(server.synapse_token), server.server_name)
        both = Delegated(to_synapse, session, server.server_name, to_mas, credentials)
        yield Deployment(server, alone, both, session, service_user)
        await session.end()
    server.reset()
    refused = [
        one for one in mas.control("GET", "requests") if one["status"] in WRONG_BODY and "finish" not in one["path"]
    ]
    assert refused == []


@pytest.fixture
def user() -> str:
    return str(uuid.uuid4())


async def eventually(condition: object) -> bool:
    """Waits in a thread, so that the clients under test go on."""
    return await anyio.to_thread.run_sync(soon, condition)  # type: ignore[arg-type]


async def test_a_deletion_at_synapse_alone_is_undone_by_a_login(deployment: Deployment, user: str) -> None:
    """Synapse says deactivated and erased, MAS says active, and the person goes on."""
    person = deployment.person(user)
    before = deployment.server.log_in(person)
    assert await deployment.alone.deactivate(user, erase=True)
    assert not deployment.server.works(before.token)
    after = deployment.server.log_in(person)
    assert deployment.server.works(after.token)
    assert deployment.goes_on(after)
    assert deployment.sides(user) == (False, True, True)


@pytest.mark.parametrize("erase", [False, True])
async def test_a_deletion_on_both_sides_holds(deployment: Deployment, user: str, erase: bool) -> None:
    """The person who was logged in before is out, and no login is left."""
    person = deployment.person(user)
    before = deployment.server.log_in(person)
    assert deployment.goes_on(before)
    assert await deployment.both.deactivate(user, erase=erase)
    assert deployment.sides(user) == (True, True, erase)
    assert not deployment.server.works(before.token)
    assert deployment.server.try_login(person).status_code == 403


async def test_a_deletion_that_synapse_alone_has_seen_is_half_done_and_is_finished(
    deployment: Deployment, user: str
) -> None:
    person = deployment.person(user)
    await deployment.alone.deactivate(user, erase=False)
    half = await deployment.both.account(user)
    assert half
    assert half.half_ended
    assert not half.ended
    await deployment.both.deactivate(user, erase=False)
    whole = await deployment.both.account(user)
    assert whole
    assert whole.ended
    assert deployment.server.try_login(person).status_code == 403


@pytest.mark.parametrize("trouble", ["held", "failing"])
async def test_a_job_of_mas_that_does_not_come_leaves_nobody_behind(
    deployment: Deployment, user: str, trouble: str
) -> None:
    """The account is then ended at Synapse by its own call, and the sessions are over."""
    person = deployment.person(user)
    before = deployment.server.log_in(person)
    _control(deployment, "PUT", "jobs", {trouble: True})
    assert await deployment.both.deactivate(user, erase=True)
    assert deployment.sides(user) == (True, True, True)
    assert not deployment.server.works(before.token)
    assert deployment.server.try_login(person).status_code == 403


async def test_a_soft_deletion_becomes_an_erasure(deployment: Deployment, user: str) -> None:
    deployment.person(user)
    await deployment.both.deactivate(user, erase=False)
    await deployment.both.deactivate(user, erase=True)
    assert deployment.sides(user) == (True, True, True)


async def test_sessions_that_synapse_alone_ends_come_alive_again(deployment: Deployment, user: str) -> None:
    """At MAS's next device sync: a logout elsewhere is enough."""
    person = deployment.person(user)
    first, second = deployment.server.log_in(person), deployment.server.log_in(person)
    assert await deployment.alone.end_sessions(user, datetime.now(UTC))
    assert not deployment.server.works(first.token)
    third = deployment.server.log_in(person)
    deployment.server.log_out(third)
    assert await eventually(lambda: deployment.server.works(first.token) and deployment.server.works(second.token))


async def test_sessions_that_mas_ends_stay_ended_and_later_ones_live(deployment: Deployment, user: str) -> None:
    """Neither a logout elsewhere nor a lock brings them back; a session that began after the change goes on."""
    person = deployment.person(user)
    first, second = deployment.server.log_in(person), deployment.server.log_in(person)
    changed = datetime.now(UTC)
    third, fourth = deployment.server.log_in(person), deployment.server.log_in(person)
    assert await deployment.both.end_sessions(user, changed)
    assert await eventually(lambda: not deployment.server.works(first.token))
    deployment.server.log_out(fourth)
    await _lock_and_unlock(deployment, person)
    assert not deployment.server.works(first.token)
    assert not deployment.server.works(second.token)
    assert deployment.server.works(third.token)
    assert deployment.server.devices(person.mxid) == [third.device]


async def test_every_kind_of_session_ends_that_began_before_the_change(deployment: Deployment, user: str) -> None:
    person, changed = deployment.person(user), datetime.now(UTC)
    for kind in ("user", "oauth2", "compat"):
        for at in (changed - timedelta(days=1), changed + timedelta(seconds=1)):
            session = {"kind": kind, "username": person.localpart, "created_at": at.isoformat()}
            _control(deployment, "POST", "sessions", session)
    assert await deployment.both.end_sessions(user, changed)
    left = [len(deployment.server.sessions(kind, person.id)) for kind in ("user", "oauth2", "compat")]
    assert left == [1, 1, 1]
    assert await deployment.both.end_sessions(user, changed) is False


async def test_an_account_cannot_be_created_at_synapse(deployment: Deployment, user: str) -> None:
    """The event waits, and is no dead letter: MAS is not configured."""
    path = f"/_synapse/admin/v2/users/@nova-{user}:{deployment.server.server_name}"
    assert deployment.server.synapse("PUT", path, {"displayname": "Ada"}).status_code == 403
    with pytest.raises(TryAgain) as waits:
        await deployment.alone.create(user, "Ada", "oidc-nova")
    assert waits.value.reason is Reason.MAS_NOT_CONFIGURED
    assert await deployment.both.account(user) is None


async def test_an_account_is_created_at_mas_with_its_name_and_its_link(deployment: Deployment, user: str) -> None:
    made = await deployment.both.create(user, "Ada", deployment.server.provider)
    assert (made.display_name, made.linked, made.mas_active) == ("Ada", True, True)
    assert deployment.sides(user) == (False, False, False)
    assert deployment.server.account(f"@nova-{user}:{deployment.server.server_name}")["displayname"] == "Ada"
    again = await deployment.both.create(user, "Ada", deployment.server.provider)
    assert again.linked


async def test_an_identity_of_another_account_is_refused_with_both_accounts(deployment: Deployment, user: str) -> None:
    """Then both are there, and a person decides."""
    other = deployment.server.create()
    link = {"user_id": other["id"], "provider_id": deployment.server.provider, "subject": user}
    deployment.server.admin("POST", "upstream-oauth-links", link).raise_for_status()
    with pytest.raises(Rejected) as refused:
        await deployment.both.create(user, "Ada", deployment.server.provider)
    assert refused.value.reason is Reason.EXTERNAL_ID_TAKEN
    assert refused.value.ids == " ".join(
        f"@{name}:{deployment.server.server_name}" for name in (f"nova-{user}", other["username"])
    )


async def test_names_are_synapses_as_before(deployment: Deployment, user: str) -> None:
    person = deployment.person(user)
    await deployment.both.set_display_name(user, "Ada Lovelace")
    assert deployment.server.account(person.mxid)["displayname"] == "Ada Lovelace"


async def test_an_account_that_mas_does_not_know_is_ended_at_synapse(deployment: Deployment, user: str) -> None:
    person = deployment.person(user)
    _control(deployment, "DELETE", f"users/{person.localpart}")
    assert await deployment.both.deactivate(user, erase=False)
    assert deployment.server.account(person.mxid)["deactivated"]


async def test_a_user_of_neither_is_no_error(deployment: Deployment, user: str) -> None:
    assert await deployment.both.account(user) is None
    assert await deployment.both.deactivate(user, erase=True) is False
    assert await deployment.both.end_sessions(user, datetime.now(UTC)) is False


async def test_the_service_is_ready_only_with_the_owner_that_the_homeserver_has(deployment: Deployment) -> None:
    assert await deployment.both.probe() == f"@{deployment.service_user}:{deployment.server.server_name}"
    with pytest.raises(TryAgain) as refused:
        await deployment.alone.probe()
    assert refused.value.reason is Reason.MAS_NOT_CONFIGURED


async def test_the_service_makes_its_own_token_and_another_when_it_ends(deployment: Deployment, user: str) -> None:
    """Also the client's token ends here; neither end is seen outside."""
    deployment.person(user)
    assert await deployment.both.account(user)
    first = await deployment.session.token()
    _control(deployment, "DELETE", f"tokens?username={deployment.service_user}")
    assert await deployment.both.deactivate(user, erase=False)
    second = await deployment.session.renewed(first)
    assert second != first
    assert deployment.sides(user) == (True, True, False)


async def test_while_mas_is_down_nothing_is_changed_and_everything_waits(deployment: Deployment, user: str) -> None:
    deployment.person(user)
    assert await deployment.both.account(user)
    mas = deployment.server.stand_in
    assert mas
    mas.stop()
    with pytest.raises(TryAgain) as waits:
        await deployment.both.deactivate(user, erase=True)
    assert waits.value.reason is Reason.MAS_UNAVAILABLE
    mas.start()
    assert deployment.sides(user) == (False, False, False)
    assert await deployment.both.deactivate(user, erase=True)
    assert deployment.sides(user) == (True, True, True)


async def test_while_synapse_is_down_a_deletion_waits_and_is_then_done_on_both_sides(
    deployment: Deployment, user: str
) -> None:
    person = deployment.person(user)
    synapse = deployment.server.running_synapse
    assert synapse
    synapse.stop()
    with pytest.raises(TryAgain) as waits:
        await deployment.both.deactivate(user, erase=True)
    assert waits.value.reason is Reason.SYNAPSE_UNAVAILABLE
    assert deployment.server.try_login(person).status_code == 403
    synapse.start()
    assert await deployment.both.deactivate(user, erase=True)
    assert deployment.sides(user) == (True, True, True)


async def test_an_answer_of_mas_that_is_lost_does_no_harm(deployment: Deployment, user: str) -> None:
    """MAS has deactivated the user; the deletion is repeated and ends on both sides."""
    deployment.person(user)
    _control(
        deployment, "POST", "faults", {"path": "/api/admin/v1/users/", "method": "POST", "times": 1, "after": True}
    )
    assert await deployment.both.deactivate(user, erase=True)
    assert deployment.sides(user) == (True, True, True)


async def _lock_and_unlock(deployment: Deployment, person: Person) -> None:
    """Locks and unlocks the person, and waits until MAS has told Synapse."""
    for what in ("lock", "unlock"):
        deployment.server.admin("POST", f"users/{person.id}/{what}").raise_for_status()
    assert await eventually(lambda: not _waiting(deployment, person))


def _waiting(deployment: Deployment, person: Person) -> bool:
    jobs = _control(deployment, "GET", "jobs")
    return any(job["state"] == "waiting" for job in jobs if job["user_id"] == person.id)


def _control(
    deployment: Deployment, method: str, path: str, body: Mapping[str, object] | None = None
) -> list[dict[str, object]]:
    assert deployment.server.stand_in
    answer: list[dict[str, object]] = deployment.server.stand_in.control(method, path, body)
    return answer

"""A homeserver whose accounts MAS owns, and the clients of this project for it."""

from collections.abc import AsyncIterator, Callable, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import Any

import anyio.to_thread
from httpx_aiohttp import AiohttpTransport

from dev.servers.mas import Mas
from function.homeserver.client_credentials import ClientCredentials
from function.homeserver.delegated import Delegated
from function.homeserver.mas import Mas as MasClient
from function.homeserver.service_token import PersonalSession
from function.homeserver.synapse import Synapse
from function.homeserver.transport import HttpClient
from function.settings import MAS_CLIENT_ID_KEY, MAS_CLIENT_SECRET_KEY
from tests.contract.mas.server import Login, Person, Server, soon
from tests.support.fake_dapr import FakeTokens
from tests.support.mas_world import FakeSecret


@dataclass(frozen=True)
class Deployment:
    """One deployment, and the function's two clients for it.

    Args:
        server: MAS and Synapse, and what people do there.
        alone: the client that knows only Synapse.
        both: the client that knows both.
        session: has the token with which `both` calls Synapse.
        service_user: the localpart of its user.
    """

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

    def control(self, method: str, path: str, body: Mapping[str, object] | None = None) -> Any:
        """Does to the stand-in what happens to a MAS."""
        assert self.server.stand_in
        return self.server.stand_in.control(method, path, body)

    async def lock_and_unlock(self, person: Person) -> None:
        """Locks and unlocks the person, and waits until MAS has told Synapse."""
        for what in ("lock", "unlock"):
            self.server.admin("POST", f"users/{person.id}/{what}").raise_for_status()
        assert await eventually(lambda: not self._waiting(person))

    def _waiting(self, person: Person) -> bool:
        jobs = self.control("GET", "jobs")
        return any(job["state"] == "waiting" for job in jobs if job["user_id"] == person.id)


@asynccontextmanager
async def opened(server: Server, mas: Mas) -> AsyncIterator[Deployment]:
    """Opens the clients as the function does, over the network."""
    secret = FakeSecret(**{MAS_CLIENT_ID_KEY: mas.client_id, MAS_CLIENT_SECRET_KEY: mas.client_secret})
    async with (
        HttpClient(AiohttpTransport(), str(server.homeserver.base_url), "tests") as to_synapse,
        HttpClient(AiohttpTransport(), mas.url, "tests") as to_mas,
    ):
        credentials = ClientCredentials(to_mas, secret)
        service_user = str(server.create()["username"])
        session = PersonalSession(MasClient(to_mas, credentials), service_user)
        alone = Synapse(to_synapse, FakeTokens(server.synapse_token), server.server_name)
        both = Delegated(to_synapse, session, server.server_name, to_mas, credentials)
        yield Deployment(server, alone, both, session, service_user)
        await session.end()


async def eventually(condition: Callable[[], bool]) -> bool:
    """Waits in a thread, so that the clients under test go on."""
    return await anyio.to_thread.run_sync(soon, condition)

"""A Delivery with everything around it in memory."""

from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field

from function.delivery import Delivery
from function.health import Health
from function.records import Delivered
from function.synapse import Synapse
from function.verdicts import Fate
from tests.fakes.events import ALICE
from tests.fakes.sidecar import FakeDeadLetters, FakeStateStore, FakeTokens
from tests.fakes.synapse import ADMIN_TOKEN, FakeSynapse


@dataclass
class World:
    """Delivery and what it works on."""

    homeserver: FakeSynapse
    client: Synapse
    delivery: Delivery
    state: FakeStateStore
    letters: FakeDeadLetters
    health: Health
    tokens: FakeTokens = field(default_factory=lambda: FakeTokens(ADMIN_TOKEN))

    def account(self, user_id: str = ALICE) -> dict[str, object]:
        return self.homeserver.accounts[self.homeserver.mxid(user_id)]

    def login(self, *user_ids: str) -> None:
        """A first login makes the account."""
        for user_id in user_ids:
            self.homeserver.add(self.homeserver.mxid(user_id))

    async def deliver(self, *records: Delivered) -> list[Fate]:
        return [verdict.fate for verdict in await self.delivery.deliver(records)]

    async def one_by_one(self, records: Sequence[Delivered]) -> list[Fate]:
        return [fate for record in records for fate in await self.deliver(record)]


@asynccontextmanager
async def world(*logged_in: str) -> AsyncIterator[World]:
    """A well world in which the given users have logged in once."""
    homeserver, state, letters, health = FakeSynapse(), FakeStateStore(), FakeDeadLetters(), Health()
    health.sick = None
    tokens = FakeTokens(ADMIN_TOKEN)
    async with homeserver.client() as http:
        synapse = Synapse(http, tokens, homeserver.server_name)
        delivery = Delivery(state, synapse, letters, health)
        made = World(homeserver, synapse, delivery, state, letters, health, tokens)
        made.login(*logged_in)
        yield made

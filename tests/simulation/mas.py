"""Matrix Authentication Service (MAS) as a server in the network: the project's stand-in for it, in virtual time.

The stand-in's requests to Synapse travel through the network as well, and its jobs run in virtual time.
"""

import asyncio
import json
import random
from collections.abc import Callable, Mapping
from datetime import timedelta
from typing import Any
from urllib.parse import unquote

import httpx
from starlette.responses import Response
from starlette.types import Message

from dev.servers.mas_stand_in.app import open_app
from dev.servers.mas_stand_in.state import MAS_ADMIN, Config, Provider, Session, State, Token, User
from tests.simulation.events import uuid_of
from tests.simulation.homeserver import Homeserver
from tests.simulation.loop import VirtualLoop
from tests.simulation.network import NO_PROCESS, Call, Network, Transport, Trip
from tests.simulation.scenario import Hit, Outage, Part, Verb
from tests.simulation.synapse import SimulatedSynapse
from tests.simulation.users import user_of
from tests.support.events import EPOCH
from tests.support.mas_world import CLIENT, PASSWORD, URL

_TOKEN = "mat_of_another_client"
_PACES = {Hit.HANG: "held", Hit.SLOW: "delay", Hit.ERROR: "failing"}
_VERBS = (
    ("/deactivate", Verb.MAS_DEACTIVATE), ("-sessions", Verb.MAS_SESSIONS), ("/upstream-oauth-links", Verb.MAS_LINK),
    ("/users/", Verb.MAS_USER), ("/users", Verb.MAS_CREATE),
)  # fmt: skip


class SimulatedMas:
    """MAS. `provider` is the identity service as its upstream provider.

    Args:
        seed: of its identifiers and tokens.
        network: carries its requests to Synapse.
    """

    part = Part.MAS

    def __init__(
        self, seed: int, loop: VirtualLoop, network: Network, synapse: SimulatedSynapse, homeserver: Homeserver
    ) -> None:
        self.state = State(lambda: EPOCH + timedelta(seconds=loop.time()), random.Random(seed).getrandbits)
        self.provider = self.state.new_id()
        self.state.providers[self.provider] = Provider(self.provider, "Nova", self.state.clock())
        self.state.tokens[_TOKEN] = Token(MAS_ADMIN)
        self._loop, self._homeserver = loop, homeserver
        service = User(self.state.new_id(), homeserver.service_user[1:].partition(":")[0], self.state.clock())
        self.state.users[service.id] = service
        synapse_url = f"https://{homeserver.server_name}"
        config = Config(URL, synapse_url, "shared", CLIENT, PASSWORD, homeserver.server_name)
        self._app = open_app(config, Transport(network, synapse), self.state)

    def user(self, number: int) -> User | None:
        return self.state.by_username(f"nova-{uuid_of(number)}")

    def is_ended(self, number: int) -> bool:
        """Returns whether MAS has deactivated the user."""
        user = self.user(number)
        return user is not None and user.deactivated_at is not None

    def sessions(self, number: int) -> list[Session]:
        user = self.user(number)
        return [one for one in self.state.sessions.values() if user and one.user_id == user.id]

    def is_linked(self, number: int) -> bool:
        """Returns whether the user has the identity of the identity service."""
        user, subject = self.user(number), uuid_of(number)
        return any(user and one.user_id == user.id and one.subject == subject for one in self.state.links.values())

    def read(self, request: httpx.Request) -> Call:
        """Reads a request as the function sends it."""
        path, query = unquote(request.url.path), unquote(request.url.query.decode())
        is_json = request.headers.get("content-type") == "application/json"
        body = json.loads(request.content) if is_json and request.content else {}
        user = user_of(f"{path} {query} {body.get('username', '')} {body.get('subject', '')}")
        user = self._owner(f"{path} {query}") if user is None else user
        verb = next((verb for part, verb in _VERBS if part in path), None)
        return Call(request, request.method, path, query, body, user, verb if verb and user is not None else Verb.PROBE)

    def _owner(self, text: str) -> int | None:
        """Returns the user whose id, or the id of whose session, the text has."""
        for word in text.replace("/", " ").replace("=", " ").replace("&", " ").split():
            session = self.state.sessions.get(word)
            if user := self.state.users.get(session.user_id if session else word):
                return user_of(user.username)
        return None

    def carry_out(self, call: Call, trip: Trip, reply: Callable[[Response], None]) -> None:
        """Lets the stand-in do what the call asks, which may take some requests to Synapse."""
        del trip
        if call.verb is Verb.MAS_DEACTIVATE and call.user is not None:
            self._homeserver.deactivations.append((call.user, self._loop.time()))
        self._begin(self._serve(call.request, reply))

    async def _serve(self, request: httpx.Request, reply: Callable[[Response], None]) -> None:
        """Hands a request to the stand-in. httpx's transport for ASGI takes several times as long."""
        url = request.url
        scope = {
            "type": "http", "method": request.method, "path": url.path, "query_string": url.query, "root_path": "",
            "headers": [(name.lower(), value) for name, value in request.headers.raw],
        }  # fmt: skip
        sent: list[Message] = []

        async def receive() -> Message:
            return {"type": "http.request", "body": request.content, "more_body": False}

        async def send(message: Message) -> None:
            sent.append(message)

        await self._app(scope, receive, send)
        content = b"".join(message.get("body", b"") for message in sent)
        kind = dict(sent[0]["headers"]).get(b"content-type", b"").decode()
        reply(Response(content, sent[0]["status"], media_type=kind))

    def tell(self, method: str, path: str, body: Mapping[str, Any] | None = None) -> None:
        """Sends a request of another client: of an admin, or of the tests."""
        headers = {"authorization": f"Bearer {_TOKEN}"}
        self._begin(self._serve(httpx.Request(method, f"{URL}{path}", headers=headers, json=body), lambda _: None))

    def pace(self, outage: Outage | None = None) -> None:
        """Sets how the jobs go."""
        word = _PACES[outage.hit] if outage else ""
        pace = {word: outage.seconds if word == "delay" else True} if outage else {}
        self.tell("PUT", "/stand-in/jobs", pace)

    def _begin(self, work: Any) -> "asyncio.Task[None]":
        return self._loop.create_task(work, context=NO_PROCESS.copy())

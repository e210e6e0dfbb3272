"""Runs a homeserver whose accounts MAS owns, in memory: the fake Synapse behind the stand-in for MAS, both as ASGI apps."""

import asyncio
import json
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass
from datetime import datetime
from typing import Any
from urllib.parse import unquote

import httpx
from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.types import ASGIApp, Message

from dev.servers.mas_stand_in.app import open_app
from dev.servers.mas_stand_in.state import Config
from function.accounts.reconcile import Reconciler
from function.health import Health
from function.homeserver.client_credentials import ClientCredentials
from function.homeserver.delegated import Delegated
from function.homeserver.transport import HttpClient
from function.outcomes import Reason, TryAgain
from function.settings import MAS_CLIENT_ID_KEY, MAS_CLIENT_SECRET_KEY
from function.telemetry.metrics import Metrics
from tests.support.fake_avatars import FakeAvatars
from tests.support.fake_dapr import FakeDeadLetters, FakeStateStore, FakeTokens
from tests.support.fake_synapse import ADMIN_TOKEN, FakeSynapse
from tests.support.harness import Clock, FakeRechecks, Harness

CLIENT, PASSWORD = "01HFVBY12TMNTYTBV8W921M5FA", "password-of-the-client"
URL = "http://mas.example"


class FakeDelegatingSynapse(FakeSynapse):
    """A homeserver that does what MAS tells it, and says that MAS owns its accounts."""

    def __init__(self) -> None:
        super().__init__()
        self.delegates = self.forbidden_creations = True

    async def _respond(self, request: Request) -> Response:
        path = unquote(request.url.path)
        if not path.startswith("/_synapse/mas/"):
            return await super()._respond(request)
        body = json.loads(await request.body() or b"{}")
        localpart = body.get("localpart") or request.query_params.get("localpart", "")
        self.requests.append((request.method, f"{path} of {localpart}"))
        if self.down:
            return JSONResponse({"errcode": "M_UNKNOWN"}, 500)
        return self._told(path.rpartition("/")[2], f"@{localpart}:{self.server_name}", body)

    def _told(self, operation: str, mxid: str, body: Mapping[str, Any]) -> Response:
        if operation == "is_localpart_available":
            taken = mxid in self.accounts
            return JSONResponse({"errcode": "M_USER_IN_USE"} if taken else {}, 400 if taken else 200)
        if operation == "provision_user":
            account = self.accounts.get(mxid) or self.add(mxid)
            if "set_displayname" in body:
                account["displayname"] = body["set_displayname"] or None
        elif mxid not in self.accounts:
            return JSONResponse({"errcode": "M_NOT_FOUND"}, 404)
        elif operation == "delete_user":
            return self._deactivate(mxid, {"body": {"erase": body["erase"]}}, "")
        elif operation == "reactivate_user":
            self.accounts[mxid].update(deactivated=False, erased=False)
        elif operation == "upsert_device":
            self.devices.setdefault(mxid, []).append(body["device_id"])
        elif operation == "sync_devices":
            self.devices[mxid] = list(body["devices"])
        return JSONResponse({})


class FakeSecret:
    """A secret whose keys a test changes; counts the reads."""

    def __init__(self, **keys: str) -> None:
        self.keys, self.reads = {MAS_CLIENT_ID_KEY: CLIENT, MAS_CLIENT_SECRET_KEY: PASSWORD} | keys, 0

    async def read(self) -> Mapping[str, str]:
        self.reads += 1
        return dict(self.keys)

    def lacks(self, key: str) -> TryAgain:
        return TryAgain(Reason.SECRET_UNAVAILABLE, f"no key {key}")


@dataclass
class MasControl:
    """What a test does to the stand-in, and sees of it."""

    http: httpx.AsyncClient

    async def control(self, method: str, path: str, body: Mapping[str, Any] | None = None) -> Any:
        return (await self.http.request(method, f"/stand-in/{path}", json=body)).raise_for_status().json()

    async def admin(self, method: str, path: str) -> httpx.Response:
        """Calls the admin API, without the client under test."""
        form = {"grant_type": "client_credentials", "scope": "urn:mas:admin"}
        token = (await self.http.post("/oauth2/token", data=form, auth=(CLIENT, PASSWORD))).json()["access_token"]
        headers = {"Authorization": f"Bearer {token}"}
        return await self.http.request(method, f"/api/admin/v1/{path}", headers=headers)

    async def user(self, localpart: str) -> dict[str, Any] | None:
        """Returns a user's attributes with its id."""
        answer = await self.admin("GET", f"users/by-username/{localpart}")
        if answer.status_code == 404:
            return None
        found = answer.json()["data"]
        return {"id": found["id"], **found["attributes"]}

    async def id_of(self, user_id: str) -> str:
        return str((await self.user(f"nova-{user_id}") or {})["id"])

    async def add(self, user_id: str, name: str = "First Name") -> None:
        """Makes a person's account as a first login does."""
        await self.control("POST", "users", {"username": f"nova-{user_id}", "password": "secret", "displayname": name})

    async def own(self, mxid: str) -> None:
        """Makes the user of an account that Synapse has: the owner of its admin token is a user of MAS."""
        user = {"username": mxid[1:].partition(":")[0], "password": "secret", "skip_homeserver_check": True}
        await self.control("POST", "users", user)

    async def session(self, user_id: str, kind: str = "compat", at: datetime | None = None) -> str:
        """Begins a session; returns its id."""
        begun = {"created_at": at.isoformat()} if at else {}
        made = await self.control("POST", "sessions", {"kind": kind, "username": f"nova-{user_id}"} | begun)
        return str(made["id"])

    async def log_in(self, user_id: str) -> int:
        """Logs the person in by password; returns the status."""
        who = {"type": "m.id.user", "user": f"nova-{user_id}"}
        body = {"type": "m.login.password", "identifier": who, "password": "secret"}
        return (await self.http.post("/_matrix/client/v3/login", json=body)).status_code

    async def writes(self) -> list[str]:
        """Returns the paths of what was written by the admin API."""
        sent = await self.control("GET", "requests")
        paths = [one["path"] for one in sent if one["method"] != "GET"]
        return [path.removeprefix("/api/admin/v1/") for path in paths if path.startswith("/api/")]


@dataclass
class MasHarness(Harness):
    """A harness whose accounts MAS owns."""

    mas: MasControl | None = None

    @property
    def delegated(self) -> Delegated:
        assert isinstance(self.client, Delegated)
        return self.client

    @property
    def at_mas(self) -> MasControl:
        assert self.mas
        return self.mas


@asynccontextmanager
async def mas_in_memory(homeserver: FakeSynapse) -> AsyncIterator[tuple[ASGIApp, MasControl]]:
    """Runs the stand-in before the homeserver."""
    config = Config(URL, f"https://{homeserver.server_name}", "shared", CLIENT, PASSWORD, homeserver.server_name)
    app = open_app(config, httpx.ASGITransport(homeserver))
    async with _lifespan(app), httpx.AsyncClient(transport=httpx.ASGITransport(app), base_url=URL) as http:
        yield app, MasControl(http)


def mas_http(app: ASGIApp, *, read_only: bool = False, metrics: Metrics | None = None) -> HttpClient:
    return HttpClient(httpx.ASGITransport(app), URL, "tests", metrics=metrics, read_only=read_only)


@asynccontextmanager
async def mas_world(
    *logged_in: str, deletions: int = 0, precreate: bool = True, read_only: bool = False
) -> AsyncIterator[MasHarness]:
    """Yields a healthy harness in which the given users have accounts, at MAS and in Synapse."""
    homeserver, state, letters, health = FakeDelegatingSynapse(), FakeStateStore(), FakeDeadLetters(), Health()
    health.failure = None
    tokens, avatars, clock = FakeTokens(ADMIN_TOKEN), FakeAvatars(), Clock()
    async with (
        mas_in_memory(homeserver) as (app, control),
        homeserver.client(read_only=read_only) as http,
        mas_http(app, read_only=read_only) as to_mas,
        mas_http(app) as for_tokens,
    ):
        provider = (await control.control("POST", "providers", {"human_name": "Nova"}))["id"]
        credentials = ClientCredentials(for_tokens, FakeSecret())
        synapse = Delegated(http, tokens, homeserver.server_name, to_mas, credentials)
        reconciler = Reconciler(synapse, avatars, provider, clock)
        parts = (homeserver, synapse, reconciler, state, letters, health, avatars, FakeRechecks(), clock, tokens)
        made = MasHarness(*parts, deletions=deletions, precreate=precreate, mas=control, provider=provider)
        await control.own(homeserver.service_user)
        for user_id in logged_in:
            await control.add(user_id)
        yield made


@asynccontextmanager
async def _lifespan(app: ASGIApp) -> AsyncIterator[None]:
    """Starts and stops an ASGI app, whose jobs would otherwise outlive the test."""
    asked, told = asyncio.Queue[Message](), asyncio.Queue[Message]()
    running = asyncio.ensure_future(app({"type": "lifespan"}, asked.get, told.put))
    await asked.put({"type": "lifespan.startup"})
    await told.get()
    try:
        yield
    finally:
        await asked.put({"type": "lifespan.shutdown"})
        await running

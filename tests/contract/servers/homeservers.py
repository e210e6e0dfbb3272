"""Provides the homeservers for the contract tests. They differ only in address and token; the tests call the same admin API
on each."""

import uuid
from collections.abc import AsyncIterator
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from typing import Any
from urllib.parse import quote

import anyio
import anyio.lowlevel
import httpx
from httpx_aiohttp import AiohttpTransport

from function.homeserver.synapse import Synapse
from function.homeserver.transport import HttpClient
from tests.support.fake_dapr import FakeTokens
from tests.support.fake_synapse import ADMIN_TOKEN, FakeSynapse
from tests.support.images import PNG


class Homeserver:
    """A homeserver, the client under test, and access to its accounts without that client."""

    def __init__(
        self,
        url: str,
        transport: httpx.AsyncBaseTransport,
        token: str,
        service_user: str,
        fake: FakeSynapse | None = None,
    ) -> None:
        self.fake, self.token, self.service_user = fake, token, service_user
        self.http = httpx.AsyncClient(base_url=url, transport=transport)
        self._under_test = HttpClient(transport, url, "tests")
        self.server_name = service_user.partition(":")[2]
        self.synapse = self.with_tokens(FakeTokens(token))

    def with_tokens(self, tokens: FakeTokens, server_name: str = "") -> Synapse:
        return Synapse(self._under_test, tokens, server_name or self.server_name)

    async def create(self, user_id: str, name: str = "First Name") -> None:
        (await self._ask("PUT", f"/_synapse/admin/v2/users/{self._quoted(user_id)}", {"displayname": name}))

    async def raw_account(self, user_id: str) -> dict[str, Any] | None:
        answer = await self._ask("GET", f"/_synapse/admin/v2/users/{self._quoted(user_id)}")
        return None if answer.status_code == 404 else dict(answer.json())

    async def plain_token(self) -> str:
        """Returns a valid token of an account without admin rights."""
        user_id = str(uuid.uuid4())
        await self.create(user_id)
        return await self.act_as(user_id)

    async def act_as(self, user_id: str) -> str:
        """Returns a token with which the admin acts as the user."""
        answer = await self._ask("POST", f"/_synapse/admin/v1/users/{self._quoted(user_id)}/login", {})
        return str(answer.json()["access_token"])

    async def log_in(self, user_id: str) -> tuple[str, str]:
        """Logs the user in with a new password; returns the access token and the device. Synapse allows five in all."""
        password = uuid.uuid4().hex
        await self.set_password(user_id, password)
        who = {"type": "m.id.user", "user": self.synapse.mxid(user_id)}
        body = {"type": "m.login.password", "identifier": who, "password": password}
        answer = (await self.http.post("/_matrix/client/v3/login", json=body)).json()
        return answer["access_token"], answer["device_id"]

    async def set_password(self, user_id: str, password: str) -> None:
        """Sets the password, which ends the user's sessions."""
        await self._ask("PUT", f"/_synapse/admin/v2/users/{self._quoted(user_id)}", {"password": password})

    async def is_valid(self, token: str) -> bool:
        """Whether the token is valid; otherwise Synapse does not know it."""
        headers = {"Authorization": f"Bearer {token}"}
        answer = await self.http.get("/_matrix/client/v3/account/whoami", headers=headers)
        assert answer.status_code == 200 or (answer.status_code, answer.json()["errcode"]) == (401, "M_UNKNOWN_TOKEN")
        return answer.status_code == 200

    async def upload_as(self, token: str) -> str:
        """Uploads an image with that token; returns its mxc URI. Its bytes are its own: Synapse quarantines by content."""
        headers = {"Authorization": f"Bearer {token}", "Content-Type": "image/png"}
        answer = await self.http.post(
            "/_matrix/media/v3/upload?filename=image", content=PNG + uuid.uuid4().bytes, headers=headers
        )
        return str(answer.json()["content_uri"])

    async def quarantine(self, mxc: str) -> None:
        await self._ask("POST", f"/_synapse/admin/v1/media/quarantine/{mxc.removeprefix('mxc://')}", {})

    async def lock(self, user_id: str) -> None:
        await self._ask("PUT", f"/_synapse/admin/v2/users/{self._quoted(user_id)}", {"locked": True})

    async def reactivate(self, user_id: str) -> None:
        """Reactivates an account. Synapse on a new SQLite database answers 500 until its indexes exist, for about 15 s."""
        path, headers = f"/_synapse/admin/v2/users/{self._quoted(user_id)}", {"Authorization": f"Bearer {self.token}"}
        with anyio.fail_after(90):
            while (await self.http.put(path, json={"deactivated": False}, headers=headers)).status_code == 500:
                await anyio.lowlevel.checkpoint()

    async def join_a_room(self, user_id: str) -> None:
        """Joins the user to a new public room."""
        if self.fake:
            self.fake.room_looks = 1
            mxid = self.synapse.mxid(user_id)
            self.fake.rooms[mxid] = self.fake.rooms.get(mxid, 0) + 1
            return
        room = (await self._ask("POST", "/_matrix/client/v3/createRoom", {"preset": "public_chat"})).json()["room_id"]
        await self._ask("POST", f"/_synapse/admin/v1/join/{quote(room)}", {"user_id": self.synapse.mxid(user_id)})

    async def post_messages(self, user_id: str, count: int) -> str:
        """Joins the user to a new public room and has the user send messages there; returns the room."""
        if self.fake:
            await self.join_a_room(user_id)
            room = self.fake.room(self.fake.rooms[self.synapse.mxid(user_id)] - 1)
            self.fake.say(self.synapse.mxid(user_id), count, room)
            return room
        room = str(
            (await self._ask("POST", "/_matrix/client/v3/createRoom", {"preset": "public_chat"})).json()["room_id"]
        )
        await self._ask("POST", f"/_synapse/admin/v1/join/{quote(room)}", {"user_id": self.synapse.mxid(user_id)})
        limit = f"/_synapse/admin/v1/users/{self._quoted(user_id)}/override_ratelimit"
        await self._ask("POST", limit, {"messages_per_second": 0, "burst_count": 0})
        headers = {"Authorization": f"Bearer {await self.act_as(user_id)}"}
        for number in range(count):
            path = f"/_matrix/client/v3/rooms/{quote(room)}/send/m.room.message/{number}"
            body = {"msgtype": "m.text", "body": f"message {number}"}
            assert (await self.http.put(path, json=body, headers=headers)).status_code == 200
        return room

    async def readable_messages(self, user_id: str, room: str) -> int:
        """Returns how many of the user's messages in the room another member can read."""
        if self.fake:
            sent = self.fake.messages.get(self.synapse.mxid(user_id), [])
            return sum(message.room == room and not message.redacted for message in sent)
        answer = await self._ask("GET", f"/_matrix/client/v3/rooms/{quote(room)}/messages?dir=b&limit=500")
        mine = [event for event in answer.json()["chunk"] if event["sender"] == self.synapse.mxid(user_id)]
        return sum(event["type"] == "m.room.message" and bool(event["content"]) for event in mine)

    async def take_identity(self, user_id: str, provider: str, external_id: str) -> None:
        """Makes an external identity the only one of the user's account."""
        body = {"external_ids": [{"auth_provider": provider, "external_id": external_id}]}
        await self._ask("PUT", f"/_synapse/admin/v2/users/{self._quoted(user_id)}", body)

    async def identities(self, user_id: str) -> set[tuple[str, str]]:
        """Returns the account's identities: provider and external id."""
        account = await self.raw_account(user_id)
        assert account is not None
        return {(one["auth_provider"], one["external_id"]) for one in account["external_ids"]}

    async def open_session(self, user_id: str) -> str:
        """Creates a device of the user, as a login does; returns its id."""
        device = str(uuid.uuid4())
        if self.fake:
            self.fake.devices.setdefault(self.synapse.mxid(user_id), []).append(device)
        else:
            path = f"/_synapse/admin/v2/users/{self._quoted(user_id)}/devices"
            await self._ask("POST", path, {"device_id": device})
        return device

    async def delete_devices(self, user_id: str, devices: list[str]) -> int:
        path = f"/_synapse/admin/v2/users/{self._quoted(user_id)}/delete_devices"
        return (await self._ask("POST", path, {"devices": devices})).status_code

    async def devices(self, user_id: str) -> list[str]:
        answer = await self._ask("GET", f"/_synapse/admin/v2/users/{self._quoted(user_id)}/devices")
        return [device["device_id"] for device in answer.json()["devices"]]

    async def has_media(self, mxc: str) -> bool:
        """Whether the media store has the file."""
        if self.fake:
            return mxc in self.fake.media
        answer = await self._ask("GET", f"/_matrix/client/v1/media/download/{mxc.removeprefix('mxc://')}")
        return answer.status_code == 200

    def _quoted(self, user_id: str) -> str:
        return quote(self.synapse.mxid(user_id), safe="")

    async def _ask(self, method: str, path: str, body: dict[str, Any] | None = None) -> httpx.Response:
        answer = await self.http.request(method, path, json=body, headers={"Authorization": f"Bearer {self.token}"})
        assert answer.status_code in {200, 201, 404}, answer.status_code
        return answer


Opened = AbstractAsyncContextManager[Homeserver]


@asynccontextmanager
async def in_memory() -> AsyncIterator[Homeserver]:
    fake = FakeSynapse()
    homeserver = Homeserver("https://fake", httpx.ASGITransport(fake), ADMIN_TOKEN, fake.service_user, fake)
    async with homeserver.http:
        yield homeserver


@asynccontextmanager
async def over_http(url: str, token: str, service_user: str) -> AsyncIterator[Homeserver]:
    """Yields a running Synapse, called through the function's transport."""
    homeserver = Homeserver(url, AiohttpTransport(), token, service_user)
    async with homeserver.http:
        yield homeserver

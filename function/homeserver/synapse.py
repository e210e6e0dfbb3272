"""The calls on Synapse's APIs that this service needs, with typed results. Holds no policy about users; requests.py says
what a refused or failed call raises."""

import re
from collections.abc import Mapping, Sequence
from dataclasses import replace
from datetime import UTC, datetime
from typing import Any
from urllib.parse import quote

from function.homeserver.account import Account, Media, Page, T
from function.homeserver.requests import AdminApi, Upload
from function.operations import Operation
from function.outcomes import Reason, Rejected, TryAgain

UUID = r"[0-9a-f]{8}-(?:[0-9a-f]{4}-){3}[0-9a-f]{12}"


class Synapse(AdminApi):
    """One homeserver."""

    def mxid(self, user_id: str) -> str:
        """Returns the Matrix id of a user (a lower-case UUID with dashes)."""
        return f"@nova-{user_id}:{self._server_name}"

    async def account(self, user_id: str, provider: str = "") -> Account | None:
        """Returns the account, None if there is none. `GET /_synapse/admin/v2/users/{mxid}`."""
        answer = await self._call(Operation.ACCOUNT, "GET", f"/_synapse/admin/v2/users/{self._quoted(user_id)}")
        if answer.status == 404:
            return None
        links = [(one["auth_provider"], one["external_id"]) for one in answer.body.get("external_ids", [])]
        return replace(_account(answer.body), linked=(provider, user_id) in links if provider else None)

    async def accounts(self, start: int, limit: int) -> Page[tuple[str, Account]]:
        """Lists users with their accounts, the oldest first; includes deactivated, erased and locked ones.
        `GET /_synapse/admin/v2/users`.

        Synapse pages by offset. The order is that of creation, which never changes: an account that is created between
        two pages comes last and moves no other one, and Synapse never removes an account.
        """
        # user_id matches anywhere in the id. guests=true is refused under Matrix Authentication Service.
        query = "user_id=%40nova-&deactivated=true&locked=true&guests=false&order_by=creation_ts&dir=f"
        body = (
            await self._call(Operation.ACCOUNTS, "GET", f"/_synapse/admin/v2/users?from={start}&limit={limit}&{query}")
        ).body
        ours = re.compile(rf"@nova-({UUID}):{re.escape(self._server_name)}")
        found = [(ours.fullmatch(row["name"]), row) for row in body["users"]]
        return _page([(match[1], _account(row)) for match, row in found if match], len(found), body)

    async def uploads(self, admin: str, start: int, limit: int) -> Page[Media]:
        """Lists the users' avatars that the admin (a Matrix id) uploaded, the oldest first.
        `GET /_synapse/admin/v1/users/{mxid}/media`."""
        path = f"/_synapse/admin/v1/users/{quote(admin, safe='')}/media"
        body = (
            await self._call(Operation.UPLOADS, "GET", f"{path}?from={start}&limit={limit}&order_by=created_ts&dir=f")
        ).body
        rows = body["media"]
        found = [(re.fullmatch(f"nova-({UUID})", row["upload_name"] or ""), row) for row in rows]
        return _page([_media(self._server_name, match[1], row) for match, row in found if match], len(rows), body)

    async def deactivate(self, user_id: str, *, erase: bool) -> bool:
        """Deactivates the account; False if there is none. Idempotent. `POST /_synapse/admin/v1/deactivate/{mxid}`."""
        if self._http.read_only and await self.account(user_id) is None:
            return False  # a dry run sends no request whose 404 would tell
        operation = Operation.ERASE if erase else Operation.DEACTIVATE
        path = f"/_synapse/admin/v1/deactivate/{self._quoted(user_id)}"
        answer = await self._call(operation, "POST", path, {"erase": erase})
        return answer.status != 404

    async def set_display_name(self, user_id: str, name: str) -> None:
        """Sets the name; "" unsets it. The account must exist: Synapse answers 200 for an id without one, and its user
        can then never log in. `PUT /_matrix/client/v3/profile/{mxid}/displayname`."""
        path = f"/_matrix/client/v3/profile/{self._quoted(user_id)}/displayname"
        await self._call(Operation.SET_DISPLAY_NAME, "PUT", path, {"displayname": name})

    async def set_avatar(self, user_id: str, address: str) -> None:
        """Sets the avatar to an mxc:// address; "" unsets it. The account must exist, as for `set_display_name`.
        `PUT /_matrix/client/v3/profile/{mxid}/avatar_url`."""
        path = f"/_matrix/client/v3/profile/{self._quoted(user_id)}/avatar_url"
        await self._call(Operation.SET_AVATAR, "PUT", path, {"avatar_url": address})

    async def create(self, user_id: str, name: str, provider: str) -> None:
        """Creates the account with the user's identity at `provider`, such as `oidc-nova`, so that the first login uses
        it. `PUT /_synapse/admin/v2/users/{mxid}`.

        Raises:
            Rejected: EXTERNAL_ID_TAKEN, with both accounts: the identity belongs to another one. The account was created.
        """
        body = {"displayname": name, "external_ids": [{"auth_provider": provider, "external_id": user_id}]}
        try:
            await self._call(Operation.CREATE, "PUT", f"/_synapse/admin/v2/users/{self._quoted(user_id)}", body)
        except Rejected as rejected:
            if not rejected.detail.startswith("409"):
                raise
            path = f"/_synapse/admin/v1/auth_providers/{quote(provider, safe='')}/users/{quote(user_id, safe='')}"
            owner = (await self._call(Operation.CREATE, "GET", path)).body.get("user_id", "-")
            both = f"{self.mxid(user_id)} {owner}"
            raise Rejected(Reason.EXTERNAL_ID_TAKEN, rejected.detail, ids=both) from None

    async def link(self, user_id: str, provider: str) -> None:
        body = {"external_ids": [{"auth_provider": provider, "external_id": user_id}]}
        await self._call(Operation.CREATE, "PUT", f"/_synapse/admin/v2/users/{self._quoted(user_id)}", body)

    async def uploaded_by(self, mxc: str) -> str | None:
        return None

    async def end_sessions(self, user_id: str) -> bool:
        """Deletes every device, and with it each access token; False if there was none.
        `POST /_synapse/admin/v2/users/{mxid}/delete_devices`."""
        path = f"/_synapse/admin/v2/users/{self._quoted(user_id)}"
        devices = (await self._call(Operation.END_SESSIONS, "GET", f"{path}/devices")).body.get("devices", [])
        ids = [device["device_id"] for device in devices]
        if ids:
            await self._call(Operation.END_SESSIONS, "POST", f"{path}/delete_devices", {"devices": ids})
        return bool(ids)

    async def upload(self, content: bytes, content_type: str, user_id: str) -> str:
        """Uploads an image and returns its mxc URI. The file name contains the user id, so that orphaned uploads can be
        found. `POST /_matrix/media/v3/upload`."""
        path = f"/_matrix/media/v3/upload?filename=nova-{user_id}"  # `uploads` knows it by this name
        answer = await self._call(Operation.UPLOAD, "POST", path, Upload(content, content_type))
        address = answer.body.get("content_uri")
        if not isinstance(address, str):
            raise TryAgain(Reason.SYNAPSE_UNEXPECTED, "an upload without content_uri")
        return address

    async def delete_media(self, mxc: str) -> None:
        """Deletes an upload; no error if it is gone.
        `DELETE /_synapse/admin/v1/media/{server_name}/{media_id}`."""
        await self._call(Operation.DELETE_MEDIA, "DELETE", f"/_synapse/admin/v1/media/{mxc.removeprefix('mxc://')}")

    async def joined_rooms(self, user_id: str) -> int:
        """Returns the number of rooms that the user is joined to. `GET /_synapse/admin/v1/users/{mxid}/joined_rooms`."""
        answer = await self._call(
            Operation.JOINED_ROOMS, "GET", f"/_synapse/admin/v1/users/{self._quoted(user_id)}/joined_rooms"
        )
        return int(answer.body.get("total", 0))

    async def rate_limit(self, mxid: str) -> dict[str, Any]:
        """Returns the account's rate limit override; empty if it has none."""
        path = f"/_synapse/admin/v1/users/{quote(mxid, safe='')}/override_ratelimit"
        return (await self._call(Operation.RATE_LIMIT, "GET", path)).body

    def _quoted(self, user_id: str) -> str:
        return quote(self.mxid(user_id), safe="")


def _account(body: Mapping[str, Any]) -> Account:
    return Account(
        deactivated=bool(body.get("deactivated")),
        erased=bool(body.get("erased")),
        display_name=body.get("displayname") or "",
        avatar=body.get("avatar_url") or "",
    )


def _media(server_name: str, user_id: str, row: Mapping[str, Any]) -> Media:
    mxc = f"mxc://{server_name}/{row['media_id']}"
    return Media(mxc, user_id, datetime.fromtimestamp(row["created_ts"] / 1000, UTC))


def _page(items: Sequence[T], rows: int, body: Mapping[str, Any]) -> Page[T]:
    following = body.get("next_token")  # a string in one list, a number in the other
    return Page(items, rows, None if following is None else int(following), int(body["total"]))

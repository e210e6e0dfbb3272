"""The calls on Synapse's APIs that this service needs, with typed results. Holds no policy about users; requests.py says
what a refused or failed call raises."""

import re
from collections.abc import Sequence
from datetime import UTC, datetime
from typing import Any
from urllib.parse import quote

from function.homeserver.account import Account, Media, Page, T
from function.homeserver.messages import EMPTY, Answer, Expected, Fields, having, named
from function.homeserver.requests import AdminApi, Upload
from function.operations import Operation
from function.outcomes import Reason, Rejected

DEACTIVATED = having("id_server_unbind_result", absent=True)  # `no-support` is a success: the account is deactivated
UPLOADED = Expected(lambda fields: str(fields.get("content_uri", "")).startswith("mxc://"))
DELETED = having("deleted_media", list, absent=True)
ROOMS = having("joined_rooms", list)
OVERRIDE = Expected(lambda fields: set(fields) <= {"messages_per_second", "burst_count"})
UUID = r"[0-9a-f]{8}-(?:[0-9a-f]{4}-){3}[0-9a-f]{12}"


class Synapse(AdminApi):
    """One homeserver."""

    def mxid(self, user_id: str) -> str:
        """Returns the Matrix id of a user (a lower-case UUID with dashes)."""
        return f"@nova-{user_id}:{self._server_name}"

    async def account(self, user_id: str, provider: str = "") -> Account | None:
        """Returns the account, None if there is none; `linked` says whether it has the user's identity at `provider`, None
        without a provider. `GET /_synapse/admin/v2/users/{mxid}`."""
        path = f"/_synapse/admin/v2/users/{self._quoted(user_id)}"
        expected = named(self.mxid(user_id), absent=True)
        answer = await self._call(Operation.ACCOUNT, "GET", path, None, expected)
        return None if answer.status == 404 else _account(answer.body, user_id, provider)

    async def accounts(self, start: int, limit: int) -> Page[tuple[str, Account]]:
        """Lists users with their accounts, the oldest first; includes deactivated, erased and locked ones.
        `GET /_synapse/admin/v2/users`.

        Synapse pages by offset. The order is that of creation, which never changes: an account that is created between
        two pages comes last and moves no other one, and Synapse never removes an account.
        """
        # user_id matches anywhere in the id. guests=true is refused under Matrix Authentication Service.
        query = "user_id=%40nova-&deactivated=true&locked=true&guests=false&order_by=creation_ts&dir=f"
        path = f"/_synapse/admin/v2/users?from={start}&limit={limit}&{query}"
        body = (await self._call(Operation.ACCOUNTS, "GET", path, None, having("users", list))).body
        ours = re.compile(rf"@nova-({UUID}):{re.escape(self._server_name)}")
        found = [(ours.fullmatch(row["name"]), row) for row in body["users"]]
        return _page([(match[1], _account(row)) for match, row in found if match], len(found), body)

    async def uploads(self, admin: str, start: int, limit: int) -> Page[Media]:
        """Lists the users' avatars that the admin (a Matrix id) uploaded, the oldest first.
        `GET /_synapse/admin/v1/users/{mxid}/media`."""
        path = f"/_synapse/admin/v1/users/{quote(admin, safe='')}/media?from={start}&limit={limit}&order_by=created_ts&dir=f"
        body = (await self._call(Operation.UPLOADS, "GET", path, None, having("media", list))).body
        rows = body["media"]
        found = [(re.fullmatch(f"nova-({UUID})", row["upload_name"] or ""), row) for row in rows]
        return _page([_media(self._server_name, match[1], row) for match, row in found if match], len(rows), body)

    async def deactivate(self, user_id: str, *, erase: bool) -> bool:
        """Deactivates the account; False if there is none. Idempotent. `POST /_synapse/admin/v1/deactivate/{mxid}`.

        Synapse goes on after a request was given up; instead of a second one next to it, the account is read.

        Raises:
            Rejected: DEACTIVATION_INCOMPLETE if Synapse refuses: the account is still active.
        """
        if self._http.read_only and await self.account(user_id) is None:
            return False  # a dry run sends no request whose 404 would tell
        operation = Operation.ERASE if erase else Operation.DEACTIVATE
        path = f"/_synapse/admin/v1/deactivate/{self._quoted(user_id)}"

        async def look() -> Answer | None:
            return _deactivation(await self.account(user_id), erase=erase)

        answer = await self._call(operation, "POST", path, {"erase": erase}, DEACTIVATED, look)
        return answer.status != 404

    async def set_display_name(self, user_id: str, name: str) -> None:
        """Sets the name; "" unsets it. The account must exist: Synapse answers 200 for an id without one, and its user
        can then never log in. `PUT /_matrix/client/v3/profile/{mxid}/displayname`."""
        path = f"/_matrix/client/v3/profile/{self._quoted(user_id)}/displayname"
        await self._call(Operation.SET_DISPLAY_NAME, "PUT", path, {"displayname": name}, EMPTY)

    async def set_avatar(self, user_id: str, address: str) -> None:
        """Sets the avatar to an mxc:// address; "" unsets it. The account must exist, as for `set_display_name`.
        `PUT /_matrix/client/v3/profile/{mxid}/avatar_url`."""
        path = f"/_matrix/client/v3/profile/{self._quoted(user_id)}/avatar_url"
        await self._call(Operation.SET_AVATAR, "PUT", path, {"avatar_url": address}, EMPTY)

    async def create(self, user_id: str, name: str, provider: str) -> Account:
        """Creates the account with the user's identity at `provider`, such as `oidc-nova`, so that the first login uses
        it. Returns the account as Synapse describes it. `PUT /_synapse/admin/v2/users/{mxid}`.

        Raises:
            Rejected: EXTERNAL_ID_TAKEN, with both accounts: the identity belongs to another one. The account was created.
        """
        body = {"displayname": name, "external_ids": [{"auth_provider": provider, "external_id": user_id}]}
        try:
            path = f"/_synapse/admin/v2/users/{self._quoted(user_id)}"
            answer = await self._call(Operation.CREATE, "PUT", path, body, named(self.mxid(user_id)))
        except Rejected as rejected:
            if not rejected.detail.startswith("409"):
                raise
            path = f"/_synapse/admin/v1/auth_providers/{quote(provider, safe='')}/users/{quote(user_id, safe='')}"
            expected = having("user_id", str, absent=True)
            owner = (await self._call(Operation.CREATE, "GET", path, None, expected)).body.get("user_id", "-")
            both = f"{self.mxid(user_id)} {owner}"
            raise Rejected(Reason.EXTERNAL_ID_TAKEN, rejected.detail, ids=both) from None
        if self._http.read_only:
            return Account(display_name=name, linked=True)
        return _account(answer.body, user_id, provider)

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
        answer = await self._call(Operation.UPLOAD, "POST", path, Upload(content, content_type), UPLOADED)
        return str(answer.body["content_uri"])

    async def delete_media(self, mxc: str) -> None:
        """Deletes an upload; no error if it is gone.
        `DELETE /_synapse/admin/v1/media/{server_name}/{media_id}`."""
        path = f"/_synapse/admin/v1/media/{mxc.removeprefix('mxc://')}"
        await self._call(Operation.DELETE_MEDIA, "DELETE", path, None, DELETED)

    async def joined_rooms(self, user_id: str) -> int:
        """Returns the number of rooms that the user is joined to. `GET /_synapse/admin/v1/users/{mxid}/joined_rooms`."""
        path = f"/_synapse/admin/v1/users/{self._quoted(user_id)}/joined_rooms"
        return len((await self._call(Operation.JOINED_ROOMS, "GET", path, None, ROOMS)).body["joined_rooms"])

    async def rate_limit(self, mxid: str) -> dict[str, Any]:
        """Returns the account's rate limit override; empty if it has none."""
        path = f"/_synapse/admin/v1/users/{quote(mxid, safe='')}/override_ratelimit"
        return (await self._call(Operation.RATE_LIMIT, "GET", path, None, OVERRIDE)).body

    def _quoted(self, user_id: str) -> str:
        return quote(self.mxid(user_id), safe="")


def _account(body: Fields, user_id: str = "", provider: str = "") -> Account:
    return Account(
        deactivated=bool(body.get("deactivated")),
        erased=bool(body.get("erased")),
        display_name=body.get("displayname") or "",
        avatar=body.get("avatar_url") or "",
        linked=_linked(body, user_id, provider) if provider else None,
    )


def _linked(body: Fields, user_id: str, provider: str) -> bool:
    """Returns whether the account has the user's identity at the provider."""
    identities = body.get("external_ids") or []
    return any(identity["auth_provider"] == provider and identity["external_id"] == user_id for identity in identities)


def _deactivation(account: Account | None, *, erase: bool) -> Answer | None:
    """Returns the answer that a deactivation would have got, None if it is not done; an erasure leaves no name and no
    avatar."""
    if account is None:
        return Answer(404, {})
    erased = account.erased and not account.display_name and not account.avatar
    return Answer(200, {}) if account.deactivated and (erased or not erase) else None


def _media(server_name: str, user_id: str, row: Fields) -> Media:
    mxc = f"mxc://{server_name}/{row['media_id']}"
    return Media(mxc, user_id, datetime.fromtimestamp(row["created_ts"] / 1000, UTC))


def _page(items: Sequence[T], rows: int, body: Fields) -> Page[T]:
    following = body.get("next_token")  # a string in one list, a number in the other
    return Page(items, rows, None if following is None else int(following), int(body["total"]))

"""The few verbs of Synapse's APIs that this service needs, with typed results. Holds no policy about users; calls.py says
what a refusal or a failure of any of them raises."""

from typing import Any
from urllib.parse import quote

from function.calls import Calls, Upload
from function.desired import Account
from function.failures import Reason, Rejected, TryAgain
from function.measured import verb


class Synapse(Calls):
    """One homeserver."""

    def mxid(self, user_id: str) -> str:
        """The Matrix id of a user (a lower-case UUID with dashes)."""
        return f"@nova-{user_id}:{self._server_name}"

    @verb
    async def account(self, user_id: str) -> Account | None:
        """The account, or None when there is none. `GET /_synapse/admin/v2/users/{mxid}`."""
        answer = await self.call("GET", f"/_synapse/admin/v2/users/{self._quoted(user_id)}")
        if answer.status == 404:
            return None
        body = answer.body
        return Account(
            deactivated=bool(body.get("deactivated")),
            erased=bool(body.get("erased")),
            display_name=body.get("displayname") or "",
            avatar=body.get("avatar_url") or "",
        )

    @verb
    async def deactivate(self, user_id: str, *, erase: bool) -> bool:
        """Ends the account; False when there is none. Idempotent. `POST /_synapse/admin/v1/deactivate/{mxid}`."""
        answer = await self.call("POST", f"/_synapse/admin/v1/deactivate/{self._quoted(user_id)}", {"erase": erase})
        return answer.status != 404

    @verb
    async def set_display_name(self, user_id: str, name: str) -> None:
        """Sets the name; "" unsets it. The account must be known to exist: Synapse answers 200 for any id, and the
        id is then spoilt for ever. `PUT /_matrix/client/v3/profile/{mxid}/displayname`."""
        path = f"/_matrix/client/v3/profile/{self._quoted(user_id)}/displayname"
        await self.call("PUT", path, {"displayname": name})

    @verb
    async def set_avatar(self, user_id: str, address: str) -> None:
        """Sets the avatar to an mxc:// address; "" unsets it. As `set_display_name` else.
        `PUT /_matrix/client/v3/profile/{mxid}/avatar_url`."""
        path = f"/_matrix/client/v3/profile/{self._quoted(user_id)}/avatar_url"
        await self.call("PUT", path, {"avatar_url": address})

    @verb
    async def create(self, user_id: str, name: str, provider: str) -> None:
        """Makes the account, tied to the user's identity at `provider`, such as `oidc-nova`: the first login then lands on
        it. `PUT /_synapse/admin/v2/users/{mxid}`.

        Raises:
            Rejected: EXTERNAL_ID_TAKEN, with both accounts: the identity belongs to another. The account was made.
        """
        body = {"displayname": name, "external_ids": [{"auth_provider": provider, "external_id": user_id}]}
        try:
            await self.call("PUT", f"/_synapse/admin/v2/users/{self._quoted(user_id)}", body)
        except Rejected as rejected:
            if not rejected.detail.startswith("409"):
                raise
            path = f"/_synapse/admin/v1/auth_providers/{quote(provider, safe='')}/users/{quote(user_id, safe='')}"
            owner = (await self.call("GET", path)).body.get("user_id", "-")
            both = f"{self.mxid(user_id)} {owner}"
            raise Rejected(Reason.EXTERNAL_ID_TAKEN, rejected.detail, ids=both) from None

    @verb
    async def end_sessions(self, user_id: str) -> bool:
        """Deletes every device, and with it each access token; False when there was none.
        `POST /_synapse/admin/v2/users/{mxid}/delete_devices`."""
        path = f"/_synapse/admin/v2/users/{self._quoted(user_id)}"
        devices = (await self.call("GET", f"{path}/devices")).body.get("devices", [])
        ids = [device["device_id"] for device in devices]
        if ids:
            await self.call("POST", f"{path}/delete_devices", {"devices": ids})
        return bool(ids)

    @verb
    async def upload(self, content: bytes, content_type: str, user_id: str) -> str:
        """Puts an image into the media store; its mxc:// address. The upload's name says whose avatar it is, so that one
        that was forgotten can be found. `POST /_matrix/media/v3/upload`."""
        path = f"/_matrix/media/v3/upload?filename=nova-{user_id}"
        answer = await self.call("POST", path, Upload(content, content_type))
        address = answer.body.get("content_uri")
        if not isinstance(address, str):
            raise TryAgain(Reason.SYNAPSE_UNEXPECTED, "an upload without content_uri")
        return address

    @verb
    async def delete_media(self, mxc: str) -> None:
        """Deletes what was uploaded; also fine when it is gone.
        `DELETE /_synapse/admin/v1/media/{server_name}/{media_id}`."""
        await self.call("DELETE", f"/_synapse/admin/v1/media/{mxc.removeprefix('mxc://')}")

    @verb
    async def joined_rooms(self, user_id: str) -> int:
        """How many rooms the user is in. `GET /_synapse/admin/v1/users/{mxid}/joined_rooms`."""
        answer = await self.call("GET", f"/_synapse/admin/v1/users/{self._quoted(user_id)}/joined_rooms")
        return int(answer.body.get("total", 0))

    @verb
    async def rate_limit(self, mxid: str) -> dict[str, Any]:
        """The account's rate limit override; empty when it has none."""
        path = f"/_synapse/admin/v1/users/{quote(mxid, safe='')}/override_ratelimit"
        return (await self.call("GET", path)).body

    def _quoted(self, user_id: str) -> str:
        return quote(self.mxid(user_id), safe="")

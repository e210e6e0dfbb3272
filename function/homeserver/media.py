"""The calls on Synapse's media store, with typed results. Knows nothing of accounts but who uploaded a file."""

import re
from collections.abc import Sequence
from datetime import UTC, datetime
from urllib.parse import quote

from function.homeserver.account import Media, Page, Row, T
from function.homeserver.admin_api import AdminApi
from function.homeserver.messages import Answer, Expected, Fields, having
from function.homeserver.requests import IN_FLIGHT, TokenSource, Upload
from function.homeserver.transport import HttpClient
from function.operations import Operation
from function.outcomes import Rejected

UPLOADED = Expected(lambda fields: str(fields.get("content_uri", "")).startswith("mxc://"))
DELETED = having("deleted_media", list, absent=True)
MEDIA_INFO = having("media_info", dict, absent=True)
UUID = r"[0-9a-f]{8}-(?:[0-9a-f]{4}-){3}[0-9a-f]{12}"


class MediaApi(AdminApi):
    """The media store of one homeserver; for the arguments see `AdminApi`."""

    def __init__(self, http: HttpClient, tokens: TokenSource, server_name: str, in_flight: int = IN_FLIGHT) -> None:
        super().__init__(http, tokens, server_name, in_flight)
        self._missing: set[Operation] = set()  # calls that this version of Synapse does not have; copies share it

    async def uploads(self, admin: str, start: int, limit: int) -> Page[Media]:
        """Lists the users' avatars that the admin (a Matrix id) uploaded, the oldest first. Pages by offset, so a deletion
        moves every later row to an earlier one. `GET /_synapse/admin/v1/users/{mxid}/media`."""
        path = f"/_synapse/admin/v1/users/{quote(admin, safe='')}/media?from={start}&limit={limit}&order_by=created_ts&dir=f"
        body = (await self._call(Operation.UPLOADS, "GET", path, None, having("media", list))).body
        named = [(re.fullmatch(f"nova-({UUID})", row["upload_name"] or ""), row) for row in body["media"]]
        return page(
            [
                Row(row["created_ts"], row["media_id"], _media(self._server_name, match[1], row) if match else None)
                for match, row in named
            ],
            body,
        )

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

    async def media_exists(self, mxc: str) -> bool:
        """Returns False if Synapse says that the file is gone; a quarantined one exists. True if it does not tell: for a
        file of another server, which costs no request, and before Synapse 1.140.
        `GET /_synapse/admin/v1/media/{server_name}/{media_id}`."""
        answer = await self._media_info(Operation.MEDIA_EXISTS, mxc)
        return answer is None or answer.status != 404

    async def uploaded_by(self, mxc: str) -> str | None:
        """Returns the Matrix id of the user who uploaded the file, None if Synapse does not tell or if no one may delete
        it on the user's behalf: it is gone, of another server, or quarantined by a moderator. Needs Synapse 1.140.
        `GET /_synapse/admin/v1/media/{server_name}/{media_id}`."""
        answer = await self._media_info(Operation.UPLOADED_BY, mxc)
        info = answer.body.get("media_info", {}) if answer else {}
        return None if info.get("quarantined_by") else info.get("user_id")

    async def _media_info(self, operation: Operation, mxc: str) -> Answer | None:
        if not re.fullmatch(rf"mxc://{re.escape(self._server_name)}/[A-Za-z0-9_-]+", mxc):
            return None
        return await self._optional(operation, f"/_synapse/admin/v1/media/{mxc.removeprefix('mxc://')}", MEDIA_INFO)

    async def _optional(self, operation: Operation, path: str, expected: Expected) -> Answer | None:
        """Reads what no event depends on: returns None if Synapse refuses it, and does not ask again for a call that
        this Synapse does not have (404 or 405 `M_UNRECOGNIZED`).

        Raises:
            TryAgain: Synapse is unavailable, limits the rate for long, or refuses the token or the admin account.
        """
        if operation in self._missing:
            return None
        try:
            return await self._call(operation, "GET", path, None, expected)
        except Rejected as rejected:
            if "M_UNRECOGNIZED" in rejected.detail:
                self._missing.add(operation)
            return None


def _media(server_name: str, user_id: str, row: Fields) -> Media:
    mxc = f"mxc://{server_name}/{row['media_id']}"
    return Media(mxc, user_id, datetime.fromtimestamp(row["created_ts"] / 1000, UTC))


def page(rows: Sequence[Row[T]], body: Fields) -> Page[T]:
    """Returns a page of a list from Synapse's answer."""
    following = body.get("next_token")  # a string in one list, a number in the other
    return Page(rows, None if following is None else int(following), int(body["total"]))

"""The calls on what a user leaves behind in Synapse: the rooms, the messages in them, and the media. Typed results, no policy."""

from collections.abc import Sequence
from dataclasses import dataclass
from enum import StrEnum
from urllib.parse import quote

from function.homeserver.account import Page, Row
from function.homeserver.media import MediaApi, page
from function.homeserver.messages import having
from function.operations import Operation

MEMBERSHIPS = having("memberships", dict)
REDACTING = having("redact_id", str)
REDACTION = having("status", str, absent=True)
ALL = 2**31 - 1  # messages in each room; Synapse's default is the newest 1,000
UPLOADS = 100  # files in a page


class RedactionStatus(StrEnum):
    """What Synapse says of a redaction."""

    SCHEDULED = "scheduled"
    ACTIVE = "active"
    COMPLETE = "complete"
    FAILED = "failed"
    UNKNOWN = "unknown"  # Synapse forgets a redaction a week after its end


@dataclass(frozen=True, slots=True)
class Redaction:
    """A redaction, and how many messages it could not redact."""

    status: RedactionStatus
    failed: int = 0

    @property
    def running(self) -> bool:
        return self.status in {RedactionStatus.SCHEDULED, RedactionStatus.ACTIVE}


class OwnTracesApi(MediaApi):
    """What users leave behind in one homeserver; for the arguments see `AdminApi`. All take a Matrix id."""

    async def rooms_of(self, mxid: str) -> Sequence[str]:
        """Returns every room that the user is, or was, in: joined, left, kicked, banned, forgotten or invited. Those in which
        no user of this server is left are not among them. `GET /_synapse/admin/v1/users/{mxid}/memberships`.

        Raises:
            Rejected: among others by a Synapse that does not have the call yet.
        """
        path = f"/_synapse/admin/v1/users/{quote(mxid, safe='')}/memberships"
        return list((await self._call(Operation.ROOMS_OF, "GET", path, None, MEMBERSHIPS)).body["memberships"])

    async def redact(self, mxid: str, rooms: Sequence[str]) -> str:
        """Begins to redact the user's messages and joins in the rooms, in the user's name, which a deactivated user can too.
        Returns an id to ask for the end with. `POST /_synapse/admin/v1/user/{mxid}/redact`.

        Synapse redacts again what was redacted before, and after a restart it begins again.

        Raises:
            Rejected: among others while it redacts messages of this user.
        """
        path = f"/_synapse/admin/v1/user/{quote(mxid, safe='')}/redact"
        body = {"rooms": list(rooms), "limit": ALL}
        answer = await self._call(Operation.REDACT, "POST", path, body, REDACTING)
        return str(answer.body.get("redact_id", ""))

    async def redaction(self, redact_id: str) -> Redaction:
        """Returns how far a redaction is. `GET /_synapse/admin/v1/user/redact_status/{redact_id}`."""
        path = f"/_synapse/admin/v1/user/redact_status/{quote(redact_id, safe='')}"
        answer = await self._call(Operation.REDACTION, "GET", path, None, REDACTION)
        if answer.status == 404:
            return Redaction(RedactionStatus.UNKNOWN)
        known = answer.body["status"] in set(RedactionStatus)
        status = RedactionStatus(answer.body["status"]) if known else RedactionStatus.FAILED  # such as `cancelled`
        return Redaction(status, len(answer.body.get("failed_redactions") or {}))

    async def own_media(self, mxid: str, start: int = 0) -> Page[str]:
        """Lists the mxc URIs of what the user uploaded, the oldest first; without what a moderator has quarantined, which
        no one may delete on the user's behalf. `GET /_synapse/admin/v1/users/{mxid}/media`."""
        quoted = quote(mxid, safe="")
        path = f"/_synapse/admin/v1/users/{quoted}/media?from={start}&limit={UPLOADS}&order_by=created_ts&dir=f"
        expected = having("media", list, absent=True)
        answer = await self._call(Operation.OWN_MEDIA, "GET", path, None, expected)
        if answer.status == 404:
            return Page([], None, 0)
        rows = [
            Row(
                row["created_ts"] or 0,
                row["media_id"],
                None if row.get("quarantined_by") else f"mxc://{self._server_name}/{row['media_id']}",
            )
            for row in answer.body["media"]
        ]
        return page(rows, answer.body)

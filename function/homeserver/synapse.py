"""The calls on Synapse's APIs that this service needs, with typed results; those on the media store are in media.py, those on
what a user leaves behind in own_traces.py. Holds no policy about users; requests.py says what a refused or
failed call raises."""

import re
from datetime import datetime
from typing import Any
from urllib.parse import quote

from function.homeserver.account import Account, Page, Row
from function.homeserver.media import UUID, page
from function.homeserver.messages import EMPTY, Answer, Expected, Fields, having, named
from function.homeserver.own_traces import OwnTracesApi
from function.homeserver.requests import IN_FLIGHT, TokenSource
from function.homeserver.transport import HttpClient
from function.operations import Operation
from function.outcomes import Reason, Rejected

DEACTIVATED = having("id_server_unbind_result", absent=True)  # `no-support` is a success: the account is deactivated
ROOMS = having("joined_rooms", list)
DEVICES = having("devices", list, absent=True)
TASKS = having("scheduled_tasks", list)
PENDING = frozenset({"active", "scheduled"})
OVERRIDE = Expected(lambda fields: set(fields) <= {"messages_per_second", "burst_count"})


class Synapse(OwnTracesApi):
    """One homeserver; for the arguments see `AdminApi`."""

    def __init__(self, http: HttpClient, tokens: TokenSource, server_name: str, in_flight: int = IN_FLIGHT) -> None:
        super().__init__(http, tokens, server_name, in_flight)
        self._unfinished: dict[str, set[str]] = {}  # user id to the devices whose deletion failed; copies share it

    def mxid(self, user_id: str) -> str:
        """Returns the Matrix id of a user (a lower-case UUID with dashes)."""
        return f"@{localpart(user_id)}:{self._server_name}"

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
        two pages comes last and moves no other one, and Synapse never removes an account. It counts all of them for each
        page: with a million that takes seconds, however short the page is.
        """
        # user_id matches anywhere in the id. guests=true is refused under Matrix Authentication Service.
        query = "user_id=%40nova-&deactivated=true&locked=true&guests=false&order_by=creation_ts&dir=f"
        path = f"/_synapse/admin/v2/users?from={start}&limit={limit}&{query}"
        body = (await self._call(Operation.ACCOUNTS, "GET", path, None, having("users", list))).body
        ours = re.compile(rf"@nova-({UUID}):{re.escape(self._server_name)}")
        found = [(ours.fullmatch(row["name"]), row) for row in body["users"]]
        rows = [Row(r["creation_ts"] or 0, r["name"], (match[1], _account(r)) if match else None) for match, r in found]
        return page(rows, body)

    async def deactivate(self, user_id: str, *, erase: bool) -> bool:
        """Deactivates the account; False if there is none. Idempotent. `POST /_synapse/admin/v1/deactivate/{mxid}`.

        Synapse goes on after a request was given up; instead of a second one next to it, the account is read.

        Raises:
            Rejected: DEACTIVATION_INCOMPLETE if Synapse refuses: the account is still active.
        """
        if self._http.read_only and await Synapse.account(self, user_id) is None:
            return False  # a dry run sends no request whose 404 would tell
        operation = Operation.ERASE if erase else Operation.DEACTIVATE
        path = f"/_synapse/admin/v1/deactivate/{self._quoted(user_id)}"

        async def look() -> Answer | None:
            return deactivation(await Synapse.account(self, user_id), erase=erase)

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

        Synapse creates the account and then adds the identity, in two transactions. If it stops in between, the account
        exists without the identity; `link` adds it. If the account exists already, the identity replaces all that it has.

        Raises:
            Rejected: EXTERNAL_ID_TAKEN, with both accounts: the identity belongs to another one. The account was created.
        """
        answer = await self._put_identities(Operation.CREATE, user_id, provider, [], {"displayname": name})
        if self._http.read_only:
            return Account(display_name=name, linked=True)
        return _account(answer.body, user_id, provider)

    async def link(self, user_id: str, provider: str) -> bool:
        """Adds the user's identity at `provider` to the account and leaves its other identities; False if there is no
        account. One request if it has the identity, else two. `PUT /_synapse/admin/v2/users/{mxid}`.

        Synapse replaces the whole list, so it is read first: an identity that another client adds between the two requests
        is lost.

        Raises:
            Rejected: EXTERNAL_ID_TAKEN, with both accounts: the identity belongs to another one. Nothing was changed.
        """
        path, mine = f"/_synapse/admin/v2/users/{self._quoted(user_id)}", named(self.mxid(user_id), absent=True)
        known = await self._call(Operation.LINK, "GET", path, None, mine)
        if known.status == 404:
            return False
        if not _linked(known.body, user_id, provider):
            await self._put_identities(Operation.LINK, user_id, provider, known.body.get("external_ids") or [], {})
        return True

    async def _put_identities(
        self, operation: Operation, user_id: str, provider: str, others: list[dict[str, Any]], fields: dict[str, Any]
    ) -> Answer:
        """Writes the fields, the other identities and the user's own. Returns the account."""
        path, mine = f"/_synapse/admin/v2/users/{self._quoted(user_id)}", named(self.mxid(user_id))
        body = fields | {"external_ids": [*others, {"auth_provider": provider, "external_id": user_id}]}
        try:
            return await self._call(operation, "PUT", path, body, mine)
        except Rejected as rejected:
            if "409" not in rejected.detail.split():
                raise
            owner = await self._owner(operation, user_id, provider)
            if owner == self.mxid(user_id):  # two writers at once: the other one has linked it
                return await self._call(operation, "GET", path, None, mine)
            ids = f"{self.mxid(user_id)} {owner or '-'}"
            raise Rejected(Reason.EXTERNAL_ID_TAKEN, rejected.detail, ids, in_doubt=rejected.in_doubt) from None

    async def _owner(self, operation: Operation, user_id: str, provider: str) -> str:
        """Returns the Matrix id of the account that has the user's identity, "" if none has it.
        `GET /_synapse/admin/v1/auth_providers/{provider}/users/{external_id}`."""
        path = f"/_synapse/admin/v1/auth_providers/{quote(provider, safe='')}/users/{quote(user_id, safe='')}"
        answer = await self._call(operation, "GET", path, None, having("user_id", str, absent=True))
        return str(answer.body.get("user_id", ""))

    async def end_sessions(self, user_id: str, began_by: datetime) -> bool:  # noqa: ARG002 - Synapse can't tell
        """Deletes every device, and with it its access and refresh tokens; False if there was none. At most two requests.
        Synapse does not tell when a session began, so those that began after `began_by` end too.
        `GET /_synapse/admin/v2/users/{mxid}/devices`, `POST /_synapse/admin/v2/users/{mxid}/delete_devices`.

        Synapse deletes the devices before their tokens. If it stops in between, the tokens stay valid and no device is
        listed; deleting the same devices again ends them. So the ids of a deletion that failed are kept for the next call.

        It is all that a Synapse can end. A token with which an admin acts as the user
        (`POST /_synapse/admin/v1/users/{mxid}/login`) belongs to that admin's sessions: it outlives a new password,
        deactivation and erasure, until the admin logs out everywhere. Setting a password (`logout_devices`) ends no more
        than this, gives the account a password, and is forbidden where passwords are disabled.
        """
        path = f"/_synapse/admin/v2/users/{self._quoted(user_id)}"
        listed = await self._call(Operation.END_SESSIONS, "GET", f"{path}/devices", None, DEVICES)
        ids = self._unfinished.get(user_id, set()) | {device["device_id"] for device in listed.body.get("devices", [])}
        if ids:
            self._unfinished[user_id] = ids
            body = {"devices": sorted(ids)}
            await self._call(Operation.END_SESSIONS, "POST", f"{path}/delete_devices", body, EMPTY)
            self._unfinished.pop(user_id, None)
        return bool(ids)

    async def joined_rooms(self, user_id: str) -> int:
        """Returns the number of rooms that the user is joined to. `GET /_synapse/admin/v1/users/{mxid}/joined_rooms`."""
        path = f"/_synapse/admin/v1/users/{self._quoted(user_id)}/joined_rooms"
        return len((await self._call(Operation.JOINED_ROOMS, "GET", path, None, ROOMS)).body["joined_rooms"])

    async def room_work(self, user_id: str) -> bool:
        """Returns whether the user's rooms still have to take over a change of name or avatar. Synapse 1.150 and later do
        that in a task; False if Synapse does not tell. `GET /_synapse/admin/v1/scheduled_tasks`."""
        query = f"action_name=update_join_states&status=active&status=scheduled&resource_id={self._quoted(user_id)}"
        answer = await self._optional(Operation.ROOM_WORK, f"/_synapse/admin/v1/scheduled_tasks?{query}", TASKS)
        # Earlier versions do not know the parameter `status`, and list tasks that have ended too.
        tasks = answer.body["scheduled_tasks"] if answer else []
        return any(task["status"] in PENDING for task in tasks)

    async def rate_limit(self, mxid: str) -> dict[str, Any]:
        """Returns the account's rate limit override; empty if it has none."""
        path = f"/_synapse/admin/v1/users/{quote(mxid, safe='')}/override_ratelimit"
        return (await self._call(Operation.RATE_LIMIT, "GET", path, None, OVERRIDE)).body

    def _quoted(self, user_id: str) -> str:
        return quote(self.mxid(user_id), safe="")


def localpart(user_id: str) -> str:
    """Returns the part of a user's Matrix id before the colon."""
    return f"nova-{user_id}"


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


def deactivation(account: Account | None, *, erase: bool) -> Answer | None:
    """Returns the answer that a deactivation would have got, None if it is not done; an erasure leaves no name and no
    avatar."""
    if account is None:
        return Answer(404, {})
    erased = account.erased and not account.display_name and not account.avatar
    return Answer(200, {}) if account.deactivated and (erased or not erase) else None

"""Fakes a homeserver in memory: accounts, profiles, tokens and Synapse's pitfalls. An ASGI app without scripted replies.

The contract tests run against it and against a real Synapse; its other behaviour was measured on Synapse 1.163.
Rooms are only counted, media only named; messages and redactions are in fake_traces.py. A user logs in by password; an admin
can act as a user.
"""

import json
import re
from collections.abc import Awaitable, Callable
from typing import Any
from urllib.parse import unquote

import httpx
from starlette.datastructures import QueryParams
from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.types import Receive, Scope, Send

from function.homeserver.transport import HttpClient
from function.telemetry.metrics import Metrics
from function.telemetry.tracing import OFF, Traces
from tests.support.events import EPOCH
from tests.support.fake_traces import FakeTraces
from tests.support.fake_traces import matrix_error as _error

ADMIN_TOKEN = "admin-token-of-the-fake"

Handler = Callable[["FakeSynapse", str, dict[str, Any], str], Response]
_ROUTES: list[tuple[str, re.Pattern[str], Handler]] = []


class FakeSynapse(FakeTraces):
    """One homeserver.

    Switches:
        down: answers 500 to everything but /health, as if the database were down.
        failing_for: Matrix ids for which every call is answered 500.
        refused_names: display names that are answered 400, as a module of the homeserver may.
        forbidden_creations: creating an account is answered 403, as under Matrix Authentication Service.
        delegates: says that Matrix Authentication Service owns the accounts.
        limited: number of next profile writes that are answered 429; they are applied nevertheless.
        retry_after_ms: the delay that such an answer asks for.
        stands_in: answers every request instead of Synapse: a proxy, or another service at its address.
        intercepts: called with method and path; answers in the place of Synapse where it returns a response.
        upload_limit: bytes that one account may have uploaded in all, as with `media_upload_limits`; 0 for no limit.
        undeletable: no file can be deleted.
        room_looks: how many looks find the room work of a profile change, before it is done; for users in rooms.
        now: timestamp of uploads.
        before: awaited before every request is processed, with method and path; for concurrent writes.
    """

    def __init__(self, server_name: str = "test.example") -> None:
        super().__init__()
        self.server_name = server_name
        self.service_user = f"@service:{server_name}"
        self.accounts: dict[str, dict[str, Any]] = {}
        self.poisoned: set[str] = set()
        self.account_data: dict[tuple[str, str], Any] = {}
        self.overrides: dict[str, dict[str, Any]] = {}
        self.tokens = {ADMIN_TOKEN: self.service_user}
        self.requests: list[tuple[str, str]] = []
        self.traceparents: list[str] = []
        self.devices: dict[str, list[str]] = {}
        self.passwords: dict[str, str] = {}
        self.sessions: dict[str, tuple[str, str]] = {}  # token to Matrix id and device
        self.room_looks = 0
        self.room_work: dict[str, int] = {}  # Matrix id to the looks that still find it
        self.rooms: dict[str, int] = {}
        self.media: dict[str, bytes] = {}
        self.uploads: dict[str, dict[str, Any]] = {}
        self.now = EPOCH
        self.identities: dict[tuple[str, str], str] = {}
        self.down = False
        self.failing_for: set[str] = set()
        self.refused_names: set[str] = set()
        self.forbidden_creations = False
        self.delegates = False
        self.limited = 0
        self.retry_after_ms: object = 1
        self.stands_in: Response | None = None
        self.intercepts: Callable[[str, str], Response | None] | None = None
        self.upload_limit = 0
        self.undeletable = False
        self.before: Callable[[str, str], Awaitable[None]] | None = None
        self.add(self.service_user, admin=True)

    def mxid(self, user_id: str) -> str:
        return f"@nova-{user_id}:{self.server_name}"

    def add(self, mxid: str, *, admin: bool = False) -> dict[str, Any]:
        """Adds an account as after a first login: its name is the localpart."""
        self.accounts[mxid] = {
            "name": mxid,
            "admin": admin,
            "deactivated": False,
            "erased": False,
            "displayname": mxid[1:].partition(":")[0],
            "avatar_url": None,
            "locked": False,
            "suspended": False,
            "creation_ts": 1000 * len(self.accounts),
        }
        return self.accounts[mxid]

    def client(self, traces: Traces = OFF, *, metrics: Metrics | None = None, read_only: bool = False) -> HttpClient:
        url = f"https://{self.server_name}"
        return HttpClient(httpx.ASGITransport(self), url, "tests", metrics=metrics, traces=traces, read_only=read_only)

    def calls(self, method: str = "") -> list[tuple[str, str]]:
        """Returns the requests about users so far, without those of the probe."""
        about_users = [(verb, path) for verb, path in self.requests if "/@nova-" in path]
        return [call for call in about_users if not method or call[0] == method]

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        request = Request(scope, receive)
        response = await self._respond(request)
        await response(scope, receive, send)

    async def _respond(self, request: Request) -> Response:
        path = unquote(request.url.path)
        if self.before:
            await self.before(request.method, path)
        self.requests.append((request.method, path))
        self.traceparents.append(request.headers.get("traceparent", ""))
        if instead := self.stands_in or (self.intercepts and self.intercepts(request.method, path)):
            return instead
        if path == "/health":
            return Response("OK")
        if self.down or any(mxid in path for mxid in self.failing_for):
            return _error(500, "M_UNKNOWN")
        if path == "/_matrix/client/v1/auth_metadata":
            return JSONResponse({"issuer": "https://mas.example/"}) if self.delegates else _error(404, "M_UNRECOGNIZED")
        if path == "/_matrix/client/v3/login":
            return self._log_in(json.loads(await request.body()))
        return await self._authorized(request, path)

    async def _authorized(self, request: Request, path: str) -> Response:
        scheme, _, token = request.headers.get("authorization", "").partition(" ")
        if scheme != "Bearer":
            return _error(401, "M_MISSING_TOKEN")
        if token not in self.tokens:
            return _error(401, "M_UNKNOWN_TOKEN")
        requester = self.tokens[token]
        if refusal := self._refusal(requester, path):
            return refusal
        matches = [
            (method, match, handler) for method, pattern, handler in _ROUTES if (match := pattern.fullmatch(path))
        ]
        for method, match, handler in matches:
            if method == request.method:
                return await self._handled(request, requester, handler, match)
        return _error(405 if matches else 404, "M_UNRECOGNIZED")

    def _refusal(self, requester: str, path: str) -> Response | None:
        if self.accounts.get(requester, {}).get("locked"):
            return _error(401, "M_USER_LOCKED")
        if path.startswith("/_synapse/admin/") and not self.accounts[requester]["admin"]:
            return _error(403, "M_FORBIDDEN")
        return None

    async def _handled(self, request: Request, requester: str, handler: Handler, match: re.Match[str]) -> Response:
        body: object = {}
        if request.headers.get("content-type", "").startswith(("image/", "application/octet-stream")):
            body = {"content": await request.body()}
        elif request.method in {"POST", "PUT"}:
            try:
                body = json.loads(await request.body())
            except ValueError:
                return _error(400, "M_NOT_JSON")
            if not isinstance(body, dict):
                return _error(400, "M_BAD_JSON")
        groups = match.groupdict()
        words = {**groups, "body": body, "query": request.query_params}
        return handler(self, groups.get("mxid", requester), words, requester)

    def _whoami(self, _mxid: str, _words: dict[str, Any], requester: str) -> Response:
        return JSONResponse({"user_id": requester, "is_guest": False})

    def _get_user(self, mxid: str, _words: dict[str, Any], _requester: str) -> Response:
        account = self.accounts.get(mxid)
        return JSONResponse(self._described(account)) if account else _error(404, "M_NOT_FOUND")

    def _described(self, account: dict[str, Any]) -> dict[str, Any]:
        identities = [key for key, mxid in self.identities.items() if mxid == account["name"]]
        return account | {"external_ids": [{"auth_provider": one, "external_id": other} for one, other in identities]}

    def _put_suspended(self, mxid: str, words: dict[str, Any], _requester: str) -> Response:
        if mxid not in self.accounts:
            return _error(404, "M_NOT_FOUND")
        self.accounts[mxid]["suspended"] = words["body"]["suspend"]
        return JSONResponse({f"user_{mxid}_suspended": words["body"]["suspend"]})

    def _get_users(self, _mxid: str, words: dict[str, Any], _requester: str) -> Response:
        """Lists users in the order of creation; supports only the parameters that the client uses."""
        query = words["query"]
        hidden = {name for name in ("deactivated", "locked") if query.get(name) != "true"}
        found = [
            account
            for mxid, account in sorted(self.accounts.items(), key=lambda one: (one[1]["creation_ts"], one[0]))
            if query.get("user_id", "") in mxid and not any(account[name] for name in hidden)
        ]
        return _listed("users", found, query, str)

    def _get_media(self, mxid: str, words: dict[str, Any], _requester: str) -> Response:
        if mxid not in self.accounts:
            return _error(404, "M_NOT_FOUND")
        found = [upload for mxc, upload in self.uploads.items() if mxc in self.media and upload["user_id"] == mxid]
        found.sort(key=lambda upload: (upload["created_ts"], upload["media_id"]))
        return _listed("media", found, words["query"], int)

    def _put_user(self, mxid: str, words: dict[str, Any], _requester: str) -> Response:
        body, status = words["body"], 200
        if mxid not in self.accounts and self.forbidden_creations:
            return _error(403, "M_FORBIDDEN")
        if mxid not in self.accounts:
            if mxid in self.poisoned and body.get("displayname") != "":
                return _error(500, "M_UNKNOWN")
            self.poisoned.discard(mxid)
            self.add(mxid)
            status = 201
        account = self.accounts[mxid]
        if "displayname" in body:
            account["displayname"] = body["displayname"] or None
        if "avatar_url" in body:
            account["avatar_url"] = body["avatar_url"] or None
        account |= {field: body[field] for field in ("locked", "admin") if field in body}
        if body.get("deactivated") is False:
            account.update(deactivated=False, erased=False)
        if "password" in body:
            self.passwords[mxid] = body["password"]
            self._end_sessions(mxid)
        if not self._take_identities(mxid, body.get("external_ids")):
            return _error(409, "M_UNKNOWN")
        return JSONResponse(self._described(account), status_code=status)

    def _take_identities(self, mxid: str, external_ids: list[dict[str, str]] | None) -> bool:
        """Replaces the account's identities, if they are given; False, and no change, if one is another account's."""
        if external_ids is None:
            return True
        wanted = [(one["auth_provider"], one["external_id"]) for one in external_ids]
        if any(self.identities.get(key, mxid) != mxid for key in wanted):
            return False
        kept = {key: owner for key, owner in self.identities.items() if owner != mxid}
        self.identities = kept | dict.fromkeys(wanted, mxid)
        return True

    def _get_identity(self, _mxid: str, words: dict[str, Any], _requester: str) -> Response:
        owner = self.identities.get((words["provider"], words["external_id"]))
        return JSONResponse({"user_id": owner}) if owner else _error(404, "M_NOT_FOUND")

    def _get_devices(self, mxid: str, _words: dict[str, Any], _requester: str) -> Response:
        if mxid not in self.accounts:
            return _error(404, "M_NOT_FOUND")
        devices = [{"device_id": device} for device in self.devices.get(mxid, [])]
        return JSONResponse({"devices": devices, "total": len(devices)})

    def _delete_devices(self, mxid: str, words: dict[str, Any], _requester: str) -> Response:
        """Ends the tokens of devices that are no longer listed, too."""
        if mxid not in self.accounts:
            return _error(404, "M_NOT_FOUND")
        deleted = words["body"]["devices"]
        self.devices[mxid] = [device for device in self.devices.get(mxid, []) if device not in deleted]
        self._end_tokens(
            {token for token, (owner, device) in self.sessions.items() if owner == mxid and device in deleted}
        )
        return JSONResponse({})

    def _end_sessions(self, mxid: str) -> None:
        """Ends what belongs to the user: not the tokens with which an admin acts as the user."""
        self.devices.pop(mxid, None)
        self._end_tokens({token for token, (owner, _) in self.sessions.items() if owner == mxid})

    def _end_tokens(self, tokens: set[str]) -> None:
        for token in tokens:
            del self.sessions[token], self.tokens[token]

    def _get_rooms(self, mxid: str, _words: dict[str, Any], _requester: str) -> Response:
        rooms = [f"!{number}:{self.server_name}" for number in range(self.rooms.get(mxid, 0))]
        return JSONResponse({"joined_rooms": rooms, "total": len(rooms)})

    def _upload(self, _mxid: str, words: dict[str, Any], requester: str) -> Response:
        had = sum(
            len(self.media[mxc]) for mxc, up in self.uploads.items() if mxc in self.media and up["user_id"] == requester
        )
        if self.upload_limit and had + len(words["body"]["content"]) > self.upload_limit:
            return _error(403, "M_USER_LIMIT_EXCEEDED")
        name, content = words["query"].get("filename"), words["body"]["content"]
        return JSONResponse({"content_uri": self.add_upload(requester, f"media{len(self.requests)}", name, content)})

    def add_upload(self, mxid: str, media_id: str, name: str | None = None, content: bytes = b"file") -> str:
        """Adds what a user has uploaded; returns its mxc URI."""
        address = f"mxc://{self.server_name}/{media_id}"
        self.uploads[address] = {
            "media_id": media_id,
            "upload_name": name,
            "created_ts": int(self.now.timestamp() * 1000),
            "user_id": mxid,
        }
        self.media[address] = content
        return address

    def _get_media_info(self, _mxid: str, words: dict[str, Any], _requester: str) -> Response:
        address = f"mxc://{words['server']}/{words['media']}"
        if address not in self.media:
            return _error(404, "M_NOT_FOUND")
        return JSONResponse({"media_info": {"quarantined_by": None} | self.uploads[address]})

    def _quarantine(self, _mxid: str, words: dict[str, Any], requester: str) -> Response:
        self.uploads[f"mxc://{words['server']}/{words['media']}"]["quarantined_by"] = requester
        return JSONResponse({})

    def _delete_media(self, _mxid: str, words: dict[str, Any], _requester: str) -> Response:
        address = f"mxc://{words['server']}/{words['media']}"
        if self.undeletable:
            return _error(400, "M_UNKNOWN")
        if self.media.pop(address, None) is None:
            return _error(404, "M_NOT_FOUND")
        return JSONResponse({"deleted_media": [words["media"]], "total": 1})

    def _deactivate(self, mxid: str, words: dict[str, Any], _requester: str) -> Response:
        erase = words["body"].get("erase", False)
        if not isinstance(erase, bool):
            return _error(400, "M_BAD_JSON")
        if not re.fullmatch(r"@[^:]+:.+", mxid):
            return _error(400, "M_INVALID_PARAM")
        if not mxid.endswith(f":{self.server_name}"):
            return _error(400, "M_UNKNOWN")
        account = self.accounts.get(mxid)
        if account is None:
            return _error(404, "M_NOT_FOUND")
        account["deactivated"] = True
        self._end_sessions(mxid)
        self.passwords.pop(mxid, None)
        self.rooms.pop(mxid, None)
        if erase:
            account.update(erased=True, displayname=None, avatar_url=None)
        return JSONResponse({"id_server_unbind_result": "success"})

    def _put_profile(self, mxid: str, words: dict[str, Any], requester: str) -> Response:
        field, limit = ("displayname", 256) if words["field"] == "displayname" else ("avatar_url", 1000)
        if mxid != requester and not self.accounts[requester]["admin"]:
            return _error(400, "M_FORBIDDEN")
        if field not in words["body"]:
            return _error(400, "M_MISSING_PARAM")
        if self.accounts[requester]["suspended"]:
            return _error(403, "M_USER_SUSPENDED")
        value = words["body"][field]
        if not isinstance(value, str):
            return _error(400, "M_INVALID_PARAM")
        if len(value) > limit or value in self.refused_names:
            return _error(400, "M_UNKNOWN")
        if "\0" in value or any("\ud800" <= char <= "\udfff" for char in value):
            return _error(500, "M_UNKNOWN")
        if mxid in self.accounts:
            self.accounts[mxid][field] = value.strip() or None
            self.room_work[mxid] = self.room_looks if self.rooms.get(mxid) else 0
        else:
            self.poisoned.add(mxid)
        if self.limited:
            self.limited -= 1
            return JSONResponse({"errcode": "M_LIMIT_EXCEEDED", "retry_after_ms": self.retry_after_ms}, 429)
        return JSONResponse({})

    def _put_account_data(self, mxid: str, words: dict[str, Any], requester: str) -> Response:
        if mxid != requester:
            return _error(403, "M_FORBIDDEN")
        self.account_data[mxid, words["kind"]] = words["body"]
        return JSONResponse({})

    def _get_tasks(self, _mxid: str, words: dict[str, Any], _requester: str) -> Response:
        """Lists the room work of one user; each look brings it nearer to its end."""
        query = words["query"]
        mxid, left = query["resource_id"], self.room_work.get(query["resource_id"], 0)
        self.room_work[mxid] = max(0, left - 1)
        task = {"action": query["action_name"], "status": "active", "resource_id": mxid}
        return JSONResponse({"scheduled_tasks": [task] if left else []})

    def _log_in(self, body: dict[str, Any]) -> Response:
        mxid = body["identifier"]["user"]
        if mxid not in self.passwords or self.passwords[mxid] != body["password"]:
            return _error(403, "M_FORBIDDEN")
        number = len(self.requests)
        token, device = f"session-{number}-of-{mxid}", f"DEVICE{number}"
        self.tokens[token], self.sessions[token] = mxid, (mxid, device)
        self.devices.setdefault(mxid, []).append(device)
        return JSONResponse({"access_token": token, "device_id": device, "user_id": mxid})

    def _login_as(self, mxid: str, _words: dict[str, Any], _requester: str) -> Response:
        """Makes a token with which the admin acts as the user. It has no device and is no session of the user."""
        if mxid not in self.accounts:
            return _error(404, "M_NOT_FOUND")
        token = f"token-of-{mxid}"
        self.tokens[token] = mxid
        return JSONResponse({"access_token": token})

    def _get_override(self, mxid: str, _words: dict[str, Any], _requester: str) -> Response:
        if mxid not in self.accounts:
            return _error(404, "M_NOT_FOUND")
        return JSONResponse(self.overrides.get(mxid, {}))

    def _post_override(self, mxid: str, words: dict[str, Any], _requester: str) -> Response:
        if mxid not in self.accounts:
            return _error(404, "M_NOT_FOUND")
        self.overrides[mxid] = words["body"]
        return JSONResponse(words["body"])


def _listed(name: str, found: list[dict[str, Any]], query: QueryParams, token: Callable[[int], object]) -> Response:
    """Returns a page, with a token if there are more; Synapse's two lists have tokens of different types."""
    try:
        start, limit = int(query.get("from", "0")), int(query.get("limit", "100"))
    except ValueError:
        return _error(400, "M_INVALID_PARAM")
    rows = found[start : start + limit]
    more = {"next_token": token(start + len(rows))} if start + limit < len(found) else {}
    return JSONResponse({name: rows, "total": len(found)} | more)


def _route(method: str, path: str, handler: Handler) -> None:
    pattern = re.sub(r"\{(\w+)\}", r"(?P<\1>[^/]+)", path)
    _ROUTES.append((method, re.compile(pattern), handler))


_route("GET", "/_matrix/client/v3/account/whoami", FakeSynapse._whoami)
_route("GET", "/_synapse/admin/v2/users", FakeSynapse._get_users)
_route("GET", "/_synapse/admin/v1/users/{mxid}/media", FakeSynapse._get_media)
_route("GET", "/_synapse/admin/v2/users/{mxid}", FakeSynapse._get_user)
_route("PUT", "/_synapse/admin/v2/users/{mxid}", FakeSynapse._put_user)
_route("GET", "/_synapse/admin/v2/users/{mxid}/devices", FakeSynapse._get_devices)
_route("POST", "/_synapse/admin/v2/users/{mxid}/delete_devices", FakeSynapse._delete_devices)
_route("GET", "/_synapse/admin/v1/users/{mxid}/joined_rooms", FakeSynapse._get_rooms)
_route("GET", "/_synapse/admin/v1/users/{mxid}/memberships", FakeSynapse._get_memberships)
_route("POST", "/_synapse/admin/v1/user/{mxid}/redact", FakeSynapse._redact)
_route("GET", "/_synapse/admin/v1/user/redact_status/{redaction}", FakeSynapse._get_redaction)
_route("GET", "/_synapse/admin/v1/auth_providers/{provider}/users/{external_id}", FakeSynapse._get_identity)
_route("POST", "/_matrix/media/v3/upload", FakeSynapse._upload)
_route("GET", "/_synapse/admin/v1/media/{server}/{media}", FakeSynapse._get_media_info)
_route("DELETE", "/_synapse/admin/v1/media/{server}/{media}", FakeSynapse._delete_media)
_route("POST", "/_synapse/admin/v1/media/quarantine/{server}/{media}", FakeSynapse._quarantine)
_route("GET", "/_synapse/admin/v1/scheduled_tasks", FakeSynapse._get_tasks)
_route("POST", "/_synapse/admin/v1/deactivate/{mxid}", FakeSynapse._deactivate)
_route("PUT", "/_matrix/client/v3/profile/{mxid}/(?P<field>displayname|avatar_url)", FakeSynapse._put_profile)
_route("PUT", "/_matrix/client/v3/user/{mxid}/account_data/{kind}", FakeSynapse._put_account_data)
_route("POST", "/_synapse/admin/v1/users/{mxid}/login", FakeSynapse._login_as)
_route("GET", "/_synapse/admin/v1/users/{mxid}/override_ratelimit", FakeSynapse._get_override)
_route("POST", "/_synapse/admin/v1/users/{mxid}/override_ratelimit", FakeSynapse._post_override)
_route("PUT", "/_synapse/admin/v1/suspend/{mxid}", FakeSynapse._put_suspended)

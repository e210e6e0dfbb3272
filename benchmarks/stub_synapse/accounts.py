"""Keeps the accounts of the stub Synapse, answers requests and counts them; no network. Like the real Synapse it accepts a
profile write for an id without an account, and the id is unusable afterwards."""

import itertools
import random
import re
from collections.abc import Callable, Mapping, Sequence
from typing import Any
from urllib.parse import unquote

ADMIN = "@nova-service:staging.nova.app"
COPIED = "mxc://staging.nova.app/copied"  # what every upload becomes
OURS = "@nova-"  # prefix of users' ids; the service's own account is not counted as a user

Answer = tuple[int, dict[str, Any]]
Logged = tuple[float, str, str, str, int]  # arrived, what, Matrix id, value, status

_USER = re.compile(r"/_synapse/admin/v[12]/(?:users/|deactivate/)?(@[^/]+)(.*)")
_PROFILE = re.compile(r"/_matrix/client/v3/profile/(@[^/]+)/(displayname|avatar_url)")
_DEVICE = {"devices": {"devices": [], "total": 0}, "joined_rooms": {"joined_rooms": [], "total": 0}}


class StubAccounts:
    """All state of the stub.

    Args:
        accounts: [Matrix id, name, avatar] each.
        ends: [Matrix id, name] of the writes that mark the end of a run.
        failing: share of the calls on users that fail, alternating between 500 (not applied) and 429 (applied).
    """

    def __init__(
        self, accounts: Sequence[Sequence[str]] = (), ends: Sequence[Sequence[str]] = (), failing: float = 0.0
    ) -> None:
        self.accounts: dict[str, dict[str, Any]] = {ADMIN: _account(ADMIN, "", "") | {"admin": True}}
        self.accounts |= {mxid: _account(mxid, name, avatar) for mxid, name, avatar in accounts}
        self.corrupted: set[str] = set()
        self.log: list[Logged] = []
        self._ends, self._ended_at, self._since = set[tuple[str, str]](), 0.0, 0
        self.expect(ends)
        self._failing, self._dice = failing, random.Random(1)
        self._fault = itertools.cycle((500, 429))

    def expect(self, ends: Sequence[Sequence[str]]) -> None:
        """Resets the counts; the run ends with these writes."""
        self._ends, self._ended_at = {(mxid, name) for mxid, name in ends}, 0.0
        self._since = len(self.log)

    def stats(self) -> dict[str, Any]:
        """Returns the number of calls on users, the times of the first and the last, and the time of the run's last write."""
        calls = len(self.log) - self._since
        first, last = (self.log[self._since][0], self.log[-1][0]) if calls else (0.0, 0.0)
        return {
            "calls": calls, "first": first, "last": last, "since": self._since,
            "ends_left": len(self._ends), "ended_at": self._ended_at,
        }  # fmt: skip

    def answer(self, method: str, target: str, body: Mapping[str, Any], arrived: float) -> Answer:
        """Answers one request."""
        path = unquote(target.partition("?")[0])
        what, mxid, value, act = self._recognised(method, path, body, unquote(target.partition("?")[2]))
        if not mxid.startswith(OURS) or mxid == ADMIN:
            return act()
        fault = next(self._fault) if self._failing and self._dice.random() < self._failing else 0
        status, answer = (500, {"errcode": "M_UNKNOWN"}) if fault == 500 else act()
        if fault == 429:
            status, answer = 429, {"errcode": "M_LIMIT_EXCEEDED", "retry_after_ms": 50}
        self.log.append((arrived, what, mxid, value, status))
        if what == "displayname" and status == 200 and (mxid, value) in self._ends:
            self._ends.discard((mxid, value))
            self._ended_at = arrived
        return status, answer

    def _recognised(
        self, method: str, path: str, body: Mapping[str, Any], query: str
    ) -> tuple[str, str, str, Callable[[], Answer]]:
        """Returns operation, user, value, and the function that executes it."""
        if method == "PUT" and (match := _PROFILE.fullmatch(path)):
            mxid, field = match[1], match[2]
            value = str(body.get(field, ""))
            return field, mxid, value, lambda: self._write(mxid, field, value)
        if match := _USER.fullmatch(path):
            mxid, rest = match[1], match[2].strip("/")
            if "/deactivate/" in path:
                erase = bool(body.get("erase"))
                return "deactivate", mxid, "erase" if erase else "", lambda: self._deactivate(mxid, erase=erase)
            return rest or "get", mxid, "", lambda: self._look(mxid, rest)
        if path.endswith("/scheduled_tasks"):
            mxid = query.rpartition("resource_id=")[2].partition("&")[0]
            return "room work", mxid, "", lambda: (200, {"scheduled_tasks": []})
        answer = _of_the_server(path)
        return "other", "", "", lambda: answer  # not recorded

    def _look(self, mxid: str, rest: str) -> Answer:
        account = self.accounts.get(mxid)
        if account is None:
            return 404, {"errcode": "M_NOT_FOUND"}
        return 200, _DEVICE.get(rest, {}) if rest else account

    def _write(self, mxid: str, field: str, value: str) -> Answer:
        if field == "displayname" and len(value) > 256:
            return 400, {"errcode": "M_UNKNOWN"}
        if mxid in self.accounts:
            self.accounts[mxid][field] = value or None
        else:
            self.corrupted.add(mxid)
        return 200, {}

    def _deactivate(self, mxid: str, *, erase: bool) -> Answer:
        account = self.accounts.get(mxid)
        if account is None:
            return 404, {"errcode": "M_NOT_FOUND"}
        account["deactivated"] = True
        if erase:
            account.update(erased=True, displayname=None, avatar_url=None)
        return 200, {"id_server_unbind_result": "success"}


def _account(mxid: str, name: str, avatar: str) -> dict[str, Any]:
    return {
        "name": mxid, "admin": False, "deactivated": False, "erased": False,
        "displayname": name or None, "avatar_url": avatar or None,
    }  # fmt: skip


def _of_the_server(path: str) -> Answer:
    """Answers what concerns no account: the token's owner, account data, /health, media."""
    if path.endswith("/whoami"):
        return 200, {"user_id": ADMIN, "is_guest": False}
    if path.endswith("/auth_metadata"):  # it is there under Matrix Authentication Service only
        return 404, {"errcode": "M_UNRECOGNIZED"}
    return 200, {"content_uri": COPIED} if path.endswith("/upload") else {}

"""Answers one request as the project's fake Synapse does, without ASGI in between, and queues the work on rooms.

In Synapse a profile write queues a join for each room and a deactivation queues the leaves; a join that runs after the leaves
puts the user back into the rooms.
"""

import asyncio
import json
import re
from contextvars import Context
from dataclasses import dataclass
from typing import Any
from urllib.parse import unquote

import httpx
from starlette.datastructures import QueryParams
from starlette.responses import Response

from tests.simulation.chance import Chance
from tests.simulation.scenario import Hit, Verb
from tests.support.fake_synapse import _ROUTES, FakeSynapse
from tests.support.fake_traces import matrix_error

JOIN_SECONDS, LEAVE_SECONDS = 25.0, 6.0  # at most, for the queued work; 21 s and 6 s were seen
_USER = re.compile(r"@nova-[0-9a-f-]{24}([0-9a-f]{12}):")
_VERBS = (
    ("/deactivate/", Verb.DEACTIVATE), ("/displayname", Verb.NAME), ("/avatar_url", Verb.AVATAR),
    ("/devices", Verb.DEVICES), ("/delete_devices", Verb.DEVICES), ("/joined_rooms", Verb.ROOMS), ("/media/", Verb.MEDIA),
    ("scheduled_tasks", Verb.TASKS), ("/redact", Verb.REDACT),
)  # fmt: skip


@dataclass(frozen=True, slots=True)
class Call:
    """One request to Synapse, read."""

    method: str
    path: str
    query: str
    body: dict[str, Any]
    user: int | None
    verb: Verb

    @property
    def writes_profile(self) -> bool:
        return self.verb in {Verb.NAME, Verb.AVATAR}


def read_call(request: httpx.Request) -> Call:
    """Reads a request as the function sends it."""
    path, query = unquote(request.url.path), request.url.query.decode()
    content = request.content
    if request.headers.get("content-type", "").startswith("image/"):
        body: dict[str, Any] = {"content": content}
    else:
        body = json.loads(content) if content else {}
    found = _USER.search(path) or _USER.search(unquote(query))
    user = int(found[1], 16) if found else _named(query)
    verb = next((verb for part, verb in _VERBS if part in path), None)
    if verb is None and user is not None:
        verb = Verb.CREATE if request.method == "PUT" else Verb.LOOK
    return Call(request.method, path, query, body, user, verb or Verb.PROBE)


def _named(query: str) -> int | None:
    """Returns the user in the file name of an upload."""
    found = re.search(r"filename=nova-[0-9a-f-]{24}([0-9a-f]{12})", query)
    return int(found[1], 16) if found else None


@dataclass(frozen=True, slots=True)
class Effect:
    """A change of a user's account: the field that changed, or `created`, when, and when the pod began the request."""

    user: int
    what: str
    when: float
    begun: float


class Homeserver(FakeSynapse):
    """The fake Synapse with queued work on rooms. `ended` has when we first deactivated each user's account,
    `deactivations` every such call with its user and time, `effects` what our requests changed.
    """

    def __init__(self, loop: asyncio.AbstractEventLoop, chance: Chance) -> None:
        super().__init__()
        self.ended: dict[int, float] = {}
        self.deactivations: list[tuple[int, float]] = []
        self.effects: list[Effect] = []
        self._loop, self._chance = loop, chance
        self._joins: dict[str, asyncio.TimerHandle] = {}
        self._queued = 0

    def carry_out(self, call: Call, hit: Hit | None = None, begun: float = 0.0) -> Response:
        """Answers the request, with its effects."""
        mxid = next((word for word in call.path.split("/") if word.startswith("@")), "")
        before = dict(self.accounts.get(mxid, {}))
        response = self._carried_out(call, hit)
        if call.user is not None and mxid in self.accounts:
            self._note(call.user, before, self.accounts[mxid], begun)
        return response

    def _note(self, user: int, before: dict[str, Any], after: dict[str, Any], begun: float) -> None:
        names = [
            name for name in ("displayname", "avatar_url") if before.get(name) != after[name] and before and after[name]
        ]
        names += [name for name in ("deactivated", "erased") if after[name] and not before.get(name)]
        names += [] if before else ["created"]
        self.effects += [Effect(user, name, self._loop.time(), begun) for name in names]

    def _carried_out(self, call: Call, hit: Hit | None) -> Response:
        if call.verb is Verb.TASKS:
            return self._tasks(call)
        for method, pattern, handler in _ROUTES:
            if method == call.method and (match := pattern.fullmatch(call.path)):
                groups = match.groupdict()
                mxid = groups.get("mxid", self.service_user)
                words = {**groups, "body": call.body, "query": QueryParams(call.query)}
                if hit is Hit.HALF:
                    words["body"] = {name: value for name, value in call.body.items() if name != "external_ids"}
                    handler(self, mxid, words, self.service_user)
                    return matrix_error(500, "M_UNKNOWN")
                joined, active = self.rooms.get(mxid, 0), not self.accounts.get(mxid, {}).get("deactivated", True)
                self.requests.append((call.method, call.path))  # the fake names media by their number
                response = handler(self, mxid, words, self.service_user)
                if call.verb is Verb.DEACTIVATE and call.user is not None:
                    self.deactivations.append((call.user, self._loop.time()))
                if active and self.accounts[mxid]["deactivated"] and call.user is not None:
                    self.ended.setdefault(call.user, self._loop.time())
                self._queue(call, mxid, joined)
                return response
        return matrix_error(404, "M_UNRECOGNIZED")

    def leave_rooms(self, mxid: str) -> None:
        """Queues the leaves of a deactivation."""
        self._queued += 1
        delay = self._chance.between(0.05, LEAVE_SECONDS, 71, self._queued)
        self._loop.call_later(delay, self.rooms.pop, mxid, None, context=Context())

    def _queue(self, call: Call, mxid: str, joined: int) -> None:
        self._queued += 1
        if call.verb is Verb.DEACTIVATE and joined:
            self.rooms[mxid] = joined
            self.leave_rooms(mxid)
        elif call.writes_profile and joined:
            if earlier := self._joins.pop(mxid, None):
                earlier.cancel()  # a newer change replaces the older task
            delay = JOIN_SECONDS * self._chance.of(72, self._queued) ** 3
            self._joins[mxid] = self._loop.call_later(delay, self._join, mxid, joined, context=Context())

    def _join(self, mxid: str, rooms: int) -> None:
        self._joins.pop(mxid, None)
        self.rooms[mxid] = rooms

    def _tasks(self, call: Call) -> Response:
        """Lists the queued joins of a user, as `GET /_synapse/admin/v1/scheduled_tasks` does."""
        mxid = QueryParams(call.query).get("resource_id", "")
        task = {"id": "join", "action": "update_join_states", "status": "scheduled", "resource_id": mxid}
        return Response(json.dumps({"scheduled_tasks": [task] if mxid in self._joins else []}).encode())

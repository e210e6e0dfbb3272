"""Answers one request as the project's fake Synapse does, without ASGI in between, and queues the work on rooms.

In Synapse a profile write queues a join for each room and a deactivation queues the leaves; a join that runs after the leaves
puts the user back into the rooms.
"""

import asyncio
import json
from contextvars import Context
from dataclasses import dataclass
from typing import Any

from starlette.datastructures import QueryParams
from starlette.responses import Response

from tests.simulation.chance import Chance
from tests.simulation.network import Call
from tests.simulation.scenario import Hit, Verb
from tests.simulation.users import user_of
from tests.support.fake_synapse import _ROUTES
from tests.support.fake_traces import matrix_error
from tests.support.mas_world import FakeDelegatingSynapse

AUTH_METADATA = "/_matrix/client/v1/auth_metadata"
JOIN_SECONDS, LEAVE_SECONDS = 25.0, 6.0  # at most, for the queued work; 21 s and 6 s were seen


@dataclass(frozen=True, slots=True)
class Effect:
    """A change of a user's account: the field that changed, or `created`, when, and when the pod began the request."""

    user: int
    what: str
    when: float
    begun: float


class Homeserver(FakeDelegatingSynapse):
    """The fake Synapse with queued work on rooms. `ended` has when each user's account was first deactivated by a call,
    `deactivations` every such call of ours, on Synapse or MAS, with its user and time.

    `effects` what requests of pods to Synapse changed.

    Args:
        delegates: whether MAS owns the accounts.
    """

    def __init__(self, loop: asyncio.AbstractEventLoop, chance: Chance, *, delegates: bool = False) -> None:
        super().__init__()
        self.delegates = self.forbidden_creations = delegates
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
        if call.verb is Verb.TELL:
            return self._hear(call)
        if self.delegates and call.path == AUTH_METADATA:
            return Response(b'{"issuer":"https://mas.example/"}')
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

    def _hear(self, call: Call) -> Response:
        """Does what MAS says."""
        operation = call.path.rpartition("/")[2]
        localpart = call.body.get("localpart") or QueryParams(call.query).get("localpart", "")
        mxid = f"@{localpart}:{self.server_name}"
        if operation == "provision_user" and mxid in self.poisoned and mxid not in self.accounts:
            if call.body.get("set_displayname") != "":
                return matrix_error(500, "M_UNKNOWN")
            self.poisoned.discard(mxid)
        joined, active = self.rooms.get(mxid, 0), not self.accounts.get(mxid, {}).get("deactivated", True)
        response = self._told(operation, mxid, call.body)
        user = user_of(localpart)
        if operation == "delete_user" and user is not None:
            if active:
                self.ended.setdefault(user, self._loop.time())
            if joined:
                self.rooms[mxid] = joined
                self.leave_rooms(mxid)
        return response

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

"""Synapse as a server in the network: reads the requests, and notes the profile writes on accounts that had ended."""

import json
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any
from urllib.parse import unquote

import httpx
from starlette.responses import Response

from tests.simulation.homeserver import Homeserver
from tests.simulation.loop import VirtualLoop
from tests.simulation.network import Call, Trip
from tests.simulation.scenario import Part, Verb
from tests.simulation.users import user_of

_VERBS = (
    ("/_synapse/mas/", Verb.TELL), ("/deactivate/", Verb.DEACTIVATE), ("/displayname", Verb.NAME), ("/avatar_url", Verb.AVATAR),
    ("/devices", Verb.DEVICES), ("/delete_devices", Verb.DEVICES), ("/joined_rooms", Verb.ROOMS), ("/media/", Verb.MEDIA),
    ("scheduled_tasks", Verb.TASKS), ("/redact", Verb.REDACT),
)  # fmt: skip


@dataclass(frozen=True, slots=True)
class Write:
    """A profile write that took effect on an account that was deactivated, by Synapse or by MAS, or erased."""

    user: int
    sent: float
    done: float


class SimulatedSynapse:
    """The homeserver.

    Args:
        homeserver: what it holds.
        is_ended: whether MAS has deactivated a user.
    """

    part = Part.SYNAPSE

    def __init__(self, homeserver: Homeserver, loop: VirtualLoop, is_ended: Callable[[int], bool]) -> None:
        self.late_writes: list[Write] = []
        self._homeserver, self._loop, self._is_ended = homeserver, loop, is_ended

    def read(self, request: httpx.Request) -> Call:
        """Reads a request as the function or MAS sends it."""
        path, query = unquote(request.url.path), request.url.query.decode()
        content = request.content
        if request.headers.get("content-type", "").startswith("image/"):
            body: dict[str, Any] = {"content": content}
        else:
            body = json.loads(content) if content else {}
        verb = next((verb for part, verb in _VERBS if part in path), None)
        user = user_of(f"{path} {unquote(query)} {body.get('localpart', '')}")  # an upload's is in the file name
        if verb is None and user is not None:
            verb = Verb.CREATE if request.method == "PUT" else Verb.LOOK
        return Call(request, request.method, path, query, body, user, verb or Verb.PROBE)

    def carry_out(self, call: Call, trip: Trip, reply: Callable[[Response], None]) -> None:
        """Does what the call asks, and replies at once."""
        if call.writes_profile and call.user is not None:
            account = self._homeserver.accounts.get(call.path.split("/")[5], {})
            if account.get("deactivated") or self._is_ended(call.user):
                self.late_writes.append(Write(call.user, trip.sent, self._loop.time()))
        reply(self._homeserver.carry_out(call, trip.hit, trip.begun))

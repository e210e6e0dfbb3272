"""Serves `users`. Creation and reactivation reach Synapse before the answer; a deactivation and a lock reach it by a job."""

import re
from collections.abc import Iterator
from typing import Any

from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from dev.servers.mas_stand_in.admin.access import find, read
from dev.servers.mas_stand_in.admin.listing import page, word_filter
from dev.servers.mas_stand_in.answers import Refused, resource, single
from dev.servers.mas_stand_in.homeserver import Homeserver, HomeserverError
from dev.servers.mas_stand_in.jobs import Jobs
from dev.servers.mas_stand_in.state import State, User

_USERNAME = re.compile(r"(?!_)[a-z0-9=_\-./+]{1,255}")
_LEAST_PASSWORD = 8  # MAS rates passwords; the stand-in only counts


class Users:
    def __init__(self, state: State, homeserver: Homeserver, jobs: Jobs) -> None:
        self._state, self._homeserver, self._jobs = state, homeserver, jobs

    def routes(self) -> Iterator[Route]:
        yield Route("/users", self._list, methods=["GET"])
        yield Route("/users", self._add, methods=["POST"])
        yield Route("/users/by-username/{username:path}", self._by_username)
        yield Route("/users/{id}", self._get)
        yield Route("/users/{id}/deactivate", self._deactivate, methods=["POST"])
        yield Route("/users/{id}/reactivate", self._reactivate, methods=["POST"])
        yield Route("/users/{id}/lock", self._lock, methods=["POST"])
        yield Route("/users/{id}/unlock", self._unlock, methods=["POST"])
        yield Route("/users/{id}/set-password", self._set_password, methods=["POST"])

    async def create(self, values: dict[str, Any]) -> User:
        """Creates the user here and at Synapse, or nowhere."""
        name = values["username"]
        if not _USERNAME.fullmatch(name):
            raise Refused(400, "Username is not valid")
        if self._state.by_username(name):
            raise Refused(409, "User already exists")
        profile = {f"set_{key}": values[key] for key in ("displayname", "avatar_url") if values.get(key) is not None}
        try:
            if not values.get("skip_homeserver_check") and not await self._homeserver.is_available(name):
                raise Refused(409, "Username is reserved by the homeserver")
            await self._homeserver.tell("provision_user", {"localpart": name} | profile)
        except HomeserverError as error:
            raise Refused(500, str(error)) from error
        if self._state.by_username(name):  # two at once: the database has one user of a name
            raise Refused(500, "duplicate key value violates unique constraint")
        made = User(self._state.new_id(), name, self._state.clock())
        self._state.users[made.id] = made
        return made

    async def _add(self, request: Request) -> Response:
        return single(request, _shown(await self.create(await read(request))), 201)

    async def _list(self, request: Request) -> Response:
        status = word_filter(request, "status", "active", "locked", "deactivated")
        search = request.query_params.get("filter[search]", "").lower()
        rows = [one for one in self._state.users.values() if _has(one, status) and search in one.username]
        return page(request, rows, _shown)

    async def _by_username(self, request: Request) -> Response:
        name = request.path_params["username"]
        user = self._state.by_username(name)
        if user is None:
            raise Refused(404, f'User with username "{name}" not found')
        return single(request, _shown(user))

    async def _get(self, request: Request) -> Response:
        return single(request, _shown(self._find(request)))

    async def _deactivate(self, request: Request) -> Response:
        user = self._find(request)
        skip_erase = bool((await read(request)).get("skip_erase"))
        user.deactivated_at = user.deactivated_at or self._state.clock()
        self._jobs.add("deactivate-user", user, erase=not skip_erase)
        return single(request, _shown(user))

    async def _reactivate(self, request: Request) -> Response:
        user = self._find(request)
        try:
            await self._homeserver.tell("reactivate_user", {"localpart": user.username})
        except HomeserverError as error:
            raise Refused(500, str(error)) from error
        user.deactivated_at = None
        return single(request, _shown(user))

    async def _lock(self, request: Request) -> Response:
        user = self._find(request)
        user.locked_at = user.locked_at or self._state.clock()
        self._jobs.add("provision-user", user)
        return single(request, _shown(user))

    async def _unlock(self, request: Request) -> Response:
        user = self._find(request)
        user.locked_at = None
        self._jobs.add("provision-user", user)
        return single(request, _shown(user))

    async def _set_password(self, request: Request) -> Response:
        user = self._find(request)
        values = await read(request)
        if len(values["password"]) < _LEAST_PASSWORD and not values.get("skip_password_check"):
            raise Refused(400, "Password is too weak")
        user.password = values["password"]
        return Response(status_code=204)

    def _find(self, request: Request) -> User:
        return find(request, self._state.users, "User ID")


def _has(user: User, status: str | None) -> bool:
    """Whether the user has the status; a deactivated user is a locked one too."""
    return {
        None: True,
        "active": user.valid,
        "locked": not user.valid,
        "deactivated": user.deactivated_at is not None,
    }[status]


def _shown(user: User) -> dict[str, Any]:
    return resource("user", user.id, {
        "username": user.username, "created_at": user.created_at, "locked_at": user.locked_at,
        "deactivated_at": user.deactivated_at, "admin": False, "legacy_guest": False,
    })  # fmt: skip

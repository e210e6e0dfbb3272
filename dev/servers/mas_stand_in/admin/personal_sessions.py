"""Serves `personal-sessions`: access tokens for programs, which act for a user and have no device."""

from collections.abc import Iterator
from typing import Any

from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from dev.servers.mas_stand_in.admin.access import find, read
from dev.servers.mas_stand_in.admin.listing import page, ulid_filter, word_filter
from dev.servers.mas_stand_in.answers import Refused, resource, single
from dev.servers.mas_stand_in.state import Personal, State

_WHAT = "Personal session with ID"


class PersonalSessions:
    def __init__(self, state: State, client_id: str) -> None:
        self._state, self._client_id = state, client_id

    def routes(self) -> Iterator[Route]:
        yield Route("/personal-sessions", self._list, methods=["GET"])
        yield Route("/personal-sessions", self._add, methods=["POST"])
        yield Route("/personal-sessions/{id}/regenerate", self._regenerate, methods=["POST"])
        yield Route("/personal-sessions/{id}/revoke", self._revoke, methods=["POST"])

    async def _list(self, request: Request) -> Response:
        actor = ulid_filter(request, "actor_user", self._state.users, "User ID")
        owner = ulid_filter(request, "owner_client", {self._client_id: None}, "Client ID")
        status = word_filter(request, "status", "active", "revoked")
        rows = [one for one in self._state.personal.values() if actor in {None, one.actor_user_id}
                and owner in {None, self._client_id}
                and status in {None, "active" if one.revoked_at is None else "revoked"}]  # fmt: skip
        return page(request, rows, self._shown)

    async def _add(self, request: Request) -> Response:
        values = await read(request)
        user = self._state.users.get(values["actor_user_id"].upper())
        if user is None:
            raise Refused(404, "User not found")
        if user.deactivated_at is not None:
            raise Refused(410, "User has been deactivated")
        if not values["scope"].split():
            raise Refused(400, "Invalid scope")
        key, at = self._state.new_id(), self._state.clock()
        made = Personal(key, user.id, values["human_name"], values["scope"], at)
        self._state.personal[made.id] = made
        return self._issued(request, made, values.get("expires_in"))

    async def _regenerate(self, request: Request) -> Response:
        values = await read(request)
        session = find(request, self._state.personal, _WHAT)
        if session.revoked_at is not None:
            raise Refused(409, f"{_WHAT} {session.id} is already revoked")
        self._state.end_tokens(session.id)
        return self._issued(request, session, values.get("expires_in"))

    async def _revoke(self, request: Request) -> Response:
        session = find(request, self._state.personal, _WHAT)
        if session.revoked_at is not None:
            raise Refused(409, f"{_WHAT} {session.id} is already revoked")
        self._state.finish(session)
        return single(request, self._shown(session))

    def _issued(self, request: Request, session: Personal, expires_in: int | None) -> Response:
        """Answers with a new access token, which is shown only here."""
        session.expires_at = self._state.later(expires_in)
        shown = self._shown(session)
        shown["attributes"]["access_token"] = self._state.issue("mpt", session, expires_in)
        return single(request, shown, 201)

    def _shown(self, session: Personal) -> dict[str, Any]:
        return resource("personal-session", session.id, {
            "created_at": session.created_at, "revoked_at": session.revoked_at, "owner_user_id": None,
            "owner_client_id": self._client_id, "actor_user_id": session.actor_user_id,
            "human_name": session.human_name, "scope": session.scope, "last_active_at": None, "last_active_ip": None,
            "expires_at": session.expires_at,
        })  # fmt: skip

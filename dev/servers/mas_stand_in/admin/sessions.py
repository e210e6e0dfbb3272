"""Serves the three kinds of sessions: `user-sessions` (browsers), `oauth2-sessions` and `compat-sessions`."""

from collections.abc import Awaitable, Callable, Iterator
from typing import Any

from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from dev.servers.mas_stand_in.admin.access import find
from dev.servers.mas_stand_in.admin.listing import page, time_filter, ulid_filter, word_filter
from dev.servers.mas_stand_in.answers import Refused, resource, single
from dev.servers.mas_stand_in.jobs import Jobs
from dev.servers.mas_stand_in.state import Kind, Session, State

NAMES: dict[Kind, str] = {"user": "User", "oauth2": "OAuth 2.0", "compat": "Compatibility"}
Handler = Callable[[Request], Awaitable[Response]]


class Sessions:
    def __init__(self, state: State, jobs: Jobs, client_id: str) -> None:
        self._state, self._jobs, self._client_id = state, jobs, client_id

    def routes(self) -> Iterator[Route]:
        for kind in NAMES:
            yield Route(f"/{kind}-sessions", self._list(kind))
            yield Route(f"/{kind}-sessions/{{id}}", self._get(kind))
            yield Route(f"/{kind}-sessions/{{id}}/finish", self._finish(kind), methods=["POST"])

    def _list(self, kind: Kind) -> Handler:
        async def handler(request: Request) -> Response:
            user = ulid_filter(request, "user", self._state.users, "User ID")
            status = word_filter(request, "status", "active", "finished")
            before = time_filter(request, "created-before")
            rows = [one for one in self._of(kind).values() if user in {None, one.user_id}
                    and status in {None, "active" if one.finished_at is None else "finished"}
                    and (before is None or one.created_at < before)]  # fmt: skip
            return page(request, rows, self._shown)

        return handler

    def _get(self, kind: Kind) -> Handler:
        async def handler(request: Request) -> Response:
            return single(request, self._shown(self._find(request, kind)))

        return handler

    def _finish(self, kind: Kind) -> Handler:
        async def handler(request: Request) -> Response:
            session = self._find(request, kind)
            if session.finished_at is not None:
                raise Refused(400, f"{NAMES[kind]} session with ID {session.id} is already finished")
            self._state.finish(session)
            if kind != "user":
                self._jobs.add("sync-devices", self._state.users[session.user_id])
            return single(request, self._shown(session))

        return handler

    def _of(self, kind: Kind) -> dict[str, Session]:
        return {key: one for key, one in self._state.sessions.items() if one.kind == kind}

    def _find(self, request: Request, kind: Kind) -> Session:
        return find(request, self._of(kind), f"{NAMES[kind]} session with ID")

    def _shown(self, session: Session) -> dict[str, Any]:
        common = {
            "user_id": session.user_id, "created_at": session.created_at, "finished_at": session.finished_at,
            "user_agent": None, "last_active_at": None, "last_active_ip": None,
        }  # fmt: skip
        more: dict[Kind, dict[str, Any]] = {
            "user": {},
            "oauth2": {"user_session_id": None, "client_id": self._client_id, "scope": session.scope,
                       "human_name": None},
            "compat": {"device_id": session.device_id, "user_session_id": None, "redirect_uri": None,
                       "human_name": None},
        }  # fmt: skip
        return resource(f"{session.kind}-session", session.id, common | more[session.kind])

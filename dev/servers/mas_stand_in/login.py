"""Serves the Matrix calls that MAS answers in Synapse's place: login by password, and logout."""

from collections.abc import Iterator

from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route

from dev.servers.mas_stand_in.homeserver import Homeserver, HomeserverError
from dev.servers.mas_stand_in.jobs import Jobs
from dev.servers.mas_stand_in.state import Session, State

_FLOW = "m.login.password"


class Login:
    def __init__(self, state: State, homeserver: Homeserver, jobs: Jobs, server_name: str) -> None:
        self._state, self._homeserver, self._jobs, self._server_name = state, homeserver, jobs, server_name

    def routes(self) -> Iterator[Route]:
        yield Route("/_matrix/client/v3/login", self._flows, methods=["GET"])
        yield Route("/_matrix/client/v3/login", self._login, methods=["POST"])
        yield Route("/_matrix/client/v3/logout", self._logout, methods=["POST"])

    async def _flows(self, _: Request) -> Response:
        return JSONResponse({"flows": [{"type": _FLOW}]})

    async def _login(self, request: Request) -> Response:
        asked = await request.json()
        if asked.get("type") != _FLOW:
            return _error(400, "M_UNKNOWN", "Invalid login type")
        user = self._state.by_username(_localpart(asked))
        if user is None or not user.valid or not user.password or user.password != asked.get("password"):
            return _error(403, "M_FORBIDDEN", "Invalid username/password")
        device_id = asked.get("device_id") or self._state.new_device()
        try:
            await self._homeserver.tell("upsert_device", {"localpart": user.username, "device_id": device_id})
        except HomeserverError:
            return _error(500, "M_UNKNOWN", "Failed to provision the device")
        _, token = self._state.begin("compat", user, device_id, self._state.clock())
        mxid = f"@{user.username}:{self._server_name}"
        return JSONResponse({"access_token": token, "device_id": device_id, "user_id": mxid})

    async def _logout(self, request: Request) -> Response:
        token = self._state.tokens.get(request.headers.get("authorization", "").partition(" ")[2])
        session = self._state.sessions.get(token.session_id) if token and self._state.alive(token) else None
        if session is None or not self._end(session):
            return _error(401, "M_UNKNOWN_TOKEN", "Invalid access token")
        return JSONResponse({})

    def _end(self, session: Session) -> bool:
        """Ends the session, of which Synapse learns by a device sync; False if it is not one of a Matrix login."""
        if session.kind == "compat":
            self._state.finish(session)
            self._jobs.add("sync-devices", self._state.users[session.user_id])
        return session.kind == "compat"


def _localpart(asked: dict[str, object]) -> str:
    identifier = asked.get("identifier")
    name = str(identifier.get("user", "") if isinstance(identifier, dict) else asked.get("user", ""))
    return name.removeprefix("@").partition(":")[0]


def _error(status: int, code: str, text: str) -> Response:
    return JSONResponse({"errcode": code, "error": text}, status)

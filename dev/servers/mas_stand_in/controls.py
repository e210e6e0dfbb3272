"""Serves `/stand-in/...`, by which a test does what people, browsers, operators and bad days do to a real MAS."""

from collections.abc import Iterator
from dataclasses import asdict
from datetime import datetime

from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route

from dev.servers.mas_stand_in.admin.users import Users
from dev.servers.mas_stand_in.gate import CONTROLS, Fault, Gate
from dev.servers.mas_stand_in.homeserver import Homeserver
from dev.servers.mas_stand_in.jobs import Jobs, Pace
from dev.servers.mas_stand_in.oauth import Client
from dev.servers.mas_stand_in.state import Provider, State, User


class Controls:
    def __init__(self, state: State, homeserver: Homeserver, jobs: Jobs, users: Users, client: Client) -> None:
        self._state, self._homeserver, self._jobs = state, homeserver, jobs
        self._users, self._client = users, client
        self.gate: Gate | None = None

    def routes(self) -> Iterator[Route]:
        yield Route(f"{CONTROLS}/health", self._health)
        yield Route(f"{CONTROLS}/providers", self._add_provider, methods=["POST"])
        yield Route(f"{CONTROLS}/users", self._add_user, methods=["POST"])
        yield Route(f"{CONTROLS}/users/{{username:path}}", self._forget_user, methods=["DELETE"])
        yield Route(f"{CONTROLS}/sessions", self._add_session, methods=["POST"])
        yield Route(f"{CONTROLS}/jobs", self._list_jobs, methods=["GET"])
        yield Route(f"{CONTROLS}/jobs", self._set_pace, methods=["PUT"])
        yield Route(f"{CONTROLS}/jobs/provision", self._provision, methods=["POST"])
        yield Route(f"{CONTROLS}/client", self._set_client, methods=["PUT"])
        yield Route(f"{CONTROLS}/tokens", self._end_tokens, methods=["DELETE"])
        yield Route(f"{CONTROLS}/faults", self._add_fault, methods=["POST"])
        yield Route(f"{CONTROLS}/faults", self._end_faults, methods=["DELETE"])
        yield Route(f"{CONTROLS}/requests", self._list_requests, methods=["GET"])
        yield Route(f"{CONTROLS}/requests", self._forget_requests, methods=["DELETE"])

    async def _health(self, _: Request) -> Response:
        return JSONResponse({})

    async def _add_provider(self, request: Request) -> Response:
        """Adds an upstream provider: `{"human_name"}`, as MAS's configuration does."""
        made = Provider(self._state.new_id(), (await request.json())["human_name"], self._state.clock())
        self._state.providers[made.id] = made
        return JSONResponse({"id": made.id})

    async def _add_user(self, request: Request) -> Response:
        """Adds a person who can log in: `{"username", "password", "displayname"?}`."""
        values = await request.json()
        made = await self._users.create(values)
        made.password = values["password"]
        return JSONResponse({"id": made.id})

    async def _forget_user(self, request: Request) -> Response:
        """Forgets a user here, as if the account were from a time before MAS; Synapse keeps it."""
        del self._state.users[self._user(request.path_params["username"]).id]
        return JSONResponse({})

    async def _add_session(self, request: Request) -> Response:
        """Begins a session: `{"kind": "user"|"oauth2"|"compat", "username", "created_at"?, "device_id"?}`."""
        values = await request.json()
        user, at = self._user(values["username"]), values.get("created_at")
        device_id = "" if values["kind"] == "user" else values.get("device_id") or self._state.new_device()
        if device_id:
            await self._homeserver.tell("upsert_device", {"localpart": user.username, "device_id": device_id})
        begun = datetime.fromisoformat(at) if at else self._state.clock()
        session, token = self._state.begin(values["kind"], user, device_id, begun)
        return JSONResponse({"id": session.id, "access_token": token, "device_id": device_id})

    async def _list_jobs(self, _: Request) -> Response:
        return JSONResponse([asdict(job) for job in self._jobs.queued])

    async def _set_pace(self, request: Request) -> Response:
        """Sets the queue's pace: members of Pace; what is left out is as at the start."""
        self._jobs.change(Pace(**await request.json()))
        return JSONResponse({})

    async def _provision(self, request: Request) -> Response:
        """Queues what `mas-cli syncs provision-all-users` queues, for one user: `{"username"}`."""
        self._jobs.add("provision-user", self._user((await request.json())["username"]))
        return JSONResponse({})

    async def _set_client(self, request: Request) -> Response:
        """Changes the OAuth 2 client: `{"secret"?, "admin"?, "token_seconds"?}`. Tokens that it has live on."""
        for name, value in (await request.json()).items():
            setattr(self._client, name, value)
        return JSONResponse({})

    async def _end_tokens(self, request: Request) -> Response:
        """Ends the client's tokens and those of personal sessions, of all or of `?username=`. The sessions stay."""
        name = request.query_params.get("username")
        actor = self._user(name).id if name else ""
        personal = {key for key, one in self._state.personal.items() if actor in {"", one.actor_user_id}}
        for token in self._state.tokens.values():
            token.ended = token.ended or not token.session_id or token.session_id in personal
        return JSONResponse({})

    async def _add_fault(self, request: Request) -> Response:
        """Lets requests fail: members of Fault; `{}` is a MAS behind a proxy that is down."""
        self._the_gate.faults.append(Fault(**await request.json()))
        return JSONResponse({})

    async def _end_faults(self, _: Request) -> Response:
        self._the_gate.faults.clear()
        return JSONResponse({})

    async def _list_requests(self, _: Request) -> Response:
        return JSONResponse(self._the_gate.requests)

    async def _forget_requests(self, _: Request) -> Response:
        self._the_gate.requests.clear()
        return JSONResponse({})

    @property
    def _the_gate(self) -> Gate:
        assert self.gate
        return self.gate

    def _user(self, username: str) -> User:
        user = self._state.by_username(username)
        assert user, "no such user"
        return user

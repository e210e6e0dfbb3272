"""Admits requests to the admin API, and reads their paths and bodies in the order in which MAS refuses them."""

import json
from typing import Any, TypeVar

from starlette.requests import Request
from starlette.types import ASGIApp, Receive, Scope, Send

from dev.servers.mas_stand_in.answers import Refused
from dev.servers.mas_stand_in.identifiers import is_token, is_ulid
from dev.servers.mas_stand_in.shapes import JSON, Members, operation, wrong
from dev.servers.mas_stand_in.state import MAS_ADMIN, State

Found = TypeVar("Found")


class Access:
    """Lets a request through to `app` if its token has the scope `urn:mas:admin`."""

    def __init__(self, app: ASGIApp, state: State) -> None:
        self._app, self._state = app, state

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        self._admit(Request(scope).headers.get("authorization"))
        await self._app(scope, receive, send)

    def _admit(self, header: str | None) -> None:
        if header is None:
            raise Refused(400, "Missing authorization header")
        scheme, _, value = header.partition(" ")
        if scheme.lower() != "bearer" or not value:
            raise Refused(400, "Invalid authorization header")
        if not is_token(value):
            raise Refused(401, "Invalid type of access token")
        token = self._state.tokens.get(value)
        if token is None:
            raise Refused(401, "Unknown access token")
        if not self._state.alive(token):
            raise Refused(401, "Access token revoked" if token.ended else "Access token expired")
        if MAS_ADMIN not in token.scope.split():
            raise Refused(401, "Missing urn:mas:admin scope")


def find(request: Request, table: dict[str, Found], what: str) -> Found:
    """Returns the row that the path names. `what` names the kind of row in MAS's 404."""
    key = request.path_params["id"]
    if not is_ulid(key):
        raise Refused(400, "Invalid ULID in path")
    if key.upper() not in table:
        raise Refused(404, f"{what} {key} not found")
    return table[key.upper()]


async def read(request: Request) -> dict[str, Any]:
    """Returns the JSON body. What MAS's web framework refuses by itself is plain text: 415, 400 and 422."""
    known = operation(request.method, request.url.path)
    assert known
    content = await request.body()
    media_type = request.headers.get("content-type", "")
    if not known.body_required and not media_type:
        return {}
    if media_type.partition(";")[0].strip() != JSON:
        raise Refused(415, "Expected request with `Content-Type: application/json`", plain=True)
    try:
        values = json.loads(content)
    except ValueError:
        raise Refused(400, "Failed to parse the request body as JSON", plain=True) from None
    return _checked(known.body or {}, values)


def _checked(members: Members, values: Any) -> dict[str, Any]:
    problems = wrong(members, values) if isinstance(values, dict) else ["not an object"]
    if problems:
        raise Refused(422, f"Failed to deserialize the JSON body into the target type: {problems[0]}", plain=True)
    return dict(values)

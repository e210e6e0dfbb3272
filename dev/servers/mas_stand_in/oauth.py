"""Serves OAuth 2: tokens for the client, and for Synapse the introspection of any token."""

import base64
from collections.abc import Iterator
from dataclasses import dataclass
from urllib.parse import parse_qsl, unquote

from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route

from dev.servers.mas_stand_in.state import MAS_ADMIN, Config, Session, State, Token


@dataclass
class Client:
    """The OAuth 2 client; `admin` says whether it stands in `policy.data.admin_clients`."""

    id: str
    secret: str
    token_seconds: int
    admin: bool = True


class OAuth:
    def __init__(self, state: State, config: Config, client: Client) -> None:
        self._state, self._config, self._client = state, config, client

    def routes(self) -> Iterator[Route]:
        yield Route("/.well-known/openid-configuration", self._metadata)
        yield Route("/oauth2/token", self._token, methods=["POST"])
        yield Route("/oauth2/introspect", self._introspect, methods=["POST"])

    async def _metadata(self, _: Request) -> Response:
        base = self._config.issuer
        return JSONResponse({
            "issuer": f"{base}/", "authorization_endpoint": f"{base}/authorize", "token_endpoint": f"{base}/oauth2/token",
            "introspection_endpoint": f"{base}/oauth2/introspect", "revocation_endpoint": f"{base}/oauth2/revoke",
            "registration_endpoint": f"{base}/oauth2/registration", "account_management_uri": f"{base}/account/",
            "response_types_supported": ["code"], "grant_types_supported": ["client_credentials"],
        })  # fmt: skip

    async def _token(self, request: Request) -> Response:
        asked = await _form(request)
        if _basic(request) != (self._client.id, self._client.secret):
            return _error(401, "invalid_client")
        if asked.get("grant_type") != "client_credentials":
            return _error(400, "unsupported_grant_type")
        scope = asked.get("scope", "")
        # A scope that needs a user, such as Synapse's admin scope, is never for a client.
        if not set(scope.split()) <= ({MAS_ADMIN} if self._client.admin else set()):
            return _error(403, "invalid_scope")
        made, seconds = self._state.new_token("mat"), self._client.token_seconds
        self._state.tokens[made] = Token(scope, expires_at=self._state.later(seconds))
        return JSONResponse({"access_token": made, "token_type": "Bearer", "expires_in": seconds, "scope": scope})

    async def _introspect(self, request: Request) -> Response:
        if request.headers.get("authorization") != f"Bearer {self._config.secret}":
            return _error(401, "invalid_client")
        known = self._state.tokens.get((await _form(request)).get("token", ""))
        return JSONResponse(self._described(known) if known and self._state.alive(known) else {"active": False})

    def _described(self, known: Token) -> dict[str, object]:
        told: dict[str, object] = {"active": True, "scope": known.scope, "token_type": "access_token"}
        if known.expires_at:
            told["expires_in"] = int((known.expires_at - self._state.clock()).total_seconds())
        if not known.session_id:
            return told | {"client_id": self._client.id}
        session = self._state.sessions.get(known.session_id) or self._state.personal[known.session_id]
        user = self._state.users.get(session.user_id if isinstance(session, Session) else session.actor_user_id)
        if user is None or not user.valid:
            return {"active": False}
        told |= {"username": user.username, "sub": user.id}
        # The scope names the device of an OAuth 2 session.
        return told | (
            {"device_id": session.device_id} if isinstance(session, Session) and session.kind == "compat" else {}
        )


async def _form(request: Request) -> dict[str, str]:
    return dict(parse_qsl((await request.body()).decode()))


def _basic(request: Request) -> tuple[str, str]:
    scheme, _, value = request.headers.get("authorization", "").partition(" ")
    if scheme.lower() != "basic":
        return "", ""
    try:
        name, _, secret = base64.b64decode(value).decode().partition(":")
    except ValueError:
        return "", ""
    return unquote(name), unquote(secret)


def _error(status: int, code: str) -> Response:
    return JSONResponse({"error": code, "error_description": "See the error code."}, status)

"""Gets the token of MAS's admin API by the OAuth 2.0 client credentials grant, and keeps it fresh. In memory only.

MAS gives no refresh token with it: a new one is fetched before the present one ends (300 s by default). The client's id and
secret are read again when MAS refuses them, so that they can be rotated.
"""

import asyncio
import base64
import json
import re
import time
from collections.abc import Callable, Mapping
from typing import Any, Protocol
from urllib.parse import quote, urlencode

import httpx

from function.homeserver.messages import CONNECT_SECONDS, SECONDS
from function.homeserver.transport import HttpAnswer, HttpClient, NoAnswerError
from function.operations import Operation
from function.outcomes import Reason, TryAgain
from function.settings import MAS_CLIENT_ID_KEY, MAS_CLIENT_SECRET_KEY

SCOPE = "urn:mas:admin"
EARLY = 0.2  # of its life: so long before its end a token is replaced
LONGEST_LIFE = 86400  # seconds: what MAS says is not believed beyond it
UNKNOWN_LIFE = 60.0  # seconds, if MAS does not say how long a token lives
_REFUSED = frozenset({400, 401, 403})  # 403: a client that MAS knows, and that is no admin
_CODE = re.compile(r"[a-z_]{1,40}")


class Secret(Protocol):
    """The secret that holds the client's id and secret."""

    async def read(self) -> Mapping[str, str]: ...

    def lacks(self, key: str) -> TryAgain: ...


class ClientCredentials:
    """The token of MAS's admin API.

    Args:
        http: sends requests to MAS, in a dry run too.
        secret: has the client's id and secret.
        clock: monotonic seconds.
    """

    def __init__(self, http: HttpClient, secret: Secret, clock: Callable[[], float] = time.monotonic) -> None:
        self._http, self._secret, self._clock = http, secret, clock
        self._lock = asyncio.Lock()
        self._client: tuple[str, str] | None = None
        self._token, self._ends = "", 0.0

    async def token(self) -> str:
        """Returns a token that is valid for a while. Raises TryAgain."""
        if self._token and self._clock() < self._ends:
            return self._token
        return await self.renewed(self._token)

    async def renewed(self, refused: str) -> str:
        """Fetches a new token, unless another call already did since `refused` was in use; returns it. Raises TryAgain."""
        async with self._lock:
            if self._token == refused:
                await self._fetch()
            return self._token

    async def _fetch(self) -> None:
        known, self._client = self._client, self._client or await self._read()
        answer = await self._ask(self._client)
        if answer.status in _REFUSED and known:  # the secret may have been rotated, or have another client by now
            self._client = await self._read()
            if self._client != known:
                answer = await self._ask(self._client)
        body = _object(answer)
        token, life = body.get("access_token"), body.get("expires_in")
        if not 200 <= answer.status < 300 or not isinstance(token, str) or not token:
            raise _failure(answer, body)
        seconds = float(min(life, LONGEST_LIFE)) if isinstance(life, int | float) and life > 0 else UNKNOWN_LIFE
        self._token, self._ends = token, self._clock() + seconds * (1 - EARLY)

    async def _read(self) -> tuple[str, str]:
        secret = await self._secret.read()
        client, password = (secret.get(key, "").strip() for key in (MAS_CLIENT_ID_KEY, MAS_CLIENT_SECRET_KEY))
        if not client or not password:
            raise self._secret.lacks(MAS_CLIENT_SECRET_KEY if client else MAS_CLIENT_ID_KEY)
        return client, password

    async def _ask(self, client: tuple[str, str]) -> HttpAnswer:
        credentials = ":".join(quote(part, safe="") for part in client)  # RFC 6749, 2.3.1
        headers = {
            "Authorization": f"Basic {base64.b64encode(credentials.encode()).decode()}",
            "Content-Type": "application/x-www-form-urlencoded",
        }
        form = urlencode({"grant_type": "client_credentials", "scope": SCOPE}).encode()
        timeout = httpx.Timeout(SECONDS, connect=CONNECT_SECONDS, pool=None)
        try:
            return await self._http.request(Operation.MAS_TOKEN, "POST", "/oauth2/token", form, headers, timeout)
        except NoAnswerError as failure:
            raise TryAgain(Reason.MAS_UNAVAILABLE, f"token: {failure.what}") from None


def _object(answer: HttpAnswer) -> dict[str, Any]:
    try:
        body = json.loads(answer.content)
    except (ValueError, RecursionError):
        return {}
    return body if isinstance(body, dict) else {}


def _failure(answer: HttpAnswer, body: Mapping[str, Any]) -> TryAgain:
    """Returns why there is no token; OAuth's error code is told if it looks like one."""
    code = body.get("error")
    known = code if isinstance(code, str) and _CODE.fullmatch(code) else ""
    what = f"token: {answer.status} {known}".strip()
    if answer.status >= 500 or answer.status == 429:
        return TryAgain(Reason.MAS_UNAVAILABLE, what)
    return TryAgain(Reason.MAS_TOKEN_REFUSED if known else Reason.MAS_UNEXPECTED, what)

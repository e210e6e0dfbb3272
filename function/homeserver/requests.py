"""Sends one request to Synapse's APIs: adds the admin token, retries, waits for the rate limiter, and decides whether the
request or Synapse is at fault when it fails. Knows no endpoint but those of the probe.

Statuses and error codes are those that Synapse 1.163 gives; see the Admin API's documentation.
"""

import asyncio
import copy
import json
import time
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Protocol, Self
from urllib.parse import quote

import httpx
import stamina

from function.clock import Clock
from function.homeserver.transport import HttpClient
from function.operations import Operation
from function.outcomes import Reason, Rejected, TryAgain

IN_FLIGHT = 16  # Synapse is one process: beyond this its throughput falls
LIMITED_SECONDS = 15.0  # how long one call waits for the rate limiter in all
TRIES = 3
# Seconds between them: 0.1 to 0.2, then 0.2 to 0.3. A batch, and with it a component's partitions, waits as long.
WAITS = {"wait_initial": 0.1, "wait_max": 1.0, "wait_jitter": 0.1}
TIMEOUT = httpx.Timeout(10.0, connect=2.0, pool=None)
PROBE_TIMEOUT = httpx.Timeout(5.0, connect=2.0, pool=None)
PASSING_STATUSES = frozenset({500, 502, 503, 504})


class _TransientError(Exception):
    """A transient failure of one attempt."""

    def __init__(self, what: str, *, answered: bool) -> None:
        super().__init__(what)
        self.what = what
        self.answered = answered  # Synapse took the request: the request itself may be at fault


@dataclass(frozen=True, slots=True)
class Upload:
    """A body that is not JSON."""

    content: bytes
    content_type: str


Body = dict[str, Any] | Upload | None


@dataclass(frozen=True, slots=True)
class Request:
    """A request to Synapse; `path` is quoted."""

    operation: Operation
    method: str
    path: str
    body: Body
    timeout: httpx.Timeout


@dataclass(frozen=True, slots=True)
class Answer:
    """Synapse's answer; `body` is {} if it sent no JSON object."""

    status: int
    body: dict[str, Any]

    @property
    def errcode(self) -> str:
        code = self.body.get("errcode")
        return code if isinstance(code, str) else ""

    def __str__(self) -> str:
        return f"{self.status} {self.errcode}".strip()


class TokenSource(Protocol):
    """Where Synapse's client gets its token from."""

    async def token(self) -> str: ...

    async def renewed(self, refused: str) -> str: ...


class AdminApi:
    """Calls one homeserver with an admin's token.

    Args:
        http: sends requests to the homeserver.
        tokens: provides the admin token.
        server_name: the part after the colon of the users' Matrix ids.
    """

    def __init__(self, http: HttpClient, tokens: TokenSource, server_name: str) -> None:
        self._http, self._tokens, self._server_name = http, tokens, server_name
        self._in_flight = asyncio.Semaphore(IN_FLIGHT)
        self._deadline: tuple[datetime, Clock] | None = None

    def before(self, deadline: datetime, clock: Clock) -> Self:
        """Returns this client with a deadline: no request that writes begins at or after it."""
        bound = copy.copy(self)
        bound._deadline = (deadline, clock)  # noqa: SLF001 - of a copy of our own
        return bound

    async def probe(self) -> str:
        """Checks that Synapse accepts the token, lets it read as an admin, and can write.

        `/health` says none of that (it stays 200 while the database is down), so a value in the admin's own account
        data is written. A dry run leaves that out.

        Returns:
            the Matrix id that the token belongs to.

        Raises:
            TryAgain: a check failed; it names the first one.
        """
        try:
            me = await self._probed("GET", "/_matrix/client/v3/account/whoami")
            user = me.body.get("user_id")
            if not isinstance(user, str) or me.status != 200:
                raise TryAgain(Reason.SYNAPSE_UNEXPECTED, f"whoami: {me}")
            if user.partition(":")[2] != self._server_name:
                raise TryAgain(Reason.SERVER_NAME_MISMATCH, "the token's homeserver is not MATRIX_SERVER_NAME")
            own = quote(user, safe="")
            await self._probed("GET", f"/_synapse/admin/v2/users/{own}")
            if self._http.read_only:
                return user
            data = f"/_matrix/client/v3/user/{own}/account_data/matrix-account-sync.probe"
            await self._probed("PUT", data, {"at": int(time.time())})
        except _TransientError as passing:
            raise TryAgain(Reason.SYNAPSE_UNAVAILABLE, f"probe: {passing.what}") from None
        return user

    async def _probed(self, method: str, path: str, body: Body = None) -> Answer:
        request = Request(Operation.PROBE, method, path, body, PROBE_TIMEOUT)
        return _raise_for_status(await self._with_token(request))

    async def _call(self, operation: Operation, method: str, path: str, body: Body = None) -> Answer:
        """Sends a request with a few quick retries. If it still fails, probes Synapse, tries once more and probes again.
        Only if both probes pass is the request itself at fault (Rejected); otherwise Synapse is (TryAgain).

        Raises:
            Rejected: Synapse works for other requests, and refuses this one or fails on it.
            TryAgain: Synapse is unavailable, limits the rate for long, or refuses the token.
        """
        request = Request(operation, method, path, body, TIMEOUT)
        try:
            return await self._with_retries(request)
        except TryAgain as failure:
            if failure.reason is not Reason.TOKEN_REFUSED or "M_FORBIDDEN" not in failure.detail:
                raise
            await self._check_healthy()  # the token is still an admin's: only this request is forbidden
            raise Rejected(Reason.SYNAPSE_REFUSED, failure.detail) from None

    async def _with_retries(self, request: Request) -> Answer:
        try:
            return await self._wait_for_rate_limit(request)
        except _TransientError as passing:
            first: _TransientError | None = passing
        try:
            async for attempt in stamina.retry_context(on=_is_retryable, attempts=TRIES, **WAITS):
                with attempt:
                    if first:  # only a failed request pays for stamina's frame; its first try counts
                        failed, first = first, None
                        raise failed
                    return await self._wait_for_rate_limit(request)
        except _TransientError:
            await self._check_healthy()
        try:
            return await self._wait_for_rate_limit(request)
        except _TransientError as failure:
            await self._check_healthy()
            if failure.answered:
                raise Rejected(Reason.SYNAPSE_ERROR, f"{request.method}: {failure.what}") from None
            raise TryAgain(Reason.SYNAPSE_UNAVAILABLE, f"{request.method}: {failure.what}") from None

    async def _check_healthy(self) -> None:
        """Runs the probe inside the concurrency limit, since during an outage every pending call runs it."""
        async with self._in_flight:
            await self.probe()

    async def _wait_for_rate_limit(self, request: Request) -> Answer:
        """Sends one attempt and waits while rate limited. A limited write may have been applied all the same; every
        request here can be repeated."""
        async with self._in_flight:  # released between retries, so that other calls can run
            deadline = time.monotonic() + LIMITED_SECONDS
            while (answer := await self._with_token(request)).status == 429:
                pause = answer.body.get("retry_after_ms")
                seconds = pause / 1000 if isinstance(pause, int) else 1.0
                if time.monotonic() + seconds > deadline:
                    raise TryAgain(
                        Reason.RATE_LIMITED, f"{request.method}: asked to wait {seconds:.0f} s; lift the admin's limit"
                    )
                await asyncio.sleep(seconds)
        return _raise_for_status(answer)

    async def _with_token(self, request: Request) -> Answer:
        """Sends the request; reads a refused token again, once."""
        token = await self._tokens.token()
        answer = await self._send(request, token)
        if answer.status == 401:
            renewed = await self._tokens.renewed(token)
            if renewed != token:
                answer = await self._send(request, renewed)
        if answer.status == 401 or answer.errcode == "M_FORBIDDEN":
            raise TryAgain(Reason.TOKEN_REFUSED, str(answer))
        return answer

    async def _send(self, request: Request, token: str) -> Answer:
        body = request.body
        headers = {"Authorization": f"Bearer {token}"}
        content = b""
        if isinstance(body, Upload):
            content, headers["Content-Type"] = body.content, body.content_type
        elif body is not None:
            content, headers["Content-Type"] = json.dumps(body).encode(), "application/json"
        if self._deadline and request.method != "GET" and self._deadline[1]() >= self._deadline[0]:
            raise TryAgain(Reason.TOO_SLOW, "its claim has ended")
        try:
            response = await self._http.request(
                request.operation, request.method, request.path, content, headers, request.timeout
            )
        except httpx.ReadTimeout:
            raise _TransientError("no answer in time", answered=True) from None
        except httpx.TransportError as error:
            raise _TransientError(type(error).__name__, answered=False) from None
        try:
            parsed = response.json()
        except ValueError:
            parsed = None
        if response.is_success and not isinstance(parsed, dict):
            # A page of a proxy, for example: taken for success, it would lose the event.
            raise TryAgain(Reason.SYNAPSE_UNEXPECTED, f"{response.status_code} without a JSON object")
        return Answer(response.status_code, parsed if isinstance(parsed, dict) else {})


def _is_retryable(error: Exception) -> bool:
    """Returns False for a request that timed out: the batch has no time to repeat it at once."""
    return isinstance(error, _TransientError) and error.what != "no answer in time"


def _raise_for_status(answer: Answer) -> Answer:
    """Returns the answer if a caller can use it: success, or Synapse's own "not found"."""
    if 200 <= answer.status < 300 or (answer.status == 404 and answer.errcode == "M_NOT_FOUND"):
        return answer
    if answer.status in PASSING_STATUSES:
        raise _TransientError(str(answer), answered=True)
    if answer.status in {400, 409, 413} and answer.errcode:
        raise Rejected(Reason.SYNAPSE_REFUSED, str(answer))
    raise TryAgain(Reason.SYNAPSE_UNEXPECTED, str(answer))

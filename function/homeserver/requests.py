"""One call on Synapse's APIs: with the admin's token, a few tries, patience with the rate limiter, and the judgement
whose fault a failure is. Knows no verb.

Statuses and error codes are those that Synapse 1.163 gives; see the Admin API's documentation.
"""

import asyncio
import json
import time
from dataclasses import dataclass
from typing import Any, Protocol
from urllib.parse import quote

import httpx
import stamina

from function.homeserver.measured import verb
from function.homeserver.transport import HttpClient
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
    """One try failed in a way that the next may not."""

    def __init__(self, what: str, *, answered: bool) -> None:
        super().__init__(what)
        self.what = what
        self.answered = answered  # Synapse took the request, so that the failure may be this request's own


@dataclass(frozen=True, slots=True)
class Upload:
    """A body that is not JSON."""

    content: bytes
    content_type: str


Body = dict[str, Any] | Upload | None


@dataclass(frozen=True, slots=True)
class Answer:
    """Synapse's answer; `body` is {} where it sent no JSON object."""

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
        tokens: where the admin token comes from.
        server_name: the part after the colon of the users' Matrix ids.
        writes: whether the probe may write.
    """

    def __init__(self, http: HttpClient, tokens: TokenSource, server_name: str, *, writes: bool = True) -> None:
        self._http, self._tokens, self._server_name, self._writes = http, tokens, server_name, writes
        self._in_flight = asyncio.Semaphore(IN_FLIGHT)

    @verb
    async def probe(self) -> str:
        """Whether Synapse can do its work for us: knows the token, reads as an admin may, and writes.

        `/health` says none of that (it stays 200 while the database is down), so a value in the admin's own account
        data is written, which nobody sees.

        Returns:
            the Matrix id that the token belongs to.

        Raises:
            TryAgain: with the first thing that is not as it must be.
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
            if not self._writes:
                return user
            data = f"/_matrix/client/v3/user/{own}/account_data/matrix-account-sync.probe"
            await self._probed("PUT", data, {"at": int(time.time())})
        except _TransientError as passing:
            raise TryAgain(Reason.SYNAPSE_UNAVAILABLE, f"probe: {passing.what}") from None
        return user

    async def _probed(self, method: str, path: str, body: Body = None) -> Answer:
        return _raise_for_status(await self._with_token(method, path, body, PROBE_TIMEOUT))

    async def call(self, method: str, path: str, body: Body = None) -> Answer:
        """One request with a few quick tries. What still fails then is the request's own fault only if Synapse works
        for others, before and after one more try; else Synapse is unwell.

        Raises:
            Rejected: Synapse works for others, and refuses this or fails on this.
            TryAgain: Synapse is unwell, limits us for long, or refuses us altogether.
        """
        try:
            return await self._with_retries(method, path, body)
        except TryAgain as failure:
            if failure.reason is not Reason.TOKEN_REFUSED or "M_FORBIDDEN" not in failure.detail:
                raise
            await self._check_healthy()  # still an admin: then only this is forbidden
            raise Rejected(Reason.SYNAPSE_REFUSED, failure.detail) from None

    async def _with_retries(self, method: str, path: str, body: Body) -> Answer:
        try:
            return await self._wait_for_rate_limit(method, path, body)
        except _TransientError as passing:
            first: _TransientError | None = passing
        try:
            async for attempt in stamina.retry_context(on=_is_retryable, attempts=TRIES, **WAITS):
                with attempt:
                    if first:  # only what fails pays for stamina's frame; the first try counts all the same
                        failed, first = first, None
                        raise failed
                    return await self._wait_for_rate_limit(method, path, body)
        except _TransientError:
            await self._check_healthy()
        try:
            return await self._wait_for_rate_limit(method, path, body)
        except _TransientError as failure:
            await self._check_healthy()
            if failure.answered:
                raise Rejected(Reason.SYNAPSE_ERROR, f"{method}: {failure.what}") from None
            raise TryAgain(Reason.SYNAPSE_UNAVAILABLE, f"{method}: {failure.what}") from None

    async def _check_healthy(self) -> None:
        """The probe, as one of the calls in flight: when Synapse is unwell, every user's call comes to ask."""
        async with self._in_flight:
            await self.probe()

    async def _wait_for_rate_limit(self, method: str, path: str, body: Body) -> Answer:
        """One try, repeated while the rate limiter asks to wait. A limited write may have been applied all the same;
        every call here can be repeated."""
        async with self._in_flight:  # not while a failed call waits for its next try: others may pass
            deadline = time.monotonic() + LIMITED_SECONDS
            while (answer := await self._with_token(method, path, body, TIMEOUT)).status == 429:
                pause = answer.body.get("retry_after_ms")
                seconds = pause / 1000 if isinstance(pause, int) else 1.0
                if time.monotonic() + seconds > deadline:
                    raise TryAgain(
                        Reason.RATE_LIMITED, f"{method}: asked to wait {seconds:.0f} s; lift the admin's limit"
                    )
                await asyncio.sleep(seconds)
        return _raise_for_status(answer)

    async def _with_token(self, method: str, path: str, body: Body, timeout: httpx.Timeout) -> Answer:
        """One request; a refused token is read again, once."""
        token = await self._tokens.token()
        answer = await self._send(method, path, body, token, timeout)
        if answer.status == 401:
            renewed = await self._tokens.renewed(token)
            if renewed != token:
                answer = await self._send(method, path, body, renewed, timeout)
        if answer.status == 401 or answer.errcode == "M_FORBIDDEN":
            raise TryAgain(Reason.TOKEN_REFUSED, str(answer))
        return answer

    async def _send(self, method: str, path: str, body: Body, token: str, timeout: httpx.Timeout) -> Answer:
        headers = {"Authorization": f"Bearer {token}"}
        content = b""
        if isinstance(body, Upload):
            content, headers["Content-Type"] = body.content, body.content_type
        elif body is not None:
            content, headers["Content-Type"] = json.dumps(body).encode(), "application/json"
        try:
            response = await self._http.request(method, path, content, headers, timeout)
        except httpx.ReadTimeout:
            raise _TransientError("no answer in time", answered=True) from None
        except httpx.TransportError as error:
            raise _TransientError(type(error).__name__, answered=False) from None
        try:
            parsed = response.json()
        except ValueError:
            parsed = None
        if response.is_success and not isinstance(parsed, dict):
            # A proxy's page, say: taken for success, it would lose the event.
            raise TryAgain(Reason.SYNAPSE_UNEXPECTED, f"{response.status_code} without a JSON object")
        return Answer(response.status_code, parsed if isinstance(parsed, dict) else {})


def _is_retryable(error: Exception) -> bool:
    """A request that ran into its timeout is not repeated at once: the batch has no time for it."""
    return isinstance(error, _TransientError) and error.what != "no answer in time"


def _raise_for_status(answer: Answer) -> Answer:
    """The answer if it is one that a caller can use: success, or Synapse's own "not found"."""
    if 200 <= answer.status < 300 or (answer.status == 404 and answer.errcode == "M_NOT_FOUND"):
        return answer
    if answer.status in PASSING_STATUSES:
        raise _TransientError(str(answer), answered=True)
    if answer.status in {400, 409, 413} and answer.errcode:
        raise Rejected(Reason.SYNAPSE_REFUSED, str(answer))
    raise TryAgain(Reason.SYNAPSE_UNEXPECTED, str(answer))

"""Sends one request to Synapse or MAS: adds the token, retries, waits for the rate limiter, and asks the probe whether the request
or the server is at fault when an answer is in doubt. Knows no endpoint.
"""

import asyncio
import copy
import json
from abc import ABC, abstractmethod
from datetime import datetime
from typing import Protocol, Self

import stamina

from function.clock import Clock
from function.homeserver.judgement import DoubtError, Judgement
from function.homeserver.messages import LISTS, Answer, Body, Expected, Look, Request
from function.homeserver.messages import Upload as Upload  # noqa: PLC0414 - a body of the calls is imported with them
from function.homeserver.transport import HttpClient, NoAnswerError
from function.operations import Operation
from function.outcomes import Reason, Rejected, TryAgain

IN_FLIGHT = 16  # Synapse is one process: beyond this its throughput falls
LIMITED_SECONDS = 15.0  # how long one call waits for the rate limiter in all
LIMITED_TRIES = 10
# Seconds to wait at least, since the limiter may ask for 0 each time: doubled with each try, up to the second.
LIMITED_FLOOR, LIMITED_CEILING = 0.05, 1.0
LIMITED_UNKNOWN = 1.0  # seconds, if it does not say how long
TRIES = 3
# Seconds between them: 0.05 to 0.1, since a batch, and with it a component's partitions, waits as long; then 0.3 to 0.35, so
# that a fault has half a second to pass before the request itself is suspected.
WAITS = {"wait_initial": 0.05, "wait_exp_base": 6, "wait_max": 1.0, "wait_jitter": 0.05}


_NO_ACCOUNT = frozenset({Operation.UPLOAD, Operation.DELETE_MEDIA, Operation.REDACT})  # they change no account


class TokenSource(Protocol):
    """Where a client gets its token from."""

    async def token(self) -> str: ...

    async def renewed(self, refused: str) -> str: ...


class Requests(ABC):
    """Sends requests to one server with a token.

    Args:
        http: sends requests to the server.
        tokens: provides the token.
        judgement: says what the server's answers mean.
        in_flight: limit of requests at the same time.
    """

    def __init__(self, http: HttpClient, tokens: TokenSource, judgement: Judgement, in_flight: int = IN_FLIGHT) -> None:
        self._http, self._tokens, self._judgement = http, tokens, judgement
        self._in_flight = asyncio.Semaphore(in_flight)
        self._deadline: tuple[datetime, Clock] | None = None
        self._maybe_running = False

    @property
    def unfinished(self) -> bool:
        """Whether, of a copy, an earlier attempt of a request that succeeded may still be carried out."""
        return self._maybe_running

    @abstractmethod
    async def probe(self) -> str:
        """Checks whether the server works for other requests. Raises TryAgain."""

    def before(self, deadline: datetime, clock: Clock) -> Self:
        """Returns a copy that begins no request that writes at or after the deadline, retries included: it raises
        TryAgain(TOO_SLOW) instead. Reads go on, and so does the probe, which writes only the admin's own data.

        The copy shares the limit of requests in flight. Between the check and the first byte a new connection may take
        CONNECT_SECONDS.
        """
        limited = copy.copy(self)
        limited._deadline = deadline, clock  # noqa: SLF001 - a copy of this object
        return limited

    async def _call(
        self, operation: Operation, method: str, path: str, body: Body, expected: Expected,
        look: Look | None = None,
    ) -> Answer:  # fmt: skip
        """Sends a request with a few quick retries; see `Request` for the arguments. If no answer is the operation's own,
        probes the server, tries once more and probes again. Only if both probes pass is the request itself at fault
        (Rejected); otherwise the server is (TryAgain).

        Raises:
            Rejected: the server works for other requests, and refuses this one or fails on it.
            TryAgain: it is unavailable, limits the rate for long, or refuses the token or its account.

        Both have `in_doubt` for a write that may have been carried out.
        """
        request = Request(operation, method, path, body, expected, look)
        try:
            answer = await self._decided(request)
        except (Rejected, TryAgain) as failure:
            failure.in_doubt = request.in_doubt
            raise
        self._maybe_running |= request.unfinished and operation not in _NO_ACCOUNT
        return answer

    async def _decided(self, request: Request) -> Answer:
        for attempt in (self._with_retries, self._wait_for_rate_limit):
            try:
                return await attempt(request)
            except DoubtError as doubt:
                failure = doubt
            await self._check_healthy()
            if failure.late and request.operation in LISTS:
                break  # the server goes on with the page; the caller asks for a shorter one
            if failure.late and request.look:
                if found := await request.look():
                    return found
                await self._check_healthy()
                break
        raise self._judgement.of_request(failure, request.method)

    async def _with_retries(self, request: Request) -> Answer:
        try:
            return await self._wait_for_rate_limit(request)
        except DoubtError as doubt:
            if not doubt.passing:
                raise
            first: DoubtError | None = doubt
        async for attempt in stamina.retry_context(on=_is_passing, attempts=TRIES, **WAITS):
            with attempt:
                if first:  # only a failed request pays for stamina's frame; its first try counts
                    failed, first = first, None
                    raise failed
                return await self._wait_for_rate_limit(request)
        raise AssertionError  # the last attempt has raised

    async def _check_healthy(self) -> None:
        """Runs the probe inside the concurrency limit, since during an outage every pending call runs it."""
        async with self._in_flight:
            await self.probe()

    async def _wait_for_rate_limit(self, request: Request) -> Answer:
        """Sends one attempt and waits while rate limited. A limited write may have been applied all the same; every
        request here can be repeated."""
        now = asyncio.get_running_loop().time
        deadline = now() + LIMITED_SECONDS
        seconds = 0.0
        for tried in range(LIMITED_TRIES):
            async with self._in_flight:  # released while waiting, so that other calls can run
                answer = await self._attempt(request)
            if answer.status != 429:
                return answer
            seconds = max(_pause(answer), min(LIMITED_CEILING, LIMITED_FLOOR * 2**tried))
            if now() + seconds > deadline:
                break
            await asyncio.sleep(seconds)
        raise TryAgain(Reason.RATE_LIMITED, f"{request.method}: asked to wait {seconds:.0f} s; lift the admin's limit")

    async def _attempt(self, request: Request) -> Answer:
        """Sends the request once; returns its own answer or a 429.

        Raises:
            Rejected: the server refuses the request.
            TryAgain: the admin account reached a limit.
            DoubtError: any other end.
        """
        try:
            answer = await self._with_token(request)
        except NoAnswerError as failure:
            raise self._doubt(failure, request) from None
        if (self._http.read_only and request.writes) or self._judgement.is_own(answer, request.expected):
            return answer  # a dry run sent nothing and has a stand-in
        if self._judgement.may_be_applied(answer):
            request.maybe_applied() if answer.errcode else request.maybe_running()
        if answer.status == 429:
            return answer
        verdict = self._judgement.judged(answer, request.operation)
        self._judged(request, verdict)
        raise verdict

    def _judged(self, request: Request, verdict: Exception) -> None:  # noqa: B027 - of interest to one kind of server only
        """Told what an answer means that is not the operation's own."""

    def _doubt(self, failure: NoAnswerError, request: Request) -> DoubtError:
        if failure.sent:
            request.maybe_running()
        return DoubtError(
            failure.what, self._judgement.error, passing=not failure.late, late=failure.late, sent=failure.sent
        )

    async def _with_token(self, request: Request) -> Answer:
        """Sends the request; reads a refused token again, once."""
        token = await self._tokens.token()
        answer = await self._send(request, token)
        if answer.status == 401:
            renewed = await self._tokens.renewed(token)
            if renewed != token:
                answer = await self._send(request, renewed)
        return answer

    async def _send(self, request: Request, token: str) -> Answer:
        headers = {"Authorization": f"Bearer {token}"} if token else {}
        content = b""
        if isinstance(request.body, Upload):
            content, headers["Content-Type"] = request.body.content, request.body.content_type
        elif request.body is not None:
            content, headers["Content-Type"] = json.dumps(request.body).encode(), "application/json"
        self._check_deadline(request)
        received = await self._http.request(
            request.operation, request.method, request.path, content, headers, request.timeout
        )
        try:
            parsed = json.loads(received.content)
        except (ValueError, RecursionError):
            parsed = None
        is_object = isinstance(parsed, dict)
        return Answer(received.status, parsed if is_object else {}, is_object)

    def _check_deadline(self, request: Request) -> None:
        if self._deadline and request.writes and request.operation is not Operation.PROBE:
            deadline, clock = self._deadline
            if clock() >= deadline:
                raise TryAgain(Reason.TOO_SLOW, "its claim has ended")


def _is_passing(error: Exception) -> bool:
    """Returns False for a request that timed out: the batch has no time to repeat it at once."""
    return isinstance(error, DoubtError) and error.passing


def _pause(answer: Answer) -> float:
    """Returns the seconds to wait that a 429 asks for; what it says may be anything."""
    asked = answer.body.get("retry_after_ms")
    if isinstance(asked, bool) or not isinstance(asked, int | float):
        return LIMITED_UNKNOWN
    # Bounded first: an integer of JSON may be too large for a float. NaN, which `json` reads, counts as too long.
    return min(10**9, asked) / 1000

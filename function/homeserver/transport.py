"""One HTTP exchange with Synapse or MAS: timed, traced, and in a dry run read-only. Judges no answer; every failure to get
one is a `NoAnswerError`.

It drives an httpx transport without httpx's client. Synapse's APIs need none of the client's features (cookies, redirects,
authentication, proxies of the environment), and they cost as much processor time as the request: docs/performance.md.
"""

import asyncio
import json
import logging
import time
from collections.abc import AsyncIterator, Mapping
from types import TracebackType
from typing import NamedTuple, Self, cast

import aiohttp
import httpx
from httpx_aiohttp import AiohttpTransport

from function.homeserver.messages import READING
from function.operations import Operation
from function.telemetry.logs import log
from function.telemetry.metric import OTHER
from function.telemetry.metrics import Metrics
from function.telemetry.tracing import OFF, Traces

STAND_IN = json.dumps({"content_uri": "mxc://dry.run/none"}).encode()  # what `upload` reads; other writes read nothing
CHUNK_BYTES = 256 * 1024  # written at once: an image of 8 MiB in one piece would hold up other requests

# Failures before the request had a connection: nothing of it was sent.
_NEVER_SENT = (httpx.ConnectError, httpx.ConnectTimeout, httpx.PoolTimeout, httpx.UnsupportedProtocol, httpx.ProxyError)
_NEVER_CONNECTED = (aiohttp.ClientConnectorError, aiohttp.ConnectionTimeoutError, aiohttp.InvalidURL)


class NoAnswerError(httpx.TransportError):
    """A request got no complete HTTP answer.

    `what` is a failure's type or "no answer in time"; a text of the libraries would hold the URL, and with it a user's id.
    `sent`: the homeserver may have received the request. `late`: the time was over.
    """

    def __init__(self, what: str, *, sent: bool, late: bool = False) -> None:
        super().__init__(what)
        self.what, self.sent, self.late = what, sent, late


class HttpAnswer(NamedTuple):
    """A complete HTTP answer: its status and its content."""

    status: int
    content: bytes


class Address(httpx.URL):
    """An address of a server, put together from its parts. httpx would parse each again, which takes a tenth of a call's
    processor time.

    Args:
        base: the server's, without a slash at the end.
        path: quoted, without a query.
    """

    def __init__(self, base: httpx.URL, path: str) -> None:
        parts = base._uri_reference  # noqa: SLF001 - there is no other way around the parser
        self._uri_reference = parts._replace(path=parts.path.rstrip("/") + path)


class SingleTry(AiohttpTransport):
    """Sends each request once: aiohttp by itself repeats a PUT whose kept connection is closed without an answer, which
    could be after the time at which the caller may begin writes."""

    def get_client(self) -> aiohttp.ClientSession:
        session: aiohttp.ClientSession = super().get_client()
        session._retry_connection = False  # noqa: SLF001 - aiohttp's own test client sets it; there is no argument for it
        return session


class HttpClient:
    """Sends requests to one server; an async context manager, which closes the transport.

    Args:
        transport: sends the requests.
        base_url: prefix of each path.
        agent: the User-Agent header.
        metrics: counts and times each request; None for none.
        traces: makes a span of each request.
        read_only: whether requests that write are logged and answered with STAND_IN instead of being sent.
    """

    def __init__(
        self, transport: httpx.AsyncBaseTransport, base_url: str, agent: str, *,
        metrics: Metrics | None = None, traces: Traces = OFF, read_only: bool = False,
    ) -> None:  # fmt: skip
        self._transport, self.base_url, self._agent = transport, base_url.rstrip("/"), agent
        self._base = httpx.URL(self.base_url)
        self._metrics, self._traces, self.read_only = metrics, traces, read_only

    async def request(
        self, operation: Operation, method: str, path: str, content: bytes, headers: Mapping[str, str], timeout: httpx.Timeout,
    ) -> HttpAnswer:  # fmt: skip
        """Returns the answer, read to its end. `path` is quoted. `timeout.read` is also the limit for the whole exchange.

        The transport is called before the first await, so what the caller checked still holds.

        Raises:
            NoAnswerError: there was no complete answer in time.
        """
        if self.read_only and method != READING:
            log(logging.INFO, "dry_run", operation=operation.value)
            return HttpAnswer(200, STAND_IN)
        large = len(content) > CHUNK_BYTES
        request = httpx.Request(
            method,
            self.base_url + path if "?" in path else Address(self._base, path),
            headers={"User-Agent": self._agent, **headers} | ({"Content-Length": str(len(content))} if large else {}),
            content=_chunks(content) if large else content,
            extensions={"timeout": timeout.as_dict()},
        )
        try:
            async with asyncio.timeout(timeout.read):  # httpx limits each read only; an answer may trickle in
                response = await self._exchange(operation, request)
                try:
                    content = await _content(response)
                finally:
                    await response.aclose()
        except TimeoutError:
            raise NoAnswerError("no answer in time", sent=True, late=True) from None
        except (httpx.HTTPError, httpx.StreamError, aiohttp.ClientError, OSError) as error:
            raise _no_answer(error) from None
        return HttpAnswer(response.status_code, content)

    async def _exchange(self, operation: Operation, request: httpx.Request) -> httpx.Response:
        """Sends the request and returns the head of the response."""
        with self._traces.request(operation, request) as set_status:
            began, status, code = time.monotonic(), OTHER, None
            try:
                response = await self._transport.handle_async_request(request)
                code = response.status_code
                status = "429" if code == 429 else f"{code // 100}xx"
                return response
            except (httpx.HTTPError, aiohttp.ClientError, asyncio.CancelledError) as error:
                status = _failure(error)
                raise
            finally:
                set_status(status, code)
                if self._metrics:
                    self._metrics.call(operation, status, time.monotonic() - began)

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        await self._transport.aclose()


async def _content(response: httpx.Response) -> bytes:
    if "content-encoding" in response.headers:
        return await response.aread()
    # Not aread: its decoders, which have nothing to do then, take as long as the reading.
    return b"".join([part async for part in cast("httpx.AsyncByteStream", response.stream)])


async def _chunks(content: bytes) -> AsyncIterator[bytes]:
    for start in range(0, len(content), CHUNK_BYTES):
        yield content[start : start + CHUNK_BYTES]


def _failure(error: Exception | asyncio.CancelledError) -> str:
    """Returns how a request without an answer is counted.

    httpx-aiohttp raises ConnectTimeout for a refused connection; a request or a batch that runs out of time is cancelled.
    """
    late = isinstance(error, httpx.TimeoutException | asyncio.CancelledError)
    return "timeout" if late and not isinstance(error, httpx.ConnectTimeout) else "unreachable"


def _no_answer(error: Exception) -> NoAnswerError:
    """Returns what a failure of the libraries means.

    httpx-aiohttp turns a connection that was cut into ConnectTimeout too, and lets aiohttp's complaints about garbled HTTP
    through: so aiohttp's own exception decides where there is one.
    """
    if isinstance(error, httpx.ReadTimeout):
        return NoAnswerError("no answer in time", sent=True, late=True)
    cause = error if isinstance(error, aiohttp.ClientError) else error.__cause__
    if isinstance(cause, aiohttp.ClientError):
        return NoAnswerError(type(cause).__name__, sent=not isinstance(cause, _NEVER_CONNECTED))
    return NoAnswerError(type(error).__name__, sent=not isinstance(error, _NEVER_SENT))

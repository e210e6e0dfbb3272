"""One HTTP exchange with the homeserver: timed, traced, and in a dry run read-only. Judges no answer.

It drives an httpx transport without httpx's client. Synapse's APIs need none of the client's features (cookies, redirects,
authentication, proxies of the environment), and they cost as much processor time as the request: docs/performance.md.
"""

import asyncio
import logging
import time
from collections.abc import Mapping
from types import TracebackType
from typing import Self

import httpx

from function.operations import Operation
from function.telemetry.logs import log
from function.telemetry.metrics import OTHER, Metrics
from function.telemetry.tracing import OFF, Traces

READING = "GET"  # any other method writes
STAND_IN = {"content_uri": "mxc://dry.run/none"}  # what `upload` reads; of other writes no field is read


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
        self._transport, self._base, self._agent = transport, base_url.rstrip("/"), agent
        self._metrics, self._traces, self.read_only = metrics, traces, read_only

    async def request(
        self, operation: Operation, method: str, path: str, content: bytes, headers: Mapping[str, str], timeout: httpx.Timeout,
    ) -> httpx.Response:  # fmt: skip
        """Returns the response, read to its end. Raises httpx.TransportError."""
        if self.read_only and method != READING:
            log(logging.INFO, "dry_run", operation=operation.value)
            return httpx.Response(200, json=STAND_IN)
        request = httpx.Request(
            method,
            self._base + path,
            headers={"User-Agent": self._agent, **headers},
            content=content,
            extensions={"timeout": timeout.as_dict()},
        )
        response = await self._exchange(operation, request)
        try:
            await response.aread()
        finally:
            await response.aclose()
        return response

    async def _exchange(self, operation: Operation, request: httpx.Request) -> httpx.Response:
        """Sends the request and returns the head of the response."""
        with self._traces.request(operation, request) as set_status:
            began, status, code = time.monotonic(), OTHER, None
            try:
                response = await self._transport.handle_async_request(request)
                code = response.status_code
                status = "429" if code == 429 else f"{code // 100}xx"
                return response
            except (httpx.TransportError, asyncio.CancelledError) as error:
                status = _failure(error)
                raise
            finally:
                set_status(status, code)
                if self._metrics:
                    self._metrics.synapse_call(operation, status, time.monotonic() - began)

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        await self._transport.aclose()


def _failure(error: httpx.TransportError | asyncio.CancelledError) -> str:
    """Returns how a request without an answer is counted.

    httpx-aiohttp raises ConnectTimeout for a refused connection; a batch that runs out of time cancels its calls.
    """
    late = isinstance(error, httpx.TimeoutException | asyncio.CancelledError)
    return "timeout" if late and not isinstance(error, httpx.ConnectTimeout) else "unreachable"

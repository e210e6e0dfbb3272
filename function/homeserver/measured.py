"""Times every request to Synapse, by the verb that makes it. Changes none, and judges no answer."""

import asyncio
import functools
import time
from collections.abc import Callable, Coroutine
from contextvars import ContextVar
from typing import Any, ParamSpec, TypeVar

import httpx

from function.telemetry.metrics import OTHER, VERBS, Metrics

P = ParamSpec("P")
T = TypeVar("T")

_verb = ContextVar("verb", default=OTHER)  # a transport sees the request only, whose path holds a user's id


def verb(method: Callable[P, Coroutine[Any, Any, T]]) -> Callable[P, Coroutine[Any, Any, T]]:
    """Has the requests of a method counted under its name."""
    name = method.__name__
    assert name in VERBS, f"{name} is missing in VERBS of function/telemetry/metrics.py"

    @functools.wraps(method)
    async def named(*args: P.args, **kwargs: P.kwargs) -> T:
        before = _verb.set(name)
        try:
            return await method(*args, **kwargs)
        finally:
            _verb.reset(before)

    return named


def current_verb() -> str:
    """What the request that is being made is for."""
    return _verb.get()


def status_of(error: BaseException) -> str:
    """How a request without an answer is counted."""
    return _kind(error) if isinstance(error, httpx.TransportError | asyncio.CancelledError) else OTHER


class Measured(httpx.AsyncBaseTransport):
    """A transport around another one.

    Args:
        transport: does the work.
        metrics: told of each request.
    """

    def __init__(self, transport: httpx.AsyncBaseTransport, metrics: Metrics) -> None:
        self._transport, self._metrics = transport, metrics

    async def handle_async_request(self, request: httpx.Request) -> httpx.Response:
        """What the other transport does."""
        began, status = time.monotonic(), OTHER
        try:
            response = await self._transport.handle_async_request(request)
            status = _class(response.status_code)
            return response
        except (httpx.TransportError, asyncio.CancelledError) as error:
            status = _kind(error)
            raise
        finally:
            self._metrics.synapse_call(_verb.get(), status, time.monotonic() - began)

    async def aclose(self) -> None:
        """Closes the other transport."""
        await self._transport.aclose()


def _kind(error: httpx.TransportError | asyncio.CancelledError) -> str:
    """httpx-aiohttp calls a refused connection a ConnectTimeout; a batch that has no more time cancels its calls."""
    late = isinstance(error, httpx.TimeoutException | asyncio.CancelledError)
    return "timeout" if late and not isinstance(error, httpx.ConnectTimeout) else "unreachable"


def _class(status: int) -> str:
    return "429" if status == 429 else f"{status // 100}xx"

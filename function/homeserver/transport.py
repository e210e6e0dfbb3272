"""Requests to one server through an httpx transport, without httpx's client.

The client's share (cookies, redirects, authentication, proxies of the environment) is nothing that Synapse's APIs need, and
costs as much processor time as the request itself: see docs/performance.md.
"""

from collections.abc import Mapping
from types import TracebackType
from typing import Self

import httpx


class HttpClient:
    """A server at a base address; an async context manager, which closes the transport.

    Args:
        transport: sends the requests.
        base_url: what each path is added to.
        agent: what the server's log says of us.
    """

    def __init__(self, transport: httpx.AsyncBaseTransport, base_url: str, agent: str) -> None:
        self._transport, self._base, self._agent = transport, base_url.rstrip("/"), agent

    async def request(
        self, method: str, path: str, content: bytes, headers: Mapping[str, str], timeout: httpx.Timeout
    ) -> httpx.Response:
        """The response, read to its end. Raises httpx.TransportError."""
        request = httpx.Request(
            method,
            self._base + path,
            headers={"User-Agent": self._agent, **headers},
            content=content,
            extensions={"timeout": timeout.as_dict()},
        )
        response = await self._transport.handle_async_request(request)
        try:
            await response.aread()
        finally:
            await response.aclose()
        return response

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        await self._transport.aclose()

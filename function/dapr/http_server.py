"""Configures uvicorn, and adds limits that it has no settings for: the time of a request and the size of its head.

uvicorn waits forever for the rest of a request, and buffers a head of any length. A limit on connections
(`limit_concurrency`) does not help: idle ones would count, and daprd's own requests would be refused.
"""

import asyncio
from typing import Any, ClassVar

from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol

REQUEST_SECONDS = 20.0  # for a whole request to arrive; the largest batch takes about one second from the sidecar
HEAD_BYTES = 64 * 1024  # of everything in a request except its body


class RequestTimeoutProtocol(HttpToolsProtocol):
    """Aborts a connection whose request is too slow or whose head is too large. The sidecar redelivers such a batch."""

    seconds: ClassVar[float] = REQUEST_SECONDS

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        super().connection_made(transport)
        self._head_bytes = 0
        self._deadline: asyncio.TimerHandle | None = None
        self._wait()

    def connection_lost(self, exc: Exception | None) -> None:
        self._rest()
        super().connection_lost(exc)

    def data_received(self, data: bytes) -> None:
        self._head_bytes += len(data)
        super().data_received(data)
        if self._head_bytes > HEAD_BYTES:
            self.transport.abort()

    def on_message_begin(self) -> None:
        self._wait()
        super().on_message_begin()

    def on_body(self, body: bytes) -> None:
        self._head_bytes -= len(body)
        super().on_body(body)

    def on_message_complete(self) -> None:
        super().on_message_complete()
        self._head_bytes = 0
        if self.cycle.response_complete:
            self._wait()  # answered before the body was complete: uvicorn sets no limit on the next request
        else:
            self._rest()

    def _wait(self) -> None:
        self._rest()
        self._deadline = self.loop.call_later(self.seconds, self.transport.abort)

    def _rest(self) -> None:
        if self._deadline:
            self._deadline.cancel()


# For uvicorn.run and uvicorn.Config.
UVICORN_OPTIONS: dict[str, Any] = {
    "loop": "uvloop", "http": RequestTimeoutProtocol, "ws": "none", "log_config": None, "access_log": False,
}  # fmt: skip

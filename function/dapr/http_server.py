"""uvicorn as this project runs it: what it has no setting for, patience that ends. Knows no route.

uvicorn waits for ever for a request that has begun, and keeps a head of any length. A limit on connections
(`limit_concurrency`) is no cure: idle ones would count, and then daprd's own requests are refused.
"""

import asyncio
from typing import Any, ClassVar

from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol

REQUEST_SECONDS = 20.0  # for a whole request to arrive; the largest batch takes about one from a sidecar beside us
HEAD_BYTES = 64 * 1024  # of everything in a request that is not its body


class RequestTimeoutProtocol(HttpToolsProtocol):
    """Ends a connection whose request does not arrive in time, or is all head. The sidecar sends such a batch again."""

    seconds: ClassVar[float] = REQUEST_SECONDS

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        super().connection_made(transport)
        self._besides = 0
        self._deadline: asyncio.TimerHandle | None = None
        self._wait()

    def connection_lost(self, exc: Exception | None) -> None:
        self._rest()
        super().connection_lost(exc)

    def data_received(self, data: bytes) -> None:
        self._besides += len(data)
        super().data_received(data)
        if self._besides > HEAD_BYTES:
            self.transport.abort()

    def on_message_begin(self) -> None:
        self._wait()
        super().on_message_begin()

    def on_body(self, body: bytes) -> None:
        self._besides -= len(body)
        super().on_body(body)

    def on_message_complete(self) -> None:
        super().on_message_complete()
        self._besides = 0
        if self.cycle.response_complete:
            self._wait()  # answered before it was all there: uvicorn no longer waits for the next one with a limit
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

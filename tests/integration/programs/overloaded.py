"""Runs the real function, but each batch claims in its Content-Length to be larger than the limit."""

import uvicorn
from starlette.types import ASGIApp, Receive, Scope, Send

from function.app import create_app
from function.dapr.http_server import UVICORN_OPTIONS
from function.dapr.subscription import BODY_BYTES
from function.environment import load
from function.settings import Settings
from function.telemetry import logs


class Swollen:
    """Replaces the Content-Length of a POST."""

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] == "http" and scope["method"] == "POST":
            kept = [(name, text) for name, text in scope["headers"] if name != b"content-length"]
            scope = dict(scope) | {"headers": [*kept, (b"content-length", str(BODY_BYTES + 1).encode())]}
        await self._app(scope, receive, send)


if __name__ == "__main__":
    known = load(Settings)
    logs.configure(known.log_level)
    uvicorn.run(Swollen(create_app(known)), host=known.app_host, port=known.app_port, **UVICORN_OPTIONS)

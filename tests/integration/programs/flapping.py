"""Runs the real function, whose readiness comes and goes as fast as daprd follows: three probes fail, three pass.

TEST_FLAPS says how many times, from when the file TEST_FLAPS_FROM exists; then it stays ready. The watchdog waits for seconds
instead of minutes.
"""

import os
from contextlib import ExitStack
from pathlib import Path

import uvicorn
from starlette.types import ASGIApp, Receive, Scope, Send

from function.app import create_app, open_lag
from function.dapr.http_server import UVICORN_OPTIONS
from function.environment import load
from function.health import Health
from function.kafka.lag_loop import LagLoop, Pace
from function.outcomes import Reason, TryAgain
from function.routes import READY_ROUTE
from function.settings import Settings
from function.telemetry import logs
from function.telemetry.metrics import Metrics
from tests.integration.programs.quick_watchdog import QUICK

PROBES = 3  # daprd's threshold
DAPRD = b"Go-http-client"


class Flapping:
    """Sees each probe of daprd, and makes the function not ready for the first ones of each round."""

    def __init__(self, flaps: int, begin: Path) -> None:
        self._left, self._begin, self._probes, self._pause = flaps, begin, 0, ExitStack()
        self._health: Health | None = None

    def lag_of(self, settings: Settings, health: Health, metrics: Metrics) -> LagLoop | None:
        self._health = health
        return open_lag(settings, health, metrics, QUICK, Pace(look=1.0))

    def probed(self) -> None:
        assert self._health
        if self._probes == 0 and (self._health.failure or not self._left or not self._begin.exists()):
            return
        if self._probes == 0:
            self._pause.enter_context(self._health.pausing(TryAgain(Reason.STARTING, "of a test")))
        if self._probes == PROBES:
            self._pause.close()
        self._probes += 1
        if self._probes == 2 * PROBES:
            self._probes, self._left = 0, self._left - 1


class Probed:
    """Tells of each probe."""

    def __init__(self, app: ASGIApp, flapping: Flapping) -> None:
        self._app, self._flapping = app, flapping

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] == "http" and scope["path"] == READY_ROUTE and DAPRD in dict(scope["headers"])[b"user-agent"]:
            self._flapping.probed()
        await self._app(scope, receive, send)


if __name__ == "__main__":
    known = load(Settings)
    logs.configure(known.log_level)
    flapping = Flapping(int(os.environ["TEST_FLAPS"]), Path(os.environ["TEST_FLAPS_FROM"]))
    app = create_app(known, lag_of=flapping.lag_of)
    uvicorn.run(Probed(app, flapping), host=known.app_host, port=known.app_port, **UVICORN_OPTIONS)

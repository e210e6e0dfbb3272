"""Runs the real function with a watchdog that waits for seconds instead of minutes."""

from functools import partial

import uvicorn

from function.app import create_app, open_lag
from function.dapr.http_server import UVICORN_OPTIONS
from function.environment import load
from function.kafka.lag_loop import Pace
from function.kafka.watchdog import Limits
from function.settings import Settings
from function.telemetry import logs

QUICK = Limits(window=6.0, idle=3.0)

if __name__ == "__main__":
    known = load(Settings)
    logs.configure(known.log_level)
    app = create_app(known, lag_of=partial(open_lag, limits=QUICK, pace=Pace(look=1.0)))
    uvicorn.run(app, host=known.app_host, port=known.app_port, **UVICORN_OPTIONS)

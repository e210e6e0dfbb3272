"""Runs the real function, which looks at users again 10 seconds after a deletion instead of a minute."""

import functools
from datetime import timedelta

import uvicorn

from function.app import create_app
from function.dapr.http_server import UVICORN_OPTIONS
from function.environment import load
from function.parts import open_parts
from function.settings import Settings
from function.telemetry import logs

SOON = timedelta(seconds=10)

if __name__ == "__main__":
    known = load(Settings)
    logs.configure(known.log_level)
    app = create_app(known, functools.partial(open_parts, look_after=SOON))
    uvicorn.run(app, host=known.app_host, port=known.app_port, **UVICORN_OPTIONS)

"""Runs the real function, but every host name resolves to 127.0.0.2, and that address counts as public.
TEST_CDN_CA is the file of the certificate authority to trust."""

import functools
import os
import ssl

import uvicorn

from function.app import create_app
from function.avatars.fetch import AvatarSource
from function.dapr.http_server import UVICORN_OPTIONS
from function.environment import load
from function.parts import open_parts
from function.settings import Settings
from function.telemetry import logs
from tests.contract.servers.cdn import ScriptedResolver

INTERNET = "127.0.0.2"


def avatars(settings: Settings, _trust: ssl.SSLContext) -> AvatarSource:
    return AvatarSource(
        settings.avatar_hosts,
        ssl.create_default_context(cafile=os.environ["TEST_CDN_CA"]),
        resolver=ScriptedResolver([INTERNET]),
        permitted=lambda address: str(address) == INTERNET,
    )


if __name__ == "__main__":
    known = load(Settings)
    logs.configure(known.log_level)
    app = create_app(known, functools.partial(open_parts, avatars=avatars))
    uvicorn.run(app, host=known.app_host, port=known.app_port, **UVICORN_OPTIONS)

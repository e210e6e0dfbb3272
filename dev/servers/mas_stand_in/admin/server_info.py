"""Serves `version` and `site-config`: what the server is."""

from collections.abc import Iterator

from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route

VERSION = "v1.22.0"  # the version whose behaviour the stand-in has
_OFF = (
    "password_registration_enabled", "password_registration_email_required", "password_registration_token_required",
    "registration_token_required", "email_change_allowed", "displayname_change_allowed", "password_change_allowed",
    "account_recovery_allowed", "account_deactivation_allowed", "captcha_enabled",
)  # fmt: skip


class ServerInfo:
    def __init__(self, server_name: str) -> None:
        self._server_name = server_name

    def routes(self) -> Iterator[Route]:
        yield Route("/version", self._version)
        yield Route("/site-config", self._site_config)

    async def _version(self, _: Request) -> Response:
        return JSONResponse({"version": VERSION})

    async def _site_config(self, _: Request) -> Response:
        fixed = {"server_name": self._server_name, "password_login_enabled": True, "minimum_password_complexity": 0}
        return JSONResponse(fixed | dict.fromkeys(_OFF, False))

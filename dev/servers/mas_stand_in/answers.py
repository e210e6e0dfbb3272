"""Shapes answers as MAS does: JSON:API documents, errors with a title and no code, plain text for a body it cannot read."""

from datetime import datetime
from typing import Any

from starlette.requests import Request
from starlette.responses import JSONResponse, PlainTextResponse, Response

API = "/api/admin/v1"


class Refused(Exception):
    """A request that is answered with an error; `plain` as text, as MAS's web framework does by itself."""

    def __init__(self, status: int, title: str, *, plain: bool = False) -> None:
        super().__init__(title)
        self.status, self.title, self.plain = status, title, plain


async def refused(_: Request, error: Exception) -> Response:
    assert isinstance(error, Refused)
    if error.plain:
        return PlainTextResponse(error.title, error.status)
    return JSONResponse({"errors": [{"title": error.title}]}, error.status)


def resource(kind: str, key: str, attributes: dict[str, Any]) -> dict[str, Any]:
    plain = {name: timestamp(value) if isinstance(value, datetime) else value for name, value in attributes.items()}
    return {"type": kind, "id": key, "attributes": plain, "links": {"self": f"{API}/{kind}s/{key}"}}


def single(request: Request, one: dict[str, Any], status: int = 200) -> Response:
    return JSONResponse({"data": one, "links": {"self": request.url.path}}, status)


def timestamp(at: datetime) -> str:
    return at.isoformat().replace("+00:00", "Z")

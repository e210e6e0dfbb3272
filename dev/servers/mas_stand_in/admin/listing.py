"""Answers lists: filters by the query, cuts a page, counts, and links the next page."""

from collections.abc import Callable, Iterable
from datetime import datetime
from typing import Any, TypeVar
from urllib.parse import quote

from starlette.requests import Request
from starlette.responses import JSONResponse, Response

from dev.servers.mas_stand_in.answers import Refused
from dev.servers.mas_stand_in.identifiers import is_ulid

Row = TypeVar("Row")
PAGE = 10


def ulid_filter(request: Request, name: str, table: dict[str, Any], what: str) -> str | None:
    """Returns the id in `filter[name]`; 404 if no such row exists, as MAS answers."""
    key = request.query_params.get(f"filter[{name}]")
    if key is None:
        return None
    if not is_ulid(key):
        raise Refused(400, "Invalid filter parameters")
    if key.upper() not in table:
        raise Refused(404, f"{what} {key} not found")
    return key.upper()


def time_filter(request: Request, name: str) -> datetime | None:
    """Returns the time in `filter[name]`, RFC 3339 with its offset."""
    text = request.query_params.get(f"filter[{name}]")
    if text is None:
        return None
    try:
        at = datetime.fromisoformat(text)
    except ValueError:
        raise Refused(400, "Invalid filter parameters") from None
    if at.tzinfo is None:
        raise Refused(400, "Invalid filter parameters")
    return at


def word_filter(request: Request, name: str, *words: str) -> str | None:
    word = request.query_params.get(f"filter[{name}]")
    if word is not None and word not in words:
        raise Refused(400, "Invalid filter parameters")
    return word


def page(request: Request, rows: Iterable[Row], shown: Callable[[Row], dict[str, Any]]) -> Response:
    """Answers one page of the rows, in the order of their ids."""
    asked = request.query_params
    first, after, count = _first(asked.get("page[first]")), asked.get("page[after]", ""), asked.get("count", "true")
    if (after and not is_ulid(after)) or count not in {"true", "false", "only"}:
        raise Refused(400, "Invalid pagination parameters")
    every = sorted((shown(row) for row in rows), key=lambda one: str(one["id"]))
    meta = {} if count == "false" else {"meta": {"count": len(every)}}
    if count == "only":
        return JSONResponse(meta | {"links": {"self": _link(request, {})}})
    left = [one for one in every if one["id"] > after.upper()]
    data = [one | {"meta": {"page": {"cursor": one["id"]}}} for one in left[:first]]
    size = {"page[first]": str(first)}
    links = {"self": _link(request, size | ({"page[after]": after} if after else {})), "first": _link(request, size)}
    links["last"] = _link(request, {"page[last]": str(first)})
    if len(left) > first:
        links["next"] = _link(request, {"page[after]": data[-1]["id"]} | size)
    return JSONResponse(meta | {"data": data, "links": links})


def _first(text: str | None) -> int:
    if text is not None and (not text.isdecimal() or int(text) == 0):
        raise Refused(400, "Invalid pagination parameters")
    return PAGE if text is None else int(text)


def _link(request: Request, paging: dict[str, str]) -> str:
    """Returns this list's address with other paging, without a host, as MAS does."""
    filters = {name: value for name, value in request.query_params.items() if not name.startswith("page[")}
    pairs = [f"{name}={quote(value, safe='')}" for name, value in (filters | paging).items()]
    return request.url.path + ("?" + "&".join(pairs) if pairs else "")

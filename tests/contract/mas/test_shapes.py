"""The list of requests to MAS: the stand-in takes no other, and MAS's own OpenAPI document has them all."""

import json
import os
import re
from pathlib import Path
from typing import Any

import httpx
import pytest

from dev.servers.mas import Mas
from dev.servers.mas_stand_in.shapes import JSON, OPERATIONS, Operation
from tests.contract.mas.server import Server

OPENAPI = os.environ.get("MAS_OPENAPI", "")
ADMIN = [one for one in OPERATIONS if one.path.startswith("/api/")]
with_openapi = pytest.mark.skipif(not OPENAPI, reason="set MAS_OPENAPI to the path of MAS's OpenAPI document (JSON)")


@pytest.mark.parametrize(
    ("method", "path", "body", "what"),
    [
        ("GET", "users/by-email/ada", None, "GET /api/admin/v1/users/by-email/ada"),
        ("PATCH", "users", None, "PATCH /api/admin/v1/users"),
        ("GET", "users?filter[sort]=name", None, "parameter filter[sort]"),
        ("POST", "users", {"username": "nova", "display_name": "Ada"}, "member display_name"),
        ("POST", "users/01ARZ3NDEKTSV4RRFFQ69G5FAV/reactivate", {}, "a body"),
    ],
)
def test_the_stand_in_refuses_a_request_that_is_not_in_the_list(
    server: Server, stand_in: Mas, method: str, path: str, body: Any, what: str
) -> None:
    answer = server.admin(method, path, body)
    assert (answer.status_code, answer.text) == (500, f"not in the shapes: {what}")


def test_a_grant_with_another_member_is_not_in_the_list_either(server: Server, stand_in: Mas) -> None:
    form = {"grant_type": "client_credentials", "client_assertion": "x"}
    answer = httpx.post(f"{stand_in.url}/oauth2/token", data=form, auth=server.client)
    assert (answer.status_code, answer.text) == (500, "not in the shapes: member client_assertion")


@pytest.fixture(scope="module")
def document() -> dict[str, Any]:
    return dict(json.loads(Path(OPENAPI).read_text()))


@with_openapi
@pytest.mark.parametrize("ours", ADMIN, ids=lambda one: f"{one.method} {one.path}")
def test_mas_has_the_operation_with_these_parameters_and_this_body(document: dict[str, Any], ours: Operation) -> None:
    theirs = _operation(document, ours)
    allowed, required = _parameters(document, theirs)
    assert ours.query.items() <= allowed.items()
    assert not required, "a required parameter in the query, which the list cannot say"
    body = theirs.get("requestBody")
    assert (ours.body is not None) == (body is not None)
    if body is not None and ours.body is not None:
        assert ours.content == JSON
        assert ours.body_required == body.get("required", False)
        members, needed = _members(document, body["content"][JSON]["schema"])
        assert {name.rstrip("!"): kind for name, kind in ours.body.items()}.items() <= members.items()
        assert {name.rstrip("!") for name in ours.body if name.endswith("!")} == needed


def _operation(document: dict[str, Any], ours: Operation) -> dict[str, Any]:
    """Returns MAS's operation; the names of the path's parameters do not matter."""
    plain = re.sub(r"\{\w+\}", "{}", ours.path)
    found = next(item for path, item in document["paths"].items() if re.sub(r"\{\w+\}", "{}", path) == plain)
    return dict(found[ours.method.lower()])


def _parameters(document: dict[str, Any], theirs: dict[str, Any]) -> tuple[dict[str, str], list[str]]:
    """Returns the parameters of the query with their types, and the required ones."""
    query = [one for one in theirs.get("parameters", []) if one["in"] == "query"]
    kinds = {one["name"]: _kind(document, one["schema"]) for one in query}
    return kinds, [one["name"] for one in query if one.get("required")]


def _members(document: dict[str, Any], schema: dict[str, Any]) -> tuple[dict[str, str], set[str]]:
    found = _resolved(document, schema)
    return {name: _kind(document, one) for name, one in found["properties"].items()}, set(found.get("required", []))


def _kind(document: dict[str, Any], schema: dict[str, Any]) -> str:
    """Returns the type in the words of the list."""
    if schema.get("$ref", "").endswith("/ULID"):
        return "ulid"
    if schema.get("format") == "date-time":
        return "time"
    for choice in ("anyOf", "allOf", "oneOf"):
        if choice in schema:
            return _kind(document, schema[choice][0])
    if "$ref" in schema:
        return _kind(document, _resolved(document, schema))
    kind = schema["type"]
    return str(kind if isinstance(kind, str) else next(one for one in kind if one != "null"))


def _resolved(document: dict[str, Any], schema: dict[str, Any]) -> dict[str, Any]:
    while "$ref" in schema:
        schema = document["components"]["schemas"][schema["$ref"].rpartition("/")[2]]
    return schema

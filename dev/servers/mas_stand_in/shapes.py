"""Lists the requests to MAS that this project sends: method, path, query parameters and body. Written by hand from MAS's
behaviour. The stand-in answers 500 to any request to MAS's API that is not in the list.

A parameter or member is `name: type`; a `!` after the name says that it is required."""

import json
import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any
from urllib.parse import parse_qsl

from dev.servers.mas_stand_in.answers import API
from dev.servers.mas_stand_in.identifiers import is_ulid

Members = Mapping[str, str]
JSON, FORM = "application/json", "application/x-www-form-urlencoded"
_TYPES: Mapping[str, tuple[type, ...]] = {"string": (str,), "ulid": (str,), "boolean": (bool,), "integer": (int,)}


@dataclass(frozen=True)
class Operation:
    """One operation. `body` is None where no body is sent; `content` is its media type."""

    method: str
    path: str
    query: Members = field(default_factory=dict)
    body: Members | None = None
    content: str = JSON
    body_required: bool = True

    @property
    def pattern(self) -> re.Pattern[str]:
        return re.compile(re.sub(r"\{\w+\}", "[^/]+", self.path))


@dataclass(frozen=True)
class Sent:
    """A request as it arrived."""

    method: str
    path: str
    query: str = ""
    content: str = ""
    body: bytes = field(default=b"", repr=False)


_PAGE = {"page[first]": "integer", "page[after]": "ulid", "count": "string"}
_SESSIONS = _PAGE | {"filter[user]": "ulid", "filter[status]": "string", "filter[created-before]": "time"}
_LINKS = _PAGE | {"filter[user]": "ulid", "filter[provider]": "ulid", "filter[subject]": "string"}
_LINK = {"user_id!": "ulid", "provider_id!": "ulid", "subject!": "string", "human_account_name": "string"}
_USER = {"username!": "string", "displayname": "string", "avatar_url": "string", "skip_homeserver_check": "boolean"}
_PERSONAL = {"actor_user_id!": "ulid", "human_name!": "string", "scope!": "string", "expires_in": "integer"}

OPERATIONS = (
    Operation("POST", "/oauth2/token", body={"grant_type!": "string", "scope": "string"}, content=FORM),
    Operation("GET", f"{API}/version"),
    Operation("GET", f"{API}/site-config"),
    Operation("GET", f"{API}/users", query=_PAGE | {"filter[status]": "string", "filter[search]": "string"}),
    Operation("POST", f"{API}/users", body=_USER),
    Operation("GET", f"{API}/users/{{id}}"),
    Operation("GET", f"{API}/users/by-username/{{username}}"),
    Operation("POST", f"{API}/users/{{id}}/deactivate", body={"skip_erase": "boolean"}, body_required=False),
    Operation("POST", f"{API}/users/{{id}}/reactivate"),
    Operation("POST", f"{API}/users/{{id}}/lock"),
    Operation("POST", f"{API}/users/{{id}}/unlock"),
    Operation(
        "POST", f"{API}/users/{{id}}/set-password", body={"password!": "string", "skip_password_check": "boolean"}
    ),
    *(Operation("GET", f"{API}/{kind}-sessions", query=_SESSIONS) for kind in ("user", "oauth2", "compat")),
    *(Operation("GET", f"{API}/{kind}-sessions/{{id}}") for kind in ("user", "oauth2", "compat")),
    *(Operation("POST", f"{API}/{kind}-sessions/{{id}}/finish") for kind in ("user", "oauth2", "compat")),
    Operation("GET", f"{API}/upstream-oauth-providers", query=_PAGE),
    Operation("GET", f"{API}/upstream-oauth-providers/{{id}}"),
    Operation("GET", f"{API}/upstream-oauth-links", query=_LINKS),
    Operation("POST", f"{API}/upstream-oauth-links", body=_LINK),
    Operation("DELETE", f"{API}/upstream-oauth-links/{{id}}"),
    Operation(
        "GET",
        f"{API}/personal-sessions",
        query=_PAGE | {"filter[actor_user]": "ulid", "filter[owner_client]": "ulid", "filter[status]": "string"},
    ),
    Operation("POST", f"{API}/personal-sessions", body=_PERSONAL),
    Operation("POST", f"{API}/personal-sessions/{{id}}/regenerate", body={"expires_in": "integer"}),
    Operation("POST", f"{API}/personal-sessions/{{id}}/revoke"),
)


def is_ours(path: str) -> bool:
    """Whether requests to the path must be in the list: the others come from Synapse, from people, and from tests."""
    return path.startswith(API) or path == "/oauth2/token"


def operation(method: str, path: str) -> Operation | None:
    """Finds the operation; a path without parameters comes first, so that `by-username` is not taken for an id."""
    fitting = [one for one in OPERATIONS if one.method == method and one.pattern.fullmatch(path)]
    return min(fitting, key=lambda one: one.path.count("{"), default=None)


def foreign(sent: Sent) -> list[str]:
    """Returns what of the request is not in the list; what is missing or of the wrong type is for MAS to refuse."""
    known = operation(sent.method, sent.path)
    if known is None:
        return [f"{sent.method} {sent.path}"]
    problems = [f"parameter {name}" for name, _ in parse_qsl(sent.query, keep_blank_values=True)
                if name not in known.query]  # fmt: skip
    if sent.body and known.body is None:
        problems.append("a body")
    members = {name.rstrip("!") for name in known.body or {}}
    problems += [f"member {name}" for name in _members(sent) if name not in members]
    return problems


def wrong(members: Members, values: Mapping[str, Any]) -> list[str]:
    """Returns the required members that are missing, and those of another type; null is as good as nothing."""
    problems = []
    for entry, kind in members.items():
        name = entry.rstrip("!")
        value = values.get(name)
        if value is None:
            problems += [f"missing field `{name}`"] if entry.endswith("!") else []
        elif type(value) not in _TYPES[kind] or (kind == "ulid" and not is_ulid(value)):
            problems.append(f"{name}: invalid type or value, expected {kind}")
    return problems


def _members(sent: Sent) -> list[str]:
    if sent.content.startswith(FORM):
        return [name for name, _ in parse_qsl(sent.body.decode(), keep_blank_values=True)]
    try:
        values = json.loads(sent.body)
    except ValueError:
        return []
    return list(values) if isinstance(values, dict) else []

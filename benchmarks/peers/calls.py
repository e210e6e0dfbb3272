"""Applies one event for both peer consumers, in the usual way: two PUTs for a profile, a POST for a deletion. A failed call
is logged, and the next event is processed."""

import json
import logging
import os
from collections.abc import Mapping
from typing import Any
from urllib.parse import quote

import httpx

log = logging.getLogger("peer")


def client() -> httpx.AsyncClient:
    headers = {"Authorization": f"Bearer {os.environ['TOKEN']}"}
    return httpx.AsyncClient(base_url=os.environ["MATRIX_HOMESERVER_URL"], headers=headers, timeout=10)


async def handle(http: httpx.AsyncClient, value: bytes, headers: Mapping[str, str]) -> None:
    """Applies one event."""
    try:
        payload: dict[str, Any] = json.loads(value)
        mxid = quote(f"@nova-{payload['user_id']}:{os.environ['MATRIX_SERVER_NAME']}")
        if headers.get("event_type") == "identity.user.profile_updated":
            await _put(http, mxid, "displayname", payload["display_name"])
            await _put(http, mxid, "avatar_url", payload["avatar_url"])
        elif headers.get("event_type") == "identity.user.deleted":
            path = f"/_synapse/admin/v1/deactivate/{mxid}"
            (await http.post(path, json={"erase": not payload["soft_delete"]})).raise_for_status()
    except (ValueError, KeyError, httpx.HTTPError) as error:
        log.warning("failed: %s", type(error).__name__)


async def _put(http: httpx.AsyncClient, mxid: str, field: str, value: str) -> None:
    answer = await http.put(f"/_matrix/client/v3/profile/{mxid}/{field}", json={field: value or ""})
    answer.raise_for_status()

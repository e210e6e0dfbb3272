"""Calls the endpoints that Synapse has for MAS alone, with the shared secret."""

from typing import Any

import httpx

# Synapse says with these that a name is taken or not allowed; any other refusal is an error.
_RESERVED = {"M_USER_IN_USE", "M_INVALID_USERNAME", "M_EXCLUSIVE"}


class HomeserverError(Exception):
    """Synapse is away, or did not do what it was asked."""


class Homeserver:
    """Synapse, as MAS sees it.

    Args:
        http: a client of Synapse's address.
        secret: the shared secret.
    """

    def __init__(self, http: httpx.AsyncClient, secret: str) -> None:
        self._http, self._headers = http, {"Authorization": f"Bearer {secret}"}

    async def is_available(self, localpart: str) -> bool:
        answer = await self._send("GET", "is_localpart_available", params={"localpart": localpart})
        if answer.status_code == 400 and answer.json().get("errcode") in _RESERVED:
            return False
        _expect_success(answer)
        return True

    async def tell(self, operation: str, body: dict[str, Any]) -> None:
        """Posts one of `_synapse/mas/*`. Raises HomeserverError unless Synapse has done it."""
        _expect_success(await self._send("POST", operation, json=body))

    async def _send(self, method: str, operation: str, **rest: Any) -> httpx.Response:
        try:
            return await self._http.request(method, f"/_synapse/mas/{operation}", headers=self._headers, **rest)
        except httpx.HTTPError as error:
            raise HomeserverError(f"error sending request to the homeserver: {type(error).__name__}") from error


def _expect_success(answer: httpx.Response) -> None:
    if not answer.is_success:
        raise HomeserverError(f"the homeserver answered {answer.status_code} to {answer.request.url.path}")

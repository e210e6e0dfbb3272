"""Reads the secret through Dapr's secret store, and keeps the admin token in memory only."""

import asyncio
from collections.abc import Mapping

from dapr.aio.clients import DaprClient
from grpc import RpcError

from function.outcomes import Reason, TryAgain
from function.settings import SECRET_KEY
from function.telemetry.metrics import Metrics


class Secret:
    """One secret of a secret store; keeps nothing.

    Args:
        client: client of the sidecar.
        store: name of the Dapr secret store component.
        name: name of the secret.
    """

    def __init__(self, client: DaprClient, store: str, name: str) -> None:
        self._client, self._store, self._name = client, store, name

    async def read(self) -> Mapping[str, str]:
        """Returns the keys with their values. Raises TryAgain."""
        try:
            found: Mapping[str, str] = (await self._client.get_secret(self._store, self._name)).secret
        except RpcError as error:
            raise TryAgain(Reason.SECRET_UNAVAILABLE, f"{self._store}/{self._name}: {error.code().name}") from None
        return found

    def lacks(self, key: str) -> TryAgain:
        """Returns the failure of a secret without that key."""
        return TryAgain(Reason.SECRET_UNAVAILABLE, f"{self._store}/{self._name} has no key {key}")


class AdminToken:
    """Holds the token that was last read from the secret.

    Args:
        secret: has the token as MATRIX_ADMIN_TOKEN.
        metrics: counts each read.
    """

    def __init__(self, secret: Secret, metrics: Metrics) -> None:
        self._secret, self._metrics = secret, metrics
        self._token = ""
        self._lock = asyncio.Lock()

    async def token(self) -> str:
        """Returns the token; reads it on the first call. Raises TryAgain if the secret store has none."""
        return self._token or await self.renewed("")

    async def renewed(self, refused: str) -> str:
        """Reads the secret again, unless another call already did since `refused` was in use; returns the token."""
        async with self._lock:
            if self._token == refused:
                self._token = await self._counted()
            return self._token

    async def _counted(self) -> str:
        try:
            token = await self._read()
        except TryAgain:
            self._metrics.token_read("failed")
            raise
        self._metrics.token_read("same" if token == self._token else "renewed")
        return token

    async def _read(self) -> str:
        if not (token := (await self._secret.read()).get(SECRET_KEY, "").strip()):
            raise self._secret.lacks(SECRET_KEY)
        return token

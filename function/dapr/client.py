"""Opens the Dapr client once the sidecar is healthy, and shuts the sidecar down."""

import asyncio
import contextlib
import time
from collections.abc import AsyncIterator

import httpx
from dapr.aio.clients import DaprClient
from dapr.clients.http.helpers import get_api_url
from dapr.conf import settings as dapr_settings

from function.outcomes import Reason, TryAgain


@contextlib.asynccontextmanager
async def open_client(timeout: float = 0.0) -> AsyncIterator[DaprClient]:
    """Returns a client of the sidecar.

    Args:
        timeout: seconds to wait for the sidecar, which may start later than the function.

    Raises:
        TryAgain: the sidecar does not answer.
    """
    deadline = time.monotonic() + timeout
    while not await _answers():
        if time.monotonic() >= deadline:
            raise TryAgain(Reason.STARTING, f"no sidecar yet at port {dapr_settings.DAPR_HTTP_PORT}")
        await asyncio.sleep(0.2)
    # DaprClient() blocks the event loop until the sidecar answers, so it is built only now.
    async with DaprClient() as client:
        yield client


async def _answers() -> bool:
    try:
        async with httpx.AsyncClient(timeout=2.0) as http:
            return (await http.get(f"{get_api_url()}/healthz/outbound")).is_success
    except httpx.HTTPError:
        return False


async def shut_down() -> None:
    """Shuts the sidecar down: a Kubernetes Job ends only when all of its containers have. Raises TryAgain."""
    headers = {"dapr-api-token": dapr_settings.DAPR_API_TOKEN or ""}
    try:
        async with httpx.AsyncClient(timeout=5.0, headers=headers) as http:
            (await http.post(f"{get_api_url()}/shutdown")).raise_for_status()
    except httpx.HTTPError as error:
        raise TryAgain(Reason.STARTING, f"the sidecar can't be shut down: {type(error).__name__}") from None

"""Opens the Dapr client once the sidecar is healthy, and sets a deadline for its calls."""

import asyncio
import contextlib
import os
import time
from collections.abc import AsyncIterator

import aiohttp
from dapr.aio.clients import DaprClient
from dapr.clients.http.helpers import get_api_url
from dapr.conf import settings as dapr_settings

from function.outcomes import Reason, TryAgain

# For one call to the sidecar. Without a deadline, a sidecar that hangs would hold the locks of a batch's users until it
# goes on. Longer than any call takes on a store that works: a transaction of 100 records takes 15 ms on PostgreSQL.
CALL_SECONDS = 10.0
_ANSWER = aiohttp.ClientTimeout(total=2.0)


@contextlib.asynccontextmanager
async def open_client(timeout: float = 0.0, call_seconds: float = CALL_SECONDS) -> AsyncIterator[DaprClient]:
    """Returns a client of the sidecar.

    Args:
        timeout: seconds to wait for the sidecar, which may start later than the function; DAPR_HEALTH_TIMEOUT, the variable of
            Dapr's SDK, makes it longer.
        call_seconds: deadline of each call that the client makes.

    Raises:
        TryAgain: the sidecar does not answer.
    """
    deadline = time.monotonic() + max(timeout, _longer_timeout())
    while not await _answers():
        if time.monotonic() >= deadline:
            raise TryAgain(Reason.STARTING, f"no sidecar yet at port {dapr_settings.DAPR_HTTP_PORT}")
        await asyncio.sleep(0.2)  # a sidecar says by no signal that it has started
    # DaprClient() blocks the event loop until the sidecar answers, so it is built only now.
    # The SDK's deadline, for which it has no argument.
    dapr_settings.DAPR_API_TIMEOUT_SECONDS = call_seconds  # type: ignore[attr-defined]
    async with DaprClient() as client:
        yield client


def _longer_timeout() -> float:
    """Returns DAPR_HEALTH_TIMEOUT if it is set. A Job sets it, whose tool starts together with its sidecar."""
    return float(dapr_settings.DAPR_HEALTH_TIMEOUT) if "DAPR_HEALTH_TIMEOUT" in os.environ else 0.0


async def _answers() -> bool:
    try:
        # Not httpx's client, which reads all certificate authorities first: a tenth of a second of the start.
        async with (
            aiohttp.ClientSession(timeout=_ANSWER) as http,
            http.get(f"{get_api_url()}/healthz/outbound") as answer,
        ):
            return answer.ok
    except (aiohttp.ClientError, TimeoutError):
        return False

"""Opens the homeserver that the settings describe: Synapse, and Matrix Authentication Service (MAS) where it owns the accounts, with
the tokens of the secret."""

import contextlib
import ssl
from collections.abc import AsyncIterator

import httpx
from dapr.aio.clients import DaprClient

from function import __version__
from function.dapr.secret_store import AdminToken, Secret
from function.homeserver.client_credentials import ClientCredentials
from function.homeserver.delegated import Delegated
from function.homeserver.mas import Mas
from function.homeserver.requests import IN_FLIGHT
from function.homeserver.service_token import PersonalSession, ServiceToken
from function.homeserver.synapse import Synapse
from function.homeserver.transport import HttpClient, SingleTry
from function.settings import Settings
from function.telemetry.metrics import Metrics
from function.telemetry.tracing import OFF, Traces

AGENT = f"matrix-account-sync/{__version__}"  # in the servers' logs


@contextlib.asynccontextmanager
async def open_homeserver(
    settings: Settings, client: DaprClient, metrics: Metrics, traces: Traces = OFF, in_flight: int = IN_FLIGHT,
    trust: ssl.SSLContext | None = None,
) -> AsyncIterator[Synapse]:  # fmt: skip
    """Opens the homeserver, which gets `in_flight` requests at a time at most. In a dry run it is only read. `trust`: the
    certificate authorities; None: those of httpx."""
    trust = trust or httpx.create_ssl_context()
    dry_run, server = settings.matrix_dry_run, settings.matrix_server_name

    def http(url: object, *, read_only: bool) -> HttpClient:
        return HttpClient(SingleTry(trust), str(url), AGENT, metrics=metrics, traces=traces, read_only=read_only)

    secret = Secret(client, settings.secret_store_name, settings.secret_name)
    async with http(settings.matrix_homeserver_url, read_only=dry_run) as synapse:
        if not settings.matrix_mas_url:
            yield Synapse(synapse, AdminToken(secret, metrics), server, in_flight)
            return
        # Tokens are made in a dry run too: reading needs them.
        async with (
            http(settings.matrix_mas_url, read_only=dry_run) as mas,
            http(settings.matrix_mas_url, read_only=False) as tokens,
        ):
            credentials = ClientCredentials(tokens, secret)
            localpart = settings.matrix_service_user.removeprefix("@").removesuffix(f":{server}")
            session = PersonalSession(Mas(tokens, credentials), localpart)
            try:
                yield Delegated(synapse, ServiceToken(secret, session, metrics), server, mas, credentials, in_flight)
            finally:
                await session.end()

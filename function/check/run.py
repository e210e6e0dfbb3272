"""Runs all checks, in the order in which the function needs what they check."""

import contextlib
from collections.abc import AsyncIterator, Callable
from contextlib import AbstractAsyncContextManager
from dataclasses import dataclass

from function.check.finding import Finding, ok, row_of, rows, unexpected
from function.check.homeserver import homeserver_rows
from function.check.kafka import BROKERS, Cluster, kafka_rows
from function.check.sidecar import SIDECAR, UNREACHED, sidecar_rows
from function.dapr import secret_store
from function.dapr.client import open_client
from function.dapr.sidecar import Sidecar
from function.dapr.state_store import StateStore
from function.homeserver.client_credentials import Secret
from function.homeserver.synapse import Synapse
from function.homeserver_access import open_homeserver
from function.kafka import cluster as kafka
from function.kafka.client import ClientConfig
from function.outcomes import TryAgain
from function.settings import Settings
from function.telemetry.metrics import Metrics


@dataclass(frozen=True, slots=True)
class Dependencies:
    """What is checked through the sidecar."""

    sidecar: Sidecar
    state: StateStore
    secret: Secret
    synapse: Synapse


@contextlib.asynccontextmanager
async def open_dependencies(settings: Settings) -> AsyncIterator[Dependencies]:
    """Opens the sidecar and what is behind it. Raises TryAgain if the sidecar does not answer."""
    dry_run = settings.matrix_dry_run
    async with open_client() as client, open_homeserver(settings, client, Metrics()) as synapse:
        state = StateStore(client, settings.state_store_name, read_only=dry_run)
        secret = secret_store.Secret(client, settings.secret_store_name, settings.secret_name)
        yield Dependencies(Sidecar(client), state, secret, synapse)


@dataclass(frozen=True, slots=True)
class Outside:
    """Opens what is checked; a seam for tests."""

    dependencies: Callable[[Settings], AbstractAsyncContextManager[Dependencies]] = open_dependencies
    cluster: Callable[[ClientConfig], Cluster] = kafka.Cluster


def settings_rows(settings: Settings) -> list[Finding]:
    """Returns the rows of settings that are valid."""
    found = [ok("settings", "valid" if settings.enabled else "valid; consuming is switched off")]
    if settings.kafka_client_config:
        found.append(ok("KAFKA_CLIENT_CONFIG", "readable, and each property is one of librdkafka's"))
    return found


async def findings(settings: Settings, config: ClientConfig, outside: Outside) -> AsyncIterator[Finding]:
    """Yields the rows of every check as they are found. Raises nothing: whatever fails is a row.

    Args:
        settings: the function's.
        config: of Kafka's own client.
        outside: opens Kafka and the sidecar.
    """
    for row in settings_rows(settings):
        yield row
    try:
        cluster = outside.cluster(config) if settings.kafka_brokers else None
        async for row in kafka_rows(settings, cluster, config.get("security.protocol", "PLAINTEXT")):
            yield row
    except Exception as error:
        yield unexpected(BROKERS, error)
    try:
        async with outside.dependencies(settings) as dependencies:
            async for row in _behind(settings, dependencies):
                yield row
    except TryAgain as failure:
        yield row_of(SIDECAR, failure, UNREACHED)
    except Exception as error:
        yield unexpected(SIDECAR, error)


async def _behind(settings: Settings, dependencies: Dependencies) -> AsyncIterator[Finding]:
    async for row in sidecar_rows(settings, dependencies.sidecar):
        yield row
    for row in await rows("state store", _state(settings, dependencies.state)):
        yield row
    async for row in homeserver_rows(settings, dependencies.synapse, dependencies.secret):
        yield row


async def _state(settings: Settings, state: StateStore) -> list[Finding]:
    await state.probe()
    return [ok("state store", f"{settings.state_store_name} is {'readable' if state.read_only else 'writable'}")]

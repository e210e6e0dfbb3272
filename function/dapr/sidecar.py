"""Asks the sidecar for its version, what it has loaded and subscribed, and whether it may publish. Publishes nothing."""

import logging
from collections.abc import Mapping
from dataclasses import dataclass
from enum import StrEnum

from dapr.aio.clients import DaprClient
from dapr.proto import api_v1
from grpc import RpcError, StatusCode

from function.dapr.proved import ADVICE, PROVED
from function.outcomes import Reason, TryAgain
from function.telemetry.logs import log

# No topic has such a partition: daprd checks the component's scopes, asks Kafka for the topic's partitions, and then refuses.
NO_PARTITION = str(2**31 - 1)
# Should a daprd publish it all the same: a well-formed record of a type that the function ignores.
_IGNORED = {"event_type": "matrix-account-sync.check"}


@dataclass(frozen=True, slots=True)
class Loaded:
    """What the sidecar has.

    Attributes:
        app_id: the function's.
        version: of daprd.
        components: types by name.
        subscriptions: pairs of component and topic.
        resiliencies: the number of loaded Resiliency resources.
        health_checked: whether it asks the function whether it is ready.
        has_app: whether it delivers events to an app; a Job's sidecar does not.
    """

    app_id: str
    version: str
    components: Mapping[str, str]
    subscriptions: frozenset[tuple[str, str]]
    resiliencies: int = 0
    health_checked: bool = False
    has_app: bool = True


class Publishing(StrEnum):
    """What came of an attempt to publish to a partition that does not exist."""

    ALLOWED = "allowed"
    FORBIDDEN = "forbidden"  # by the component's publishingScopes
    NO_COMPONENT = "no component"
    NO_TOPIC = "no topic"
    DENIED = "denied"  # by Kafka, to the component's user
    PUBLISHED = "published"  # this daprd knows no partitions


class Sidecar:
    """The sidecar.

    Args:
        client: client of the sidecar.
    """

    def __init__(self, client: DaprClient) -> None:
        self._client = client

    async def loaded(self) -> Loaded | None:
        """Returns what the sidecar has; None if its Configuration does not allow the question. Raises TryAgain."""
        try:
            # The SDK's get_metadata leaves the subscriptions out.
            found = await self._client._stub.GetMetadata(api_v1.GetMetadataRequest())  # noqa: SLF001
        except RpcError as error:
            if error.code() is StatusCode.UNIMPLEMENTED:
                return None
            raise TryAgain(Reason.STARTING, f"metadata: {error.code().name}") from None
        return Loaded(
            found.id,
            found.extended_metadata.get("daprRuntimeVersion", "unknown"),
            {component.name: component.type for component in found.registered_components},
            frozenset((subscription.pubsub_name, subscription.topic) for subscription in found.subscriptions),
            len(found.resiliencies),
            bool(found.app_connection_properties.health.health_check_path),
            found.app_connection_properties.port > 0,
        )

    async def try_publishing(self, pubsub: str, topic: str) -> Publishing:
        """Tries to publish to a partition that no topic has, so that no record is left behind. Raises TryAgain."""
        metadata = {"rawPayload": "true", "partitionNumber": NO_PARTITION} | _IGNORED
        try:
            await self._client.publish_event(pubsub, topic, b"{}", publish_metadata=metadata)
        except RpcError as error:
            if found := _meaning(error.code(), error.details() or ""):
                return found
            raise TryAgain(Reason.PUBLISH_FAILED, f"{topic}: {error.code().name}") from None
        return Publishing.PUBLISHED


# daprd answers INTERNAL to whatever its Kafka component says, and the words of that decide.
_SAID = {
    f"partition number {NO_PARTITION} is out of range": Publishing.ALLOWED,
    "topic or partition that does not exist": Publishing.NO_TOPIC,
    "not authorized to access this topic": Publishing.DENIED,
}


def _meaning(code: StatusCode, said: str) -> Publishing | None:
    if code is StatusCode.PERMISSION_DENIED:
        return Publishing.FORBIDDEN
    if code is StatusCode.INVALID_ARGUMENT and said.endswith("is not found"):
        return Publishing.NO_COMPONENT
    return next((found for words, found in _SAID.items() if words in said), None)


async def report_version(sidecar: Sidecar) -> None:
    """Logs `sidecar_unproved` if daprd has a version that is not one of `PROVED`, or does not tell its version."""
    try:
        loaded = await sidecar.loaded()
    except TryAgain:  # it has just gone: it is asked again when the function opens it again
        return
    version = loaded.version if loaded else "unknown"
    if version not in PROVED:
        log(logging.WARNING, "sidecar_unproved", version=version, detail=ADVICE)

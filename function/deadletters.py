"""Publishes a record that can't succeed to the dead-letter topic, as it came, with the reason."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime

from dapr.aio.clients import DaprClient
from grpc import RpcError

from function import __version__
from function.failures import Reason, Rejected, TryAgain

PREFIX = "x-dead-letter-"
REASON, DETAIL, TIME = PREFIX + "reason", PREFIX + "detail", PREFIX + "time"
TOPIC, PARTITION, OFFSET, TIMESTAMP = (PREFIX + name for name in ("topic", "partition", "offset", "timestamp"))
EVENT_ID, REPLAYS, VERSION = PREFIX + "event-id", PREFIX + "replays", PREFIX + "version"

# Words that Dapr and its Kafka component take as instructions when they stand in the metadata of a publish request.
_INSTRUCTIONS = frozenset({
    "rawpayload", "partitionkey", "partitionnumber", "ttlinseconds", "valueschematype", "pubsubname",
    "traceid", "traceparent", "tracestate",
})  # fmt: skip


@dataclass(frozen=True, slots=True)
class Delivered:
    """A Kafka record as daprd handed it over.

    `metadata` holds the record's headers and, with two underscores in front, what daprd says of the record
    (`__key`, `__topic`, `__partition`, `__offset`, `__timestamp`). A producer's header of such a name replaces
    daprd's: good for telling a person, never for order or identity.
    """

    value: bytes
    topic: str
    metadata: Mapping[str, str] = field(default_factory=dict)

    @property
    def headers(self) -> dict[str, str]:
        return {name.lower(): text for name, text in self.metadata.items() if not name.startswith("__")}

    def about(self, name: str) -> str:
        return self.metadata.get(f"__{name}", "")


class DeadLetters:
    """Publishes to one dead-letter topic through Dapr.

    Args:
        client: the sidecar.
        pubsub: name of the Dapr pub/sub component.
        topic: the dead-letter topic.
    """

    def __init__(self, client: DaprClient, pubsub: str, topic: str) -> None:
        self._client, self._pubsub, self._topic = client, pubsub, topic

    async def publish(self, record: Delivered, rejected: Rejected, event_id: str) -> None:
        """Publishes the record's bytes, key and headers with the reason. Raises TryAgain when Kafka did not take it."""
        metadata = letter(record, rejected, event_id, datetime.now(UTC))
        partition = metadata.get(PARTITION, "")
        try:
            if partition.isdecimal():
                await self._send(record.value, metadata | {"partitionNumber": partition})
                return
        except TryAgain:
            pass  # the partition may be a forged one that does not exist: by key instead
        await self._send(record.value, metadata)

    async def _send(self, value: bytes, metadata: dict[str, str]) -> None:
        try:
            await self._client.publish_event(self._pubsub, self._topic, value, publish_metadata=metadata)
        except RpcError as error:
            raise TryAgain(Reason.PUBLISH_FAILED, f"{self._topic}: {error.code().name}") from None


def letter(record: Delivered, rejected: Rejected, event_id: str, now: datetime) -> dict[str, str]:
    """The publish metadata, which become the dead letter's headers. Where a replayed record fails again, its first
    origin and its count stay."""
    kept = {n: t for n, t in record.metadata.items() if not n.startswith("__") and n.lower() not in _INSTRUCTIONS}
    origin = {TOPIC: record.topic} | {
        PREFIX + name: record.about(name) for name in ("partition", "offset", "timestamp") if record.about(name)
    }
    own = {
        REASON: rejected.reason.value,
        DETAIL: rejected.detail,
        TIME: now.isoformat(timespec="seconds"),
        EVENT_ID: event_id,
        VERSION: __version__,
        "rawPayload": "true",
    }
    if key := record.about("key"):
        own["partitionKey"] = key
    return {REPLAYS: "0"} | origin | kept | own

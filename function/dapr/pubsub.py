"""Publishes records through Dapr's Kafka component, as they came. Chooses neither topic nor headers."""

from collections.abc import Mapping

from dapr.aio.clients import DaprClient
from grpc import RpcError

from function.dapr.bulk_envelope import KafkaRecord
from function.outcomes import Reason, TryAgain

# Words that Dapr and its Kafka component take as instructions when they stand in the metadata of a publish request.
_INSTRUCTIONS = frozenset({
    "rawpayload", "partitionkey", "partitionnumber", "ttlinseconds", "valueschematype", "pubsubname",
    "traceid", "traceparent", "tracestate",
})  # fmt: skip


class Publisher:
    """Publishes to the topics of one pub/sub component.

    Args:
        client: the sidecar.
        pubsub: name of the Dapr pub/sub component.
    """

    def __init__(self, client: DaprClient, pubsub: str) -> None:
        self._client, self._pubsub = client, pubsub

    async def publish(self, topic: str, record: KafkaRecord, headers: Mapping[str, str], partition: str) -> None:
        """Publishes the record's bytes and key, with `headers`.

        Args:
            topic: where to.
            record: gives the bytes and the key.
            headers: of the new record, all of them: see `headers_of`.
            partition: the number of the partition, so that a user's records stay together. By key, which for daprd
                means another partition than for the producer, where it is "" or does not exist.

        Raises:
            TryAgain: Kafka did not take it.
        """
        metadata = dict(headers) | {"rawPayload": "true"}
        if key := record.dapr_metadata("key"):
            metadata["partitionKey"] = key
        try:
            if partition.isdecimal():
                await self._send(topic, record.value, metadata | {"partitionNumber": partition})
                return
        except TryAgain:
            pass  # the partition may be a forged one that does not exist: by key instead
        await self._send(topic, record.value, metadata)

    async def _send(self, topic: str, value: bytes, metadata: dict[str, str]) -> None:
        try:
            await self._client.publish_event(self._pubsub, topic, value, publish_metadata=metadata)
        except RpcError as error:
            raise TryAgain(Reason.PUBLISH_FAILED, f"{topic}: {error.code().name}") from None


def headers_of(record: KafkaRecord) -> dict[str, str]:
    """The record's own headers, without what daprd adds and what it would take for an instruction."""
    return {n: t for n, t in record.metadata.items() if not n.startswith("__") and n.lower() not in _INSTRUCTIONS}

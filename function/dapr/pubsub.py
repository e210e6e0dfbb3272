"""Publishes records unchanged through Dapr's Kafka component. Chooses neither topic nor headers."""

import logging
from collections.abc import Mapping

from dapr.aio.clients import DaprClient
from grpc import RpcError, StatusCode

from function.kafka.record import KafkaRecord
from function.outcomes import Reason, TryAgain
from function.telemetry.logs import log

# Words that Dapr and its Kafka component take as instructions when they stand in the metadata of a publish request.
_INSTRUCTIONS = frozenset({
    "rawpayload", "partitionkey", "partitionnumber", "ttlinseconds", "valueschematype", "pubsubname",
    "traceid", "traceparent", "tracestate",
})  # fmt: skip


class Publisher:
    """Publishes to the topics of one pub/sub component.

    Args:
        client: client of the sidecar.
        pubsub: name of the Dapr pub/sub component.
        read_only: whether records are logged instead of published, as in a dry run.
    """

    def __init__(self, client: DaprClient, pubsub: str, *, read_only: bool = False) -> None:
        self._client, self._pubsub, self._read_only = client, pubsub, read_only

    @property
    def read_only(self) -> bool:
        """Whether nothing is published, as in a dry run."""
        return self._read_only

    async def publish(self, topic: str, record: KafkaRecord, headers: Mapping[str, str], partition: str) -> None:
        """Publishes the record's bytes and key, with `headers`.

        Args:
            topic: the topic to publish to.
            record: provides the bytes and the key.
            headers: all headers of the new record: see `headers_of`.
            partition: the partition number, so that a user's records stay together. If it is "" or does not exist, the
                record is published by key, which daprd maps to another partition than the producer does.

        Raises:
            TryAgain: Kafka did not take it, or the sidecar did not answer in time; then it may have been published.
        """
        if self._read_only:
            log(logging.INFO, "dry_run", operation="publish", topic=topic)
            return
        metadata = dict(headers) | {"rawPayload": "true"}
        if key := record.kafka_field("key"):
            metadata["partitionKey"] = key
        try:
            if not partition.isdecimal() or not await self._took(topic, record, metadata, partition):
                await self._client.publish_event(self._pubsub, topic, record.value, publish_metadata=metadata)
        except RpcError as error:
            raise TryAgain(Reason.PUBLISH_FAILED, f"{topic}: {error.code().name}") from None

    async def _took(self, topic: str, record: KafkaRecord, metadata: Mapping[str, str], partition: str) -> bool:
        """Returns whether Kafka took the record in that partition; False: it may not exist. Raises RpcError."""
        chosen = {**metadata, "partitionNumber": partition}
        try:
            await self._client.publish_event(self._pubsub, topic, record.value, publish_metadata=chosen)
        except RpcError as error:
            if error.code() is StatusCode.DEADLINE_EXCEEDED:
                raise  # it may have been published: not a second time by key
            return False
        return True


def headers_of(record: KafkaRecord) -> dict[str, str]:
    """Returns the producer's headers, without daprd's fields and without names that daprd treats as instructions."""
    return {n: t for n, t in record.metadata.items() if not n.startswith("__") and n.lower() not in _INSTRUCTIONS}

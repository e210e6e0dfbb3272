"""Asks Kafka for how long a topic keeps its records."""

import concurrent.futures

from confluent_kafka import KafkaException
from confluent_kafka.admin import ConfigResource, ResourceType

from function.kafka.client import ClientConfig, admin_client

SECONDS = 10.0


def retention_milliseconds(config: ClientConfig, topic: str) -> int | None:
    """Returns after how many milliseconds Kafka may delete a record; None if never, or if it may not be asked. Blocks."""
    client = admin_client(config)
    [future] = client.describe_configs([ConfigResource(ResourceType.TOPIC, topic)], request_timeout=SECONDS).values()
    try:
        found = {name: entry.value for name, entry in future.result(SECONDS + 1).items()}
    except (KafkaException, concurrent.futures.TimeoutError):
        return None
    limit = int(found.get("retention.ms") or -1)
    return limit if limit >= 0 and "delete" in (found.get("cleanup.policy") or "") else None

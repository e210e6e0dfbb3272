"""Defines what part of a topic is read, and the ways in which a read can fail."""

from collections.abc import Iterable
from dataclasses import dataclass

from confluent_kafka import KafkaException, TopicCollection

from function.kafka.client import ClientConfig, admin_client

SECONDS = 10.0


@dataclass(frozen=True, slots=True)
class Span:
    """The offsets of one partition that are read: from `start` up to, but not including, `end`."""

    partition: int
    start: int
    end: int


class CutShort(Exception):
    """A read ended before the end of the topic.

    Args:
        left: what was not read, of each partition.
        why: why not, without addresses.
        partition: which of them failed, if only one did.

    Attributes:
        partition: the first that was not read to its end.
        offset: the first one of `partition` that was not read.
        end: of `partition`.
    """

    def __init__(self, left: Iterable[Span], why: str, partition: int | None = None) -> None:
        self.left = sorted(left, key=lambda span: (span.partition != partition, span.partition))
        first = self.left[0]
        self.partition, self.offset, self.end, self.why = first.partition, first.start, first.end, why
        super().__init__(why)

    def __str__(self) -> str:
        more = f", and {len(self.left) - 1} more partitions not to their end" if len(self.left) > 1 else ""
        return f"partition {self.partition} was read up to offset {self.offset} of {self.end}{more}: {self.why}"


class NoPartition(Exception):
    """A partition was asked for that the topic does not have."""

    def __init__(self, partition: int, count: int) -> None:
        super().__init__(f"the topic has no partition {partition}; expected 0 to {count - 1}")


def topic_id(config: ClientConfig, topic: str) -> str:
    """Returns the id that Kafka gave the topic when it was made; "" if the broker is too old or does not say."""
    client = admin_client(config)  # a client that is given up answers nothing
    try:
        described = client.describe_topics(TopicCollection([topic]), request_timeout=SECONDS)[topic]
        return str(described.result().topic_id)
    except KafkaException:
        return ""

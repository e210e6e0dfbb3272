"""Asks Kafka about its brokers, topics and consumer groups, for `check`. Changes nothing, joins no group."""

import concurrent.futures
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, TypeVar

from confluent_kafka import KafkaError, KafkaException, TopicCollection
from confluent_kafka.admin import ConfigResource, ResourceType

from function.kafka.client import ClientConfig, admin_client, asking_kafka, is_refusal, more_telling
from function.kafka.lag import KafkaGroup, Members, PartitionLag, Place, Refused
from function.outcomes import Reason, TryAgain

ASK_SECONDS = 5.0  # for one question
FIRST_SECONDS = 5.0
TRY_SECONDS = 0.5  # between two looks at the client's errors
_UNKNOWN = {KafkaError.UNKNOWN_TOPIC_OR_PART, KafkaError._UNKNOWN_TOPIC}  # noqa: SLF001 - the library's own name
_TLS = KafkaError._SSL  # noqa: SLF001

_Answer = TypeVar("_Answer")


@dataclass(frozen=True, slots=True)
class Topic:
    """A topic as Kafka describes it.

    Attributes:
        partitions: how many.
        replicas: of the partition that has fewest.
        in_sync: replicas that are up to date, of the partition that has fewest.
        leaderless: how many partitions have no leader.
        config: by name; None: Kafka does not let this client see it.
        operations: what Kafka lets this client do, such as WRITE; None: Kafka did not say.
    """

    partitions: int
    replicas: int = 1
    in_sync: int = 1
    leaderless: int = 0
    config: Mapping[str, str] | None = None
    operations: frozenset[str] | None = None


class Cluster:
    """Kafka, as its own client sees it. Every method blocks, for a bounded time: call it in a thread.

    Every method raises TryAgain if Kafka does not answer, or refuses this client.

    Args:
        config: from `client_config`.
        first_seconds: for the first question, which connects.
    """

    def __init__(self, config: ClientConfig, first_seconds: float = FIRST_SECONDS) -> None:
        self._properties, self._first_seconds = config, first_seconds
        self._error: KafkaError | None = None
        self._admin = admin_client(config, self._heard)

    def brokers(self) -> int:
        """Returns how many brokers there are. A refused password or certificate ends it at once."""
        deadline = time.monotonic() + self._first_seconds
        with asking_kafka():
            while True:
                try:
                    return len(self._admin.list_topics(timeout=TRY_SECONDS).brokers)
                except KafkaException as failure:
                    self._admin.poll(0)  # calls `_heard`
                    if self._is_final() or time.monotonic() >= deadline:
                        raise KafkaException(self._error or failure.args[0]) from None

    def topic(self, name: str) -> Topic | None:
        """Returns the topic; None if there is none."""
        asked = TopicCollection([name])
        with asking_kafka():
            try:
                found = _result(
                    self._admin.describe_topics(asked, include_authorized_operations=True, request_timeout=ASK_SECONDS)[
                        name
                    ]
                )
            except KafkaException as failure:
                if failure.args[0].code() in _UNKNOWN:
                    return None
                raise
            config = self._config(name)
        return Topic(
            len(found.partitions),
            min((len(partition.replicas) for partition in found.partitions), default=0),
            min((len(partition.isr) for partition in found.partitions), default=0),
            sum(partition.leader is None or partition.leader.id < 0 for partition in found.partitions),
            config,
            _names(found.authorized_operations),
        )

    def _config(self, topic: str) -> dict[str, str] | None:
        asked = ConfigResource(ResourceType.TOPIC, topic)
        try:
            found = _result(self._admin.describe_configs([asked], request_timeout=ASK_SECONDS)[asked])
        except KafkaException as failure:
            if is_refusal(failure.args[0]):
                return None
            raise
        return {name: str(entry.value) for name, entry in found.items()}

    def group(self, name: str, topics: Sequence[str]) -> tuple[Members, Mapping[Place, PartitionLag]]:
        """Returns the group's members, and how far it is in each partition of the topics."""
        asked = KafkaGroup(self._properties, name, topics, ASK_SECONDS)
        try:
            return asked.members(), asked.lag()
        except Refused as refused:
            raise TryAgain(Reason.KAFKA_UNAVAILABLE, str(refused)) from None

    def _is_final(self) -> bool:
        """Whether the next try would end as this one did: credentials or certificates do not fit."""
        return self._error is not None and (is_refusal(self._error) or self._error.code() == _TLS)

    def _heard(self, error: KafkaError) -> None:
        self._error = more_telling(self._error, error)


def _result(answer: "concurrent.futures.Future[_Answer]") -> Any:
    """Returns the answer. Raises TryAgain if it takes longer than the client's own limit, which should end it."""
    try:
        return answer.result(ASK_SECONDS + 1)
    except concurrent.futures.TimeoutError:
        raise TryAgain(Reason.KAFKA_UNAVAILABLE, "no answer in time") from None


def _names(operations: Sequence[Any] | None) -> frozenset[str] | None:
    return frozenset(operation.name for operation in operations) if operations else None

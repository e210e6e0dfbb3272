"""Asks Kafka how far a consumer group is: committed offsets, the ends of its topics, and who owns which partition."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Protocol

from confluent_kafka import (
    ConsumerGroupState,
    ConsumerGroupTopicPartitions,
    KafkaError,
    KafkaException,
    TopicPartition,
)
from confluent_kafka.admin import ConsumerGroupDescription, OffsetSpec

from function.kafka.client import ClientConfig, admin_client, error_name, is_refusal
from function.kafka.reader import TopicReader
from function.kafka.spans import CutShort, Span
from function.outcomes import Reason, TryAgain

SECONDS = 5.0  # for each of the five questions of a look
NONE = -1  # the committed offset of a partition without one

Place = tuple[str, int]  # topic, partition

_EARLIEST, _LATEST = OffsetSpec.earliest(), OffsetSpec.latest()  # type: ignore[no-untyped-call]


@dataclass(frozen=True, slots=True)
class PartitionLag:
    """How far the group is in one partition; `committed` is NONE before its first commit."""

    committed: int
    low: int
    end: int

    @property
    def next(self) -> int:
        """The offset of the first record that is not processed: without a commit, or below the beginning, the beginning."""
        return max(self.committed, self.low)

    @property
    def lag(self) -> int:
        return max(0, self.end - self.next)


@dataclass(frozen=True, slots=True)
class Member:
    """A member of the group: its client's id, and what it owns."""

    client_id: str
    owned: frozenset[Place]


@dataclass(frozen=True, slots=True)
class GroupLook:
    """What Kafka said of the group at one time: its partitions, its members by id, and whether no rebalance was going on."""

    partitions: Mapping[Place, PartitionLag]
    members: Mapping[str, Member]
    stable: bool


class Refused(Exception):
    """Kafka does not let this client ask; the text is the error's name."""


class Group(Protocol):
    """What the lag loop asks. Every method blocks, for a bounded time."""

    def look(self) -> GroupLook:
        """Returns what Kafka says of the group. Raises TryAgain, Refused."""
        ...

    def members(self) -> Mapping[str, Member]:
        """Returns the members by id. Raises TryAgain, Refused."""
        ...

    def has_record(self, place: Place, found: PartitionLag) -> bool:
        """Returns whether the group has a record to process: not all offsets hold one. Raises TryAgain, Refused."""
        ...


class KafkaGroup:
    """A consumer group of the cluster.

    Args:
        config: from `client_config`.
        name: of the group.
        topics: those that it reads.
        seconds: for each question.
    """

    def __init__(self, config: ClientConfig, name: str, topics: Sequence[str], seconds: float = SECONDS) -> None:
        self._config, self._name, self._topics, self._seconds = config, name, topics, seconds
        self._error: KafkaError | None = None  # the client's last one: a wrong password only shows there
        self._admin = admin_client({**config}, self._heard)

    def look(self) -> GroupLook:
        try:
            places = self._places()
            lows, ends = self._offsets(places, _EARLIEST), self._offsets(places, _LATEST)
            committed = self._committed()
            described = self._described()
        except KafkaException as error:
            raise self._failure(error) from None
        partitions = {place: PartitionLag(committed.get(place, NONE), lows[place], ends[place]) for place in ends}
        return GroupLook(partitions, _members(described), described.state == ConsumerGroupState.STABLE)

    def members(self) -> Mapping[str, Member]:
        try:
            return _members(self._described())
        except KafkaException as error:
            raise self._failure(error) from None

    def has_record(self, place: Place, found: PartitionLag) -> bool:
        topic, partition = place
        with TopicReader(self._config, topic, self._seconds, self._seconds) as reader:
            try:
                return any(reader.batches([Span(partition, found.next, found.end)]))
            except CutShort as cut:
                raise TryAgain(Reason.KAFKA_UNAVAILABLE, cut.why) from None

    def _places(self) -> list[Place]:
        places = []
        for topic in self._topics:
            found = self._admin.list_topics(topic, timeout=self._seconds).topics[topic]
            if found.error:
                raise KafkaException(found.error)
            places += [(topic, partition) for partition in found.partitions]
        return places

    def _offsets(self, places: Iterable[Place], spec: OffsetSpec) -> dict[Place, int]:
        asked = {TopicPartition(*place): spec for place in places}
        answers = self._admin.list_offsets(asked, request_timeout=self._seconds)
        return {(one.topic, one.partition): future.result().offset for one, future in answers.items()}

    def _committed(self) -> dict[Place, int]:
        asked = [ConsumerGroupTopicPartitions(self._name)]
        [future] = self._admin.list_consumer_group_offsets(asked, request_timeout=self._seconds).values()
        try:
            found = future.result().topic_partitions
        except KafkaException as error:
            if error.args[0].code() == KafkaError.GROUP_ID_NOT_FOUND:
                return {}
            raise
        return {(one.topic, one.partition): one.offset for one in found if one.offset >= 0}

    def _described(self) -> ConsumerGroupDescription:
        [future] = self._admin.describe_consumer_groups([self._name], request_timeout=self._seconds).values()
        described: ConsumerGroupDescription = future.result()
        return described

    def _heard(self, error: KafkaError) -> None:
        self._error = error

    def _failure(self, error: KafkaException) -> Exception:
        found, heard = error.args[0], self._error
        self._error = None
        if heard and is_refusal(heard):
            found = heard
        name = error_name(found)
        return Refused(name) if is_refusal(found) else TryAgain(Reason.KAFKA_UNAVAILABLE, name)


def _members(described: ConsumerGroupDescription) -> dict[str, Member]:
    return {one.member_id: Member(one.client_id, _owned(one.assignment)) for one in described.members}


def _owned(assignment: object) -> frozenset[Place]:
    return frozenset((one.topic, one.partition) for one in getattr(assignment, "topic_partitions", None) or ())

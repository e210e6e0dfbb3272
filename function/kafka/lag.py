"""Asks Kafka how far a consumer group is: committed offsets, the ends of its topics, and who owns which partition.

A broker that comes and goes makes some calls of confluent-kafka 2.16 end the whole process: AdminClient's
`list_consumer_group_offsets` (confluent-kafka-python#1982) and `describe_consumer_groups` (a failed assertion in librdkafka).
The calls here were seen to survive it: tests/contract/test_lag.py kills the broker under them.
"""

import concurrent.futures
import struct
import warnings
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Protocol, TypeVar

from confluent_kafka import Consumer, KafkaError, KafkaException, TopicPartition
from confluent_kafka.admin import OffsetSpec

from function.kafka.client import SILENT, ClientConfig, admin_client, error_name, is_refusal, more_telling
from function.kafka.reader import TopicReader
from function.kafka.spans import CutShort, Span
from function.outcomes import Reason, TryAgain

SECONDS = 3.0  # for each of a handful of questions
NONE = -1  # the committed offset of a partition without one

Place = tuple[str, int]  # topic, partition

_EARLIEST, _LATEST = OffsetSpec.earliest(), OffsetSpec.latest()  # type: ignore[no-untyped-call]
_Answer = TypeVar("_Answer")


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
class Members:
    """The members of the group by their ids, and its state in Kafka's words; "Dead" if Kafka does not know the group."""

    by_id: Mapping[str, Member]
    state: str = "Stable"

    @property
    def stable(self) -> bool:
        """Whether no rebalance was going on."""
        return self.state == "Stable"


class Refused(Exception):
    """Kafka does not let this client ask; the text is the error's name."""


class Group(Protocol):
    """What the lag loop asks. Every method blocks, for a bounded time, and raises TryAgain or Refused."""

    def lag(self) -> Mapping[Place, PartitionLag]:
        """Returns how far the group is in each partition."""
        ...

    def members(self) -> Members:
        """Returns who is in the group."""
        ...

    def has_record(self, place: Place, found: PartitionLag) -> bool:
        """Returns whether the group has a record to process: not every offset has one."""
        ...

    def stop(self) -> None:
        """Ends what blocks in another thread at its next question."""


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
        self._stopped = False
        self._admin = admin_client(config, self._heard)
        # Asks for its offsets, and never joins.
        self._consumer = Consumer({**config, "group.id": name, "error_cb": self._heard}, logger=SILENT)

    def lag(self) -> Mapping[Place, PartitionLag]:
        places = [place for topic in self._topics for place in self._ask(partial(self._places, topic))]
        lows = self._ask(lambda: self._offsets(places, _EARLIEST))
        committed = self._ask(lambda: self._committed(places))
        # Asked last: what is committed in between would seem to be beyond the end, as in a topic that was created again.
        ends = self._ask(lambda: self._offsets(places, _LATEST))
        return {place: PartitionLag(committed[place], lows[place], ends[place]) for place in places}

    def members(self) -> Members:
        return self._ask(self._members)

    def has_record(self, place: Place, found: PartitionLag) -> bool:
        topic, partition = place
        with TopicReader(self._config, topic, self._seconds, self._seconds) as reader:
            try:
                return any(reader.batches([Span(partition, found.next, found.end)]))
            except CutShort as cut:
                raise TryAgain(Reason.KAFKA_UNAVAILABLE, cut.why) from None

    def stop(self) -> None:
        self._stopped = True

    def _places(self, topic: str) -> list[Place]:
        found = self._admin.list_topics(topic, timeout=self._seconds).topics[topic]
        if found.error:
            raise KafkaException(found.error)
        return [(topic, partition) for partition in found.partitions]

    def _offsets(self, places: Iterable[Place], spec: OffsetSpec) -> dict[Place, int]:
        asked = {TopicPartition(*place): spec for place in places}
        answers = self._admin.list_offsets(asked, request_timeout=self._seconds)
        limit = self._seconds + 1  # the client's own limit should end it first
        return {(one.topic, one.partition): future.result(limit).offset for one, future in answers.items()}

    def _committed(self, places: Iterable[Place]) -> dict[Place, int]:
        found = self._consumer.committed([TopicPartition(*place) for place in places], timeout=self._seconds)
        for one in found:
            if one.error:
                raise KafkaException(one.error)
        return {(one.topic, one.partition): max(one.offset, NONE) for one in found}

    def _members(self) -> Members:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", DeprecationWarning)  # what is to replace it ends the process: see above
            groups = self._admin.list_groups(self._name, timeout=self._seconds)
        by_id, state = dict[str, Member](), "Dead"
        for group in groups:
            if group.error:
                raise KafkaException(group.error)
            state = str(group.state)
            for one in group.members:
                by_id[str(one.id)] = Member(str(one.client_id), frozenset(_assigned(one.assignment or b"")))
        return Members(by_id, state)

    def _ask(self, question: Callable[[], _Answer]) -> _Answer:
        if self._stopped:
            raise TryAgain(Reason.KAFKA_UNAVAILABLE, "stopped")
        try:
            return question()
        except KafkaException as error:
            raise self._failure(error.args[0]) from None
        except concurrent.futures.TimeoutError:
            raise TryAgain(Reason.KAFKA_UNAVAILABLE, "no answer in time") from None

    def _heard(self, error: KafkaError) -> None:
        self._error = more_telling(self._error, error)

    def _failure(self, found: KafkaError) -> Exception:
        self._admin.poll(0)
        if (message := self._consumer.poll(0)) and (error := message.error()):
            self._heard(error)
        heard, self._error = self._error, None
        if heard and is_refusal(heard):
            found = heard
        name = error_name(found)
        return Refused(name) if is_refusal(found) else TryAgain(Reason.KAFKA_UNAVAILABLE, name)


def _assigned(assignment: bytes) -> Iterator[Place]:
    """Yields the partitions of an assignment in the form of Kafka's consumer protocol; none if it has another form."""
    try:
        place, (topics,) = 6, struct.unpack_from(">i", assignment, 2)
        for _ in range(topics):
            (length,) = struct.unpack_from(">h", assignment, place)
            topic = assignment[place + 2 : place + 2 + length].decode()
            place += 2 + length
            (count,) = struct.unpack_from(">i", assignment, place)
            partitions = struct.unpack_from(f">{count}i", assignment, place + 4)
            place += 4 + 4 * count
            yield from ((topic, partition) for partition in partitions)
    except (struct.error, UnicodeDecodeError):
        return

"""Reads a topic with Kafka's own client: from a start to the end that the topic had when it was asked. Joins no group.

Blocks; stream.py offers the same to asynchronous code.
"""

import contextlib
import time
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from datetime import datetime
from typing import Self, TypeVar, cast

from confluent_kafka import Consumer, KafkaError, KafkaException, Message, TopicPartition

from function.environment import WrongSettings
from function.kafka.client import SILENT, ClientConfig, asking_kafka, error_name, is_refusal, more_telling, said
from function.kafka.record import KafkaRecord, record_from
from function.kafka.spans import CutShort, NoPartition, Span, topic_id
from function.outcomes import Reason, TryAgain

BATCH = 500  # records; a few milliseconds of work
BATCH_BYTES = 4 * 1024 * 1024
FEW = 25  # records taken at once, so that a batch of large ones does not grow far over its size
POLL_SECONDS = 0.1  # for the first records of a batch; also between two looks at the deadline
TRY_SECONDS = 1.0  # of one try of a question: between two of them the client's errors are looked at
ASK_SECONDS = 10.0  # for a question, until Kafka counts as unavailable
SILENT_SECONDS = 30.0  # without a record and without an end, after which a read is cut short
NO_GROUP = "matrix-account-sync-reads-without-a-group"  # librdkafka wants a name; nothing joins or commits under it

_Answer = TypeVar("_Answer")

# librdkafka's own names. It looks for the coordinator of a group that is never joined: its errors concern nothing here.
_END = KafkaError._PARTITION_EOF  # noqa: SLF001
_OUT_OF_RANGE = {KafkaError._AUTO_OFFSET_RESET, KafkaError.OFFSET_OUT_OF_RANGE}  # noqa: SLF001
_NO_ANSWER = {KafkaError._TIMED_OUT, KafkaError._TRANSPORT, KafkaError._ALL_BROKERS_DOWN, KafkaError._WAIT_COORD}  # noqa: SLF001
_OF_GROUP = {KafkaError.GROUP_AUTHORIZATION_FAILED, KafkaError._MAX_POLL_EXCEEDED}  # noqa: SLF001


class TopicReader:
    """Reads one topic; use it as a context manager. Every method blocks: call it in a thread.

    Args:
        config: from `client_config`.
        topic: the topic.
        ask_seconds: for each question, until Kafka counts as unavailable.
        silent_seconds: without a record and without an end, after which a read is cut short.
        clock: monotonic seconds.

    Attributes:
        gone: how many records Kafka deleted before they were read, because their retention had ended.

    Raises:
        WrongSettings: librdkafka refuses a property or its value.
    """

    def __init__(
        self, config: ClientConfig, topic: str, ask_seconds: float = ASK_SECONDS, silent_seconds: float = SILENT_SECONDS,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:  # fmt: skip
        self._config, self._topic, self._clock = config, topic, clock
        self._ask_seconds, self._silent = ask_seconds, silent_seconds
        self._error: KafkaError | None = None  # the client's last one
        self._id = ""
        self._cut: CutShort | None = None
        self._stopped = False
        self.gone = 0
        own = {"group.id": NO_GROUP, "enable.partition.eof": True, "error_cb": self._heard}
        try:
            self._consumer = Consumer({**config, **own}, logger=SILENT)
        except KafkaException as refused:
            raise WrongSettings([f"KAFKA_CLIENT_CONFIG: {said(refused)}"]) from None

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._consumer.close()

    def stop(self) -> None:
        """Ends what blocks in another thread, within TRY_SECONDS."""
        self._stopped = True

    def spans(
        self, since: datetime | None = None, offsets: Mapping[int, int] | None = None, only: Collection[int] | None = None
    ) -> list[Span]:  # fmt: skip
        """Asks Kafka for the beginning and the end of each partition.

        Args:
            since: start at the first record with this Kafka timestamp or a later one.
            offsets: start at this offset of a partition, or at its beginning if that is later; `gone` counts the difference.
            only: the partitions; all of them by default.

        Raises:
            TryAgain: Kafka does not answer, has no such topic, or refuses the client.
            NoPartition: `offsets` or `only` name a partition that the topic does not have.
        """
        present = self._partitions()
        if missing := ({*(offsets or ()), *(only or ())} - set(present)):
            raise NoPartition(min(missing), len(present))
        self._id = topic_id(self._config, self._topic)
        wanted = [number for number in present if only is None or number in only]
        asked, starts = offsets or {}, self._starts(wanted, since)
        spans = []
        for number in wanted:
            low, high = self._bounds(number)
            self.gone += max(0, low - asked.get(number, low))
            start = max(low, starts.get(number, low), asked.get(number, low))
            spans.append(Span(number, min(start, high), high))
        return spans

    def batches(self, spans: Sequence[Span]) -> Iterator[list[KafkaRecord]]:
        """Yields the records of the spans in batches; within a partition in the order of their offsets.

        If Kafka deletes records before they are read, it goes on at the new beginning and counts them as `gone`.

        Raises:
            CutShort: Kafka went away, refused, fell silent before the end, or the topic was deleted and created again.
        """
        self._cut, left = None, {span.partition: span for span in spans if span.start < span.end}
        if not left:
            return
        with self._cutting_short(left):
            self._consumer.assign([TopicPartition(self._topic, s.partition, s.start) for s in left.values()])
        heard = self._clock()
        while left and not self._stopped:
            taken, records = self._batch(left)
            if records:
                yield records
            if taken:
                heard, self._error = self._clock(), None  # after the yield: a slow caller is not Kafka's silence
            elif self._clock() - heard >= self._silent:
                raise CutShort(left.values(), self._last_error(f"no answer from Kafka for {self._silent:.0f} s"))
        self._check_identity(spans)

    def _batch(self, left: dict[int, Span]) -> tuple[int, list[KafkaRecord]]:
        """Returns how many messages came, and the wanted records of them."""
        if self._cut:
            raise self._cut
        taken, size, records = 0, 0, list[KafkaRecord]()
        while left and len(records) < BATCH and size < BATCH_BYTES:
            try:
                with self._cutting_short(left):
                    messages = self._consumer.consume(FEW, 0 if taken else POLL_SECONDS)
                    for message in messages:
                        if record := self._take(message, left):
                            records.append(record)
                            size += record.size
            except CutShort as cut:
                if not records:
                    raise
                self._cut = cut  # the records before it are no longer left: they are handed out first
                break
            if not messages:
                break
            taken += len(messages)
        if not taken and not records and self._error and is_refusal(self._error):
            raise CutShort(left.values(), error_name(self._error))
        return taken, records

    def _take(self, message: Message, left: dict[int, Span]) -> KafkaRecord | None:
        """Returns the message's record if it is wanted, and moves its partition on."""
        number, error = message.partition(), message.error()
        span = left.get(number) if number is not None else None
        if error and error.code() in _OUT_OF_RANGE and span:
            self._go_on_at_beginning(span, left)
            return None
        if error and error.code() != _END:
            if error.code() in _OF_GROUP or error.code() in _NO_ANSWER:
                return None
            raise CutShort(left.values(), error_name(error), number)
        offset = message.offset()
        if span is None or offset is None or offset < span.start:
            return None
        record = None if error or offset >= span.end else _record(message)
        self._move(span, offset if error else offset + 1, left)
        return record

    def _move(self, span: Span, following: int, left: dict[int, Span]) -> None:
        if following < span.end:
            left[span.partition] = Span(span.partition, following, span.end)
        else:
            del left[span.partition]
            self._consumer.incremental_unassign([TopicPartition(self._topic, span.partition)])

    def _go_on_at_beginning(self, span: Span, left: dict[int, Span]) -> None:
        """Kafka has no longer what is to be read next: goes on at the beginning, unless the topic is another one."""
        low, high = self._bounds(span.partition)
        if low <= span.start or high < span.end:
            raise CutShort(left.values(), "the topic was deleted and created again", span.partition)
        self.gone += min(low, span.end) - span.start
        self._move(span, low, left)
        if low < span.end:
            place = TopicPartition(self._topic, span.partition)
            self._consumer.incremental_unassign([place])
            self._consumer.incremental_assign([TopicPartition(self._topic, span.partition, low)])

    def _check_identity(self, spans: Sequence[Span]) -> None:
        with contextlib.suppress(KafkaException):
            if not self._stopped and self._id and self._id != topic_id(self._config, self._topic):
                raise CutShort(spans, "the topic was deleted and created again during the read")

    def _partitions(self) -> list[int]:
        found = self._ask(lambda seconds: self._consumer.list_topics(self._topic, timeout=seconds))
        topic = found.topics[self._topic]
        if topic.error:
            raise TryAgain(Reason.KAFKA_UNAVAILABLE, f"{self._topic}: {error_name(topic.error)}")
        return sorted(topic.partitions)

    def _bounds(self, number: int) -> tuple[int, int]:
        place = TopicPartition(self._topic, number)
        low, high = self._ask(lambda seconds: self._consumer.get_watermark_offsets(place, timeout=seconds))
        return low, high

    def _starts(self, partitions: Sequence[int], since: datetime | None) -> dict[int, int]:
        if since is None:
            return {}
        milliseconds = max(0, int(since.timestamp() * 1000))
        asked = [TopicPartition(self._topic, number, milliseconds) for number in partitions]
        found = self._ask(lambda seconds: self._consumer.offsets_for_times(asked, timeout=seconds))
        with asking_kafka():
            for place in found:
                if place.error:
                    raise KafkaException(place.error)
        # Negative: no record is that late; the highest offset leaves nothing to read.
        return {place.partition: place.offset if place.offset >= 0 else 2**62 for place in found}

    def _ask(self, question: Callable[[float], _Answer]) -> _Answer:
        """Asks again while Kafka does not answer. Raises TryAgain: no answer in time, or a refusal, which ends it at once."""
        end = self._clock() + self._ask_seconds
        while True:
            with asking_kafka():
                try:
                    answer = question(TRY_SECONDS)
                    self._error = None
                    return answer
                except KafkaException as error:
                    if error.args[0].code() not in _NO_ANSWER:
                        raise
                    self._consumer.poll(0)  # calls `_heard`
                    refused = self._error is not None and is_refusal(self._error)
                    if refused or self._clock() >= end or self._stopped:
                        raise KafkaException(more_telling(self._error, error.args[0])) from None

    def _heard(self, error: KafkaError) -> None:
        if error.code() not in _OF_GROUP:
            self._error = more_telling(self._error, error)

    def _last_error(self, otherwise: str) -> str:
        return f"{otherwise} ({error_name(self._error)})" if self._error else otherwise

    @contextlib.contextmanager
    def _cutting_short(self, left: Mapping[int, Span]) -> Iterator[None]:
        try:
            yield
        except KafkaException as error:
            raise CutShort(left.values(), error_name(error.args[0])) from None


def _record(message: Message) -> KafkaRecord:
    _, milliseconds = message.timestamp()
    return record_from(
        message.topic() or "", message.partition() or 0, message.offset() or 0, milliseconds, message.key(),
        message.value(), cast("list[tuple[str, bytes | None]]", message.headers() or []),
    )  # fmt: skip

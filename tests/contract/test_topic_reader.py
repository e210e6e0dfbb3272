"""Reading a topic of a real broker to the end that was asked for, and what happens when that can't be done."""

import time
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path

import anyio
import pytest

from dev.processes import free_port
from dev.servers.kafka import Kafka
from function.kafka.reader import BATCH, TopicReader
from function.kafka.record import KafkaRecord
from function.kafka.spans import CutShort, NoPartition, Span
from function.kafka.stream import open_topic
from function.outcomes import Reason, TryAgain
from tests.contract.servers.topics import Topic, config_of, everything, numbers, values

pytestmark = pytest.mark.real

BIG = [b"x" * 100_000] * 400  # several times what the client fetches ahead: 4 MB in its queue, 8 MB on the way


@contextmanager
def reading(topic: Topic, silent: float = 30.0) -> Iterator[TopicReader]:
    with TopicReader(config_of(topic.kafka.brokers), topic.name, silent_seconds=silent) as reader:
        yield reader


@pytest.fixture
def topic(kafka: Kafka) -> Topic:
    return Topic(kafka)


def test_reads_from_the_beginning_to_the_end_in_order(kafka: Kafka) -> None:
    topic = Topic(kafka, 3)
    for partition in range(2):  # the third is empty
        topic.put(*numbers(1_200), partition=partition)
    with reading(topic) as reader:
        spans = reader.spans()
        records = everything(reader, spans)
    assert spans == [Span(0, 0, 1_200), Span(1, 0, 1_200), Span(2, 0, 0)]
    for number in ("0", "1"):
        assert values([r for r in records if r.kafka_field("partition") == number]) == numbers(1_200)


def test_an_empty_topic_has_nothing_to_read(topic: Topic) -> None:
    with reading(topic) as reader:
        assert everything(reader, reader.spans()) == []


def test_a_record_has_key_headers_place_and_time_as_kafka_holds_them(topic: Topic) -> None:
    topic.put(b"\xff", None, time=1_762_000_000_123, headers={"event_id": b"e-1", "__key": b"forged"})
    with reading(topic) as reader:
        record, tombstone = everything(reader, reader.spans())
    fields = [record.kafka_field(name) for name in ("key", "topic", "partition", "offset", "timestamp")]
    assert fields == ["key", topic.name, "0", "0", "1762000000123"]
    assert (record.value, record.headers, record.metadata["___key"]) == (b"\xff", {"event_id": "e-1"}, "forged")
    assert tombstone.value == b"null"


def test_records_that_arrive_meanwhile_are_left_out(topic: Topic) -> None:
    topic.put(*numbers(10))
    with reading(topic) as reader:
        spans = reader.spans()
        topic.put(*numbers(10, 20))
        assert values(everything(reader, spans)) == numbers(10)


def test_starts_at_a_time_or_an_offset(kafka: Kafka) -> None:
    topic = Topic(kafka, 2)
    for number in range(10):
        topic.put(str(number).encode(), time=1_762_000_000_000 + number * 1_000)
    with reading(topic) as reader:
        spans = reader.spans(since=datetime.fromtimestamp(1_762_000_004, UTC))
        assert values(everything(reader, spans)) == numbers(4, 10)
    with reading(topic) as reader:
        assert reader.spans(since=datetime.fromtimestamp(1_762_000_099, UTC)) == [Span(0, 10, 10), Span(1, 0, 0)]
    with reading(topic) as reader:
        assert values(everything(reader, reader.spans(offsets={0: 7}, only=[0]))) == numbers(7, 10)
        assert reader.gone == 0


def test_a_partition_that_does_not_exist_is_a_mistake_that_is_named(topic: Topic) -> None:
    with reading(topic) as reader, pytest.raises(NoPartition, match="no partition 7; expected 0 to 0"):
        reader.spans(offsets={7: 0})


def test_gaps_of_compaction_and_transactions_are_no_end(kafka: Kafka) -> None:
    """Control records have offsets and are never delivered; the last record of the span may be one."""
    topic = Topic(kafka)
    producer = topic.producer(**{"transactional.id": topic.name})
    producer.init_transactions(30)
    for outcome in (producer.commit_transaction, producer.abort_transaction, producer.commit_transaction):
        producer.begin_transaction()
        topic.produce(producer, [b"in"])
        producer.flush(30)
        outcome(30)
    with reading(topic, silent=5) as reader:
        spans = reader.spans()
        assert spans == [Span(0, 0, 6)]
        assert len(everything(reader, spans)) == 2
        assert len(everything(reader, [Span(0, 1, 4)])) == 0


def test_records_that_kafka_deletes_before_they_are_read_are_counted(topic: Topic) -> None:
    """Their retention ends while a slow replay works towards them."""
    topic.put(*BIG)
    with reading(topic) as reader:
        batches = reader.batches(reader.spans())
        read = [int(record.kafka_field("offset")) for record in next(batches)]
        topic.delete_records(300)
        read += [int(record.kafka_field("offset")) for batch in batches for record in batch]
    assert read[-100:] == list(range(300, 400))
    assert reader.gone == len(BIG) - len(read)
    assert reader.gone > 0


def test_an_offset_that_kafka_has_no_longer_starts_at_the_beginning_and_is_told(topic: Topic) -> None:
    topic.put(*numbers(10))
    topic.delete_records(6)
    with reading(topic) as reader:
        assert reader.spans(offsets={0: 2}) == [Span(0, 6, 10)]
        assert reader.gone == 4


def test_everything_that_is_left_is_gone(topic: Topic) -> None:
    topic.put(*numbers(10))
    with reading(topic) as reader:
        spans = reader.spans()
        topic.delete_records(10)
        assert everything(reader, spans) == []
        assert reader.gone == 10


@pytest.mark.parametrize("more", [0, 2_000])
def test_a_topic_that_is_made_anew_during_the_read_cuts_it_short(topic: Topic, more: int) -> None:
    """Also if the new one has as many records as the old one."""
    topic.put(*BIG)
    with reading(topic) as reader:
        batches = reader.batches(reader.spans())
        next(batches)
        topic.delete()
        topic.make()
        topic.put(*numbers(more)) if more else None
        with pytest.raises(CutShort):
            list(batches)


def test_a_topic_that_is_deleted_during_the_read_cuts_it_short(topic: Topic) -> None:
    topic.put(*BIG)
    with reading(topic, silent=3) as reader:
        batches = reader.batches(reader.spans())
        read = next(batches)
        topic.delete()
        with pytest.raises(CutShort) as cut:
            read.extend(record for batch in batches for record in batch)
    assert (cut.value.offset, cut.value.end) == (len(read), len(BIG)), "what was read before it is handed out"


def test_what_came_before_a_failure_is_read_or_counted_as_left(kafka: Kafka) -> None:
    """One partition fails while records of the other are on their way; a read that goes on at `left` misses none."""
    topic = Topic(kafka, partitions=2)
    topic.put(*numbers(100))
    topic.put(*numbers(5), partition=1)
    for _ in range(5):
        read: list[KafkaRecord] = []
        with reading(topic) as reader, pytest.raises(CutShort) as cut:
            read.extend(record for batch in reader.batches([Span(0, 0, 100), Span(1, 50, 60)]) for record in batch)
        left = {span.partition: span.start for span in cut.value.left}
        assert left.get(0, 100) == len(read)


def test_a_missing_topic_is_unavailable(kafka: Kafka) -> None:
    with TopicReader(config_of(kafka.brokers), "no-such-topic") as reader, pytest.raises(TryAgain) as failed:
        reader.spans()
    assert (failed.value.reason, failed.value.detail) == (
        Reason.KAFKA_UNAVAILABLE,
        "no-such-topic: UNKNOWN_TOPIC_OR_PART",
    )


def test_a_broker_that_does_not_answer_is_unavailable() -> None:
    began = time.monotonic()
    config = config_of(f"127.0.0.1:{free_port()}")
    with TopicReader(config, "any", ask_seconds=2) as reader, pytest.raises(TryAgain) as failed:
        reader.spans()
    assert (failed.value.reason, failed.value.detail) == (Reason.KAFKA_UNAVAILABLE, "TRANSPORT")
    assert time.monotonic() - began < 6


def test_a_broker_that_is_killed_cuts_the_read_short_and_says_where(tmp_path: Path) -> None:
    broker = Kafka(tmp_path, free_port(), free_port(), 1)
    broker.start()
    try:
        topic = Topic(broker)
        topic.put(*BIG)
        with reading(topic, silent=3) as reader:
            batches = reader.batches(reader.spans())
            sizes = [len(next(batches))]
            broker.stop(kill=True)
            with pytest.raises(CutShort) as cut:
                sizes.extend(len(batch) for batch in batches)
    finally:
        broker.stop()
    read = sum(sizes)
    assert (cut.value.partition, cut.value.offset, cut.value.end) == (0, read, len(BIG))
    assert str(cut.value).startswith(
        f"partition 0 was read up to offset {read} of {len(BIG)}: no answer from Kafka for 3 s"
    )


def test_a_broker_that_restarts_cuts_nothing_short(tmp_path: Path) -> None:
    broker = Kafka(tmp_path, free_port(), free_port(), 1)
    broker.start()
    try:
        topic = Topic(broker)
        topic.put(*BIG)
        with reading(topic) as reader:
            batches = reader.batches(reader.spans())
            read = len(next(batches))
            broker.stop()
            broker.start()
            assert read + sum(len(batch) for batch in batches) == len(BIG)
    finally:
        broker.stop()


def test_a_large_record_is_read_and_batches_stay_small(kafka: Kafka) -> None:
    topic = Topic(kafka, config={"max.message.bytes": "4000000"})
    topic.put(*[b"x" * 2_097_152] * 20)
    with reading(topic) as reader:
        sizes = [sum(record.size for record in batch) for batch in reader.batches(reader.spans())]
    assert sum(sizes) == 20 * 2_097_152
    assert max(sizes) <= 25 * 2_097_152


def test_a_slow_caller_is_not_taken_for_a_silent_broker(topic: Topic) -> None:
    topic.put(*numbers(BATCH * 3))
    moments = iter(range(0, 1_000_000, 100))  # each look at the clock is 100 s after the last one
    with TopicReader(
        config_of(topic.kafka.brokers), topic.name, ask_seconds=1e9, silent_seconds=1e9, clock=lambda: next(moments)
    ) as reader:
        reader._silent = 150
        got = 0
        for batch in reader.batches(reader.spans()):
            got += len(batch)
    assert got == BATCH * 3


@pytest.mark.anyio
async def test_a_stream_reads_the_same_and_ends_at_once_when_it_is_left(topic: Topic) -> None:
    topic.put(*numbers(BATCH * 4))
    read = []
    async with open_topic(config_of(topic.kafka.brokers), topic.name) as stream:
        async for batch in stream.batches(await stream.spans()):
            read += values(batch)
    assert read == numbers(BATCH * 4)
    began = time.monotonic()
    async with open_topic(config_of(f"127.0.0.1:{free_port()}"), topic.name) as stream:
        with anyio.move_on_after(0.2):
            await stream.spans()
    assert time.monotonic() - began < 1

"""Counting the open dead letters of a topic on a real broker."""

import time
import uuid

import pytest

from dev.servers.kafka import Kafka
from function.dead_letters.marks import Mark, Marks
from function.dead_letters.open_letters_loop import OpenLettersLoop, ReadingPace
from function.dead_letters.publish import REASON
from function.settings import DEAD_SUFFIX
from function.telemetry.metrics import Metrics
from tests.contract.servers.topics import Topic, config_of, numbers
from tests.support.fake_dapr import FakeStateStore
from tests.support.metrics_page import samples

pytestmark = [pytest.mark.real, pytest.mark.anyio]

DAY = 86_400
NOW = int(time.time())


class Counted:
    """A topic of dead letters, its marks, and the loop that counts them."""

    def __init__(self, kafka: Kafka, retention: str = str(10 * DAY * 1000), blocks: int = 200) -> None:
        self.topic = Topic(kafka, 2, {"retention.ms": retention}, f"{uuid.uuid4()}{DEAD_SUFFIX}")
        self.store = FakeStateStore()
        self.marks = Marks(self.store, self.topic.name)
        self.metrics = Metrics()
        self.loop = OpenLettersLoop(
            config_of(kafka.brokers), self.topic.name, self.marks, self.metrics, ReadingPace(blocks=blocks), lambda: NOW
        )

    def put(self, reason: str, count: int = 1, partition: int = 0, days: int = 0) -> None:
        """Writes letters that are some days old."""
        headers = {REASON: reason.encode()}
        producer = self.topic.producer()
        self.topic.produce(producer, numbers(count), partition, time=(NOW - days * DAY) * 1000, headers=headers)
        assert producer.flush(30) == 0

    async def open(self) -> dict[str, float]:
        """Counts; returns the reasons of which letters are open."""
        await self.loop.count()
        found = samples(self.metrics.exposed())
        name = "matrix_account_sync_open_dead_letters"
        return {dict(labels)["reason"]: number for (one, labels), number in found.items() if one == name and number}

    def expires(self) -> float | None:
        found = samples(self.metrics.exposed())
        return found.get(("matrix_account_sync_open_dead_letter_expires_seconds", frozenset()))


async def test_letters_are_open_until_they_are_marked_or_deleted(kafka: Kafka) -> None:
    counted = Counted(kafka)
    counted.put("not_json", 1_200, days=2)
    counted.put("synapse_error", 2, partition=1, days=1)
    assert await counted.open() == {"not_json": 1_200, "synapse_error": 2}
    assert counted.expires() == 8 * DAY
    await counted.marks.add({(0, offset): Mark((NOW - 2 * DAY) * 1000, 1, NOW) for offset in range(1_200)})
    counted.put("avatar_invalid")
    assert await counted.open() == {"synapse_error": 2, "avatar_invalid": 1}
    assert counted.expires() == 9 * DAY
    counted.topic.delete_records(2, partition=1)
    assert await counted.open() == {"avatar_invalid": 1}


async def test_the_first_count_has_read_every_mark(kafka: Kafka) -> None:
    counted = Counted(kafka, blocks=1)
    for partition in range(2):
        counted.put("not_json", partition=partition)
    await counted.marks.add({(partition, 0): Mark(NOW * 1000, 1, NOW) for partition in range(2)})
    assert await counted.open() == {}
    assert b"open_dead_letters{" in counted.metrics.exposed()


async def test_a_topic_that_was_made_anew_is_counted_from_its_beginning(kafka: Kafka) -> None:
    counted = Counted(kafka)
    counted.put("not_json", 5, days=3)
    await counted.marks.add({(0, offset): Mark((NOW - 3 * DAY) * 1000, 1, NOW) for offset in range(4)})
    assert await counted.open() == {"not_json": 1}
    counted.topic.delete()
    counted.topic.make()
    counted.put("synapse_error", 2, days=1)
    assert await counted.open() == {"synapse_error": 2}


async def test_without_an_end_of_retention_nothing_expires(kafka: Kafka) -> None:
    counted = Counted(kafka, retention="-1")
    counted.put("not_json", days=400)
    assert await counted.open() == {"not_json": 1}
    assert counted.expires() is None


async def test_without_marks_the_number_is_unknown(kafka: Kafka) -> None:
    counted = Counted(kafka)
    counted.put("not_json")
    counted.store.down = True
    assert await counted.open() == {}
    assert b"open_dead_letters{" not in counted.metrics.exposed()
    counted.store.down = False
    assert await counted.open() == {"not_json": 1}

"""Which part of the topic is read for what a person chose."""

import pytest

from function.dead_letters.selection import Selection
from function.kafka.spans import Span
from tests.support.fake_kafka import FakeTopics

pytestmark = pytest.mark.anyio

DEAD = "events.matrix.dead"


async def test_letters_that_come_after_a_person_agreed_are_left_out() -> None:
    """Also those of a partition that was added since."""
    topics = FakeTopics()
    for partition in ("0", "0", "1"):
        topics.put(DEAD, b"{}", {}, partition)
    seen = {span.partition: span.end for span in await Selection().spans(topics.stream(DEAD))}
    for partition in ("0", "1", "1", "2"):
        topics.put(DEAD, b"{}", {}, partition)
    agreed = await Selection(ends=seen).spans(topics.stream(DEAD))
    assert agreed == [Span(0, 0, 2), Span(1, 0, 1), Span(2, 0, 0)]
    assert await Selection(ends={}).spans(topics.stream(DEAD)) == [Span(0, 0, 0), Span(1, 0, 0), Span(2, 0, 0)]

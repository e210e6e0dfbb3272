"""Discarded letters: marked with why, and left where they are."""

import pytest

from function.dead_letters.discard import Discard, DiscardTally
from function.dead_letters.filter import DeadLetterFilter
from function.dead_letters.marks import Mark, Marks
from function.dead_letters.publish import REASON
from function.dead_letters.selection import Selection
from tests.support.events import ALICE
from tests.support.fake_dapr import FakeStateStore
from tests.support.fake_kafka import FakeTopics

pytestmark = pytest.mark.anyio

DEAD = "events.matrix.dead"


def letters(*reasons: str) -> FakeTopics:
    topics = FakeTopics()
    for reason in reasons:
        topics.put(DEAD, b"{}", {"__key": ALICE, REASON: reason})
    return topics


async def discard(
    topics: FakeTopics, state: FakeStateStore, selection: Selection, *, dry_run: bool = False
) -> DiscardTally:
    work = Discard(Marks(state, DEAD), selection, "a test", dry_run=dry_run)
    await work.process(topics.records[DEAD])
    return work.tally


async def test_matching_letters_are_marked_with_why_and_counted_by_reason() -> None:
    topics, state = letters("not_json", "synapse_error", "not_json"), FakeStateStore()
    tally = await discard(topics, state, Selection(DeadLetterFilter(reasons=frozenset({"not_json"}))))
    marks = await Marks(state, DEAD).read(topics.records[DEAD])
    assert {place: mark.why for place, mark in marks.items()} == {(0, 0): "a test", (0, 2): "a test"}
    assert (tally.discarded, tally.closed, tally.read) == ({"not_json": 2}, 0, 3)


async def test_what_was_done_before_is_left_as_it_is() -> None:
    """A letter that was replayed needs nothing; if --letter names it, it is discarded all the same."""
    topics, state = letters("not_json", "not_json"), FakeStateStore()
    time = int(topics.records[DEAD][0].kafka_field("timestamp"))
    await Marks(state, DEAD).add({(0, 0): Mark(time, 1, 7)})
    assert (await discard(topics, state, Selection())).closed == 1
    named = await discard(topics, state, Selection(places=frozenset({(0, 0), (0, 1)})))
    assert (named.discarded.total(), named.closed) == (1, 1)
    marks = await Marks(state, DEAD).read(topics.records[DEAD])
    assert [mark.replays for mark in marks.values()] == [1, 0]


async def test_a_dry_run_marks_nothing() -> None:
    topics, state = letters("not_json"), FakeStateStore()
    assert (await discard(topics, state, Selection(), dry_run=True)).discarded.total() == 1
    assert state.writes == 0

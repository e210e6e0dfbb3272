"""What `check` says of the consumer group."""

import pytest

from function.check.finding import Mark
from function.check.group import judge
from function.kafka.lag import NONE, Member, Members, PartitionLag, Place

OURS = Members({"one": Member("pod", frozenset({("t", 0), ("t", 1)}))})
REBALANCING = Members(OURS.by_id, "PreparingRebalance")
EMPTY = Members({}, "Empty")


def at(committed: int, low: int = 0, end: int = 10, partition: int = 0) -> dict[Place, PartitionLag]:
    return {("t", partition): PartitionLag(committed, low, end)}


def test_a_healthy_group_is_one_row_with_its_lag() -> None:
    [row] = judge(OURS, at(8) | at(NONE, partition=1), consuming=True)
    assert (row.mark, row.found) == (Mark.OK, "stable, 1 members, 12 events wait")


@pytest.mark.parametrize(
    ("members", "lag", "said"),
    [
        (EMPTY, at(8), "has no members; 2 events wait"),
        (OURS, at(8) | at(8, partition=2), "partition 2 of t: no member reads it"),
        (OURS, at(2, low=5), "partition 0 of t: Kafka deleted 3 records that were not processed"),
        (OURS, at(20), "partition 0 of t: the committed offset is beyond the end"),
    ],
)
def test_what_stops_events_has_failed(members: Members, lag: dict[Place, PartitionLag], said: str) -> None:
    [row] = judge(members, lag, consuming=True)
    assert row.mark is Mark.FAILED
    assert said in row.found
    assert row.advice


@pytest.mark.parametrize(
    ("members", "lag", "said"),
    [
        (REBALANCING, at(8), "is in the state PreparingRebalance"),
        (OURS, at(0, end=2000), "2000 events wait"),
        (OURS, at(2, low=10), "Kafka deleted 8 records"),
    ],
)
def test_what_may_pass_or_has_passed_is_a_warning(members: Members, lag: dict[Place, PartitionLag], said: str) -> None:
    rows = judge(members, lag, consuming=True)
    assert [row.mark for row in rows] == [Mark.OK, Mark.WARNING]
    assert said in rows[1].found


def test_a_group_without_members_is_as_it_should_be_while_consuming_is_switched_off() -> None:
    [row] = judge(EMPTY, at(8), consuming=False)
    assert row.mark is Mark.OK

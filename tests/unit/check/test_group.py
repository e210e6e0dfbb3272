"""What `check` says of the consumer group."""

import pytest

from function.check.finding import Mark
from function.check.group import judge
from function.kafka.cluster import Group, Progress


def group(*progress: Progress, state: str = "Stable", members: int = 6) -> Group:
    return Group(state, members, progress)


def at(committed: int | None, beginning: int = 0, end: int = 10, partition: int = 0) -> Progress:
    return Progress("t", partition, beginning, end, committed)


def test_a_healthy_group_is_one_row_with_its_lag() -> None:
    [row] = judge(group(at(8), at(None, partition=1)), consuming=True)
    assert (row.mark, row.found) == (Mark.OK, "stable, 6 members, 12 events wait")


@pytest.mark.parametrize(
    ("found", "said"),
    [
        (group(at(8), state="Empty", members=0), "has no members; 2 events wait"),
        (group(at(2, beginning=5)), "partition 0 of t: Kafka deleted 3 records that were not processed"),
        (group(at(20)), "partition 0 of t: the committed offset is beyond the end"),
    ],
)
def test_what_stops_events_has_failed(found: Group, said: str) -> None:
    [row] = judge(found, consuming=True)
    assert row.mark is Mark.FAILED
    assert said in row.found
    assert row.advice


@pytest.mark.parametrize(
    ("found", "said"),
    [
        (group(at(8), state="PreparingRebalance"), "is in the state PreparingRebalance"),
        (group(at(0, end=2000)), "2000 events wait"),
        (group(at(2, beginning=10)), "Kafka deleted 8 records"),
    ],
)
def test_what_may_pass_or_has_passed_is_a_warning(found: Group, said: str) -> None:
    rows = judge(found, consuming=True)
    assert [row.mark for row in rows] == [Mark.OK, Mark.WARNING]
    assert said in rows[1].found


def test_a_group_without_members_is_as_it_should_be_while_consuming_is_switched_off() -> None:
    [row] = judge(group(at(8), state="Empty", members=0), consuming=False)
    assert row.mark is Mark.OK

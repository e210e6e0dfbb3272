"""What `check` says of a topic."""

from typing import Any

import pytest

from function.check.finding import Finding, Mark
from function.check.topic import DAY, Wanted, judge
from function.kafka.cluster import Topic

RECORD = 2 * 1024 * 1024
GOOD = {
    "cleanup.policy": "delete", "max.message.bytes": str(RECORD), "retention.ms": str(30 * DAY), "retention.bytes": "-1",
    "min.insync.replicas": "2",
}  # fmt: skip
RIGHTS = frozenset({"READ", "WRITE", "DESCRIBE"})


def wanted(role: str = "dead") -> Wanted:
    access = frozenset({"READ"}) if role == "events" else frozenset({"READ", "WRITE"})
    return Wanted("t", role, None if role == "events" else 12, RECORD, access)


def topic(config: dict[str, str] | None = None, **changes: Any) -> Topic:
    known: dict[str, Any] = {
        "partitions": 12, "replicas": 3, "in_sync": 3, "leaderless": 0, "config": GOOD | (config or {}), "operations": RIGHTS,
    }  # fmt: skip
    return Topic(**(known | changes))


def marks(found: list[Finding]) -> list[Mark]:
    return [row.mark for row in found]


@pytest.mark.parametrize("role", ["events", "dead", "replay"])
def test_a_good_topic_is_one_row_that_describes_it(role: str) -> None:
    assert [(row.mark, row.what, row.found) for row in judge(wanted(role), topic())] == [
        (Mark.OK, "topic t", "12 partitions, 3 replicas, records of up to 2097152 bytes, kept for 30 days")
    ]


def test_a_missing_topic_says_with_how_many_partitions_to_create_it() -> None:
    [row] = judge(wanted(), None)
    assert row.mark is Mark.FAILED
    assert "with 12 partitions" in row.advice


@pytest.mark.parametrize(
    ("role", "found", "said"),
    [
        ("dead", topic(partitions=6), "has 6 partitions, the main topic 12"),
        ("replay", topic(leaderless=1), "1 partition without a leader"),
        ("dead", topic(in_sync=1), "1 replicas in sync, min.insync.replicas is 2"),
        ("events", topic({"cleanup.policy": "compact"}), "cleanup.policy is compact"),
        ("dead", topic({"cleanup.policy": "compact,delete"}), "cleanup.policy is compact,delete"),
        ("dead", topic({"max.message.bytes": "1048588"}), "max.message.bytes is 1048588"),
        ("replay", topic({"max.message.bytes": "1048588"}), "max.message.bytes is 1048588"),
        ("events", topic({"max.message.bytes": str(RECORD + 1)}), "max.message.bytes is 2097153"),
        ("events", topic({"retention.ms": "3600000"}), "kept for 1 hour"),
        ("dead", topic({"retention.ms": str(2 * DAY)}), "kept for 2 days"),
        ("dead", topic(operations=frozenset({"READ"})), "does not grant WRITE"),
        ("events", topic(operations=frozenset({"DESCRIBE"})), "does not grant READ"),
    ],
)
def test_each_problem_is_a_failed_row_with_advice(role: str, found: Topic, said: str) -> None:
    [row] = judge(wanted(role), found)
    assert row.mark is Mark.FAILED
    assert said in row.found
    assert row.advice


@pytest.mark.parametrize(
    ("role", "found", "said"),
    [
        ("dead", topic(replicas=1, in_sync=1, config=GOOD | {"min.insync.replicas": "1"}), "one replica"),
        ("dead", topic({"min.insync.replicas": "1"}), "min.insync.replicas is 1"),
        ("dead", topic({"retention.ms": "-1"}), "kept without end"),
        ("events", topic({"retention.ms": str(2 * DAY)}), "kept for 2 days"),
        ("events", topic({"retention.bytes": "1000000"}), "retention.bytes is 1000000"),
        ("replay", Topic(12, 3, 3, 0, None, RIGHTS), "can't be read"),
    ],
)
def test_a_risk_is_a_warning_beside_the_description(role: str, found: Topic, said: str) -> None:
    rows = judge(wanted(role), found)
    assert marks(rows) == [Mark.OK, Mark.WARNING]
    assert said in rows[1].found
    assert rows[1].advice


def test_two_problems_are_two_rows() -> None:
    assert (
        marks(judge(wanted(), topic({"cleanup.policy": "compact", "max.message.bytes": "1000"}))) == [Mark.FAILED] * 2
    )


def test_events_that_are_kept_without_end_are_the_producers_affair() -> None:
    assert marks(judge(wanted("events"), topic({"retention.ms": "-1"}))) == [Mark.OK]


def test_a_broker_that_does_not_tell_rights_is_not_suspected() -> None:
    assert marks(judge(wanted(), topic(operations=None))) == [Mark.OK]

"""Counts of dead letters, and the newest of them."""

import json
from datetime import UTC, datetime

import pytest

from function.dead_letters.letter import DeadLetter, read_letter
from function.dead_letters.marks import Mark
from function.dead_letters.publish import REASON
from function.dead_letters.summary import TYPES, Summary, row
from function.kafka.record import KafkaRecord
from tests.support.dead_letters import DEAD, HEADERS, POSITION, letter
from tests.support.events import ALICE, profile_payload


def on_day(day: int, value: bytes = b"{}", reason: str = "synapse_error") -> DeadLetter:
    """A letter that Kafka took on that day of January."""
    at = str(int(datetime(2026, 1, day, 23, 59, tzinfo=UTC).timestamp() * 1000))
    return read_letter(KafkaRecord(value, DEAD, POSITION | HEADERS | {REASON: reason} | {"__timestamp": at}))


def test_letters_are_counted_by_reason_type_and_the_day_on_which_kafka_took_them() -> None:
    summary = Summary(newest=20)
    for day in (2, 1, 2):
        summary.add(on_day(day))
    summary.add(on_day(3, reason="not_json"))
    counted = summary.as_json()
    assert counted["reasons"] == {"synapse_error": 3, "not_json": 1}
    assert counted["types"] == {"identity.user.profile_updated": 4}
    assert list(counted["days"].items()) == [("2026-01-01", 1), ("2026-01-02", 2), ("2026-01-03", 1)]


@pytest.mark.parametrize("size", [10, 100_000])
def test_only_the_newest_letters_are_kept(size: int) -> None:
    """However many there are, and however large."""
    summary = Summary(newest=3)
    for day in (4, 1, 9, 7, 2):
        summary.add(on_day(day, b'"%s"' % (b"x" * size)))
    assert [one["time"][:10] for one in summary.newest] == ["2026-01-09", "2026-01-07", "2026-01-04"]


def test_the_number_of_types_that_are_told_apart_is_bounded() -> None:
    """A producer can write any number of them."""
    plain, raw = Summary(0), Summary(0, raw=True)
    for number in range(TYPES + 50):
        for summary in (plain, raw):
            summary.add(letter({"event_type": f"order.made{number}"}, value=b"<xml/>"))
    assert plain.types == {"unknown": TYPES + 50}
    assert len(raw.types) == TYPES + 1
    assert raw.types["(others)"] == 50


def test_letters_are_counted_by_what_was_done_about_them() -> None:
    summary = Summary(0)
    for mark in (None, None, Mark(1, 2, 5), Mark(1, 0, 5, "a test")):
        summary.count(mark)
    counted = summary.as_json()
    assert (counted["open"], counted["replayed"], counted["discarded"]) == (2, 1, 1)


def test_a_row_says_when_how_often_and_why_something_was_done() -> None:
    one = letter()
    assert "done" not in row(one)
    replayed, discarded = row(one, Mark(1, 3, 1762000300)), row(one, Mark(1, 0, 1762000300, "a test"))
    assert (replayed["done"], replayed["done_at"], replayed["replays"]) == ("replayed", "2025-11-01T12:31:40Z", "5")
    assert (discarded["done"], discarded["why"]) == ("discarded", "a test")


def test_a_row_does_not_identify_the_user() -> None:
    """The list is pasted into tickets and chats."""
    assert ALICE not in json.dumps(row(letter(value=json.dumps(profile_payload()).encode())))

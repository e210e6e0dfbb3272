"""A dead letter's fields."""

import json
from datetime import UTC, datetime

import pytest
from hypothesis import given
from hypothesis import strategies as st

from function.dead_letters.filter import DeadLetterFilter
from function.dead_letters.letter import read_letter
from function.dead_letters.publish import REASON, REPLAYS
from function.dead_letters.redaction import content
from function.dead_letters.summary import Summary, row
from function.kafka.record import KafkaRecord
from tests.support.dead_letters import DEAD, HEADERS, POSITION, letter
from tests.support.events import BOB, profile_payload


def test_a_letter_has_reason_type_time_and_origin() -> None:
    one = letter()
    assert (one.place, one.reason, one.detail, one.event_id) == ("3:17", "synapse_error", "500", "e-1")
    assert one.event_type == "identity.user.profile_updated"
    assert one.at == datetime.fromtimestamp(1762000000, UTC)  # Kafka's time, not that of the header
    assert (one.replays, one.origin, one.version) == (2, "nova.identity.events:5:9", "0.1.0")


def test_a_letter_without_a_reason_was_dead_lettered_by_daprd() -> None:
    """daprd writes no headers of ours."""
    one = read_letter(KafkaRecord(json.dumps(profile_payload()).encode(), DEAD, POSITION))
    assert (one.reason, one.event_type, one.origin) == ("dapr_retries_exhausted", "identity.user.profile_updated", "")
    assert one.at == datetime.fromtimestamp(1762000000, UTC)


def test_a_letter_of_daprd_says_where_its_record_came_from() -> None:
    """daprd writes topic, partition and offset as headers named like Kafka's fields."""
    headers = {"___topic": "nova.identity.events", "___partition": "5", "___offset": "9", "___timestamp": "1"}
    one = read_letter(KafkaRecord(b"{}", DEAD, POSITION | headers))
    assert (one.reason, one.origin, one.place) == ("dapr_retries_exhausted", "nova.identity.events:5:9", "3:17")


def test_what_a_producer_wrote_under_our_names_does_not_count_in_a_letter_of_daprd() -> None:
    """daprd copies the headers of the record; the function drops them."""
    one = letter({"___topic": "nova.identity.events", "___partition": "5", "___offset": "9"})
    assert (one.reason, one.detail, one.replays, one.version) == ("dapr_retries_exhausted", "", 0, "-")
    assert one.origin == "nova.identity.events:5:9"


def test_a_replayed_record_that_daprd_gives_up_on_keeps_its_origin_and_its_count() -> None:
    one = letter({"___topic": "nova.identity.events.matrix.replay", "___partition": "1", "___offset": "2"})
    assert (one.reason, one.detail, one.replays) == ("dapr_retries_exhausted", "", 2)
    assert one.origin == "nova.identity.events:5:9"


def test_a_reason_of_a_later_version_is_unknown() -> None:
    assert letter({REASON: "no_such_reason"}).reason == "unknown"


@pytest.mark.parametrize("timestamp", ["-1", "", "9" * 30, "x"])
def test_an_odd_time_of_kafka_is_still_a_time(timestamp: str) -> None:
    """A producer may set it."""
    one = read_letter(KafkaRecord(b"{}", DEAD, POSITION | {"__timestamp": timestamp}))
    assert one.at.year in {1970, 9999}


def test_a_replay_count_on_a_record_of_the_main_topic_is_ignored() -> None:
    """The producer wrote it, not a replay."""
    assert letter(topic="nova.identity.events").replays == 0


@pytest.mark.parametrize("count", ["", "-1", "x", "1e9", "9" * 5000, "٣x"])
def test_an_invalid_replay_count_is_zero(count: str) -> None:
    assert letter({REPLAYS: count}).replays == 0


@given(st.binary(max_size=60), st.dictionaries(st.sampled_from(sorted(HEADERS)), st.text(max_size=30)))
def test_a_letter_with_malformed_headers_is_still_a_letter(value: bytes, headers: dict[str, str]) -> None:
    """It can be filtered, counted, listed and shown like any other."""
    one = letter(headers, value=value)
    DeadLetterFilter(user=BOB).matches(one)
    summary = Summary(5)
    summary.add(one)
    assert summary.newest == [row(one)]
    assert summary.as_json()["letters"] == 1
    assert json.dumps([row(one), content(one, raw=False), content(one, raw=True)])

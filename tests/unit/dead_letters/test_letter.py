"""A dead letter's fields."""

import json
from datetime import UTC, datetime

import pytest
from hypothesis import given
from hypothesis import strategies as st

from function.dead_letters.filter import DeadLetterFilter
from function.dead_letters.letter import read_letter
from function.dead_letters.publish import REPLAYS
from function.dead_letters.redaction import content
from function.dead_letters.summary import Summary, row
from function.kafka.record import KafkaRecord
from tests.support.dead_letters import DEAD, HEADERS, POSITION, letter
from tests.support.events import BOB, profile_payload


def test_a_letter_has_reason_type_time_and_origin() -> None:
    one = letter()
    assert (one.place, one.reason, one.detail, one.event_id) == ("3:17", "synapse_error", "500", "e-1")
    assert one.event_type == "identity.user.profile_updated"
    assert one.at == datetime(2026, 1, 31, 3, tzinfo=UTC)
    assert (one.replays, one.origin, one.version) == (2, "nova.identity.events:5:9", "0.1.0")


def test_a_letter_without_a_reason_was_dead_lettered_by_daprd() -> None:
    """daprd writes no headers of ours."""
    one = read_letter(KafkaRecord(json.dumps(profile_payload()).encode(), DEAD, POSITION))
    assert (one.reason, one.event_type, one.origin) == ("dapr_retries_exhausted", "identity.user.profile_updated", "")
    assert one.at == datetime.fromtimestamp(1762000000, UTC)


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
    assert summary.as_json()["letters"] == 1
    assert json.dumps([row(one), content(one, raw=False), content(one, raw=True)])

"""Which dead letters a filter matches."""

import json
from datetime import UTC, datetime, timedelta

import pytest

from function.dead_letters.filter import DeadLetterFilter
from function.dead_letters.publish import TIME
from tests.support.dead_letters import letter
from tests.support.events import ALICE, BOB, profile_payload

AT = datetime.fromtimestamp(1762000000, UTC)  # Kafka's; another one is in the headers


@pytest.mark.parametrize(
    ("wanted", "included"),
    [
        (DeadLetterFilter(), True),
        (DeadLetterFilter(reasons={"synapse_error", "not_json"}), True),
        (DeadLetterFilter(reasons={"not_json"}), False),
        (DeadLetterFilter(types={"identity.user.profile_updated"}), True),
        (DeadLetterFilter(types={"=identity.user.profile_updated"}), True),
        (DeadLetterFilter(types={"identity.user.deleted"}), False),
        (DeadLetterFilter(types={"unknown"}), False),
        (DeadLetterFilter(user=ALICE), True),
        (DeadLetterFilter(user=BOB), False),
        (DeadLetterFilter(since=AT), True),
        (DeadLetterFilter(until=AT), False),
        (DeadLetterFilter(reasons={"synapse_error"}, user=BOB), False),
    ],
)
def test_a_letter_matches_if_it_meets_every_criterion(wanted: DeadLetterFilter, included: bool) -> None:
    """`since` is inclusive, `until` exclusive."""
    assert wanted.matches(letter()) is included


def test_a_user_is_found_by_the_payload_if_the_key_differs() -> None:
    """The producer's own dead letters have other keys, and a record sent by a script may have none."""
    value = json.dumps(profile_payload(user_id=BOB.upper())).encode()
    assert DeadLetterFilter(user=BOB).matches(letter(value=value))


@pytest.mark.parametrize(
    ("wanted", "included"), [("unknown", True), ("=order.created", True), ("=order.changed", False)]
)
def test_a_type_that_is_not_of_the_identity_service_is_unknown_and_found_by_its_text(
    wanted: str, included: bool
) -> None:
    one = letter({"event_type": "order.created"}, value=b'{"specversion": "1.0"}')
    assert DeadLetterFilter(types={wanted}).matches(one) is included


def test_a_time_in_a_header_selects_nothing() -> None:
    """Any client that may publish to the topic could write it."""
    one = letter({TIME: "2099-01-01T00:00:00+00:00"})
    assert DeadLetterFilter(until=AT + timedelta(seconds=1)).matches(one)
    assert not DeadLetterFilter(since=AT + timedelta(seconds=1)).matches(one)

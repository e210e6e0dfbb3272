"""Which dead letters a filter matches."""

import json
from datetime import UTC, datetime

import pytest

from function.dead_letters.filter import DeadLetterFilter
from tests.support.dead_letters import letter
from tests.support.events import ALICE, BOB, profile_payload

AT = datetime(2026, 1, 31, 3, tzinfo=UTC)


@pytest.mark.parametrize(
    ("wanted", "included"),
    [
        (DeadLetterFilter(), True),
        (DeadLetterFilter(reasons={"synapse_error", "not_json"}), True),
        (DeadLetterFilter(reasons={"not_json"}), False),
        (DeadLetterFilter(types={"identity.user.profile_updated"}), True),
        (DeadLetterFilter(types={"profile_updated"}), True),
        (DeadLetterFilter(types={"deleted"}), False),
        (DeadLetterFilter(user=ALICE), True),
        (DeadLetterFilter(user=BOB), False),
        (DeadLetterFilter(since=AT), True),
        (DeadLetterFilter(until=AT), False),
        (DeadLetterFilter(offsets={"3": 17}), True),
        (DeadLetterFilter(offsets={"3": 18}), False),
        (DeadLetterFilter(offsets={"4": 0}), False),
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

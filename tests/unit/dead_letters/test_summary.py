"""Counts of dead letters, and the newest of them."""

import json

from function.dead_letters.publish import REASON, TIME
from function.dead_letters.summary import Summary, row
from tests.support.dead_letters import letter
from tests.support.events import ALICE, profile_payload


def test_letters_are_counted_by_reason_type_and_day() -> None:
    summary = Summary(newest=20)
    for day in (1, 2, 2):
        summary.add(letter({TIME: f"2026-01-0{day}T00:00:00+00:00"}))
    summary.add(letter({REASON: "not_json", TIME: "2026-01-03T00:00:00+00:00"}))
    counted = summary.as_json()
    assert counted["reasons"] == {"synapse_error": 3, "not_json": 1}
    assert counted["types"] == {"identity.user.profile_updated": 4}
    assert counted["days"] == {"2026-01-01": 1, "2026-01-02": 2, "2026-01-03": 1}


def test_only_the_newest_letters_are_kept() -> None:
    """However many there are."""
    summary = Summary(newest=3)
    for day in (4, 1, 9, 7, 2):
        summary.add(letter({TIME: f"2026-01-0{day}T00:00:00+00:00"}))
    assert [one.at.day for one in summary.newest] == [9, 7, 4]


def test_a_row_does_not_identify_the_user() -> None:
    """The list is pasted into tickets and chats."""
    assert ALICE not in json.dumps(row(letter(value=json.dumps(profile_payload()).encode())))

"""What a person asks of a dead letter, and what is shown of it."""

import json
from collections.abc import Mapping
from datetime import UTC, datetime
from io import StringIO

import pytest
from hypothesis import given
from hypothesis import strategies as st
from rich.console import Console

from function.dapr.bulk_envelope import KafkaRecord
from function.dead_letters.letter import DeadLetter, DeadLetterFilter, read_letter
from function.dead_letters.publish import (
    DETAIL,
    EVENT_ID,
    IDS,
    OFFSET,
    PARTITION,
    REASON,
    REPLAYS,
    TIME,
    TOPIC,
    VERSION,
)
from function.dead_letters.summary import Summary, content, row
from tests.support.events import ALICE, BOB, profile_payload

DEAD = "nova.identity.events.matrix.dead"
PLACE = {"__partition": "3", "__offset": "17", "__timestamp": "1762000000000", "__key": ALICE}
WRITTEN = {
    REASON: "synapse_error", DETAIL: "500", TIME: "2026-01-31T03:00:00+00:00", EVENT_ID: "e-1", REPLAYS: "2",
    TOPIC: "nova.identity.events", PARTITION: "5", OFFSET: "9", VERSION: "0.1.0",
    "event_type": "UserProfileUpdatedEvent",
}  # fmt: skip


def letter(headers: Mapping[str, str] | None = None, *, topic: str = DEAD, value: bytes = b"{}") -> DeadLetter:
    return read_letter(KafkaRecord(value, topic, PLACE | WRITTEN | dict(headers or {})))


def test_a_letter_says_why_what_when_and_from_where() -> None:
    one = letter()
    assert (one.place, one.reason, one.detail, one.event_id) == ("3:17", "synapse_error", "500", "e-1")
    assert one.event_type == "identity.user.profile_updated"
    assert one.at == datetime(2026, 1, 31, 3, tzinfo=UTC)
    assert (one.replays, one.origin, one.version) == (2, "nova.identity.events:5:9", "0.1.0")


def test_a_letter_without_a_reason_is_daprds_own() -> None:
    """The net under the function's."""
    one = read_letter(KafkaRecord(json.dumps(profile_payload()).encode(), DEAD, PLACE))
    assert (one.reason, one.event_type, one.origin) == ("delivery", "identity.user.profile_updated", "")
    assert one.at == datetime.fromtimestamp(1762000000, UTC)


def test_on_a_record_of_the_main_topic_a_count_is_a_strangers() -> None:
    """Only what a replay wrote counts."""
    assert letter(topic="nova.identity.events").replays == 0


@pytest.mark.parametrize("count", ["", "-1", "x", "1e9", "9" * 5000, "٣x"])
def test_a_count_that_is_none_is_no_replay(count: str) -> None:
    assert letter({REPLAYS: count}).replays == 0


@given(st.binary(max_size=60), st.dictionaries(st.sampled_from(sorted(WRITTEN)), st.text(max_size=30)))
def test_nonsense_is_a_letter_all_the_same(value: bytes, headers: dict[str, str]) -> None:
    """It must be listed, filtered, shown and moved like any other."""
    one = letter(headers, value=value)
    DeadLetterFilter(user=BOB).matches(one)
    summary = Summary(5)
    summary.add(one)
    assert summary.as_json()["letters"] == 1
    assert json.dumps([row(one), content(one, raw=False), content(one, raw=True)])
    assert shown(summary)


def shown(summary: Summary) -> str:
    console = Console(file=StringIO(), width=200)
    for table in summary.tables():
        console.print(table)
    assert isinstance(console.file, StringIO)
    return console.file.getvalue()


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
def test_a_letter_is_wanted_when_all_that_was_asked_for_fits(wanted: DeadLetterFilter, included: bool) -> None:
    """From `since` on, before `until`."""
    assert wanted.matches(letter()) is included


def test_a_user_is_found_by_the_payload_where_the_key_is_another() -> None:
    """The producer's own dead letters have keys of their own, and a person's script may have none."""
    value = json.dumps(profile_payload(user_id=BOB.upper())).encode()
    assert DeadLetterFilter(user=BOB).matches(letter(value=value))


def test_what_is_shown_of_a_body_says_nothing_of_a_person() -> None:
    """Unless it is asked for with --raw."""
    body = profile_payload(display_name="Ada Lovelace", bio=["likes", {"pet": "fox"}], is_verified=True)
    one = letter({"aggregate_id": ALICE, "correlation-id": "who-knows"}, value=json.dumps(body).encode())
    redacted = json.dumps(content(one, raw=False))
    for personal in (ALICE, "Ada Lovelace", "likes", "fox", "who-knows"):
        assert personal not in redacted
    assert '"display_name": "<12 characters>"' in redacted
    assert '"is_verified": true' in redacted
    assert "synapse_error" in redacted
    raw = json.dumps(content(one, raw=True))
    assert all(personal in raw for personal in (ALICE, "Ada Lovelace", "fox", "who-knows"))


def test_what_looks_like_no_id_or_time_is_not_shown_as_one() -> None:
    """The producer could put anything there; and the function puts Matrix ids into a header of its own."""
    body = {"id": "Ada Lovelace", "type": "x", "source": "ada@mail.example", "updated_at": "2026-01-01T09:30:00+01:00"}
    headers = {"event_id": "Ada Lovelace", "ce_source": "ada@mail.example", IDS: "@nova-1:a @nova-2:a", "ce_id": "e-1"}
    shown = content(letter(headers, value=json.dumps(body).encode()), raw=False)
    assert shown["body"] == body | {"id": "<12 characters>", "source": "<16 characters>"}
    assert shown["headers"].items() >= {
        "event_id": "<12 characters>", "ce_source": "<16 characters>", IDS: "<19 characters>", "ce_id": "e-1",
    }.items()  # fmt: skip


def test_a_body_that_is_no_json_is_shown_by_its_size() -> None:
    assert content(letter(value=b"\xff{ada"), raw=False)["body"] == "<5 bytes, not JSON>"
    assert "ada" in content(letter(value=b"\xff{ada"), raw=True)["body"]


def test_the_summary_counts_by_reason_type_and_day_and_says_what_to_do() -> None:
    """One command for a person at night."""
    summary = Summary(newest=20)
    for day in (1, 2, 2):
        summary.add(letter({TIME: f"2026-01-0{day}T00:00:00+00:00"}))
    summary.add(letter({REASON: "not_json", TIME: "2026-01-03T00:00:00+00:00"}))
    counted = summary.as_json()
    assert counted["reasons"] == {"synapse_error": 3, "not_json": 1}
    assert counted["days"] == {"2026-01-01": 1, "2026-01-02": 2, "2026-01-03": 1}
    text = shown(summary)
    assert "yes, once Synapse is mended" in text
    assert "Look at the bytes and mend the producer." in text
    assert "Letters: all" in text


def test_the_list_holds_the_newest_and_no_more() -> None:
    """However many there are."""
    summary = Summary(newest=3)
    for day in (4, 1, 9, 7, 2):
        summary.add(letter({TIME: f"2026-01-0{day}T00:00:00+00:00"}))
    assert [one.at.day for one in summary.newest] == [9, 7, 4]
    assert "the newest 3 of 5" in shown(summary)


def test_a_letter_in_a_line_says_not_whose_it_is() -> None:
    """The list goes into tickets and chats."""
    assert ALICE not in json.dumps(row(letter(value=json.dumps(profile_payload()).encode())))


def test_brackets_in_a_header_are_no_markup() -> None:
    """A stranger's header is text."""
    summary = Summary(5)
    summary.add(letter({DETAIL: "[red]x[/nonsense]"}))
    assert "[red]x[/nonsense]" in shown(summary)

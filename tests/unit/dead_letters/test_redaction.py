"""What `dead-letters` shows of a letter without --raw."""

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from function.dead_letters.letter import DeadLetter, read_letter
from function.dead_letters.marks import Mark
from function.dead_letters.publish import IDS, letter_headers
from function.dead_letters.redaction import content
from function.dead_letters.summary import Summary, row
from function.kafka.record import KafkaRecord, record_from
from function.outcomes import Reason, Rejected
from tests.support.dead_letters import DEAD, letter
from tests.support.events import ALICE, EPOCH, profile_payload

TOPIC = "nova.identity.events"
EVENT = "7d1f5c1e-2b4a-4c7d-9e1f-0a1b2c3d4e5f"
PERSONAL = ("Ada", "Lovelace", "ada@mail.example", "+491701234567", "491701234567", "https://cdn.example/ada.png", ALICE,
            "@nova-ada:staging.nova.app", "ada_lovelace", "Größe-Ada", "Ada\nLovelace", "ada/lovelace")  # fmt: skip
NAMES = ("event_type", "event_id", "ce_type", "ce_id", "ce_source", "ce_time", "aggregate_id", "created_at", "content-type",
         "correlation-id", "traceparent", "x-dead-letter-reason", "x-dead-letter-detail", "X-Dead-Letter-Topic",
         "x-dead-letter-note", IDS, "source")  # fmt: skip
FIELDS = ("type", "event_type", "id", "event_id", "source", "subject", "data", "user_id", "display_name", "time", "timestamp",
          "updated_at", "specversion", "schema_version", "correlation_id", "aggregate_type", "soft_delete")  # fmt: skip

personal = st.sampled_from(PERSONAL)
values = st.recursive(
    personal | st.none() | st.booleans() | st.just(491701234567),
    lambda inner: st.lists(inner, max_size=2) | st.dictionaries(personal | st.sampled_from(FIELDS), inner, max_size=4),
    max_leaves=8,
)
bodies = st.dictionaries(personal | st.sampled_from(FIELDS), values, max_size=6)
headers = st.dictionaries(personal | st.sampled_from(NAMES), personal, max_size=6)
keys = personal | st.just(ALICE)


def by_function(record: KafkaRecord) -> KafkaRecord:
    """The letter that the function publishes, as it is read."""
    rejected = Rejected(Reason.INVALID_PAYLOAD, "updated_at: missing")
    written = letter_headers(record, rejected, record.headers.get("event_id", "-"), EPOCH)
    return read(record, written)


def by_daprd(record: KafkaRecord) -> KafkaRecord:
    """The letter that daprd publishes when its retries are used up: with the producer's headers, unchanged."""
    kept = {name: text for name, text in record.metadata.items() if not name.startswith("__")}
    return read(record, kept | {"__topic": TOPIC, "__partition": "1", "__offset": "5", "pubsubName": "pubsub"})


def read(record: KafkaRecord, written: dict[str, str]) -> KafkaRecord:
    encoded = [(name, text.encode()) for name, text in written.items()]
    return record_from(DEAD, 3, 17, 1762000000000, record.kafka_field("key").encode(), record.value, encoded)


def everything_shown(one: DeadLetter) -> str:
    """All that is printed of a letter without --raw."""
    mark = Mark(1762000000000, 1, 1762000300)
    summary = Summary(5)
    summary.add(one, mark)
    shown: list[Any] = [content(one, raw=False), row(one), row(one, mark), summary.as_json(), summary.newest]
    return json.dumps(shown, ensure_ascii=False)


@pytest.mark.parametrize("publish", [by_function, by_daprd])
@given(key=keys, written=headers, body=bodies, wrapped=st.booleans())
def test_whatever_a_producer_writes_anywhere_nothing_personal_is_shown(
    publish: Any, key: str, written: dict[str, str], body: dict[str, Any], wrapped: bool
) -> None:
    """In the key, in names and values of headers, in names and values of the body, under any name.

    The id of a user is known by the key: alone under the name of an event's id it could be any event's.
    """
    value = json.dumps({"data": body, "event_id": EVENT, "timestamp": "x"} if wrapped else body).encode()
    record = KafkaRecord(value, TOPIC, written | {"__key": key, "__partition": "1", "__offset": "5"})
    shown = everything_shown(read_letter(publish(record)))
    words = [word for word in PERSONAL if word != ALICE or key == ALICE]
    assert [word for word in words if word in shown or json.dumps(word)[1:-1] in shown] == []


@pytest.mark.parametrize("publish", [by_function, by_daprd])
@given(
    value=st.sampled_from(
        [b"Ada", b"<ada>ada@mail.example</ada>", b'"Ada"', b'["Ada"]', b"491701234567", b"\xffAda", b"NaN"]
    )
)
def test_a_body_that_is_no_object_shows_its_size(publish: Any, value: bytes) -> None:
    record = KafkaRecord(value, TOPIC, {"__key": ALICE, "__partition": "1", "__offset": "5"})
    shown = everything_shown(read_letter(publish(record)))
    assert "Ada" not in shown
    assert "ada@" not in shown
    assert "491701234567" not in shown


def test_what_helps_to_find_the_cause_is_shown() -> None:
    """Types, times, ids of events, booleans, the names of known fields, and all that the function wrote."""
    payload = profile_payload(is_verified=True)
    body = {"event_id": EVENT, "event_type": "identity.user.deleted", "timestamp": "2026-01-01T09:30:00+01:00",
            "schema_version": 1, "data": payload}  # fmt: skip
    metadata = {
        "__key": ALICE,
        "__partition": "1",
        "__offset": "5",
        "event_id": EVENT,
        "created_at": "2026-01-01T00:00:00Z",
    }
    shown = content(read_letter(by_function(KafkaRecord(json.dumps(body).encode(), TOPIC, metadata))), raw=False)
    assert shown["key"] == "<36 characters>"
    assert shown["body"] == {
        "event_id": EVENT, "event_type": "identity.user.deleted", "timestamp": "2026-01-01T09:30:00+01:00",
        "schema_version": 1,
        "data": {
            "user_id": "<36 characters>", "username": "<4 characters>", "display_name": "<13 characters>",
            "bio": "<5 characters>", "avatar_url": None, "is_verified": True, "follower_count": "<number>",
            "updated_at": payload["updated_at"],
        },
    }  # fmt: skip
    assert shown["headers"] == {
        "event_id": EVENT, "created_at": "2026-01-01T00:00:00Z", "x-dead-letter-replays": "0",
        "x-dead-letter-topic": TOPIC, "x-dead-letter-partition": "1", "x-dead-letter-offset": "5",
        "x-dead-letter-reason": "invalid_payload", "x-dead-letter-detail": "updated_at: missing",
        "x-dead-letter-time": "2025-11-01T12:00:00+00:00", "x-dead-letter-event-id": EVENT,
        "x-dead-letter-version": shown["headers"]["x-dead-letter-version"],
    }  # fmt: skip


def test_the_place_from_which_daprd_took_a_letter_is_shown() -> None:
    shown = content(read_letter(by_daprd(KafkaRecord(b"{}", TOPIC, {"__key": ALICE}))), raw=False)["headers"]
    assert (shown["__topic"], shown["__partition"], shown["__offset"]) == (TOPIC, "1", "5")


@pytest.mark.parametrize(
    ("body", "metadata"),
    [
        ({"id": ALICE}, {}),  # a user's object has an id too
        ({"data": {"id": EVENT}, "event_id": "x", "timestamp": "x"}, {"event_id": EVENT}),
        ({"user_id": EVENT.upper().replace("-", "")}, {"event_id": EVENT}),
        ({}, {"event_id": EVENT, "__key": EVENT}),
        ({}, {"event_id": EVENT, "aggregate_id": EVENT}),
    ],
)
def test_an_events_id_that_is_also_that_of_a_user_is_not_shown(body: Any, metadata: dict[str, str]) -> None:
    record = KafkaRecord(json.dumps(body).encode(), TOPIC, {"__partition": "1", "__key": ALICE} | metadata)
    shown = everything_shown(read_letter(by_function(record)))
    assert EVENT not in shown
    assert ALICE not in shown


def test_names_that_are_hidden_alike_do_not_replace_each_other() -> None:
    shown = content(letter(value=b'{"Ada": 1, "Bob": 2}'), raw=False)["body"]
    assert shown == {"<name of 3 characters>": "<number>", "<name of 3 characters> (2)": "<number>"}


def test_with_raw_everything_is_shown() -> None:
    body = profile_payload(display_name="Ada Lovelace", bio=["likes", {"pet": "fox"}])
    one = letter(
        {"aggregate_id": ALICE, "correlation-id": "who-knows", IDS: "@nova-1:a"}, value=json.dumps(body).encode()
    )
    shown = content(one, raw=True)
    assert (shown["key"], shown["body"]) == (ALICE, body)
    assert shown["headers"].items() >= {"aggregate_id": ALICE, "correlation-id": "who-knows", IDS: "@nova-1:a"}.items()


def test_a_body_that_is_not_json_is_shown_by_its_size_and_with_raw_as_text() -> None:
    assert content(letter(value=b"\xff{ada"), raw=False)["body"] == "<5 bytes, not JSON>"
    assert content(letter(value=b"\xff{ada"), raw=True)["body"] == "\\xff{ada"
    assert content(letter(value=b"[NaN]"), raw=True)["body"] == "[NaN]"


@pytest.mark.parametrize("raw", [False, True])
@pytest.mark.parametrize("value", [b"[" * 900 + b"]" * 900, b'{"a":' * 600 + b"1" + b"}" * 600, b'{"a": 1e999}'])
def test_no_body_ends_the_tool_or_breaks_its_json(value: bytes, raw: bool) -> None:
    """Nested as deeply as Python can just read, or with a number that only Python writes as `Infinity`."""
    shown = json.dumps(content(letter(value=value), raw=raw), allow_nan=False, indent=2)
    assert json.loads(shown)["body"] == (value.decode() if raw else f"<{len(value)} bytes, not JSON>")


def test_a_body_with_many_fields_is_not_taken_for_a_deep_one() -> None:
    body = [{"is_verified": True}] * 500
    assert content(letter(value=json.dumps(body).encode()), raw=False)["body"] == body

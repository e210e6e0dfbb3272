"""What becomes of a record, told without any service: the same as when it is processed, and what else a producer should know."""

from datetime import timedelta
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from dev.demo import script
from dev.identity_events import CREATED, DELETED, PROFILE_UPDATED, created_payload
from function.events.types import EventType
from function.kafka.record import KafkaRecord
from function.outcomes import Reason
from function.processing.forecast import Forecast, Prospect, forecast
from tests.captures.records import RECORDS, Wire
from tests.support.decoding import decoded_headers
from tests.support.events import ALICE, BOB, EPOCH, deleted_payload, deletion, delivered, moment, password, profile

HOUR = 3600
NOW = EPOCH + timedelta(days=365)


def told(record: KafkaRecord, *, whole: bool = True) -> Forecast:
    return forecast(record, EPOCH, whole=whole)


@pytest.mark.parametrize("wire", RECORDS.values(), ids=list(RECORDS))
def test_a_captured_record_has_the_prospect_of_its_decoding(wire: Wire) -> None:
    record = KafkaRecord(b"null" if wire.value is None else wire.value, "t", decoded_headers(wire.headers))
    found = forecast(record, NOW, whole=False)
    if wire.expected in set(Reason):
        assert (found.prospect, found.reason) == (Prospect.DEAD_LETTER, wire.expected)
        assert found.advice == Reason[wire.expected.upper()].todo
    else:
        ignored = wire.expected == "Ignored"
        assert found.prospect is (Prospect.IGNORED if ignored else Prospect.ACCEPTED)


@pytest.mark.parametrize(
    ("record", "kind", "case"),
    [
        (deletion(soft=True), EventType.DELETED, "soft"),
        (deletion(soft=False), EventType.DELETED, "hard"),
        (profile(), EventType.PROFILE_UPDATED, ""),
        (delivered(created_payload(ALICE, "ada", moment()), "UserCreatedEvent"), EventType.CREATED, ""),
        (password(), EventType.PASSWORD_CHANGED, ""),
    ],
)
def test_an_event_says_what_it_does_in_synapse(record: KafkaRecord, kind: EventType, case: str) -> None:
    assert told(record) == Forecast(Prospect.ACCEPTED, kind, kind.effects[case], case)


def test_a_type_of_another_service_is_not_shown() -> None:
    found = told(delivered({"user_id": ALICE}, "identity.ada_lovelace.invited"))
    assert (found.prospect, found.event_type, found.reason) == (Prospect.IGNORED, "unknown", "other_type")
    assert "lovelace" not in str(found)


@pytest.mark.parametrize("address", ["ftp://cdn.example/a.png", "https://ada@cdn.example/a.png", "https://", 5])
def test_an_avatar_that_is_refused_whatever_the_settings_is_a_dead_letter(address: Any) -> None:
    assert told(profile(avatar_url=address)).reason is Reason.AVATAR_INVALID


@pytest.mark.parametrize("address", ["https://cdn.example/a.png", "mxc://test.example/a", None])
def test_an_avatar_that_settings_may_allow_is_accepted(address: Any) -> None:
    assert told(profile(avatar_url=address)).prospect is Prospect.ACCEPTED


def with_key(record: KafkaRecord, key: str | None) -> KafkaRecord:
    rest = {name: text for name, text in record.metadata.items() if name != "__key"}
    return KafkaRecord(record.value, record.topic, rest if key is None else rest | {"__key": key})


@pytest.mark.parametrize("key", [BOB, ALICE.upper(), "ada", f'"{ALICE}"'])
@pytest.mark.parametrize("record", [profile(), deletion(soft_delete="perhaps")], ids=["accepted", "dead letter"])
def test_a_key_that_is_not_the_user_id_is_noted(record: KafkaRecord, key: str) -> None:
    [note] = told(with_key(record, key)).notes
    assert note.startswith("the key is not the user id")


def test_a_record_without_a_key_is_noted() -> None:
    [note] = told(with_key(profile(), None)).notes
    assert note.startswith("the record has no key")


def test_of_a_value_alone_neither_key_nor_id_is_expected() -> None:
    assert told(KafkaRecord(profile().value, "t", {}), whole=False).notes == ()


def test_an_event_without_an_id_is_noted() -> None:
    record = KafkaRecord(profile().value, "t", {"__key": ALICE, "event_type": PROFILE_UPDATED})
    [note] = told(record).notes
    assert note.startswith("the event has no id")


@pytest.mark.parametrize("ahead", [1, HOUR - 1])
def test_a_time_that_is_a_little_ahead_is_noted(ahead: int) -> None:
    found = told(profile(second=ahead))
    assert found.prospect is Prospect.ACCEPTED
    assert found.notes[0].startswith("its time is in the future: until then")


def test_a_time_that_is_far_ahead_is_a_dead_letter_unless_kafka_has_it_too() -> None:
    record = profile(second=HOUR + 1)
    assert told(record).reason is Reason.TIME_IN_FUTURE
    later = str(int((EPOCH + timedelta(hours=1)).timestamp() * 1000))
    assert told(KafkaRecord(record.value, "t", {**record.metadata, "__timestamp": later})).reason == ""


def test_a_deletion_that_is_ahead_is_carried_out_and_noted() -> None:
    found = told(deletion(second=10 * HOUR))
    assert found.prospect is Prospect.ACCEPTED
    assert found.notes[0].startswith("its time is in the future. A deletion")


def test_a_deletion_without_a_time_has_no_note_about_it() -> None:
    payload = deleted_payload()
    del payload["deleted_at"]
    assert told(delivered(payload, DELETED)).notes == ()


def test_no_text_has_a_value_of_the_record() -> None:
    """What a producer writes may be anyone's name."""
    secret = "lovelace"
    records = [
        delivered({"user_id": secret, "username": secret, "updated_at": secret, "avatar_url": secret}, PROFILE_UPDATED),
        delivered({"user_id": ALICE, "username": secret, "created_at": secret}, CREATED),
        with_key(profile(display_name=secret * 40, username=secret), secret),
        delivered({secret: secret}, f"identity.user.deleted.{secret}"),
        delivered(secret.encode(), secret),
        profile(avatar_url=f"https://{secret}@a.example/"),
    ]
    found = [told(record) for record in records]
    assert [one.prospect for one in found] == [Prospect.DEAD_LETTER] * len(records)
    assert secret not in str(found)


@pytest.mark.parametrize("step", list(script.steps()), ids=lambda step: f"{step.who}: {step.what}")
def test_an_event_of_the_demo_has_the_prospect_of_what_became_of_it(step: script.Step) -> None:
    """The demo's outcomes are those of real servers. Which hosts are allowed is a matter of settings."""
    record = KafkaRecord(b"null" if step.value is None else step.value, "t", decoded_headers(step.headers))
    found = forecast(record, NOW, whole=False)
    outcome, _, reason = step.expected.partition(": ")
    if outcome == "dead_letter" and reason != Reason.AVATAR_HOST_NOT_ALLOWED:
        assert (found.prospect, found.reason) == (Prospect.DEAD_LETTER, reason)
    else:
        assert found.prospect is (Prospect.IGNORED if outcome == "ignored" else Prospect.ACCEPTED)


@given(
    st.binary(), st.dictionaries(st.sampled_from(["event_type", "ce_id", "ce_specversion", "__key", "x"]), st.text())
)
def test_any_bytes_have_a_prospect(value: bytes, metadata: dict[str, str]) -> None:
    assert forecast(KafkaRecord(value, "t", metadata), NOW, whole=True).means

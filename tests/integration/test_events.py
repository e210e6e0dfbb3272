"""Every type and shape, from a real Kafka through a real daprd to a real Synapse."""

from dataclasses import replace
from typing import Any

import pytest

from dev.identity_events import (
    START,
    ProducerRecord,
    binary_headers,
    deleted,
    deleted_payload,
    encode,
    envelope,
    new_user,
    profile,
    profile_payload,
    structured,
    typed,
)
from dev.running_stack import REPLAY_TOPIC, mxid
from tests.integration.stack import StackUnderTest

MXC = "mxc://staging.nova.app/abcdefghijklmnop"


def shaped(shape: str, kind: str, user_id: str, payload: dict[str, Any]) -> ProducerRecord:
    """The payload in one of the wire shapes."""
    event_id, at = new_user(), START.isoformat()
    match shape:
        case "headers":
            return typed(kind, user_id, payload)
        case "envelope":
            return ProducerRecord(user_id, encode(envelope(payload, kind, event_id=event_id)))
        case "envelope without type":
            return ProducerRecord(user_id, encode(envelope(payload, event_id=event_id)))
        case "bare":
            return ProducerRecord(user_id, encode(payload))
        case "structured CloudEvent":
            return ProducerRecord(user_id, encode(structured(payload, kind, event_id, time=at)))
        case _:
            return ProducerRecord(user_id, encode(payload), binary_headers(kind, event_id, time=at))


SHAPES = ["headers", "envelope", "envelope without type", "bare", "structured CloudEvent", "binary CloudEvent"]


@pytest.mark.parametrize("shape", SHAPES)
@pytest.mark.parametrize("kind", ["identity.user.profile_updated", "UserProfileUpdatedEvent"])
def test_a_changed_profile_reaches_matrix_in_every_shape(world: StackUnderTest, shape: str, kind: str) -> None:
    user = new_user()
    world.create(user)
    world.send(shaped(shape, kind, user, profile_payload(user, "Ada", avatar=MXC)))
    world.settle()
    account = world.account(user)
    assert account
    assert (account["displayname"], account["avatar_url"]) == ("Ada", MXC)


@pytest.mark.parametrize("shape", SHAPES)
@pytest.mark.parametrize("kind", ["identity.user.deleted", "UserDeletedEvent"])
@pytest.mark.parametrize("soft", [True, False])
def test_a_deleted_user_is_deactivated_and_erased_when_hard(
    world: StackUnderTest, shape: str, kind: str, *, soft: bool
) -> None:
    user = new_user()
    world.create(user)
    world.send(shaped(shape, kind, user, deleted_payload(user, soft=soft)))
    world.settle()
    account = world.account(user)
    assert account
    assert (account["deactivated"], account["erased"]) == (True, not soft)
    assert (account["displayname"] is None) is not soft


def test_an_empty_avatar_unsets_it_in_matrix(world: StackUnderTest) -> None:
    user = new_user()
    world.create(user)
    world.send(profile(user, "Ada", 1, MXC))
    world.settle()
    world.send(profile(user, "Ada", 2, ""))
    world.settle()
    assert world.account(user)["avatar_url"] is None  # type: ignore[index]


def test_a_late_event_changes_nothing(world: StackUnderTest) -> None:
    user = new_user()
    world.create(user)
    world.send(profile(user, "newer", 5))
    world.settle()
    late = profile(user, "older", 3)
    world.send(late)
    world.settle()
    assert world.outcomes([late])[late.event_id] == ["stale"]
    assert world.account(user)["displayname"] == "newer"  # type: ignore[index]


def test_a_profile_of_a_user_without_account_is_not_written_and_the_account_can_be_created_later(
    world: StackUnderTest,
) -> None:
    """Synapse takes a profile for an unknown id, and can then never create the account."""
    user = new_user()
    event = profile(user, "Ada", 1)
    world.send(event)
    world.settle()
    assert world.outcomes([event])[event.event_id] == ["no_account"]
    world.create(user)
    world.send(profile(user, "Ada", 2))
    world.settle()
    assert world.account(user)["displayname"] == "Ada"  # type: ignore[index]


def test_nothing_is_written_to_an_erased_account(world: StackUnderTest) -> None:
    user = new_user()
    world.create(user)
    world.send(deleted(user))
    world.settle()
    late = profile(user, "back from the dead", 90)
    world.send(late)
    world.settle()
    assert world.outcomes([late])[late.event_id] == ["stale"]
    assert world.account(user)["displayname"] is None  # type: ignore[index]


def test_an_unchanged_profile_costs_no_request(world: StackUnderTest) -> None:
    user = new_user()
    world.create(user)
    world.send(profile(user, "Ada", 1))
    world.settle()
    again = profile(user, "Ada", 2)
    world.send(again)
    world.settle()
    assert world.outcomes([again])[again.event_id] == ["unchanged"]


@pytest.mark.parametrize("kind", ["identity.user.two_fa_enabled", "TwoFAEnabledEvent", "something.else"])
def test_other_types_are_acknowledged(world: StackUnderTest, kind: str) -> None:
    user = new_user()
    event = typed(kind, user, {"user_id": user})
    world.send(event)
    world.settle()
    assert world.outcomes([event])[event.event_id] == ["ignored"]


def test_an_https_avatar_is_refused_without_holding_back_the_name(world: StackUnderTest) -> None:
    user = new_user()
    world.create(user)
    event = profile(user, "Ada", 1, "https://cdn.example/ada.png")
    world.send(event)
    world.settle()
    assert world.account(user)["displayname"] == "Ada"  # type: ignore[index]
    assert [letter.reason for letter in world.letters([event.event_id])] == ["avatar_host_not_allowed"]


POISON = {
    "not UTF-8": b"\xff\xfe\x00broken",
    "an array": b"[1, 2]",
    "a scalar": b"42",
    "empty": b"",
    "nested": b'{"a":' * 5000 + b"1" + b"}" * 5000,
    "duplicate key": b'{"user_id": "x", "user_id": "y"}',
    "surrogate": b'{"user_id":"%s","username":"\\ud800","updated_at":"2026-01-01T00:00:00Z"}',
}


@pytest.mark.parametrize("name", POISON)
def test_poison_lies_in_the_dead_letters_byte_for_byte_and_what_follows_is_applied(
    world: StackUnderTest, name: str
) -> None:
    user = new_user()
    world.create(user)
    value = POISON[name].replace(b"%s", user.encode())
    poison = replace(typed("identity.user.profile_updated", user, {}), value=value)
    world.send(poison, profile(user, "after the poison", 1))
    world.settle()
    assert world.account(user)["displayname"] == "after the poison"  # type: ignore[index]
    (letter,) = world.letters([poison.event_id])
    assert (letter.value, letter.key) == (value, user.encode())
    assert letter.reason in {"not_json", "invalid_display_name"}
    assert letter.headers["x-dead-letter-topic"] == b"nova.identity.events"
    assert letter.headers["x-dead-letter-partition"] == str(letter.partition).encode()
    assert letter.headers["x-dead-letter-offset"].isdigit()
    assert letter.headers["event_type"] == b"identity.user.profile_updated"


def test_a_forged_partition_header_does_not_hold_the_dead_letter_up(world: StackUnderTest) -> None:
    """A header `partitionNumber` that no partition has makes Dapr refuse the publish every time."""
    user = new_user()
    poison = typed("identity.user.deleted", user, {})
    forged = {"partitionNumber": b"999", "__partition": b"999", "rawPayload": b"false", "bin": b"\xff\x00"}
    world.send(replace(poison, headers={**poison.headers, **forged}))
    world.settle()
    assert [letter.reason for letter in world.letters([poison.event_id])] == ["invalid_payload"]


def test_a_poison_record_of_the_largest_size_finds_room_in_the_dead_letters(world: StackUnderTest) -> None:
    """The reason's headers make it larger than the main topic would take; refused, it would hold its partition up."""
    user = new_user()
    world.create(user)
    poison = replace(typed("identity.user.deleted", user, {}), value=b"\xff" * 1_048_000)
    world.send(poison, profile(user, "after the poison", 1))
    world.settle()
    assert [letter.value for letter in world.letters([poison.event_id])] == [poison.value]
    assert world.account(user)["displayname"] == "after the poison"  # type: ignore[index]


def test_the_replay_topic_is_handled_like_the_main_one(world: StackUnderTest) -> None:
    user = new_user()
    world.create(user)
    world.send(replace(deleted(user), topic=REPLAY_TOPIC))
    world.settle()
    assert world.account(user)["erased"] is True  # type: ignore[index]


def test_other_users_are_not_touched(world: StackUnderTest) -> None:
    one, other = new_user(), new_user()
    world.create(one, other)
    world.send(deleted(one))
    world.settle()
    assert world.account(other)["deactivated"] is False  # type: ignore[index]
    assert world.account(other)["name"] == mxid(other)  # type: ignore[index]

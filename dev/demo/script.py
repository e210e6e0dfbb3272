"""Says who is in the demo and which events are sent, with what is expected of each. Sends nothing."""

from collections.abc import Iterator
from dataclasses import dataclass, field

from dev import identity_events
from dev.identity_events import (
    CREATED,
    DELETED,
    PASSWORD_CHANGED,
    PROFILE_UPDATED,
    Json,
    binary_headers,
    created_payload,
    encode,
    envelope,
    headers,
    new_user,
    password_changed_payload,
    structured,
)
from dev.servers.synapse import SERVER_NAME

MXC = f"mxc://{SERVER_NAME}/abcdefghijklmnopqrstuvwx"
ENDED = "deactivated, no session"


@dataclass
class Step:
    """A record, its expected and its actual outcome."""

    who: str
    what: str
    shape: str
    expected: str
    value: bytes | None
    headers: dict[str, bytes] = field(default_factory=dict)
    place: tuple[int, int] = (-1, -1)
    outcome: str = ""


@dataclass
class Person:
    """A user with or without a Matrix account, and the expected state at the end: in Synapse, and in MAS if it is there."""

    name: str
    final: str
    in_mas: str = "active, no session"
    has_account: bool = True
    rooms: int = 0
    id: str = field(default_factory=new_user)

    @property
    def localpart(self) -> str:
        return f"nova-{self.id}"

    @property
    def mxid(self) -> str:
        return f"@{self.localpart}:{SERVER_NAME}"


PEOPLE = {
    person.name: person
    for person in (
        Person("ada", "Ada Lovelace, no avatar"),
        Person("bob", "bob, no avatar, deactivated", ENDED),
        Person("carol", "no name, no avatar, deactivated, erased, in 0 rooms", ENDED, rooms=3),
        Person("dave", "Dave, no avatar"),
        Person("erin", "no account", "no user", has_account=False),
        Person("frank", "no name, no avatar, deactivated, erased", ENDED),
        Person("grace", "before, no avatar"),
        Person("heidi", "Heidi, no avatar", "active, linked, no session", has_account=False),
    )
}


def profile(who: str, name: str | None, minute: int, avatar: str | None = None, **more: object) -> Json:
    at = f"2026-01-01T00:{minute:02}:00.123456789Z"
    return identity_events.profile_payload(PEOPLE[who].id, name, at, avatar=avatar, username=who, **more)


def deleted(who: str, *, soft: bool) -> Json:
    return identity_events.deleted_payload(PEOPLE[who].id, "2026-01-01T00:30:00Z", soft=soft)


def steps() -> Iterator[Step]:
    """Yields the demo's script. Records of one person are sent one after the other."""
    updated, gone = PROFILE_UPDATED, DELETED
    first = _headers(updated, profile("ada", "Ada Lovelace", 1))
    yield Step("ada", "new display name", "headers", "applied", *first)
    yield Step("ada", "the same record again", "headers", "unchanged", *first)
    yield Step("ada", "only the bio changed", "headers", "unchanged",
               *_headers(updated, profile("ada", "Ada Lovelace", 2, bio="numbers")))  # fmt: skip
    yield Step(
        "ada", "an older name arrives late", "headers", "stale", *_headers(updated, profile("ada", "A. Byron", 0))
    )
    yield Step("ada", "avatar set", "envelope", "applied", _envelope(updated, profile("ada", "Ada Lovelace", 5, MXC)))
    yield Step("ada", "avatar removed", "CloudEvent, structured", "applied",
               _cloud_event(updated, profile("ada", "Ada Lovelace", 6, "")))  # fmt: skip
    yield Step("bob", "new display name", "envelope, old spelling", "applied",
               _envelope("UserProfileUpdatedEvent", profile("bob", "Bobby", 1)))  # fmt: skip
    yield Step("bob", "name cleared: becomes the username", "CloudEvent, binary", "applied",
               *_binary(updated, profile("bob", None, 2)))  # fmt: skip
    yield Step("bob", "deleted, soft", "envelope without type", "applied", _envelope("", deleted("bob", soft=True)))
    yield Step(
        "bob", "a profile after the deletion", "headers", "stale", *_headers(updated, profile("bob", "Bob!", 59))
    )
    yield Step("carol", "deleted, hard", "headers, old spelling", "applied",
               *_headers("UserDeletedEvent", deleted("carol", soft=False)))  # fmt: skip
    yield Step("carol", "deleted again, by another event", "CloudEvent, structured", "applied",
               _cloud_event("UserDeletedEvent", deleted("carol", soft=False)))  # fmt: skip
    yield Step("carol", "a profile after the erasure", "headers", "stale",
               *_headers("UserProfileUpdatedEvent", profile("carol", "Carol", 59)))  # fmt: skip
    yield Step("dave", "name, and an https avatar", "headers", "dead_letter: avatar_host_not_allowed",
               *_headers(updated, profile("dave", "Dave", 1, "https://cdn.example/dave.png")))  # fmt: skip
    yield Step(
        "erin", "a profile, but no account", "headers", "no_account", *_headers(updated, profile("erin", "Erin", 1))
    )
    yield Step("erin", "deleted, but no account", "CloudEvent, binary", "no_account",
               *_binary(gone, deleted("erin", soft=False)))  # fmt: skip
    yield Step("frank", "deleted, hard", "bare, no headers", "applied", encode(deleted("frank", soft=False)))
    yield Step("heidi", "a profile, but no account", "headers", "no_account",
               *_headers(updated, profile("heidi", "Heidi", 1)))  # fmt: skip
    yield Step("heidi", "created", "headers", "applied",
               *_headers(CREATED, created_payload(PEOPLE["heidi"].id, "heidi")))  # fmt: skip
    yield Step("grace", "password changed, no session", "headers", "unchanged",
               *_headers(PASSWORD_CHANGED, password_changed_payload(PEOPLE["grace"].id)))  # fmt: skip
    yield Step("grace", "two_fa_enabled", "headers", "ignored",
               *_headers("identity.user.two_fa_enabled", {"user_id": PEOPLE["grace"].id}))  # fmt: skip
    yield Step("grace", "a tombstone", "no value", "ignored", None)
    yield Step(
        "grace", "not JSON", "headers", "dead_letter: not_json", b"\xff{broken", {"event_type": updated.encode()}
    )
    yield Step("grace", "a name of 300 characters", "headers", "dead_letter: invalid_display_name",
               *_headers(updated, profile("grace", "g" * 300, 3)))  # fmt: skip
    yield Step("grace", "an invalid user_id", "headers", "dead_letter: invalid_payload",
               *_headers(gone, deleted("grace", soft=True) | {"user_id": "42"}))  # fmt: skip


def _headers(event_type: str, payload: Json) -> tuple[bytes, dict[str, bytes]]:
    return encode(payload), headers(event_type, new_user())


def _envelope(event_type: str, payload: Json) -> bytes:
    return encode(envelope(payload, event_type, event_id=new_user()))


def _cloud_event(event_type: str, payload: Json) -> bytes:
    return encode(structured(payload, event_type, new_user()))


def _binary(event_type: str, payload: Json) -> tuple[bytes, dict[str, bytes]]:
    return encode(payload), binary_headers(event_type, new_user())

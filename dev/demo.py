"""Sends about twenty events, of every type and wire format, through the real stack, and shows each event's outcome and the
accounts in Synapse: `make demo`. Exit code 1 if anything differs from what is expected."""

import json
import re
import sys
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Annotated

import typer
from confluent_kafka import Consumer, Message, Producer, TopicPartition
from rich.console import Console
from rich.table import Table

from dev import identity_events
from dev.__main__ import run_server, say, start_function
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
from dev.processes import StackError, wait_until
from dev.servers.kafka import TOPIC, TOPICS, headers_of
from dev.servers.synapse import SERVER_NAME
from dev.stack import Stack

MXC = f"mxc://{SERVER_NAME}/abcdefghijklmnopqrstuvwx"
APP_MARK = "== APP - matrix-account-sync == "
WIDTH = 130  # without a terminal
console = Console(highlight=False, width=None if sys.stdout.isatty() else WIDTH, record=True)


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
    """A user with or without a Matrix account, and the expected state in Synapse at the end."""

    name: str
    final: str
    has_account: bool = True
    rooms: int = 0
    id: str = field(default_factory=new_user)

    @property
    def mxid(self) -> str:
        return f"@nova-{self.id}:{SERVER_NAME}"


PEOPLE = {
    person.name: person
    for person in (
        Person("ada", "Ada Lovelace, no avatar"),
        Person("bob", "bob, no avatar, deactivated"),
        Person("carol", "no name, no avatar, deactivated, erased, in 0 rooms", rooms=3),
        Person("dave", "Dave, no avatar"),
        Person("erin", "no account", has_account=False),
        Person("frank", "no name, no avatar, deactivated, erased"),
        Person("grace", "before, no avatar"),
        Person("heidi", "Heidi, no avatar", has_account=False),
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


def prepare(stack: Stack) -> None:
    """Creates the accounts and the rooms that they are members of."""
    for person in PEOPLE.values():
        if person.has_account:
            stack.synapse.create(person.mxid, "before")
        for _ in range(person.rooms):
            room = stack.synapse.admin("POST", "/_matrix/client/v3/createRoom", {"preset": "public_chat"}).json()
            body = {"user_id": person.mxid}
            stack.synapse.admin("POST", f"/_synapse/admin/v1/join/{room['room_id']}", body).raise_for_status()


def play(stack: Stack, script: list[Step]) -> None:
    """Sends the script, one record of each person at a time, and waits until the function has logged each outcome."""
    producer = Producer({"bootstrap.servers": stack.kafka.brokers})
    waiting = {who: [step for step in script if step.who == who] for who in PEOPLE}
    while any(waiting.values()):
        current = [todo.pop(0) for todo in waiting.values() if todo]
        for step in current:
            _send(producer, step)
        producer.flush(20)
        if not wait_until(lambda now=current: _all_logged(now), 60):  # type: ignore[misc]
            missing = ", ".join(f"{step.who}: {step.what}" for step in current if not step.outcome)
            raise StackError(f"the function logged no outcome for {missing}; see {run_server().log}")


def _send(producer: Producer, step: Step) -> None:
    def acknowledged(error: object, message: Message) -> None:
        if error is None:
            step.place = (message.partition() or 0, message.offset() or 0)

    producer.produce(TOPIC, step.value, PEOPLE[step.who].id, headers={**step.headers}, on_delivery=acknowledged)


def _all_logged(current: list[Step]) -> bool:
    told = {}
    for line in run_server().log.read_text(errors="replace").splitlines():
        if APP_MARK in line and (body := _parsed(line.partition(APP_MARK)[2])).get("event") == "event":
            outcome, reason = body["outcome"], body.get("reason")
            told[body["topic"], body["partition"], body["offset"]] = f"{outcome}: {reason}" if reason else outcome
    for step in current:
        step.outcome = told.get((TOPIC, str(step.place[0]), str(step.place[1])), "")
    return all(step.outcome and not step.outcome.startswith("retry") for step in current)


def _parsed(text: str) -> Json:
    try:
        found: Json = json.loads(text)
    except ValueError:
        return {}
    return found


def now(stack: Stack, person: Person) -> str:
    """Describes a person's account in Synapse."""
    account = stack.account(person.mxid)
    if account is None:
        return "no account"
    words = [account["displayname"] or "no name", "avatar" if account["avatar_url"] else "no avatar"]
    words += [word for word in ("deactivated", "erased") if account[word]]
    if person.rooms:
        rooms = stack.synapse.admin("GET", f"/_synapse/admin/v1/users/{person.mxid}/joined_rooms").json()
        words.append(f"in {rooms['total']} rooms")
    return ", ".join(words)


def dead_letters(stack: Stack) -> list[dict[str, str]]:
    """Returns the headers of the dead letters of this run's people."""
    consumer = Consumer({"bootstrap.servers": stack.kafka.brokers, "group.id": "demo", "enable.auto.commit": False})
    found = []
    for partition in sorted(consumer.list_topics(TOPICS[1], timeout=10).topics[TOPICS[1]].partitions):
        low, high = consumer.get_watermark_offsets(TopicPartition(TOPICS[1], partition), timeout=10)
        consumer.assign([TopicPartition(TOPICS[1], partition, low)])
        for message in consumer.consume(high - low, timeout=20) if high > low else []:
            key = (message.key() or b"").decode()
            who = next((person.name for person in PEOPLE.values() if person.id == key), None)
            if who:
                headers = {name: value.decode(errors="replace") for name, value in headers_of(message).items()}
                found.append({"who": who} | headers)
    consumer.close()
    return found


def show(stack: Stack, script: list[Step]) -> bool:
    """Prints the tables. Returns whether everything is as expected."""
    wait_until(lambda: all(now(stack, person) == person.final for person in PEOPLE.values()), 30)
    events = Table("", "who", "event", "wire shape", "what happened", title="Events", title_justify="left")
    for step in script:
        good = step.outcome == step.expected
        wrong = "" if good else f" [red](expected {step.expected})[/]"
        events.add_row(_mark(good), step.who, step.what, step.shape, step.outcome + wrong)
    states = Table("", "who", "Synapse says now", title="Accounts", title_justify="left")
    people_good = True
    for person in PEOPLE.values():
        state = now(stack, person)
        people_good &= state == person.final
        wrong = "" if state == person.final else f" [red](expected {person.final})[/]"
        states.add_row(_mark(state == person.final), person.name, state + wrong)
    letters = Table("who", "reason", "detail", "origin", title="Dead letters", title_justify="left")
    buried = dead_letters(stack)
    for letter in buried:
        of = {name: letter.get(f"x-dead-letter-{name}", "") for name in ("reason", "detail", "partition", "offset")}
        letters.add_row(
            letter["who"], of["reason"], of["detail"], f"partition {of['partition']}, offset {of['offset']}"
        )
    for table in (events, states, letters):
        console.print(table)
    expected = sum(step.expected.startswith("dead_letter") for step in script)
    return people_good and all(step.outcome == step.expected for step in script) and len(buried) == expected


def _mark(good: bool) -> str:
    return "[green]ok[/]" if good else "[red]no[/]"


def draw(picture: Path) -> None:
    """Writes the printed tables as an SVG without external resources: it uses the reader's fonts."""
    drawn = console.export_svg(title="make demo: what was sent, and what became of it", unique_id="demo")
    plain = re.sub(r"@font-face \{.*?\}\n", "", drawn, flags=re.DOTALL).replace("Fira Code, ", "")
    picture.write_text(re.sub(r"[ \t]+$", "", plain, flags=re.MULTILINE))


def demo(
    picture: Annotated[Path | None, typer.Option(help="Also write the tables to this file, as SVG.")] = None,
) -> None:
    """Run the demo; stop afterwards what was not running before."""
    stack = Stack(say=say)
    if picture:
        console.width = WIDTH
    was_up = run_server().running()
    try:
        stack.start()
        start_function(stack)
        say("creating accounts and rooms")
        prepare(stack)
        script = list(steps())
        say(f"sending {len(script)} records to {TOPIC}")
        play(stack, script)
        good = show(stack, script)
    except StackError as error:
        console.print(f"[red]demo:[/] {error}")
        good = False
    finally:
        if not was_up:
            say("stopping everything")
            run_server().stop()
            stack.stop()
    console.print("[green]Everything is as expected.[/]" if good else "[red]Not everything is as expected.[/]")
    if picture and good:
        draw(picture)
    sys.exit(0 if good else 1)


if __name__ == "__main__":
    typer.run(demo)

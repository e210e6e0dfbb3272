"""The drill: 2,000 events, 60 of them broken in eight ways, until only the hopeless ones are left. `make replay-drill` runs it and prints its counts."""

import json
import sqlite3
import time
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path

from dev.identity_events import ProducerRecord, deleted, deleted_payload, new_user, profile, profile_payload, typed
from dev.stack import Stack
from tests.contract.servers.cdn import Cdn
from tests.integration.dead_letters import (
    counts_of,
    open_letters,
)
from tests.integration.servers.cdn import HOST, https_host, image
from tests.integration.stack import StackUnderTest
from tests.support.images import PNG

Tell = Callable[[str], None]
DELETED, UPDATED = "identity.user.deleted", "identity.user.profile_updated"


class Drill:
    """1,940 good events for 100 users, of which most change nothing, and 60 broken ones: 24 whose cause can be fixed,
    36 that are hopeless."""

    def __init__(self, image: str) -> None:
        self.users = [new_user() for _ in range(100)]
        self.unlucky = [new_user() for _ in range(8)]  # Synapse fails on these until it is fixed
        self.pictured = [new_user() for _ in range(8)]  # their images' host is not allowed yet
        self.doomed = [new_user() for _ in range(8)]  # a bulk job deletes these; the brake is on
        rounds = range(1, 20)
        self.good = [profile(user, "A" if minute < 10 else "B", minute) for minute in rounds for user in self.users]
        self.good += [profile(user, "B", 19) for user in self.users[:20]]
        self.good += [deleted(user, soft=True) for user in self.users[:20]]
        self.late = self.unlucky[0]  # gets a newer profile, which Synapse takes
        self.healable = [profile(user, "unlucky", 1) for user in self.unlucky]
        self.healable += [profile(user, "Pic", 1, image) for user in self.pictured]
        self.healable += [deleted(user) for user in self.doomed]
        self.hopeless = list(_hopeless())

    @property
    def sent(self) -> list[ProducerRecord]:
        return self.good + self.healable + self.hopeless

    @property
    def accounts(self) -> list[str]:
        return self.users + self.unlucky + self.pictured + self.doomed


def _hopeless() -> Iterator[ProducerRecord]:
    for number in range(36):
        user = new_user()
        yield [
            lambda u: _raw(u, b"\xff{broken", UPDATED),
            lambda u: _raw(u, b'{"something": "else"}', ""),
            lambda u: _raw(u, json.dumps({"specversion": "1.0", "data": {}}).encode(), UPDATED),
            lambda u: typed(DELETED, u, deleted_payload(u) | {"soft_delete": "perhaps"}),
            lambda u: typed(UPDATED, u, profile_payload(u, "n" * 300)),
        ][number % 5](user)


def _raw(user: str, value: bytes, kind: str) -> ProducerRecord:
    headers = {"event_id": new_user().encode()} | ({"event_type": kind.encode()} if kind else {})
    return ProducerRecord(user, value, headers)


@contextmanager
def broken_for(stack: Stack, users: list[str]) -> Iterator[None]:
    """Synapse's database refuses the users' changes: 500 for them, while other users work."""
    bare = ", ".join(f"'nova-{user}'" for user in users)
    database = sqlite3.connect(stack.folder / "synapse" / "homeserver.db", timeout=30)
    database.executescript(f"""
        CREATE TRIGGER broken_profile BEFORE UPDATE ON profiles
            WHEN NEW.user_id IN ({bare}) AND NEW.displayname = 'unlucky'
            BEGIN SELECT RAISE(ABORT, 'broken on purpose'); END;
    """)
    try:
        yield
    finally:
        database.executescript("DROP TRIGGER broken_profile;")
        database.close()


@contextmanager
def running(world: StackUnderTest, folder: Path, authority: Path, **more: str) -> Iterator[StackUnderTest]:
    """The function with other settings, in place of the session's."""
    environment = more | {"TEST_CDN_CA": str(authority)}
    other = StackUnderTest(world.stack, folder, environment, module="tests.integration.programs.with_local_cdn")
    try:
        other.start()
        yield other
    finally:
        other.stop()


def test_events_whose_cause_is_fixed_are_replayed_and_the_others_stay(
    world: StackUnderTest, tmp_path: Path, tell: Tell
) -> None:
    """2,000 events, 60 broken in eight ways: list, fix the causes, replay by reason; nothing is lost."""
    world.settle()
    world.stop()
    try:
        with https_host(tmp_path) as (cdn, authority):
            _drill(world, tmp_path, f"{HOST}:{cdn.port}", authority, cdn, tell)
    finally:
        world.start()


def _drill(world: StackUnderTest, folder: Path, host: str, authority: Path, cdn: Cdn, tell: Tell) -> None:
    cdn.answers["/pic.png"] = image(PNG, "one")
    drill = Drill(f"https://{host}/pic.png")
    world.create(*drill.accounts)
    started = time.time()
    causes = {"MATRIX_MAX_DELETIONS_PER_HOUR": "20"}  # and no allowed host
    with broken_for(world.stack, drill.unlucky), running(world, folder / "before", authority, **causes) as before:
        before.send(*drill.good)
        before.settle(180)
        before.send(*drill.healable, *drill.hopeless)
        before.settle(180)
        newer = profile(drill.late, "newer", 2)
        before.in_turn(newer)
        broken = drill.healable + drill.hopeless
        listed = open_letters(world, broken)
        tell(f"{len(drill.sent)} events, {len(listed)} dead letters: {counts_of(listed)}")
        assert Counter(letter["event_id"] for letter in listed) == Counter(event.event_id for event in broken)
        assert len({letter["reason"] for letter in listed}) == 8
        told = before.outcomes(drill.sent)

    fixed = {"AVATAR_ALLOWED_HOSTS": host, "MATRIX_MAX_DELETIONS_PER_HOUR": "0"}
    with running(world, folder / "after", authority, **fixed) as after:
        reasons = ("synapse_error", "avatar_host_not_allowed", "deletion_limit")
        since = datetime.fromtimestamp(started, UTC).strftime(
            "%Y-%m-%dT%H:%M:%SZ"
        )  # earlier letters are of other tests
        done = world.tool("replay", "--yes", "--since", since, *(w for reason in reasons for w in ("--reason", reason)))
        assert done.returncode == 0, done.stdout + done.stderr
        tell(f"causes fixed, replayed: {'; '.join(line.strip() for line in done.stdout.splitlines())}")
        after.settle()
        replayed = after.outcomes(drill.healable)
        left = open_letters(world, drill.sent)

    assert all(world.account(user)["deactivated"] for user in drill.users[:20])  # type: ignore[index]
    assert {world.account(user)["displayname"] for user in drill.users[20:]} == {"B"}  # type: ignore[index]
    assert world.account(drill.late)["displayname"] == "newer"  # type: ignore[index]
    assert replayed[drill.healable[0].event_id] == ["stale"]
    assert {world.account(user)["displayname"] for user in drill.unlucky[1:]} == {"unlucky"}  # type: ignore[index]
    assert all(world.account(user)["avatar_url"].startswith("mxc://") for user in drill.pictured)  # type: ignore[index]
    assert all(world.account(user)["erased"] for user in drill.doomed)  # type: ignore[index]

    assert Counter(letter["event_id"] for letter in left) == Counter(event.event_id for event in drill.hopeless)
    tell(f"left in the dead letters: {len(left)}, exactly the hopeless ones: {counts_of(left)}")
    final = {event_id: (replayed.get(event_id) or all_of)[-1] for event_id, all_of in told.items() if all_of}
    assert final.keys() == {event.event_id for event in drill.sent}
    counts = ", ".join(f"{count} {outcome}" for outcome, count in sorted(Counter(final.values()).items()))
    tell(f"{len(drill.sent)} sent: {counts}; 0 lost; {time.time() - started:.0f} s in all")

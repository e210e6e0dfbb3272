"""Dead letters and their replay on the real servers: `make replay-drill` runs these and prints their counts."""

import json
import signal
import sqlite3
import time
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import grpc
import pytest
from dapr.proto import api_service_v1, api_v1

from dev.identity_events import ProducerRecord, deleted, deleted_payload, new_user, profile, profile_payload, typed
from dev.running_stack import REPLAY_TOPIC
from dev.servers.daprd import TOOLS, Sidecar, Tool
from dev.servers.kafka import TOPIC
from dev.stack import Stack
from function.dead_letters.publish import DETAIL, OFFSET, PARTITION, REASON, REPLAYS, TIME, VERSION
from function.dead_letters.publish import TOPIC as ORIGIN_TOPIC
from tests.contract.servers.cdn import Cdn
from tests.integration.servers.cdn import HOST, https_host, image
from tests.integration.stack import DEAD_TOPIC, StackUnderTest, wait_until
from tests.support.images import PNG

Tell = Callable[[str], None]
DELETED, UPDATED = "identity.user.deleted", "identity.user.profile_updated"


# --- the drill: 2,000 events, 60 of them broken in eight ways


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
        listed = _mine(world, broken)
        tell(f"{len(drill.sent)} events, {len(listed)} dead letters: {_told(listed)}")
        assert Counter(letter["event_id"] for letter in listed) == Counter(event.event_id for event in broken)
        assert len({letter["reason"] for letter in listed}) == 8
        told = before.outcomes(drill.sent)

    fixed = {"AVATAR_ALLOWED_HOSTS": host, "MATRIX_MAX_DELETIONS_PER_HOUR": "0"}
    with running(world, folder / "after", authority, **fixed) as after:
        reasons = ("synapse_error", "avatar_host_not_allowed", "deletion_limit")
        done = world.tool("replay", "--yes", *(word for reason in reasons for word in ("--reason", reason)))
        assert done.returncode == 0, done.stdout + done.stderr
        tell(f"causes fixed, replayed: {'; '.join(line.strip() for line in done.stdout.splitlines())}")
        after.settle()
        replayed = after.outcomes(drill.healable)

    assert all(world.account(user)["deactivated"] for user in drill.users[:20])  # type: ignore[index]
    assert {world.account(user)["displayname"] for user in drill.users[20:]} == {"B"}  # type: ignore[index]
    assert world.account(drill.late)["displayname"] == "newer"  # type: ignore[index]
    assert replayed[drill.healable[0].event_id] == ["stale"]
    assert {world.account(user)["displayname"] for user in drill.unlucky[1:]} == {"unlucky"}  # type: ignore[index]
    assert all(world.account(user)["avatar_url"].startswith("mxc://") for user in drill.pictured)  # type: ignore[index]
    assert all(world.account(user)["erased"] for user in drill.doomed)  # type: ignore[index]

    left = _mine(world, drill.sent)
    assert Counter(letter["event_id"] for letter in left) == Counter(event.event_id for event in drill.hopeless)
    tell(f"left in the dead letters: {len(left)}, exactly the hopeless ones: {_told(left)}")
    final = {event_id: (replayed.get(event_id) or all_of)[-1] for event_id, all_of in told.items() if all_of}
    assert final.keys() == {event.event_id for event in drill.sent}
    counts = ", ".join(f"{count} {outcome}" for outcome, count in sorted(Counter(final.values()).items()))
    tell(f"{len(drill.sent)} sent: {counts}; 0 lost; {time.time() - started:.0f} s in all")


def _mine(world: StackUnderTest, events: list[ProducerRecord]) -> list[dict[str, str]]:
    ids = {event.event_id for event in events}
    return [letter for letter in world.listed() if letter["event_id"] in ids]


def _told(letters: list[dict[str, str]]) -> str:
    return ", ".join(f"{count} {reason}" for reason, count in Counter(one["reason"] for one in letters).most_common())


# --- letters made by hand: what the tools do with them


def letter(user: str, reason: str = "synapse_error", replays: int = 0, partition: int = 0) -> ProducerRecord:
    """A dead letter as the function writes it, of a profile event."""
    event = profile(user, "Ada", 1)
    why = {REASON: reason, DETAIL: "by hand", TIME: "2026-01-01T00:00:00+00:00", VERSION: "0", REPLAYS: str(replays)}
    where = {ORIGIN_TOPIC: "nova.identity.events", PARTITION: str(partition), OFFSET: "0"}
    headers = {name: text.encode() for name, text in (why | where).items()}
    return ProducerRecord(user, event.value, dict(event.headers) | headers, DEAD_TOPIC)


STEPS = [
    "before lease 1", "after lease 1", "before replayed 1", "after replayed 1", "after replayed 3", "after put-back 1",
    "before bookmark 1", "after bookmark 1", "before release 1", "after release 1",
]  # fmt: skip


def test_a_replay_killed_at_any_step_loses_no_letter(world: StackUnderTest, tmp_path: Path, tell: Tell) -> None:
    """Each time six letters, three of them chosen; killed at each step in turn, then run to its end."""
    chosen: list[ProducerRecord] = []
    kept: list[ProducerRecord] = []
    for step in STEPS:
        chosen += (new := [letter(new_user()) for _ in range(3)])
        kept += (others := [letter(new_user(), "avatar_invalid") for _ in range(3)])
        world.send(*new, *others)
        tool = Tool(world.environment, tmp_path, "replay")
        tool.words = [
            tool.words[0].replace("matrix-account-sync", "python"),
            "-m",
            "tests.integration.programs.killed_replay",
        ]
        assert tool.run(step).returncode == -signal.SIGKILL, step
    assert world.tool("replay", "--yes", "--reason", "synapse_error").returncode == 0
    world.settle()
    times = Counter(record.headers.get("event_id", b"").decode() for record in world.records(REPLAY_TOPIC))
    assert all(times[event.event_id] >= 1 for event in chosen)
    left = Counter(one["event_id"] for one in _mine(world, chosen + kept))
    assert set(left) == {event.event_id for event in kept}
    twice = sum(times[event.event_id] - 1 for event in chosen)
    copies = sum(count - 1 for count in left.values())
    tell(f"killed at {len(STEPS)} steps: {len(chosen)} chosen, 0 lost, {twice} replayed again; "
         f"{len(kept)} others, 0 lost, {copies} there twice")  # fmt: skip


def test_a_letter_that_was_replayed_too_often_is_stuck(world: StackUnderTest) -> None:
    """It stays, is counted, and the exit code says so."""
    user = new_user()
    stuck = letter(user, replays=5)
    world.send(stuck)
    done = world.tool("replay", "--yes", "--user", user)
    assert done.returncode == 1
    assert "stuck: 1 synapse_error" in done.stdout
    assert [one["replays"] for one in _mine(world, [stuck])] == ["5"]


def test_a_letter_that_fails_again_comes_back_with_its_count(world: StackUnderTest) -> None:
    """So that a person sees that the replay did not help."""
    user = new_user()
    world.create(user)
    event = profile(user, "Ada", 1, "https://cdn.example.org/a.png")
    world.send(event)
    world.settle()
    for count in ("1", "2"):
        assert world.tool("replay", "--yes", "--user", user).returncode == 0
        world.settle()
        [back] = _mine(world, [event])
        assert (back["replays"], back["reason"]) == (count, "avatar_host_not_allowed")


def test_a_dry_run_says_what_would_move_and_moves_nothing(world: StackUnderTest) -> None:
    user = new_user()
    one = letter(user)
    world.send(one)
    before = len(world.records(DEAD_TOPIC))
    done = world.tool("replay", "--dry-run", "--user", user)
    assert done.returncode == 0
    assert f"event_id={one.event_id}" in done.stdout
    assert done.stdout.count("would replay") == 1
    assert len(world.records(DEAD_TOPIC)) == before
    assert one.event_id not in {record.headers.get("event_id", b"").decode() for record in world.records(REPLAY_TOPIC)}


def test_max_limits_how_many_letters_are_replayed(world: StackUnderTest) -> None:
    user = new_user()
    letters = [letter(user) for _ in range(5)]
    world.send(*letters)
    assert world.tool("replay", "--yes", "--user", user, "--max", "2").returncode == 0
    assert len(_mine(world, letters)) == 3


def test_the_tools_leave_no_consumer_group_behind(world: StackUnderTest) -> None:
    """Kafka forgets a group that has neither members nor offsets."""
    world.listed()
    tools = tuple(TOOLS.values())
    wait_until(lambda: not any(group.startswith(tools) for group in world.groups()), "no group of the tools")


def test_a_tool_can_end_its_sidecar(world: StackUnderTest, tmp_path: Path) -> None:
    """A Kubernetes Job is over only when all of its containers are."""
    tool = Tool(world.environment, tmp_path, "dead-letters")
    tool.sidecar.start()
    try:
        process = tool.launch("--quiet", "2", "--end-sidecar")
        output, errors = process.communicate()
        assert process.returncode == 0, errors
        assert "dead letter" in output
        wait_until(lambda: not tool.sidecar.server.running(), "the sidecar ended", 20)
    finally:
        tool.sidecar.stop()


def test_a_second_replay_is_refused_while_one_runs(world: StackUnderTest, tmp_path: Path) -> None:
    """Its letters would go out twice."""
    user = new_user()
    letters = [letter(user) for _ in range(40)]
    world.send(*letters)
    first = Tool(world.environment, tmp_path, "replay")
    first.sidecar.start()
    try:
        process = first.launch("--yes", "--user", user, "--rate", "0.25")
        wait_until(lambda: any(r.headers.get("event_id", b"").decode() == letters[0].event_id
                               for r in world.records(REPLAY_TOPIC)), "the first letter replayed")  # fmt: skip
        second = world.tool("replay", "--yes", "--user", user)
        assert second.returncode == 3
        assert "another replay is at work" in second.stderr
        process.terminate()
        process.communicate(timeout=30)
    finally:
        first.sidecar.stop()
    assert world.tool("replay", "--yes", "--user", user).returncode == 0
    assert _mine(world, letters) == []


def test_a_letter_of_daprds_own_is_recognised(world: StackUnderTest) -> None:
    """It has the record's place in headers named like daprd's own words, and no reason."""
    event = profile(new_user(), "Ada", 1)
    forged = {"__topic": b"nova.identity.events", "__partition": b"5", "__offset": b"0", "pubsubName": b"pubsub"}
    world.send(ProducerRecord(event.user_id, event.value, dict(event.headers) | forged, DEAD_TOPIC))
    [found] = _mine(world, [event])
    assert (found["reason"], found["type"]) == ("dapr_retries_exhausted", UPDATED)
    done = world.tool("dead-letters", "--show", found["letter"])
    assert json.loads(done.stdout)["body"]["display_name"] == "<3 characters>"
    assert event.user_id not in done.stdout
    assert event.user_id in world.tool("dead-letters", "--show", found["letter"], "--raw").stdout
    assert world.tool("replay", "--yes", "--reason", "dapr_retries_exhausted").returncode == 0
    assert _mine(world, [event]) == []


def test_the_main_topic_is_replayed_from_a_time_and_stays_as_it_is(world: StackUnderTest) -> None:
    """The events of one user, for a state store that was lost, say; other groups notice nothing."""
    user = new_user()
    world.create(user)
    event = profile(user, "Ada", 1)
    world.send(event)
    world.settle()
    done = world.tool("replay", "--from", "events", "--since", "1h", "--user", user, "--yes")
    assert (done.returncode, done.stdout.splitlines()[0].split(",")[0]) == (0, "1 replayed")
    world.settle()
    assert world.outcomes([event])[event.event_id] == ["applied", "unchanged"]


@pytest.mark.parametrize(
    ("command", "pubsub", "allowed"),
    [
        ("", "pubsub", {DEAD_TOPIC}),
        ("dead-letters", "pubsub-dead-letters", set()),
        ("replay", "pubsub-dead-letters", {DEAD_TOPIC, REPLAY_TOPIC}),
    ],
)
def test_each_app_publishes_only_where_it_may(
    world: StackUnderTest, tmp_path: Path, command: str, pubsub: str, allowed: set[str]
) -> None:
    """Only the replay tool may publish to the replay topic, and no app to the main one."""
    sidecar = Tool(world.environment, tmp_path, command).sidecar if command else world.sidecar
    if command:
        sidecar.start()
    try:
        assert {topic for topic in (TOPIC, DEAD_TOPIC, REPLAY_TOPIC) if _publishes(sidecar, pubsub, topic)} == allowed
    finally:
        if command:
            sidecar.stop()


def _publishes(sidecar: Sidecar, pubsub: str, topic: str) -> bool:
    """Publishes a record of an unknown type, which every reader ignores."""
    metadata = {"rawPayload": "true", "event_type": "tests.scope"}
    request = api_v1.PublishEventRequest(pubsub_name=pubsub, topic=topic, data=b"{}", metadata=metadata)
    with grpc.insecure_channel(f"127.0.0.1:{sidecar.environment['DAPR_GRPC_PORT']}") as channel:
        try:
            token = (("dapr-api-token", sidecar.environment["DAPR_API_TOKEN"]),)
            api_service_v1.DaprStub(channel).PublishEvent(request, metadata=token)  # type: ignore[no-untyped-call]
        except grpc.RpcError as error:
            if error.code() is grpc.StatusCode.PERMISSION_DENIED:
                return False
            raise
    return True

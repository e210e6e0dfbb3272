"""Dead letters and their replay on the real servers: `make replay-drill` runs these and prints their counts."""

import json
import signal
import sqlite3
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest
from confluent_kafka.admin import AdminClient, AlterConfigOpType, ConfigEntry, ConfigResource, ResourceType

from dev.identity_events import ProducerRecord, deleted, deleted_payload, new_user, profile, profile_payload, typed
from dev.processes import free_port
from dev.running_stack import REPLAY_TOPIC
from dev.servers.daprd import Tool
from dev.stack import Stack
from function.dead_letters.publish import DETAIL, OFFSET, PARTITION, REASON, REPLAYS, TIME, VERSION
from function.dead_letters.publish import TOPIC as ORIGIN_TOPIC
from tests.contract.servers.cdn import Cdn
from tests.contract.servers.topics import Topic
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
        left = _mine(world, drill.sent)

    assert all(world.account(user)["deactivated"] for user in drill.users[:20])  # type: ignore[index]
    assert {world.account(user)["displayname"] for user in drill.users[20:]} == {"B"}  # type: ignore[index]
    assert world.account(drill.late)["displayname"] == "newer"  # type: ignore[index]
    assert replayed[drill.healable[0].event_id] == ["stale"]
    assert {world.account(user)["displayname"] for user in drill.unlucky[1:]} == {"unlucky"}  # type: ignore[index]
    assert all(world.account(user)["avatar_url"].startswith("mxc://") for user in drill.pictured)  # type: ignore[index]
    assert all(world.account(user)["erased"] for user in drill.doomed)  # type: ignore[index]

    assert Counter(letter["event_id"] for letter in left) == Counter(event.event_id for event in drill.hopeless)
    tell(f"left in the dead letters: {len(left)}, exactly the hopeless ones: {_told(left)}")
    final = {event_id: (replayed.get(event_id) or all_of)[-1] for event_id, all_of in told.items() if all_of}
    assert final.keys() == {event.event_id for event in drill.sent}
    counts = ", ".join(f"{count} {outcome}" for outcome, count in sorted(Counter(final.values()).items()))
    tell(f"{len(drill.sent)} sent: {counts}; 0 lost; {time.time() - started:.0f} s in all")


def _mine(world: StackUnderTest, events: list[ProducerRecord]) -> list[dict[str, str]]:
    """Returns the open letters of these events."""
    ids = {event.event_id for event in events}
    done = world.tool("replay", "--dry-run", "--json", "--max-replays", "1000")
    assert done.returncode == 0, done.stderr
    lines = [json.loads(line) for line in done.stdout.splitlines()]
    return [line["letter"] for line in lines if line.get("letter", {}).get("event_id") in ids]


def _told(letters: list[dict[str, str]]) -> str:
    return ", ".join(f"{count} {reason}" for reason, count in Counter(one["reason"] for one in letters).most_common())


# --- letters made by hand: what the tools do with them


def letter(
    user: str, reason: str = "synapse_error", replays: int = 0, partition: int = 0, name: str = "Ada"
) -> ProducerRecord:  # fmt: skip
    """A dead letter as the function writes it, of a profile event."""
    event = profile(user, name, 1)
    why = {REASON: reason, DETAIL: "by hand", TIME: "2026-01-01T00:00:00+00:00", VERSION: "0", REPLAYS: str(replays)}
    where = {ORIGIN_TOPIC: "nova.identity.events", PARTITION: str(partition), OFFSET: "0"}
    headers = {name: text.encode() for name, text in (why | where).items()}
    return ProducerRecord(user, event.value, dict(event.headers) | headers, DEAD_TOPIC)


CALLS = ["spans 1", "batch 1", "state 1", "state 2", *(f"replayed {n}" for n in (1, 2, 3)), "state 3", "mark 1"]
STEPS = [f"{moment} {call}" for call in CALLS for moment in ("before", "after")]


def test_a_replay_killed_at_any_step_loses_no_letter(world: StackUnderTest, tell: Tell) -> None:
    """Each time six letters, three of them chosen; killed before and after each outside call, then run to its end."""
    began = time.time()
    chosen: dict[str, list[ProducerRecord]] = {}
    others: list[ProducerRecord] = []
    tool = Tool(world.environment, "")
    tool.words = [sys.executable, "-m", "tests.integration.programs.killed_replay"]
    for step in STEPS:
        since = time.time()
        chosen[step] = [letter(new_user()) for _ in range(3)]
        others += (kept := [letter(new_user(), "avatar_invalid") for _ in range(3)])
        world.send(*chosen[step], *kept)
        assert tool.run(step, str(since)).returncode == -signal.SIGKILL, step
    done = world.tool("replay", "--yes", "--reason", "synapse_error", "--since", _text(began))
    assert done.returncode == 0, done.stderr
    times = _replayed(world)
    for step, letters in chosen.items():
        counts = [times[event.event_id] for event in letters]
        tell(f"killed {step:17} 3 chosen, {counts.count(0)} lost, {sum(counts) - 3} replayed twice")
        assert all(1 <= count <= 2 for count in counts), step
    everything = [event for letters in chosen.values() for event in letters]
    assert {one["event_id"] for one in _mine(world, everything + others)} == {event.event_id for event in others}
    tell(f"killed at {len(STEPS)} steps: {len(everything)} chosen, 0 lost; {len(others)} others stay open")


def _text(since: float) -> str:
    return datetime.fromtimestamp(since, UTC).isoformat()


def _replayed(world: StackUnderTest) -> Counter[str]:
    """Returns how many times each event is in the replay topic."""
    return Counter(record.headers.get("event_id", b"").decode() for record in world.records(REPLAY_TOPIC))


def _times(world: StackUnderTest, letters: list[ProducerRecord]) -> dict[str, int]:
    """Returns how many times each of these that was replayed is in the replay topic."""
    times = _replayed(world)
    return {one.event_id: times[one.event_id] for one in letters if times[one.event_id]}


def _summary(done: subprocess.CompletedProcess[str]) -> dict[str, Any]:
    found: dict[str, Any] = json.loads(done.stdout.splitlines()[-1])["summary"]
    return found


def test_a_letter_that_was_replayed_too_often_is_stuck(world: StackUnderTest) -> None:
    """It stays open, is counted, and the exit code says so."""
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


def test_a_dry_run_says_what_would_be_replayed_and_changes_nothing(world: StackUnderTest) -> None:
    user = new_user()
    one = letter(user)
    world.send(one)
    done = world.tool("replay", "--dry-run", "--user", user)
    assert done.returncode == 0
    assert f"event_id={one.event_id}" in done.stdout
    assert done.stdout.count("would replay") == 1
    assert len(_mine(world, [one])) == 1
    assert _replayed(world)[one.event_id] == 0


def test_max_limits_how_many_letters_are_replayed(world: StackUnderTest) -> None:
    user = new_user()
    letters = [letter(user) for _ in range(5)]
    world.send(*letters)
    done = world.tool("replay", "--yes", "--user", user, "--max", "2", "--json")
    assert (done.returncode, _summary(done)["ended"]) == (0, "max")
    assert len(_mine(world, letters)) == 3


def test_a_letter_is_replayed_by_its_place_and_a_missing_one_is_said(world: StackUnderTest) -> None:
    user = new_user()
    one = letter(user)
    world.send(one)
    [found] = _mine(world, [one])
    done = world.tool("replay", "--yes", "--letter", found["letter"], "--letter", "0:99999999")
    assert done.returncode == 1
    assert done.stdout.startswith("1 replayed")
    assert "not in the topic, or not matching the filter: 0:99999999" in done.stderr
    assert _replayed(world)[one.event_id] == 1


def test_the_tools_leave_no_consumer_group_behind(world: StackUnderTest) -> None:
    """They join none."""
    assert world.tool("replay", "--dry-run", "--max-replays", "1000").returncode == 0
    assert world.groups() <= {world.environment["KAFKA_CONSUMER_GROUP_ID"], "tests"}


def test_two_replays_at_once_lose_nothing(world: StackUnderTest, tell: Tell) -> None:
    """Some letters go out twice, which changes nothing; each is marked."""
    letters = [letter(new_user()) for _ in range(100)]
    since = _text(time.time())
    world.send(*letters)
    words = ("--yes", "--since", since, "--reason", "synapse_error", "--json")
    processes = [Tool(world.environment, "replay").launch(*words) for _ in range(2)]
    ends = [(process.communicate(), process.returncode) for process in processes]
    assert [code for _, code in ends] == [0, 0], ends
    times = _replayed(world)
    assert all(1 <= times[one.event_id] <= 2 for one in letters)
    assert _mine(world, letters) == []
    tell(f"two replays at once: 100 letters, 0 lost, {sum(times[one.event_id] - 1 for one in letters)} replayed twice")


def test_a_letter_that_kafka_refuses_stays_open_and_multiplies_nothing(world: StackUnderTest, tell: Tell) -> None:
    """Another limit on the replay topic, say. Three runs in a row, and then the cause is fixed."""
    ada = new_user()
    large, later = letter(ada, name="x" * 60_000), letter(ada)
    small = [letter(new_user()) for _ in range(20)]
    since = _text(time.time())
    world.send(large, later, *small)
    words = ("replay", "--yes", "--since", since, "--reason", "synapse_error", "--json")
    with _limited(world, REPLAY_TOPIC, "50000"):
        for number in range(3):
            done = world.tool(*words)
            summary = _summary(done)
            tell(f"run {number + 1}: exit {done.returncode}, {summary['replayed']} replayed, {summary['failed']} failed, "
                 f"{summary['held_back']} held back, {summary['closed']} done before")  # fmt: skip
            assert (done.returncode, summary["failed"], summary["held_back"]) == (1, 1, 1)
            assert {one["event_id"] for one in _mine(world, [large, later, *small])} == {large.event_id, later.event_id}
    assert world.tool(*words).returncode == 0
    times = _replayed(world)
    assert [times[one.event_id] for one in (large, later, *small)] == [1] * 22


@contextmanager
def _limited(world: StackUnderTest, topic: str, size: str) -> Iterator[None]:
    """The topic takes only records up to this size."""
    admin = AdminClient({"bootstrap.servers": world.brokers, "log_level": 0})

    def limit(value: str) -> None:
        entry = ConfigEntry("max.message.bytes", value, incremental_operation=AlterConfigOpType.SET)
        resource = ConfigResource(ResourceType.TOPIC, topic, incremental_configs=[entry])
        for future in admin.incremental_alter_configs([resource]).values():
            future.result(30)

    limit(size)
    try:
        yield
    finally:
        limit("2097152")


def test_an_interrupted_replay_tells_its_counts_and_is_gone_on_with(world: StackUnderTest) -> None:
    """Ctrl-C after the first letters."""
    letters = [letter(new_user()) for _ in range(60)]
    since = _text(time.time())
    world.send(*letters)
    words = ("--yes", "--since", since, "--reason", "synapse_error")
    process = Tool(world.environment, "replay").launch(*words, "--rate", "4", "--json")
    wait_until(lambda: bool(_times(world, letters)), "the first letter replayed")
    process.send_signal(signal.SIGINT)
    output, errors = process.communicate(timeout=30)
    summary = json.loads(output.splitlines()[-1])["summary"]
    assert (process.returncode, summary["ended"]) == (130, "interrupted")
    assert "go on with the same command" in errors
    times = _replayed(world)
    assert summary["replayed"] == {"synapse_error": sum(times[one.event_id] for one in letters)}
    assert len(_mine(world, letters)) == 60 - sum(times[one.event_id] for one in letters)
    assert world.tool("replay", *words).returncode == 0
    assert _times(world, letters) == dict.fromkeys((one.event_id for one in letters), 1)


def test_a_replay_whose_sidecar_dies_tells_its_counts_and_is_gone_on_with(world: StackUnderTest) -> None:
    letters = [letter(new_user()) for _ in range(60)]
    since = _text(time.time())
    world.send(*letters)
    words = ("--yes", "--since", since, "--reason", "synapse_error")
    process = Tool(world.environment, "replay").launch(*words, "--rate", "4", "--json")
    wait_until(lambda: bool(_times(world, letters)), "the first letter replayed")
    world.sidecar.stop(kill=True)
    try:
        output, errors = process.communicate(timeout=120)
    finally:
        world.sidecar.start()
    summary = json.loads(output.splitlines()[-1])["summary"]
    assert (process.returncode, summary["ended"]) == (3, "unavailable"), errors
    assert summary["replayed"]["synapse_error"] >= 1
    assert world.tool("replay", *words).returncode == 0
    times = _times(world, letters)
    assert all(1 <= times.get(one.event_id, 0) <= 2 for one in letters)
    assert _mine(world, letters) == []


def test_without_kafka_or_a_sidecar_nothing_is_done_and_it_is_said(world: StackUnderTest) -> None:
    for changed, reason in (("KAFKA_BROKERS", "kafka_unavailable"), ("DAPR_HTTP_PORT", "starting")):
        port = free_port()
        value = f"127.0.0.1:{port}" if changed == "KAFKA_BROKERS" else str(port)
        done = Tool(world.environment | {changed: value}, "replay").run("--yes", "--json")
        assert done.returncode == 3
        assert (_summary(done)["ended"], _summary(done)["replayed"]) == ("unavailable", {})
        assert reason in done.stderr
        assert "Traceback" not in done.stderr


def test_marks_of_an_earlier_topic_of_the_same_name_are_told_and_ignored(
    world: StackUnderTest, other_topic: Topic
) -> None:
    """Its letters are open, whatever was done about the earlier ones at their places."""
    other_topic.put(b"{}", b"{}", headers={REASON: b"synapse_error"})
    tools = world.environment | {"KAFKA_IDENTITY_EVENTS_TOPIC": other_topic.name.removesuffix(".matrix.dead")}
    assert Tool(tools, "discard").run("--all", "--why", "a test", "--yes").returncode == 0
    other_topic.delete()
    other_topic.make()
    other_topic.put(b"{}", headers={REASON: b"synapse_error"})
    done = Tool(tools, "replay").run("--dry-run", "--json")
    assert (done.returncode, _summary(done)["replayed"], _summary(done)["foreign_marks"]) == (
        0,
        {"synapse_error": 1},
        1,
    )
    assert "1 marks belong to an earlier topic of this name and were ignored" in done.stderr


@pytest.fixture
def other_topic(world: StackUnderTest) -> Topic:
    return Topic(world.stack.kafka, name=f"other-{new_user()}.matrix.dead")


def test_discarded_letters_are_no_longer_open_and_stay_in_kafka(world: StackUnderTest) -> None:
    user = new_user()
    one, other = letter(user, "not_json"), letter(user)
    world.send(one, other)
    words = ("discard", "--user", user, "--reason", "not_json", "--why", "a test")
    assert world.tool(*words, "--dry-run").stdout.count("would discard") == 1
    assert len(_mine(world, [one, other])) == 2
    done = world.tool(*words, "--yes")
    assert (done.returncode, done.stdout.splitlines()[0]) == (0, "1 discarded, 0 done before")
    assert "stay in Kafka until their retention ends" in done.stdout
    assert [found["event_id"] for found in _mine(world, [one, other])] == [other.event_id]
    assert world.tool("replay", "--yes", "--again", "--user", user).stdout.startswith("1 replayed")
    assert len(world.letters([one.event_id])) == 1


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (("discard", "--yes", "--why", "a test"), "nothing says which letters"),
        (("discard", "--yes", "--all", "--why", "two\nlines"), "expected one line"),
        (("discard", "--yes", "--all", "--why", "x" * 201), "expected one line"),
        (("discard", "--all", "--why", "a test"), "no terminal to confirm on"),
        (("replay",), "no terminal to confirm on"),
        (("replay", "--yes", "--from", "events"), "add --since or --from-offset"),
        (("replay", "--yes", "--letter", "6.4"), "is no place"),
        (("replay", "--yes", "--from-offset", "99:0"), "the topic has no partition 99; expected 0 to"),
    ],
)
def test_a_mistake_is_named_and_nothing_is_done(world: StackUnderTest, words: tuple[str, ...], said: str) -> None:
    done = world.tool(*words)
    assert (done.returncode, done.stdout) == (2, "")
    assert said in " ".join(done.stderr.replace("│", " ").split())
    assert "Traceback" not in done.stderr


def test_a_letter_of_daprds_own_is_replayed_too(world: StackUnderTest) -> None:
    """It has the record's place in headers named like daprd's own words, and no reason."""
    event = profile(new_user(), "Ada", 1)
    forged = {"__topic": b"nova.identity.events", "__partition": b"5", "__offset": b"0", "pubsubName": b"pubsub"}
    world.send(ProducerRecord(event.user_id, event.value, dict(event.headers) | forged, DEAD_TOPIC))
    [found] = _mine(world, [event])
    assert (found["reason"], found["type"]) == ("dapr_retries_exhausted", UPDATED)
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


def test_the_main_topic_is_replayed_in_parts_from_the_place_that_is_told(world: StackUnderTest, tell: Tell) -> None:
    """Each record once, however often it stops."""
    events = [profile(new_user(), "Ada", 1) for _ in range(50)]
    begin = ("--since", _text(time.time()))
    world.send(*events)
    world.settle()
    for number in range(1, 5):
        done = world.tool("replay", "--from", "events", *begin, "--yes", "--json", "--max", "20")
        summary = _summary(done)
        assert done.returncode == 0, done.stderr
        tell(
            f"part {number}: {summary['replayed']}, {summary['ended']}, go on from {summary['go_on_from'] or 'nowhere'}"
        )
        if not summary["go_on_from"]:
            break
        assert f"--from events --from-offset {summary['go_on_from']}" in done.stderr
        begin = ("--from-offset", summary["go_on_from"])
    assert _times(world, events) == dict.fromkeys((event.event_id for event in events), 1)
    world.settle()

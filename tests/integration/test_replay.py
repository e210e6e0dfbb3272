"""Which letters `replay` and `discard` take on the real servers, and what becomes of them."""

import time
from collections.abc import Callable

import pytest

from dev.identity_events import ProducerRecord, new_user, profile
from dev.servers.daprd import Tool
from function.dead_letters.publish import REASON
from tests.contract.servers.topics import Topic
from tests.integration.dead_letters import letter, open_letters, replayed, summary_of, time_text, times_replayed
from tests.integration.stack import DEAD_TOPIC, StackUnderTest

Tell = Callable[[str], None]
UPDATED = "identity.user.profile_updated"


def test_a_letter_that_was_replayed_too_often_is_stuck(world: StackUnderTest) -> None:
    """It stays open, is counted, and the exit code says so."""
    user = new_user()
    stuck = letter(user, replays=5)
    world.send(stuck)
    done = world.tool("replay", "--yes", "--user", user)
    assert done.returncode == 1
    assert "stuck: 1 synapse_error" in done.stdout
    assert [one["replays"] for one in open_letters(world, [stuck])] == ["5"]


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
        [back] = open_letters(world, [event])
        assert (back["replays"], back["reason"]) == (count, "avatar_host_not_allowed")


def test_a_dry_run_says_what_would_be_replayed_and_changes_nothing(world: StackUnderTest) -> None:
    user = new_user()
    one = letter(user)
    world.send(one)
    done = world.tool("replay", "--dry-run", "--user", user)
    assert done.returncode == 0
    assert f"event_id={one.event_id}" in done.stdout
    assert done.stdout.count("would replay") == 1
    assert len(open_letters(world, [one])) == 1
    assert replayed(world)[one.event_id] == 0


def test_max_limits_how_many_letters_are_replayed(world: StackUnderTest) -> None:
    user = new_user()
    letters = [letter(user) for _ in range(5)]
    world.send(*letters)
    done = world.tool("replay", "--yes", "--user", user, "--max", "2", "--json")
    assert (done.returncode, summary_of(done)["ended"]) == (0, "max")
    assert len(open_letters(world, letters)) == 3


def test_a_letter_is_replayed_by_its_place_and_a_missing_one_is_said(world: StackUnderTest) -> None:
    user = new_user()
    one = letter(user)
    world.send(one)
    [found] = open_letters(world, [one])
    done = world.tool("replay", "--yes", "--letter", found["letter"], "--letter", "0:99999999")
    assert done.returncode == 1
    assert done.stdout.startswith("1 replayed")
    assert "not in the topic, or not matching the filter: 0:99999999" in done.stderr
    assert replayed(world)[one.event_id] == 1


def test_the_tools_leave_no_consumer_group_behind(world: StackUnderTest) -> None:
    """They join none. Other tests leave groups of their own behind."""
    before = world.groups()
    assert world.tool("replay", "--dry-run", "--max-replays", "1000").returncode == 0
    assert world.groups() <= before | {world.environment["KAFKA_CONSUMER_GROUP_ID"], "tests"}


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
    assert (done.returncode, summary_of(done)["replayed"], summary_of(done)["foreign_marks"]) == (
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
    assert len(open_letters(world, [one, other])) == 2
    done = world.tool(*words, "--yes")
    assert (done.returncode, done.stdout.splitlines()[0]) == (0, "1 discarded, 0 done before")
    assert "stay in Kafka until their retention ends" in done.stdout
    assert [found["event_id"] for found in open_letters(world, [one, other])] == [other.event_id]
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
    [found] = open_letters(world, [event])
    assert (found["reason"], found["type"]) == ("dapr_retries_exhausted", UPDATED)
    assert world.tool("replay", "--yes", "--reason", "dapr_retries_exhausted").returncode == 0
    assert open_letters(world, [event]) == []


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
    begin = ("--since", time_text(time.time()))
    world.send(*events)
    world.settle()
    for number in range(1, 5):
        done = world.tool("replay", "--from", "events", *begin, "--yes", "--json", "--max", "20")
        summary = summary_of(done)
        assert done.returncode == 0, done.stderr
        tell(
            f"part {number}: {summary['replayed']}, {summary['ended']}, go on from {summary['go_on_from'] or 'nowhere'}"
        )
        if not summary["go_on_from"]:
            break
        assert f"--from events --from-offset {summary['go_on_from']}" in done.stderr
        begin = ("--from-offset", summary["go_on_from"])
    assert times_replayed(world, events) == dict.fromkeys((event.event_id for event in events), 1)
    world.settle()

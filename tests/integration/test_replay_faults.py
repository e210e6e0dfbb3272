"""What goes wrong during a replay on the real servers: killed, interrupted, refused, cut off. `make replay-drill` prints the counts."""

import json
import signal
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager

from confluent_kafka.admin import AdminClient, AlterConfigOpType, ConfigEntry, ConfigResource, ResourceType

from dev.identity_events import ProducerRecord, new_user
from dev.processes import free_port
from dev.running_stack import REPLAY_TOPIC
from dev.servers.daprd import Tool
from tests.integration.dead_letters import (
    letter,
    open_letters,
    replayed,
    summary_of,
    time_text,
    times_replayed,
)
from tests.integration.stack import StackUnderTest, wait_until

Tell = Callable[[str], None]


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
    done = world.tool("replay", "--yes", "--reason", "synapse_error", "--since", time_text(began))
    assert done.returncode == 0, done.stderr
    times = replayed(world)
    for step, letters in chosen.items():
        counts = [times[event.event_id] for event in letters]
        tell(f"killed {step:17} 3 chosen, {counts.count(0)} lost, {sum(counts) - 3} replayed twice")
        assert all(1 <= count <= 2 for count in counts), step
    everything = [event for letters in chosen.values() for event in letters]
    assert {one["event_id"] for one in open_letters(world, everything + others)} == {event.event_id for event in others}
    tell(f"killed at {len(STEPS)} steps: {len(everything)} chosen, 0 lost; {len(others)} others stay open")


def test_two_replays_at_once_lose_nothing(world: StackUnderTest, tell: Tell) -> None:
    """Some letters go out twice, which changes nothing; each is marked."""
    letters = [letter(new_user()) for _ in range(100)]
    since = time_text(time.time())
    world.send(*letters)
    words = ("--yes", "--since", since, "--reason", "synapse_error", "--json")
    processes = [Tool(world.environment, "replay").launch(*words) for _ in range(2)]
    ends = [(process.communicate(), process.returncode) for process in processes]
    assert [code for _, code in ends] == [0, 0], ends
    times = replayed(world)
    assert all(1 <= times[one.event_id] <= 2 for one in letters)
    assert open_letters(world, letters) == []
    tell(f"two replays at once: 100 letters, 0 lost, {sum(times[one.event_id] - 1 for one in letters)} replayed twice")


def test_a_letter_that_kafka_refuses_stays_open_and_multiplies_nothing(world: StackUnderTest, tell: Tell) -> None:
    """Another limit on the replay topic, say. Three runs in a row, and then the cause is fixed."""
    ada = new_user()
    large, later = letter(ada, name="x" * 60_000), letter(ada)
    small = [letter(new_user()) for _ in range(20)]
    since = time_text(time.time())
    world.send(large, later, *small)
    words = ("replay", "--yes", "--since", since, "--reason", "synapse_error", "--json")
    with _limited(world, REPLAY_TOPIC, "50000"):
        for number in range(3):
            done = world.tool(*words)
            summary = summary_of(done)
            tell(f"run {number + 1}: exit {done.returncode}, {summary['replayed']} replayed, {summary['failed']} failed, "
                 f"{summary['held_back']} held back, {summary['closed']} done before")  # fmt: skip
            assert (done.returncode, summary["failed"], summary["held_back"]) == (1, 1, 1)
            assert {one["event_id"] for one in open_letters(world, [large, later, *small])} == {
                large.event_id,
                later.event_id,
            }
    assert world.tool(*words).returncode == 0
    times = replayed(world)
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
    since = time_text(time.time())
    world.send(*letters)
    words = ("--yes", "--since", since, "--reason", "synapse_error")
    process = Tool(world.environment, "replay").launch(*words, "--rate", "4", "--json")
    wait_until(lambda: bool(times_replayed(world, letters)), "the first letter replayed")
    process.send_signal(signal.SIGINT)
    output, errors = process.communicate(timeout=30)
    summary = json.loads(output.splitlines()[-1])["summary"]
    assert (process.returncode, summary["ended"]) == (130, "interrupted")
    assert "go on with the same command" in errors
    times = replayed(world)
    assert summary["replayed"] == {"synapse_error": sum(times[one.event_id] for one in letters)}
    assert len(open_letters(world, letters)) == 60 - sum(times[one.event_id] for one in letters)
    assert world.tool("replay", *words).returncode == 0
    assert times_replayed(world, letters) == dict.fromkeys((one.event_id for one in letters), 1)


def test_a_replay_whose_sidecar_dies_tells_its_counts_and_is_gone_on_with(world: StackUnderTest) -> None:
    letters = [letter(new_user()) for _ in range(60)]
    since = time_text(time.time())
    world.send(*letters)
    words = ("--yes", "--since", since, "--reason", "synapse_error")
    process = Tool(world.environment, "replay").launch(*words, "--rate", "4", "--json")
    wait_until(lambda: bool(times_replayed(world, letters)), "the first letter replayed")
    world.sidecar.stop(kill=True)
    try:
        output, errors = process.communicate(timeout=120)
    finally:
        world.sidecar.start()
    summary = json.loads(output.splitlines()[-1])["summary"]
    assert (process.returncode, summary["ended"]) == (3, "unavailable"), errors
    assert summary["replayed"]["synapse_error"] >= 1
    assert world.tool("replay", *words).returncode == 0
    times = times_replayed(world, letters)
    assert all(1 <= times.get(one.event_id, 0) <= 2 for one in letters)
    assert open_letters(world, letters) == []


def test_without_kafka_or_a_sidecar_nothing_is_done_and_it_is_said(world: StackUnderTest) -> None:
    for changed, reason in (("KAFKA_BROKERS", "kafka_unavailable"), ("DAPR_HTTP_PORT", "starting")):
        port = free_port()
        value = f"127.0.0.1:{port}" if changed == "KAFKA_BROKERS" else str(port)
        done = Tool(world.environment | {changed: value}, "replay").run("--yes", "--json")
        assert done.returncode == 3
        assert (summary_of(done)["ended"], summary_of(done)["replayed"]) == ("unavailable", {})
        assert reason in done.stderr
        assert "Traceback" not in done.stderr

"""Writes dead letters as the function does, and asks which are open and which were replayed."""

import json
import subprocess
from collections import Counter
from datetime import UTC, datetime
from typing import Any

from dev.identity_events import ProducerRecord, profile
from dev.running_stack import REPLAY_TOPIC
from function.dead_letters.publish import DETAIL, OFFSET, PARTITION, REASON, REPLAYS, TIME, VERSION
from function.dead_letters.publish import TOPIC as ORIGIN_TOPIC
from tests.integration.stack import DEAD_TOPIC, StackUnderTest


def letter(
    user: str, reason: str = "synapse_error", replays: int = 0, partition: int = 0, name: str = "Ada"
) -> ProducerRecord:  # fmt: skip
    """A dead letter as the function writes it, of a profile event."""
    event = profile(user, name, 1)
    why = {REASON: reason, DETAIL: "by hand", TIME: "2026-01-01T00:00:00+00:00", VERSION: "0", REPLAYS: str(replays)}
    where = {ORIGIN_TOPIC: "nova.identity.events", PARTITION: str(partition), OFFSET: "0"}
    headers = {name: text.encode() for name, text in (why | where).items()}
    return ProducerRecord(user, event.value, dict(event.headers) | headers, DEAD_TOPIC)


def open_letters(world: StackUnderTest, events: list[ProducerRecord]) -> list[dict[str, str]]:
    """Returns the open letters of these events."""
    ids = {event.event_id for event in events}
    done = world.tool("replay", "--dry-run", "--json", "--max-replays", "1000")
    assert done.returncode == 0, done.stderr
    lines = [json.loads(line) for line in done.stdout.splitlines()]
    return [line["letter"] for line in lines if line.get("letter", {}).get("event_id") in ids]


def counts_of(letters: list[dict[str, str]]) -> str:
    return ", ".join(f"{count} {reason}" for reason, count in Counter(one["reason"] for one in letters).most_common())


def time_text(since: float) -> str:
    return datetime.fromtimestamp(since, UTC).isoformat()


def replayed(world: StackUnderTest) -> Counter[str]:
    """Returns how many times each event is in the replay topic."""
    return Counter(record.headers.get("event_id", b"").decode() for record in world.records(REPLAY_TOPIC))


def times_replayed(world: StackUnderTest, letters: list[ProducerRecord]) -> dict[str, int]:
    """Returns how many times each of these that was replayed is in the replay topic."""
    times = replayed(world)
    return {one.event_id: times[one.event_id] for one in letters if times[one.event_id]}


def summary_of(done: subprocess.CompletedProcess[str]) -> dict[str, Any]:
    found: dict[str, Any] = json.loads(done.stdout.splitlines()[-1])["summary"]
    return found

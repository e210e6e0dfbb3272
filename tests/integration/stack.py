"""The whole system for tests: real Kafka, Synapse, daprd and the function, and what a test asks of them."""

import json
import subprocess
import uuid
from collections import Counter
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any
from urllib.parse import unquote

from confluent_kafka import Consumer, KafkaException, Producer, TopicPartition
from confluent_kafka.admin import AdminClient

from dev import processes
from dev.servers.daprd import COMPONENTS, FunctionProcess, Sidecar, Tool
from dev.servers.kafka import headers_of
from dev.stack import Stack
from function.app import AGENT

TOPIC = "nova.identity.events"
DEAD_TOPIC = TOPIC + ".matrix.dead"
REPLAY_TOPIC = TOPIC + ".matrix.replay"
START = datetime(2026, 1, 1, tzinfo=UTC)


def wait_until(condition: Callable[[], bool], what: str, seconds: float = 60.0) -> None:
    """Waits until `condition` holds; fails with `what` after the deadline."""
    assert processes.wait_until(condition, seconds), f"not within {seconds:.0f} s: {what}"


def mxid(user_id: str) -> str:
    return f"@nova-{user_id}:staging.nova.app"


def new_user() -> str:
    return str(uuid.uuid4())


@dataclass(frozen=True)
class Sent:
    """One produced record; `event_id` is "" for one that carries none."""

    user_id: str
    value: bytes | None
    headers: Mapping[str, bytes] = field(default_factory=dict)
    topic: str = TOPIC

    def on(self, topic: str) -> "Sent":
        """The same record on another topic."""
        return replace(self, topic=topic)

    @property
    def event_id(self) -> str:
        return self.headers.get("event_id", b"").decode()


def typed(kind: str, user_id: str, payload: Mapping[str, Any]) -> Sent:
    """A record as today's producer sends it: bare payload, typed by headers."""
    headers = {"event_type": kind.encode(), "event_id": new_user().encode(), "aggregate_id": user_id.encode()}
    return Sent(user_id, json.dumps(payload).encode(), headers)


def profile(user_id: str, name: str | None, minute: int = 0, avatar: str | None = None) -> Sent:
    return typed("identity.user.profile_updated", user_id, profile_payload(user_id, name, minute, avatar))


def profile_payload(user_id: str, name: str | None, minute: int = 0, avatar: str | None = None) -> dict[str, Any]:
    at = (START + timedelta(minutes=minute)).isoformat()
    return {"user_id": user_id, "username": "someone", "display_name": name, "avatar_url": avatar, "updated_at": at}


def deleted(user_id: str, *, soft: bool = False) -> Sent:
    return typed("identity.user.deleted", user_id, deleted_payload(user_id, soft=soft))


def deleted_payload(user_id: str, *, soft: bool = False) -> dict[str, Any]:
    return {"user_id": user_id, "deleted_at": START.isoformat(), "soft_delete": soft, "deleted_by": None}


def created(user_id: str, username: str = "ada") -> Sent:
    return typed(
        "identity.user.created", user_id, {"user_id": user_id, "username": username, "created_at": START.isoformat()}
    )


def password_changed(user_id: str, minute: int = 0) -> Sent:
    at = (START + timedelta(minutes=minute)).isoformat()
    payload = {"user_id": user_id, "changed_at": at, "invalidate_all_sessions": True}
    return typed("identity.user.password_changed", user_id, payload)


@dataclass(frozen=True)
class Letter:
    """One dead letter as it lies in Kafka."""

    key: bytes | None
    value: bytes
    headers: dict[str, bytes]
    partition: int

    @property
    def reason(self) -> str:
        return self.headers.get("x-dead-letter-reason", b"").decode()


class World:
    """A stack with daprd and the function on it."""

    def __init__(
        self, stack: Stack, folder: Path, environment: Mapping[str, str] | None = None, *,
        module: str = "function", components: Path = COMPONENTS,
    ) -> None:  # fmt: skip
        self.stack = stack
        self.environment = stack.env() | {"LOG_LEVEL": "DEBUG"} | dict(environment or {})
        self.function = FunctionProcess(self.environment, folder, module)
        self.sidecar = Sidecar(self.environment, folder, components)
        self._folder = folder
        self._brokers = self.environment["KAFKA_BROKERS"]
        self._producer = Producer(
            {"bootstrap.servers": self._brokers, "linger.ms": 5, "message.max.bytes": 1_048_588, "log_level": 0}
        )

    def start(self) -> None:
        self.function.start()
        self.sidecar.start()

    def stop(self) -> None:
        self.sidecar.stop()
        self.function.stop()

    def create(self, *user_ids: str, name: str = "before") -> None:
        """Creates the users' Matrix accounts."""
        for user_id in user_ids:
            self.stack.create_account(f"nova-{user_id}", name)

    def account(self, user_id: str) -> dict[str, Any] | None:
        """What Synapse's admin API says of the user now."""
        found: dict[str, Any] | None = self.stack.account(mxid(user_id))
        return found

    def send(self, *events: Sent) -> None:
        for event in events:
            self._producer.produce(event.topic, event.value, event.user_id, headers=dict(event.headers))
            self._producer.poll(0)
        assert self._producer.flush(30) == 0

    def in_turn(self, *events: Sent) -> None:
        """Sends one after the other, each once the one before has settled."""
        for event in events:
            self.send(event)
            self.settle()

    def settle(self, seconds: float = 90.0) -> None:
        """Waits until the group has committed everything that the topics hold."""
        wait_until(self._caught_up, "all records committed by the consumer group", seconds)

    def _caught_up(self) -> bool:
        try:
            return self.lag() == 0
        except KafkaException:  # the broker is away, or just back
            return False

    def lag(self) -> int:
        """Records of the main and the replay topic that the group has not committed."""
        consumer = self._consumer(self.environment["KAFKA_CONSUMER_GROUP_ID"])  # asks as a member, without joining
        lag = 0
        for topic in (TOPIC, REPLAY_TOPIC):
            for committed in consumer.committed(_partitions(consumer, topic), timeout=10):
                low, high = consumer.get_watermark_offsets(committed, timeout=10)
                lag += high - max(committed.offset, low)
        consumer.close()
        return lag

    def records(self, topic: str) -> list[Letter]:
        """Everything that Kafka holds of a topic."""
        consumer = self._consumer()
        found: list[Letter] = []
        for partition in _partitions(consumer, topic):
            low, high = consumer.get_watermark_offsets(partition, timeout=10)
            if low == high:
                continue
            consumer.assign([TopicPartition(topic, partition.partition, low)])
            found += [
                Letter(message.key(), message.value() or b"", headers_of(message), partition.partition)
                for message in consumer.consume(high - low, timeout=30)
            ]
        consumer.close()
        return found

    def letters(self, event_ids: Iterable[str] = ()) -> list[Letter]:
        """The dead letters; only those of the given events where some are given."""
        wanted = set(event_ids)
        return [
            letter
            for letter in self.records(DEAD_TOPIC)
            if not wanted or letter.headers.get("event_id", b"").decode() in wanted
        ]

    def tool(self, command: str, *options: str) -> subprocess.CompletedProcess[str]:
        """Runs `dead-letters` or `replay` to its end, beside a sidecar of its own."""
        return Tool(self.environment, self._folder, command).run("--quiet", "2", *options)

    def listed(self, *options: str) -> list[dict[str, str]]:
        """The letters that `dead-letters` lists."""
        done = self.tool("dead-letters", "--json", *options)
        assert done.returncode == 0, done.stderr
        lines = [json.loads(line) for line in done.stdout.splitlines()]
        letters = [line["letter"] for line in lines if "letter" in line]
        assert lines[-1]["summary"]["letters"] == len(letters)
        return letters

    def groups(self) -> set[str]:
        """The consumer groups that Kafka knows."""
        admin = AdminClient({"bootstrap.servers": self._brokers, "log_level": 0})
        return {group.group_id for group in admin.list_consumer_groups().result().valid}

    def calls(self, user_id: str) -> list[str]:
        """The requests about the user that the function made, by the real server's own log: method and path, the id as
        `USER`."""
        found = []
        for line in self._requests():
            if user_id in line:
                method, path, _ = line.partition('"')[2].split(" ", 2)
                found.append(f"{method} {unquote(path).replace(mxid(user_id), 'USER').partition('?')[0]}")
        return found

    def refusals(self, user_ids: Iterable[str]) -> int:
        """How many of the function's requests about the users the rate limiter refused."""
        users = set(user_ids)
        return sum(" 429 " in line and any(user in line for user in users) for line in self._requests())

    def _requests(self) -> list[str]:
        """The function's own requests, as the server logged them."""
        lines = self.stack.synapse.server.log.read_text(errors="replace").splitlines()
        return [line for line in lines if "Processed request" in line and f'"{AGENT}' in line]

    def outcomes(self, sent: Iterable[Sent]) -> dict[str, list[str]]:
        """The outcomes that the function logged for each event, in order, by event id."""
        ids = {event.event_id for event in sent}
        found: dict[str, list[str]] = {event_id: [] for event_id in ids}
        for line in self.function.log_lines():
            if line.get("event") == "event" and line.get("event_id") in ids:
                found[line["event_id"]].append(line["outcome"])
        return found

    def tally(self, sent: list[Sent]) -> str:
        """Sent, applied, dead-lettered, lost and repeated, as a line for a person; fails when one was lost."""
        outcomes = self.outcomes(sent)
        final = Counter(next((o for o in reversed(all_of) if o != "retry"), "lost") for all_of in outcomes.values())
        repeats = sum(max(0, sum(o != "retry" for o in all_of) - 1) for all_of in outcomes.values())
        assert not final["lost"], f"{final['lost']} events have no outcome"
        told = ", ".join(f"{count} {name}" for name, count in sorted(final.items()) if count)
        return f"{len(sent)} sent: {told}; {final['dead_letter']} dead-lettered, 0 lost, {repeats} delivered again"

    def _consumer(self, group: str = "tests") -> Consumer:
        return Consumer(
            {"bootstrap.servers": self._brokers, "group.id": group, "enable.auto.commit": False, "log_level": 0}
        )


def _partitions(consumer: Consumer, topic: str) -> list[TopicPartition]:
    """A topic's partitions, asked anew: a test may have restarted the broker."""
    return [
        TopicPartition(topic, number)
        for number in sorted(consumer.list_topics(topic, timeout=10).topics[topic].partitions)
    ]

"""The system under test in the integration tests: real Kafka, Synapse, daprd and function, and what a test reads from them."""

import json
import subprocess
import time
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any
from urllib.parse import unquote

import grpc
from confluent_kafka import TopicPartition
from confluent_kafka.admin import AdminClient
from dapr.proto import api_service_v1, api_v1, common_v1

from dev import processes
from dev.identity_events import ProducerRecord
from dev.running_stack import RunningStack, mxid, partitions_of
from dev.servers.daprd import COMPONENTS, Tool
from dev.servers.kafka import TOPICS, headers_of
from dev.stack import Stack
from function.homeserver_access import AGENT

DEAD_TOPIC = TOPICS[1]


def wait_until(condition: Callable[[], bool], what: str, seconds: float = 60.0) -> None:
    """Waits until `condition` holds; fails with `what` after the deadline."""
    assert processes.wait_until(condition, seconds), f"not within {seconds:.0f} s: {what}"


@dataclass(frozen=True)
class Letter:
    """A dead letter as Kafka holds it."""

    key: bytes | None
    value: bytes
    headers: dict[str, bytes]
    partition: int

    @property
    def reason(self) -> str:
        return self.headers.get("x-dead-letter-reason", b"").decode()


class StackUnderTest(RunningStack):
    """A running stack whose topics, logs and consumer groups a test can read."""

    def __init__(
        self, stack: Stack, folder: Path, environment: Mapping[str, str] | None = None, *,
        module: str = "function", components: Path = COMPONENTS,
    ) -> None:  # fmt: skip
        super().__init__(stack, folder, environment, module=module, components=components)

    def in_turn(self, *records: ProducerRecord) -> None:
        """Sends the records one by one, each once the one before is done. daprd commits them within a second: see `settle`."""
        for record in records:
            began = len(self.outcomes([record])[record.event_id])
            self.send(record)
            wait_until(partial(self._done, record, began), f"an outcome of {record.event_id}", 90)

    def _done(self, record: ProducerRecord, began: int) -> bool:
        """Returns whether the function has logged another outcome of the record, after as many; a retry is none."""
        return any(outcome != "retry" for outcome in self.outcomes([record])[record.event_id][began:])

    def records(self, topic: str) -> list[Letter]:
        """Returns everything that Kafka holds of a topic, partition by partition."""
        consumer = self.consumer("tests")
        found: list[Letter] = []
        bounds = {p.partition: consumer.get_watermark_offsets(p, timeout=10) for p in partitions_of(consumer, topic)}
        ends = {number: high for number, (low, high) in bounds.items() if low < high}
        consumer.assign([TopicPartition(topic, number, bounds[number][0]) for number in ends])
        deadline = time.monotonic() + 30
        while ends:
            assert time.monotonic() < deadline, f"{topic} was not read within 30 s"
            for message in consumer.consume(500, timeout=0.2):  # waits for all 500, so not for long
                number, offset = message.partition() or 0, message.offset() or 0
                if offset < ends.get(number, 0):
                    found.append(Letter(message.key(), message.value() or b"", headers_of(message), number))
                if offset >= ends.get(number, 0) - 1:
                    ends.pop(number, None)
        consumer.close()
        return sorted(found, key=lambda letter: letter.partition)

    def letters(self, event_ids: Iterable[str] = ()) -> list[Letter]:
        """Returns the dead letters; only those of the given events if any are given."""
        wanted = set(event_ids)
        return [
            letter
            for letter in self.records(DEAD_TOPIC)
            if not wanted or letter.headers.get("event_id", b"").decode() in wanted
        ]

    def tool(self, command: str, *options: str) -> subprocess.CompletedProcess[str]:
        """Runs a command as `kubectl exec` would, until it exits."""
        return Tool(self.environment, command).run(*options)

    def listed(self, *options: str) -> list[dict[str, str]]:
        """Returns the dead letters that `dead-letters` lists."""
        done = self.tool("dead-letters", "--json", *options)
        assert done.returncode == 0, done.stderr
        lines = [json.loads(line) for line in done.stdout.splitlines()]
        letters = [line["letter"] for line in lines if "letter" in line]
        assert lines[-1]["summary"]["letters"] == len(letters)
        return letters

    @contextmanager
    def state(self) -> Iterator[tuple[Any, Any]]:
        """Yields daprd's API, for the state store behind the function's back, and the metadata of its token."""
        env = self.environment
        with grpc.insecure_channel(f"127.0.0.1:{env['DAPR_GRPC_PORT']}") as channel:
            yield api_service_v1.DaprStub(channel), (("dapr-api-token", env["DAPR_API_TOKEN"]),)  # type: ignore[no-untyped-call]

    def save_state(self, key: str, value: bytes) -> None:
        """Writes a value over whatever is there."""
        with self.state() as (dapr, token):
            item = common_v1.StateItem(key=key, value=value)
            dapr.SaveState(api_v1.SaveStateRequest(store_name="statestore", states=[item]), metadata=token)

    def groups(self) -> set[str]:
        """Returns the consumer groups that Kafka knows."""
        admin = AdminClient({"bootstrap.servers": self.brokers, "log_level": 0})
        return {group.group_id for group in admin.list_consumer_groups().result().valid}

    def calls(self, user_id: str) -> list[str]:
        """Returns the function's requests about the user from Synapse's log: method and path, with the id as `USER`."""
        found = []
        for line in self._requests():
            if user_id in line:
                method, path, _ = line.partition('"')[2].split(" ", 2)
                found.append(f"{method} {unquote(path).replace(mxid(user_id), 'USER').partition('?')[0]}")
        return found

    def refusals(self, user_ids: Iterable[str]) -> int:
        """Returns how many of the function's requests about the users Synapse answered with 429."""
        users = set(user_ids)
        return sum(" 429 " in line and any(user in line for user in users) for line in self._requests())

    def _requests(self) -> list[str]:
        """Returns the lines of Synapse's log about the function's requests."""
        lines = self.stack.synapse.server.log.read_text(errors="replace").splitlines()
        return [line for line in lines if "Processed request" in line and f'"{AGENT}' in line]

    def outcomes(self, sent: Iterable[ProducerRecord]) -> dict[str, list[str]]:
        """Returns the outcomes that the function logged, in order, by event id."""
        ids = {event.event_id for event in sent}
        found: dict[str, list[str]] = {event_id: [] for event_id in ids}
        for line in self.function.log_lines():
            if line.get("event") == "event" and line.get("event_id") in ids:
                found[line["event_id"]].append(line["outcome"])
        return found

    def tally(self, sent: list[ProducerRecord]) -> str:
        """Returns the counts of sent, applied, dead-lettered, lost and redelivered records as text; fails if one was lost."""
        outcomes = self.outcomes(sent)
        final = Counter(next((o for o in reversed(all_of) if o != "retry"), "lost") for all_of in outcomes.values())
        repeats = sum(max(0, sum(o != "retry" for o in all_of) - 1) for all_of in outcomes.values())
        assert not final["lost"], f"{final['lost']} events have no outcome"
        told = ", ".join(f"{count} {name}" for name, count in sorted(final.items()) if count)
        return f"{len(sent)} sent: {told}; {final['dead_letter']} dead-lettered, 0 lost, {repeats} redelivered"

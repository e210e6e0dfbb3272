"""Sends the script, and reads what became of it: outcomes and dead letters. Knows no homeserver."""

import json
from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path

from confluent_kafka import Consumer, Message, Producer, TopicPartition

from dev.demo.script import Person, Step
from dev.identity_events import Json
from dev.processes import StackError, wait_until
from dev.servers.kafka import TOPIC, TOPICS, headers_of
from dev.stack import Stack

APP_MARK = "== APP - matrix-account-sync == "
Log = Callable[[], Iterable[Json]]  # every line that the function has logged
People = Mapping[str, Person]


def log_of_dapr(file: Path) -> list[Json]:
    """Returns the function's lines in the log of `dapr run`."""
    lines = file.read_text(errors="replace").splitlines()
    return [_parsed(line.partition(APP_MARK)[2]) for line in lines if APP_MARK in line]


def _parsed(text: str) -> Json:
    try:
        found: Json = json.loads(text)
    except ValueError:
        return {}
    return found


def play(stack: Stack, people: People, script: Sequence[Step], log: Log) -> None:
    """Sends the script, one record of each person at a time, and waits until the function has logged each outcome."""
    producer = Producer({"bootstrap.servers": stack.kafka.brokers})
    waiting = {who: [step for step in script if step.who == who] for who in people}
    while any(waiting.values()):
        current = [todo.pop(0) for todo in waiting.values() if todo]
        for step in current:
            _send(producer, people[step.who].id, step)
        producer.flush(20)
        if not wait_until(lambda now=current: _all_logged(now, log), 60):  # type: ignore[misc]
            missing = ", ".join(f"{step.who}: {step.what}" for step in current if not step.outcome)
            raise StackError(f"the function logged no outcome for {missing}; its log is in {stack.folder / 'logs'}")


def _send(producer: Producer, key: str, step: Step) -> None:
    def acknowledged(error: object, message: Message) -> None:
        if error is None:
            step.place = (message.partition() or 0, message.offset() or 0)

    producer.produce(TOPIC, step.value, key, headers={**step.headers}, on_delivery=acknowledged)


def _all_logged(current: list[Step], log: Log) -> bool:
    told = {}
    for line in log():
        if line.get("event") == "event":
            outcome, reason = line["outcome"], line.get("reason")
            told[line["topic"], line["partition"], line["offset"]] = f"{outcome}: {reason}" if reason else outcome
    for step in current:
        step.outcome = told.get((TOPIC, str(step.place[0]), str(step.place[1])), "")
    return all(step.outcome and not step.outcome.startswith("retry") for step in current)


def dead_letters(stack: Stack, people: People) -> list[dict[str, str]]:
    """Returns the headers of the dead letters of these people."""
    consumer = Consumer({"bootstrap.servers": stack.kafka.brokers, "group.id": "demo", "enable.auto.commit": False})
    found = []
    for partition in sorted(consumer.list_topics(TOPICS[1], timeout=10).topics[TOPICS[1]].partitions):
        low, high = consumer.get_watermark_offsets(TopicPartition(TOPICS[1], partition), timeout=10)
        consumer.assign([TopicPartition(TOPICS[1], partition, low)])
        for message in consumer.consume(high - low, timeout=20) if high > low else []:
            key = (message.key() or b"").decode()
            who = next((person.name for person in people.values() if person.id == key), None)
            if who:
                headers = {name: value.decode(errors="replace") for name, value in headers_of(message).items()}
                found.append({"who": who} | headers)
    consumer.close()
    return found

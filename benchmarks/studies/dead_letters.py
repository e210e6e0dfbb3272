"""Measures memory and time of `dead-letters` for many dead letters: `make bench-dead-letters LETTERS=200000`."""

import os
import sys
import tempfile
import time
from pathlib import Path

import typer
from confluent_kafka import Producer

from dev.identity_events import new_user, profile
from dev.servers.daprd import Tool
from dev.servers.kafka import TOPICS
from dev.stack import Stack
from function.dead_letters.publish import DETAIL, EVENT_ID, PARTITION, REASON, REPLAYS, TIME, TOPIC, VERSION

REASONS = ("synapse_error", "invalid_payload", "avatar_invalid", "not_json")


def produce(stack: Stack, letters: int) -> None:
    producer = Producer({"bootstrap.servers": stack.kafka.brokers, "linger.ms": 50})
    for number in range(letters):
        event = profile(new_user(), "Ada Lovelace", number % 60)
        why = {
            REASON: REASONS[number % 4], DETAIL: "display_name: too long", REPLAYS: "0", VERSION: "0", EVENT_ID: "e",
            TIME: f"2026-01-{1 + number % 28:02}T00:00:00+00:00", TOPIC: TOPICS[0], PARTITION: str(number % 12),
        }  # fmt: skip
        headers: dict[str, str | bytes | None] = dict(event.headers)
        headers |= {name: text.encode() for name, text in why.items()}
        producer.produce(TOPICS[1], event.value, event.user_id, partition=number % 12, headers=headers)
        producer.poll(0)
    producer.flush(120)


def measure(tool: Tool, *options: str) -> tuple[float, float, int]:
    """Returns seconds and peak memory (MB) of the tool without its sidecar, and its exit code."""
    tool.sidecar.start()
    try:
        began = time.monotonic()
        process = tool.launch(*options, capture=False)
        _, status, usage = os.wait4(process.pid, 0)
        process.returncode = os.waitstatus_to_exitcode(status)
        return time.monotonic() - began, usage.ru_maxrss / 1024, process.returncode
    finally:
        tool.sidecar.stop()


def main(letters: int = 200_000) -> None:
    """Fill the dead-letter topic of a new stack, list it, and replay a quarter of it."""
    with tempfile.TemporaryDirectory() as folder, Stack.on_free_ports(Path(folder)) as stack:
        for count in (letters // 100, letters):
            produce(stack, count)
            for command, *options in (
                ["dead-letters", "--newest", "2"],
                ["replay", "--yes", "--reason", "synapse_error"],
            ):
                tool = Tool(stack.env(), Path(folder), command)
                seconds, memory, code = measure(tool, *options)
                print(f"{count:>9} letters: {command}: {seconds:.1f} s, {memory:.0f} MB at most, exit code {code}")
                if code:
                    sys.exit(1)


if __name__ == "__main__":
    typer.run(main)

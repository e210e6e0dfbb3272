"""Measures time and memory of `dead-letters` for many dead letters on a real broker: `python -m benchmarks.studies.dead_letters 200000 1000000`."""

import os
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Annotated

import typer
from confluent_kafka import Producer

from dev.identity_events import new_user, profile
from dev.servers.daprd import Sidecar
from dev.servers.kafka import TOPICS
from dev.servers.synapse import secrets_file
from dev.stack import Stack
from function import __version__
from function.dead_letters.publish import DETAIL, EVENT_ID, OFFSET, PARTITION, REASON, REPLAYS, TIME, TOPIC, VERSION

REASONS = ("synapse_error", "invalid_payload", "avatar_invalid", "not_json")
PROGRAM = str(Path(sys.executable).with_name("matrix-account-sync"))


def produce(stack: Stack, first: int, end: int) -> None:
    """Writes letters with the headers that the function gives them."""
    producer = Producer({"bootstrap.servers": stack.kafka.brokers, "linger.ms": 50})
    for number in range(first, end):
        event = profile(new_user(), "Ada Lovelace", number % 60)
        why = {
            REASON: REASONS[number % 4], DETAIL: "display_name: too long", REPLAYS: "0", VERSION: __version__,
            EVENT_ID: event.event_id, TIME: "2026-01-01T00:00:00+00:00", TOPIC: TOPICS[0], PARTITION: str(number % 12),
            OFFSET: str(number // 12),
        }  # fmt: skip
        headers: dict[str, str | bytes | None] = dict(event.headers)
        headers |= {name: text.encode() for name, text in why.items()}
        producer.produce(TOPICS[1], event.value, event.user_id, partition=number % 12, headers=headers)
        if number % 1000 == 0:
            producer.poll(0)
            while len(producer) > 50_000:
                producer.poll(0.1)
    if left := producer.flush(120):
        sys.exit(f"Kafka did not take {left} letters")


def measure(environment: dict[str, str], *words: str) -> tuple[float, float, float, int]:
    """Returns seconds, seconds of processor time, peak memory (MB) and exit code of a command."""
    began = time.monotonic()
    with tempfile.TemporaryFile() as output, tempfile.TemporaryFile() as errors:
        process = subprocess.Popen([PROGRAM, *words], env=os.environ | environment, stdout=output, stderr=errors)
        _, status, usage = os.wait4(process.pid, 0)
    process.returncode = os.waitstatus_to_exitcode(status)
    return time.monotonic() - began, usage.ru_utime + usage.ru_stime, usage.ru_maxrss / 1024, process.returncode


def main(
    letters: Annotated[list[int], typer.Argument(help="Numbers of letters, each at least the one before.")],
    discard: Annotated[bool, typer.Option(help="Also discard a quarter of them, and look again.")] = True,
) -> None:
    """Fill the dead-letter topic of a new broker, and list it."""
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        stack = Stack.on_free_ports(folder)
        environment = {key: value for key, value in stack.env().items() if not key.startswith("DEV_")}
        sidecar = Sidecar(stack.env(), folder)
        commands = [("dead-letters",), ("dead-letters", "--json")]
        if discard:
            commands += [
                ("discard", "--yes", "--why", "a study", "--reason", "synapse_error"),
                ("dead-letters", "--all"),
            ]
        try:
            stack.kafka.start()
            secrets_file(stack.secrets_file, "no token")
            sidecar.start()
            there = 0
            for count in letters:
                produce(stack, there, count)
                there = count
                for words in commands:
                    seconds, processor, memory, code = measure(environment, *words)
                    print(
                        f"{count:>9} letters: {' '.join(words)}: {seconds:.1f} s ({processor:.1f} s of processor time), "
                        f"{memory:.0f} MB at most, exit code {code}",
                        flush=True,
                    )
        finally:
            sidecar.stop()
            stack.kafka.stop()


if __name__ == "__main__":
    typer.run(main)

"""What daprd's HotReload does to batches in flight. docs/deploy.md says why it is off on Kubernetes; here it is on, as by default."""

import random
import threading
from collections import Counter
from collections.abc import Sequence
from pathlib import Path

import pytest
import yaml

from dev.processes import wait_until
from dev.servers.kafka import Kafka
from tests.contract.canaries.conftest import Canaries, kafka_component, opened
from tests.contract.servers.recording_app import RETRY, Answer, Entry, each, succeed
from tests.contract.servers.topics import numbers

pytestmark = pytest.mark.real

RECORDS, EDITS = 1_000, 4
HELD_SECONDS = 0.1  # a batch is in flight nearly all the time
NOWHERE = "127.0.0.1:9"
EDITED = "maxMessageBytes"


def edit(folder: Path, own: Canaries, brokers: str, size: int) -> None:
    """Writes the changed component over its file."""
    changed = kafka_component("raw", brokers, **{EDITED: str(size)})
    (folder / "components" / "raw.yaml").write_text(yaml.safe_dump(changed))
    seen = own.daprd.log.read_text().count("raw (pubsub.kafka/v1)")
    assert wait_until(lambda: own.daprd.log.read_text().count("raw (pubsub.kafka/v1)") > seen, 20), "not reloaded"


def test_an_edit_in_the_middle_of_a_batch_loses_nothing(kafka: Kafka, tmp_path: Path) -> None:
    chance = random.Random(1)
    done: Counter[bytes] = Counter()
    lock = threading.Lock()

    def slow(entries: Sequence[Entry]) -> Answer:
        threading.Event().wait(HELD_SECONDS)
        if chance.random() < 0.3:
            return each(entries, RETRY)
        with lock:
            done.update(entry.value for entry in entries)
        return succeed(entries)

    with opened(kafka, tmp_path, ["raw"]) as own:
        own.app.handlers["raw"] = slow
        for number in range(EDITS):
            own.topics["raw"].put(*numbers(number * RECORDS // EDITS, (number + 1) * RECORDS // EDITS))
            own.app.wait_for("raw", len(own.app.entries("raw")) + 1)
            edit(tmp_path, own, kafka.brokers, 2_097_152 + number)
        assert wait_until(lambda: len(done) == RECORDS, 60), f"{RECORDS - len(done)} of {RECORDS} are lost"


def test_an_edit_with_a_mistake_ends_daprd(kafka: Kafka, tmp_path: Path) -> None:
    with opened(kafka, tmp_path, ["raw"]) as own:
        own.topics["raw"].put(b"1")
        assert own.wait_committed("raw", 1)
        edit(tmp_path, own, NOWHERE, 2_097_152)
        assert wait_until(lambda: not own.daprd.running(), 30), (
            "a mistake no longer ends the sidecar of every pod at once: HotReload could be on, k8s/base/dapr/configuration.yaml"
        )

"""What daprd does beyond its documentation and the function relies on. A failure says what then becomes simpler: docs/canaries.md."""

import json
import threading
from collections.abc import Sequence
from pathlib import Path

import pytest
from confluent_kafka import Producer
from dapr.aio.clients import DaprClient
from dapr.clients.grpc._response import GetMetadataResponse

from dev.servers.kafka import Kafka
from function.kafka.reader import TopicReader
from function.kafka.record import KafkaRecord
from tests.contract.canaries.conftest import Canaries, opened
from tests.contract.servers.recording_app import DROP, RETRY, SUCCESS, Answer, Entry, each, succeed
from tests.contract.servers.topics import Topic, config_of, everything

pytestmark = [pytest.mark.real, pytest.mark.anyio]

HELD_SECONDS = 1.5  # a batch of another partition would arrive within a tenth of it
ROUNDED = 2**53  # as a double holds 2**53 + 1


def records_of(topic: Topic) -> list[KafkaRecord]:
    with TopicReader(config_of(topic.kafka.brokers), topic.name) as reader:
        return everything(reader, reader.spans())


def keyed(canaries: Canaries, key: str) -> Entry:
    """Returns the only entry of the component `raw` that has the key."""
    (found,) = [entry for entry in canaries.app.entries("raw") if entry.metadata["__key"] == key]
    return found


def test_a_tombstone_arrives_as_the_word_null(canaries: Canaries) -> None:
    seen = len(canaries.app.entries("raw"))
    canaries.topics["raw"].put(None, key=b"tombstone")
    canaries.app.wait_for("raw", seen + 1)
    assert keyed(canaries, "tombstone").value == b"null", "function/events/decode.py can tell a tombstone from `null`"


def test_a_producers_header_replaces_kafkas_own_field(canaries: Canaries) -> None:
    seen = len(canaries.app.entries("raw"))
    canaries.topics["raw"].put(b"{}", key=b"forger", headers={"__offset": b"forged"})
    canaries.app.wait_for("raw", seen + 1)
    assert keyed(canaries, "forger").metadata["__offset"] == "forged", (
        "place and key can be trusted: function/kafka/record.py, watchdog.py and function/accounts need no guard"
    )


def test_without_raw_payload_large_numbers_are_rounded(canaries: Canaries) -> None:
    canaries.topics["parsed"].put(json.dumps({"number": ROUNDED + 1}).encode())
    (entry,) = canaries.app.wait_for("parsed", 1)
    assert (str(ROUNDED) in str(entry.value), str(ROUNDED + 1) in str(entry.value)) == (True, False), (
        "rawPayload is no longer needed for numbers (but it is for records that are not JSON): function/dapr/bulk_envelope.py"
    )


def test_404_acknowledges_the_whole_batch_unseen(canaries: Canaries) -> None:
    canaries.app.handlers["lost"] = lambda _: (404, {})
    canaries.topics["lost"].put(b"1", b"2")
    assert canaries.wait_committed("lost", 2), (
        "404 is retried: function/dapr/subscription.py need not always have a route"
    )
    assert len(canaries.app.batches("lost")) == 1


def test_an_answer_without_statuses_is_a_retry_of_all(canaries: Canaries) -> None:
    answers: list[Answer] = [(200, {})]
    canaries.app.handlers["unanswered"] = lambda entries: answers.pop() if answers else succeed(entries)
    canaries.topics["unanswered"].put(b"1", b"2")
    assert canaries.wait_committed("unanswered", 2)
    delivered = [entry.value for entry in canaries.app.entries("unanswered")]
    assert sorted(delivered) == [b"1", b"1", b"2", b"2"], (
        "function/dapr/subscription.py must name each entry it could not read"
    )


def test_a_component_has_one_batch_in_flight_whatever_its_partitions(canaries: Canaries) -> None:
    second = threading.Event()
    together: list[bool] = []

    def hold(entries: Sequence[Entry]) -> Answer:
        if len(canaries.app.batches("turns")) > 1:
            second.set()
        together.append(second.wait(HELD_SECONDS))
        return succeed(entries)

    canaries.app.handlers["turns"] = hold
    for partition in (0, 1):
        canaries.topics["turns"].put(b"1", partition=partition)
    assert canaries.wait_committed("turns", 1)
    canaries.app.wait_for("turns", 2)
    assert not together[0], (
        "partitions have batches of their own: one component does for PUBSUB_COMPONENTS=3, function/settings.py"
    )


def test_a_drop_after_a_retry_gives_up_the_wrong_record_or_ends_daprd(kafka: Kafka, tmp_path: Path) -> None:
    def second_time(entries: Sequence[Entry]) -> Answer:
        if len(entries) == 1:
            return each(entries, DROP)
        statuses = [(one.entry_id, RETRY if one.value == b"2" else SUCCESS) for one in entries]
        return 200, {"statuses": [{"entryId": entry_id, "status": status} for entry_id, status in statuses]}

    with opened(kafka, tmp_path, ["dropped"]) as own:
        own.app.handlers["dropped"] = second_time
        own.topics["dropped"].put(b"1", b"2")
        committed = own.wait_committed("dropped", 2)
        letters = [letter.value for letter in records_of(own.topics["dropped letters"])]
    assert not (committed and letters == [b"2"]), (
        "DROP is reliable: daprd could write the dead letters of function/processing/letters.py"
    )


def test_without_a_policy_the_first_retry_is_a_dead_letter(canaries: Canaries) -> None:
    canaries.app.handlers["unlimited"] = lambda entries: each(entries, RETRY)
    canaries.topics["unlimited"].put(b"1")
    assert canaries.wait_committed("unlimited", 1), (
        "no Resiliency is needed: function/check/sidecar.py, components/resiliency.yaml"
    )
    assert [letter.value for letter in records_of(canaries.topics["unlimited letters"])] == [b"1"]


async def test_a_key_leads_daprd_and_the_producer_to_different_partitions(
    canaries: Canaries, monkeypatch: pytest.MonkeyPatch
) -> None:
    ours, theirs = Topic(canaries.topics["raw"].kafka, 8), Topic(canaries.topics["raw"].kafka, 8)
    keys = [f"user-{number}" for number in range(8)]
    java = Producer({"bootstrap.servers": theirs.kafka.brokers, "partitioner": "murmur2_random", "log_level": 0})
    monkeypatch.setenv("DAPR_HTTP_PORT", str(canaries.http))
    async with DaprClient(f"127.0.0.1:{canaries.grpc}") as client:
        for key in keys:
            java.produce(theirs.name, b"{}", key)
            metadata = {"rawPayload": "true", "partitionKey": key}
            await client.publish_event("raw", ours.name, b"{}", publish_metadata=metadata)
    assert java.flush(30) == 0
    places = [
        {(r.kafka_field("key"), r.kafka_field("partition")) for r in records_of(topic)} for topic in (ours, theirs)
    ]
    assert places[0] != places[1], "function/dapr/pubsub.py can publish by key, without partitionNumber"
    headers = {name for record in records_of(ours) for name in record.metadata}
    assert headers >= {"rawPayload", "partitionKey"}, (
        "function/dapr/pubsub.py need not strip these from a replayed record"
    )


def test_the_sdk_leaves_the_subscriptions_out() -> None:
    assert not hasattr(GetMetadataResponse, "subscriptions"), "function/dapr/sidecar.py can use DaprClient.get_metadata"

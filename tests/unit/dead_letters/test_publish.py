"""Published dead letters: the unchanged record, with reason and origin in the headers."""

from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Any

import grpc
import pytest

from function import __version__
from function.dapr.pubsub import Publisher
from function.dead_letters.publish import (
    DETAIL,
    EVENT_ID,
    OFFSET,
    PARTITION,
    REASON,
    REPLAYS,
    TIME,
    TIMESTAMP,
    TOPIC,
    VERSION,
    DeadLetters,
    letter_headers,
)
from function.kafka.record import KafkaRecord
from function.outcomes import Reason, Rejected, TryAgain
from tests.support.events import ALICE

NOW = datetime(2025, 11, 1, 12, tzinfo=UTC)
WHY = Rejected(Reason.INVALID_PAYLOAD, "user_id: value_error")
ABOUT = {
    "__key": ALICE,
    "__topic": "nova.identity.events",
    "__partition": "3",
    "__offset": "17",
    "__timestamp": "1762000000000",
}


def record(**headers: str) -> KafkaRecord:
    return KafkaRecord(b"{}", "nova.identity.events", ABOUT | headers)


def written(one: KafkaRecord) -> dict[str, str]:
    return letter_headers(one, WHY, "event-1", NOW)


def test_the_headers_have_reason_time_and_version() -> None:
    """`replay --reason` filters by the reason."""
    headers = written(record())
    assert headers[REASON] == "invalid_payload"
    assert headers[DETAIL] == "user_id: value_error"
    assert headers[TIME] == "2025-11-01T12:00:00+00:00"
    assert (headers[EVENT_ID], headers[VERSION]) == ("event-1", __version__)


def test_the_headers_have_the_records_origin() -> None:
    """The record can be found again, and replayed to its own partition."""
    headers = written(record())
    assert (headers[TOPIC], headers[PARTITION]) == ("nova.identity.events", "3")
    assert (headers[OFFSET], headers[TIMESTAMP], headers[REPLAYS]) == ("17", "1762000000000", "0")


def test_the_producers_headers_are_kept() -> None:
    """They determine the event type when it is replayed."""
    headers = written(record(event_type="identity.user.deleted", event_id="e-1", **{"correlation-id": "c"}))
    assert headers["event_type"] == "identity.user.deleted"
    assert headers["event_id"] == "e-1"
    assert headers["correlation-id"] == "c"
    assert not any(name.startswith("__") for name in headers)


def test_replay_headers_from_the_producer_are_dropped() -> None:
    """Only records of the replay topic were replayed; a forged count would make a letter stuck."""
    headers = written(record(**{REPLAYS: "99", "X-Dead-Letter-Partition": "5"}))
    assert (headers[REPLAYS], headers[PARTITION]) == ("0", "3")
    assert "X-Dead-Letter-Partition" not in headers


def test_a_replayed_record_keeps_its_first_origin_and_its_count() -> None:
    """Its last origin is the replay topic, which says nothing about the record."""
    replayed = KafkaRecord(
        b"{}",
        "nova.identity.events.matrix.replay",
        {"__partition": "0", "__offset": "1", "__timestamp": "1", "__key": ALICE}
        | {TOPIC: "nova.identity.events", PARTITION: "3", OFFSET: "17", TIMESTAMP: "1762000000000", REPLAYS: "2"}
        | {REASON: "synapse_error", DETAIL: "old", TIME: "2025-01-01T00:00:00+00:00", EVENT_ID: "old", VERSION: "0"},
    )
    headers = written(replayed)
    assert (headers[TOPIC], headers[PARTITION], headers[OFFSET]) == ("nova.identity.events", "3", "17")
    assert (headers[TIMESTAMP], headers[REPLAYS]) == ("1762000000000", "2")
    assert (headers[REASON], headers[DETAIL]) == ("invalid_payload", "user_id: value_error")
    assert headers[TIME].startswith("2025-11-01")
    assert (headers[EVENT_ID], headers[VERSION]) == ("event-1", __version__)


@pytest.mark.parametrize(("count", "kept"), [("3", "2"), ("0", "0"), ("", "0"), ("9" * 5_000, "0"), ("²", "0")])
def test_a_replay_that_the_deletion_limit_held_back_does_not_count(count: str, kept: str) -> None:
    """It did not fail, and a letter that was replayed too often is stuck."""
    again = KafkaRecord(b"{}", "nova.identity.events.matrix.replay", ABOUT | {REPLAYS: count})
    headers = letter_headers(again, Rejected(Reason.DELETION_LIMIT, "500 an hour"), "event-1", NOW)
    assert headers[REPLAYS] == kept


@pytest.mark.parametrize(
    "word",
    [
        "partitionNumber",
        "partitionKey",
        "rawPayload",
        "ttlInSeconds",
        "valueSchemaType",
        "pubsubName",
        "traceparent",
        "TTLINSECONDS",
        "traceid",
    ],
)
def test_a_producers_header_cannot_set_publish_metadata_of_dapr(word: str) -> None:
    """daprd acts on some metadata: the letter could expire or go to another partition."""
    headers = written(KafkaRecord(b"{}", "t", {word: "7"}))
    assert headers.get(word) != "7"


@pytest.mark.parametrize("name", ["partition", "offset", "timestamp"])
def test_missing_metadata_gives_no_header(name: str) -> None:
    """A pub/sub component other than Kafka has no partitions."""
    headers = written(KafkaRecord(b"{}", "t", {}))
    assert f"x-dead-letter-{name}" not in headers


# --- publishing


class Refusal(grpc.RpcError):  # type: ignore[misc]  # grpc has no types
    """The error that the sidecar's client raises."""

    def code(self) -> grpc.StatusCode:
        return grpc.StatusCode.INTERNAL


class Sidecar:
    """Fakes the client's `publish_event`; refuses `partitions` or, when `down`, every call."""

    def __init__(self, *, down: bool = False, partitions: Mapping[str, bool] | None = None) -> None:
        self.down = down
        self.published: list[tuple[str, str, bytes, dict[str, str]]] = []
        self._known = partitions or {}

    async def publish_event(self, pubsub: str, topic: str, value: bytes, publish_metadata: dict[str, str]) -> None:
        if self.down or not self._known.get(publish_metadata.get("partitionNumber", ""), True):
            raise Refusal
        self.published.append((pubsub, topic, value, publish_metadata))


def publisher(sidecar: Any) -> DeadLetters:
    return DeadLetters(Publisher(sidecar, "pubsub"), "events.dead")


@pytest.mark.anyio
async def test_a_letter_goes_to_its_origins_partition() -> None:
    """Both topics have the same number of partitions, so a user's letters keep their order."""
    sidecar = Sidecar()
    await publisher(sidecar).publish(record(), WHY, "event-1")
    [(pubsub, topic, value, metadata)] = sidecar.published
    assert (pubsub, topic, value) == ("pubsub", "events.dead", b"{}")
    assert (metadata["partitionNumber"], metadata["partitionKey"]) == ("3", ALICE)


@pytest.mark.anyio
async def test_the_value_is_published_unchanged() -> None:
    """Without rawPayload daprd would wrap it into a CloudEvent."""
    sidecar = Sidecar()
    await publisher(sidecar).publish(record(), WHY, "event-1")
    [(_, _, _, metadata)] = sidecar.published
    assert metadata["rawPayload"] == "true"


@pytest.mark.anyio
async def test_a_record_without_a_key_gives_a_letter_without_a_key() -> None:
    """An empty key would put all such letters on one partition."""
    sidecar = Sidecar()
    await publisher(sidecar).publish(KafkaRecord(b"{}", "nova.identity.events", {}), WHY, "event-1")
    [(_, _, _, metadata)] = sidecar.published
    assert "partitionKey" not in metadata


@pytest.mark.anyio
async def test_a_letter_with_a_forged_partition_is_published_by_key() -> None:
    """A producer's header can replace daprd's partition metadata."""
    sidecar = Sidecar(partitions={"3": False})
    await publisher(sidecar).publish(record(), WHY, "event-1")
    [(_, _, _, metadata)] = sidecar.published
    assert "partitionNumber" not in metadata
    assert metadata["partitionKey"] == ALICE


@pytest.mark.anyio
@pytest.mark.parametrize("partition", ["", "-1", "x", "1e3", "3 "])
async def test_an_invalid_partition_is_not_sent(partition: str) -> None:
    """daprd would reject the request."""
    sidecar = Sidecar()
    await publisher(sidecar).publish(record(__partition=partition), WHY, "event-1")
    [(_, _, _, metadata)] = sidecar.published
    assert "partitionNumber" not in metadata


@pytest.mark.anyio
async def test_a_failed_publish_raises_try_again() -> None:
    """SUCCESS is answered only after the letter was published."""
    with pytest.raises(TryAgain) as caught:
        await publisher(Sidecar(down=True)).publish(record(), WHY, "event-1")
    assert (caught.value.reason, caught.value.detail) == (Reason.PUBLISH_FAILED, "events.dead: INTERNAL")


def test_header_names_are_lower_case_for_decoding_and_separate_from_daprs_metadata() -> None:
    """The letter keeps the producer's spelling."""
    one = KafkaRecord(b"{}", "t", {"Event_Type": "x", "__key": "k"})
    assert one.headers == {"event_type": "x"}
    assert (one.kafka_field("key"), one.kafka_field("offset")) == ("k", "")
    assert written(one)["Event_Type"] == "x"

"""Reading a topic to its end without a commit."""

import asyncio
import base64
from typing import Any

import httpx
import pytest
from fastapi import FastAPI

from function.dapr.bulk_envelope import KafkaRecord
from function.dead_letters.reader import REPEATS, ROUTE, Reader
from function.outcomes import Reason, TryAgain
from function.settings import SidecarSettings

pytestmark = pytest.mark.anyio

TOKEN = "token-of-the-sidecar"
NOW = 1_000_000
QUIET = 0.3  # seconds; longer than a loaded machine takes between two batches


class Daprd:
    """Fakes daprd: requests the subscription and delivers batches."""

    def __init__(self, reader: Reader) -> None:
        app = FastAPI()
        settings = SidecarSettings(app_api_token=TOKEN)  # type: ignore[call-arg, arg-type]
        reader.mount(app, settings, "dead")
        self.http = httpx.AsyncClient(base_url="http://app.test", transport=httpx.ASGITransport(app))

    async def subscribe(self) -> Any:
        return (await self.http.get("/dapr/subscribe")).json()

    async def process(self, *offsets: int, partition: int = 0, time: int = NOW - 1) -> list[str]:
        entries = [
            {
                "entryId": str(place),
                "event": base64.b64encode(str(offset).encode()).decode(),
                "metadata": {"__partition": str(partition), "__offset": str(offset), "__timestamp": str(time)},
            }
            for place, offset in enumerate(offsets)
        ]
        body = {"topic": "dead", "entries": entries}
        response = await self.http.post(ROUTE, json=body, headers={"dapr-api-token": TOKEN})
        return [status["status"] for status in response.json()["statuses"]]


async def read(reader: Reader) -> list[bytes]:
    """Reads until the reader finds the end."""
    return [record.value async for batch in reader.batches() for record in batch]


async def test_every_record_is_read_once_and_none_is_acknowledged() -> None:
    """Without a commit Kafka deletes the group."""
    reader = Reader(QUIET, NOW)
    daprd = Daprd(reader)
    await daprd.subscribe()
    read_topic = asyncio.create_task(read(reader))
    assert await daprd.process(0, 1) == ["RETRY", "RETRY"]
    assert await daprd.process(0, partition=1) == ["RETRY"]
    assert await daprd.process(2) == ["RETRY"]
    assert await read_topic == [b"0", b"1", b"0", b"2"]
    await daprd.http.aclose()


async def test_a_restarted_sidecar_repeats_no_record() -> None:
    """It delivers from the first record again."""
    reader = Reader(QUIET, NOW)
    daprd = Daprd(reader)
    await daprd.subscribe()
    read_topic = asyncio.create_task(read(reader))
    for offsets in ((0, 1), (0,), (1, 2)):
        await daprd.process(*offsets)
    assert await read_topic == [b"0", b"1", b"2"]
    await daprd.http.aclose()


async def test_records_written_after_the_start_are_left_out() -> None:
    """Otherwise a replay would read the letters that it puts back, without end."""
    reader = Reader(QUIET, NOW)
    daprd = Daprd(reader)
    await daprd.subscribe()
    read_topic = asyncio.create_task(read(reader))
    await daprd.process(0)
    await daprd.process(1, time=NOW)
    assert await read_topic == [b"0"]
    await daprd.http.aclose()


async def test_the_next_batch_retry_until_this_one_is_processed() -> None:
    """So only one batch is in memory."""
    reader = Reader(QUIET, NOW)
    daprd = Daprd(reader)
    await daprd.subscribe()
    first = asyncio.create_task(daprd.process(0))
    batches = reader.batches()
    batch: list[KafkaRecord] = await anext(batches)
    assert [record.value for record in batch] == [b"0"]
    assert not first.done()
    await batches.aclose()
    assert await first == ["RETRY"]
    await daprd.http.aclose()


async def test_a_component_with_retries_is_reported_instead_of_a_wrong_end() -> None:
    """daprd would deliver the same batch without end, and never the next."""
    reader = Reader(QUIET, NOW)
    daprd = Daprd(reader)
    await daprd.subscribe()
    read_topic = asyncio.create_task(read(reader))
    for _ in range(REPEATS + 1):
        await daprd.process(0)
    with pytest.raises(TryAgain, match="consumeRetryEnabled"):
        await read_topic
    await daprd.http.aclose()


async def test_a_missing_sidecar_is_reported_after_a_timeout() -> None:
    """An empty list would be wrong."""
    with pytest.raises(TryAgain) as caught:
        await read(Reader(QUIET, NOW, sidecar_timeout=0.01))
    assert caught.value.reason is Reason.STARTING


async def test_it_subscribes_in_bulk_to_raw_bytes_and_without_a_dead_letter_topic() -> None:
    """With a dead-letter topic, daprd would publish every record answered RETRY there again."""
    daprd = Daprd(Reader(QUIET, NOW))
    [subscription] = await daprd.subscribe()
    assert subscription["topic"] == "dead"
    assert subscription["metadata"] == {"rawPayload": "true"}
    assert subscription["bulkSubscribe"]["enabled"] is True
    assert not subscription.get("deadLetterTopic")
    await daprd.http.aclose()


async def test_a_request_without_the_token_is_refused() -> None:
    daprd = Daprd(Reader(QUIET, NOW))
    response = await daprd.http.post(ROUTE, json={"entries": []})
    assert response.status_code == 401
    await daprd.http.aclose()

"""Reading a topic to its end and leaving nothing behind."""

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


class Daprd:
    """Asks for the subscription and delivers batches, as daprd does."""

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
    """Until it ends by itself."""
    return [record.value async for page in reader.batches() for record in page]


async def test_every_record_is_seen_once_and_none_is_acknowledged() -> None:
    """Without a commit Kafka forgets the group."""
    reader = Reader(0.05, NOW)
    daprd = Daprd(reader)
    await daprd.subscribe()
    read_topic = asyncio.create_task(read(reader))
    assert await daprd.process(0, 1) == ["RETRY", "RETRY"]
    assert await daprd.process(0, partition=1) == ["RETRY"]
    assert await daprd.process(2) == ["RETRY"]
    assert await read_topic == [b"0", b"1", b"0", b"2"]
    await daprd.http.aclose()


async def test_a_sidecar_that_began_again_shows_nothing_twice() -> None:
    """It restarts at the first record."""
    reader = Reader(0.05, NOW)
    daprd = Daprd(reader)
    await daprd.subscribe()
    read_topic = asyncio.create_task(read(reader))
    for offsets in ((0, 1), (0,), (1, 2)):
        await daprd.process(*offsets)
    assert await read_topic == [b"0", b"1", b"2"]
    await daprd.http.aclose()


async def test_what_comes_after_the_start_is_left_out() -> None:
    """Else a replay would meet what it put back, for ever."""
    reader = Reader(0.05, NOW)
    daprd = Daprd(reader)
    await daprd.subscribe()
    read_topic = asyncio.create_task(read(reader))
    await daprd.process(0)
    await daprd.process(1, time=NOW)
    assert await read_topic == [b"0"]
    await daprd.http.aclose()


async def test_the_next_page_waits_until_this_one_is_dealt_with() -> None:
    """So that a page is all that is held in memory."""
    reader = Reader(0.05, NOW)
    daprd = Daprd(reader)
    await daprd.subscribe()
    first = asyncio.create_task(daprd.process(0))
    batches = reader.batches()
    page: list[KafkaRecord] = await anext(batches)
    assert [record.value for record in page] == [b"0"]
    assert not first.done()
    await batches.aclose()
    assert await first == ["RETRY"]
    await daprd.http.aclose()


async def test_a_component_with_retries_is_named_instead_of_a_wrong_end() -> None:
    """The same batch would come for ever, and what follows it never."""
    reader = Reader(0.05, NOW)
    daprd = Daprd(reader)
    await daprd.subscribe()
    read_topic = asyncio.create_task(read(reader))
    for _ in range(REPEATS + 1):
        await daprd.process(0)
    with pytest.raises(TryAgain, match="consumeRetryEnabled"):
        await read_topic
    await daprd.http.aclose()


async def test_no_sidecar_is_said_after_a_while() -> None:
    """An empty list would be a lie."""
    with pytest.raises(TryAgain) as caught:
        await read(Reader(0.05, NOW, patience=0.01))
    assert caught.value.reason is Reason.STARTING


async def test_it_subscribes_in_bulk_to_raw_bytes_and_without_a_dead_letter_topic() -> None:
    """With one, every record that is answered RETRY would be published there once more."""
    daprd = Daprd(Reader(0.05, NOW))
    [subscription] = await daprd.subscribe()
    assert subscription["topic"] == "dead"
    assert subscription["metadata"] == {"rawPayload": "true"}
    assert subscription["bulkSubscribe"]["enabled"] is True
    assert not subscription.get("deadLetterTopic")
    await daprd.http.aclose()


async def test_a_stranger_gets_nowhere() -> None:
    daprd = Daprd(Reader(0.05, NOW))
    response = await daprd.http.post(ROUTE, json={"entries": []})
    assert response.status_code == 401
    await daprd.http.aclose()

"""Runs FastStream with 16 workers and httpx."""

import asyncio
import logging
import os

from faststream import FastStream
from faststream.kafka import KafkaBroker, KafkaMessage

from benchmarks.peers.calls import client, handle

broker = KafkaBroker(os.environ["KAFKA_BROKERS"], logger=None)
app = FastStream(broker, logger=None)
http = client()


async def as_bytes(message: KafkaMessage) -> bytes:
    """Returns the record's value unparsed, since some values are not JSON."""
    body: bytes = message.body
    return body


@broker.subscriber(  # type: ignore[untyped-decorator]
    os.environ["KAFKA_IDENTITY_EVENTS_TOPIC"],
    group_id=os.environ["KAFKA_CONSUMER_GROUP_ID"],
    auto_offset_reset="earliest",
    max_workers=16,
    decoder=as_bytes,
)
async def on_event(body: bytes, message: KafkaMessage) -> None:
    await handle(http, body, message.headers)


if __name__ == "__main__":
    logging.basicConfig(level=logging.WARNING)
    asyncio.run(app.run())

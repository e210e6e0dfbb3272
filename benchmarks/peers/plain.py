"""Runs a plain consumer: aiokafka and httpx, one event at a time."""

import asyncio
import logging
import os

from aiokafka import AIOKafkaConsumer

from benchmarks.peers.calls import client, handle


async def main() -> None:
    consumer = AIOKafkaConsumer(
        os.environ["KAFKA_IDENTITY_EVENTS_TOPIC"],
        bootstrap_servers=os.environ["KAFKA_BROKERS"],
        group_id=os.environ["KAFKA_CONSUMER_GROUP_ID"],
        auto_offset_reset="earliest",
    )
    async with client() as http, consumer:
        async for record in consumer:
            headers = {name: text.decode() for name, text in record.headers}
            await handle(http, record.value or b"", headers)


if __name__ == "__main__":
    logging.basicConfig(level=logging.WARNING)
    asyncio.run(main())

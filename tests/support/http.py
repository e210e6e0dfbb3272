"""Speaks to the function's routes as daprd does: settings, a client, and bulk envelopes."""

import base64
from typing import Any

import httpx
from fastapi import FastAPI

from dev.servers.kafka import TOPIC
from function.kafka.record import KafkaRecord
from function.settings import Settings
from tests.support.events import BOB, deletion

APP_TOKEN = "token-of-the-sidecar"
AUTH = {"dapr-api-token": APP_TOKEN}


def settings_with(**changes: Any) -> Settings:
    known = {
        "matrix_homeserver_url": "http://synapse.test",
        "matrix_server_name": "test.example",
        "app_api_token": APP_TOKEN,
    }
    return Settings(**(known | changes))


def client(app: FastAPI) -> httpx.AsyncClient:
    return httpx.AsyncClient(base_url="http://app.test", transport=httpx.ASGITransport(app))


def entry(record: KafkaRecord, entry_id: str) -> dict[str, Any]:
    return {
        "entryId": entry_id,
        "event": base64.b64encode(record.value).decode(),
        "contentType": "application/octet-stream",
        "metadata": dict(record.metadata),
    }


def envelope(*entries: Any, **fields: Any) -> dict[str, Any]:
    outer = {
        "id": "batch",
        "entries": list(entries),
        "metadata": {},
        "topic": TOPIC,
        "pubsubname": "pubsub",
        "type": "com.dapr.event.sent.bulk",
    }
    return outer | fields


GOOD = entry(deletion(BOB), "good")

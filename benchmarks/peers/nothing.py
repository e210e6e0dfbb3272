"""Runs an app behind daprd that only parses each batch, for the entries' ids, and answers SUCCESS.

Measures the upper limit of delivery. Bare ASGI on the function's server. `GET /count` returns the number of entries, and the
times of the first and the last.
"""

import json
import os
import time
from collections.abc import Awaitable, Callable
from typing import Any

import uvicorn

from function.dapr.subscription import BATCH_MS, BATCH_SIZE
from function.settings import Settings

PUBSUBS = ["pubsub", *(f"pubsub-{n}" for n in range(2, Settings.model_fields["pubsub_components"].default + 1))]
Message = dict[str, Any]

seen: dict[str, float] = {"count": 0, "first": 0.0, "last": 0.0}


def subscription() -> list[Message]:
    return [{
        "pubsubname": pubsub, "topic": os.environ["KAFKA_IDENTITY_EVENTS_TOPIC"], "route": "/events",
        "metadata": {"rawPayload": "true"},
        "bulkSubscribe": {"enabled": True, "maxMessagesCount": BATCH_SIZE, "maxAwaitDurationMs": BATCH_MS},
    } for pubsub in PUBSUBS]  # fmt: skip


def take(body: bytes) -> Message:
    entries = json.loads(body)["entries"]
    seen["last"] = time.monotonic()
    seen["first"] = seen["first"] or seen["last"]
    seen["count"] += len(entries)
    return {"statuses": [{"entryId": entry["entryId"], "status": "SUCCESS"} for entry in entries]}


async def app(
    scope: Message, receive: Callable[[], Awaitable[Message]], send: Callable[[Message], Awaitable[None]]
) -> None:
    if scope["type"] != "http":
        return
    body, more = b"", True
    while more:
        message = await receive()
        body, more = body + message.get("body", b""), message.get("more_body", False)
    answer: Any = {"/dapr/subscribe": subscription(), "/count": seen}.get(scope["path"], {})
    if scope["path"] == "/events":
        answer = take(body)
    text = json.dumps(answer).encode()
    headers = [(b"content-type", b"application/json"), (b"content-length", str(len(text)).encode())]
    await send({"type": "http.response.start", "status": 200, "headers": headers})
    await send({"type": "http.response.body", "body": text})


if __name__ == "__main__":
    port = int(os.environ["APP_PORT"])
    uvicorn.run(app, host="127.0.0.1", port=port, loop="uvloop", http="httptools", lifespan="off", access_log=False)

"""Hostile or broken HTTP clients: garbage, wrong tokens, endless bodies, slow connections."""

import asyncio
import json
from collections.abc import Iterable, Sequence
from pathlib import Path

import pytest
import yaml
from anyio.lowlevel import checkpoint
from fastapi import FastAPI
from hypothesis import given
from hypothesis import strategies as st
from pydantic import SecretStr
from starlette.types import Message

from function.dapr.bulk_envelope import Body
from function.dapr.subscription import (
    BATCH_SIZE,
    BODY_BYTES,
    HEADERS_BYTES,
    LARGE_BYTES,
    RECORD_BYTES,
    Subscriptions,
    mount_bulk,
)
from function.health import Health
from function.routes import EVENTS_ROUTE, LIVE_ROUTE, METRICS_ROUTE, READY_ROUTE, mount
from function.telemetry.metrics import Metrics
from tests.support.http import APP_TOKEN, GOOD, envelope, settings_with

pytestmark = pytest.mark.anyio

ROOT = Path(__file__).parents[3]
TOKEN = (b"dapr-api-token", APP_TOKEN.encode())
MIB = 1024 * 1024


def function_app() -> FastAPI:
    """The function while it is starting: every route is there, and no batch is done."""
    app = FastAPI(openapi_url=None)
    mount(app, settings_with(), Health(), Metrics(), lambda: None)
    return app


class Exchange:
    """One raw request, byte for byte, and the answer."""

    def __init__(self, app: FastAPI, body: Iterable[bytes], *, hang_up: bool = False) -> None:
        self._app, self._body, self._hang_up = app, iter(body), hang_up
        self.read = 0
        self.status = 0
        self.headers: dict[bytes, bytes] = {}
        self.content = b""
        self.starts = 0

    async def send(
        self, method: str, path: str, headers: Sequence[tuple[bytes, bytes]] = (TOKEN,), query: bytes = b""
    ) -> "Exchange":
        scope = {
            "type": "http", "asgi": {"version": "3.0"}, "http_version": "1.1", "method": method, "path": path,
            "raw_path": path.encode("utf-8", "surrogatepass"), "query_string": query, "root_path": "",
            "headers": list(headers), "scheme": "http", "server": ("app", 80), "client": ("client", 1), "state": {},
        }  # fmt: skip
        await self._app(scope, self._receive, self._take)
        return self

    async def _receive(self) -> Message:
        chunk = next(self._body, None)
        if chunk is not None:
            self.read += len(chunk)
            return {"type": "http.request", "body": chunk, "more_body": True}
        if self._hang_up:
            return {"type": "http.disconnect"}
        return {"type": "http.request", "body": b"", "more_body": False}

    async def _take(self, message: Message) -> None:
        if message["type"] == "http.response.start":
            self.starts += 1
            self.status, self.headers = message["status"], dict(message["headers"])
        else:
            self.content += message.get("body", b"")

    @property
    def is_retry(self) -> bool:
        """Whether daprd takes the answer to a batch for RETRY of all: neither 2xx with statuses nor 404."""
        if self.status == 404:
            return False
        said = json.loads(self.content)
        return self.status >= 300 or not any(one["status"] != "RETRY" for one in said["statuses"])


# --- garbage on every route

ROUTES = [EVENTS_ROUTE, LIVE_ROUTE, READY_ROUTE, METRICS_ROUTE, "/dapr/subscribe", "/dapr/config"]
NEAR = [EVENTS_ROUTE + "/", EVENTS_ROUTE + "//", "//" + EVENTS_ROUTE, "/events", "/docs", "/openapi.json", "", "*"]
PATHS = st.sampled_from(ROUTES * 3 + NEAR) | st.text(max_size=20)
METHODS = st.sampled_from(["POST"] * 3 + ["GET", "HEAD", "PUT", "DELETE", "OPTIONS", "PATCH", "TRACE", "CONNECT"])
HEADER_NAMES = st.sampled_from(
    [b"content-type", b"content-length", b"content-encoding", b"transfer-encoding", b"host", b"expect", b"range",
     b"x-forwarded-for", b"traceparent", b"tracestate", b"cookie", b"dapr-api-token"]
) | st.binary(max_size=8)  # fmt: skip
HEADERS = st.lists(
    st.tuples(HEADER_NAMES, st.sampled_from([b"-1", b"0", b"9" * 30, b"gzip", b"00-"]) | st.binary(max_size=40)),
    max_size=6,
)
REAL = json.dumps(envelope(GOOD)).encode()
BODIES = st.lists(st.binary(max_size=60) | st.sampled_from([REAL, REAL[:50], REAL[50:]]), max_size=4)


@given(METHODS, PATHS, HEADERS, st.booleans(), BODIES, st.booleans())
async def test_garbage_is_answered_on_every_route(
    method: str, path: str, headers: list[tuple[bytes, bytes]], known: bool, body: list[bytes], hang_up: bool
) -> None:
    """One answer each, an error as JSON, never a crash; on a route of batches never anything that loses records."""
    exchange = Exchange(function_app(), body, hang_up=hang_up)
    await exchange.send(method, path, [TOKEN, *headers] if known else headers)
    assert exchange.starts == 1
    assert exchange.status < 500 or (exchange.status, path) == (503, READY_ROUTE)
    if exchange.status >= 400 and method != "HEAD":
        assert exchange.headers[b"content-type"] == b"application/json"
        assert json.loads(exchange.content)
    if path == EVENTS_ROUTE and method != "HEAD":
        assert exchange.is_retry
    assert APP_TOKEN.encode() not in exchange.content


# --- who may call


@pytest.mark.parametrize(
    "headers",
    [[], [(b"dapr-api-token", b"")], [(b"dapr-api-token", b"wrong")], [(b"dapr-api-token", APP_TOKEN.encode()[:-1])],
     [(b"dapr-api-token", APP_TOKEN.encode() + b" ")], [(b"dapr-api-token", "tökén".encode())],
     [(b"dapr-api-token", b"\xff\x00")], [(b"authorization", b"Bearer " + APP_TOKEN.encode())]],
    ids=repr,
)  # fmt: skip
async def test_without_the_right_token_not_even_the_body_is_read(headers: list[tuple[bytes, bytes]]) -> None:
    """Else anybody could fill the memory, and delete accounts."""
    exchange = await Exchange(function_app(), [REAL]).send("POST", EVENTS_ROUTE, headers)
    assert (exchange.status, exchange.read) == (401, 0)
    assert exchange.is_retry
    assert exchange.headers[b"connection"] == b"close"


class Guarded(bytes):
    """Bytes that can't be compared in the way whose time tells how many of them were right."""

    def __eq__(self, other: object) -> bool:
        raise AssertionError("compared by ==")

    def __ne__(self, other: object) -> bool:
        raise AssertionError("compared by !=")

    __hash__ = bytes.__hash__


class GuardedText(str):
    __slots__ = ()

    def __eq__(self, other: object) -> bool:
        raise AssertionError("compared by ==")

    __hash__ = str.__hash__

    def encode(self, encoding: str = "utf-8", errors: str = "strict") -> bytes:
        return Guarded(super().encode(encoding, errors))


class GuardedToken(SecretStr):
    def get_secret_value(self) -> str:
        return GuardedText(super().get_secret_value())


@pytest.mark.parametrize(("shown", "status"), [(APP_TOKEN, 200), ("wrong", 401), (APP_TOKEN[:-1] + "x", 401)])
async def test_the_token_is_compared_in_constant_time(shown: str, status: int) -> None:
    async def take(_batch: Body) -> bytes:
        await checkpoint()
        return b'{"statuses": []}'

    app = FastAPI()
    mount_bulk(app, Subscriptions(["pubsub"], ["t"], "/records"), GuardedToken(APP_TOKEN), take)
    exchange = await Exchange(app, [REAL]).send("POST", "/records", [(b"dapr-api-token", shown.encode())])
    assert exchange.status == status


# --- how much


def test_the_largest_record_is_that_of_the_components() -> None:
    """A batch that Kafka accepts and the function refuses would be redelivered without end."""
    for file in (
        "components/pubsub.yaml",
        "components/pubsub-more.yaml",
        "k8s/base/dapr/pubsub/pubsub.yaml",
    ):
        for component in yaml.safe_load_all((ROOT / file).read_text()):
            metadata = {item["name"]: item.get("value") for item in component["spec"]["metadata"]}
            assert metadata["maxMessageBytes"] == str(RECORD_BYTES), file
    assert BODY_BYTES >= BATCH_SIZE * (RECORD_BYTES * 4 / 3 + HEADERS_BYTES / 2)


async def test_of_large_batches_one_is_held_at_a_time_and_small_ones_go_on() -> None:
    """As many as there are components are in flight; a pod has no memory for as many large ones."""
    held: list[int] = []
    may_end = asyncio.Event()

    async def take(batch: Body) -> bytes:
        held.append(len(batch))
        if len(batch) > LARGE_BYTES:
            await may_end.wait()
        return b'{"statuses": []}'

    app = FastAPI()
    mount_bulk(app, Subscriptions(["pubsub"], ["t"], "/records"), SecretStr(APP_TOKEN), take)

    def batch(size: int, *, says: bool = True) -> asyncio.Task[Exchange]:
        length = [(b"content-length", str(size).encode())] if says else []
        body = (b"x" * min(MIB, size - done) for done in range(0, size, MIB))
        return asyncio.create_task(Exchange(app, body).send("POST", "/records", [TOKEN, *length]))

    large = [batch(LARGE_BYTES + 1), batch(LARGE_BYTES + 2), batch(LARGE_BYTES + 3, says=False)]
    assert (await batch(5)).status == (await batch(LARGE_BYTES)).status == 200
    assert [size for size in held if size > LARGE_BYTES] == [LARGE_BYTES + 1]
    may_end.set()
    assert [one.status for one in await asyncio.gather(*large)] == [200, 200, 200]
    assert sorted(held) == [5, LARGE_BYTES, LARGE_BYTES + 1, LARGE_BYTES + 2, LARGE_BYTES + 3]


def entries_of(count: int, size: int) -> Iterable[bytes]:
    """A batch of large records, piece by piece."""
    yield b'{"topic": "nova.identity.events", "entries": ['
    for number in range(count):
        yield b"," * bool(number) + b'{"entryId": "%d", "metadata": {}, "event": "' % number
        yield from [b"A" * 65536] * (size * 4 // 3 // 65536)
        yield b'AAAA"}'
    yield b"]}"


async def test_a_full_batch_of_the_largest_usual_records_passes() -> None:
    """A hundred of Kafka's default limit of 1 MiB."""
    exchange = await Exchange(function_app(), entries_of(BATCH_SIZE, MIB)).send("POST", EVENTS_ROUTE)
    assert exchange.status == 200
    assert len(json.loads(exchange.content)["statuses"]) == BATCH_SIZE


async def test_a_body_without_end_is_refused_as_soon_as_it_is_too_large() -> None:
    def endless() -> Iterable[bytes]:
        block = b"A" * MIB
        while True:
            yield block

    exchange = await Exchange(function_app(), endless()).send("POST", EVENTS_ROUTE)
    assert exchange.status == 413
    assert exchange.is_retry
    assert BODY_BYTES < exchange.read <= BODY_BYTES + MIB


async def test_a_body_that_says_it_is_too_large_is_not_read() -> None:
    headers = [TOKEN, (b"content-length", str(BODY_BYTES + 1).encode())]
    exchange = await Exchange(function_app(), [REAL]).send("POST", EVENTS_ROUTE, headers)
    assert (exchange.status, exchange.read) == (413, 0)


async def test_a_caller_that_hangs_up_is_no_failure() -> None:
    """A killed sidecar takes no answer, and nothing is logged as a bug."""
    exchange = await Exchange(function_app(), [REAL[:20]], hang_up=True).send("POST", EVENTS_ROUTE)
    assert (exchange.status, exchange.is_retry) == (400, True)

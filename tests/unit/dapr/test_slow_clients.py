"""Slow and misbehaving connections on a real server: timeouts, size limits of the head, garbage, resets."""

import asyncio
import contextlib
import json
import socket
import struct
import time
from collections.abc import AsyncIterator, Callable, Iterable
from typing import Any, ClassVar

import httpx
import pytest
import uvicorn
from anyio.lowlevel import checkpoint
from fastapi import FastAPI

from function.dapr.http_server import HEAD_BYTES, UVICORN_OPTIONS, RequestTimeoutProtocol
from function.health import Health
from function.routes import EVENTS_ROUTE, LIVE_ROUTE, mount
from function.telemetry.metrics import Metrics
from tests.support.harness import world
from tests.support.http import APP_TOKEN, GOOD, envelope, settings_with

pytestmark = pytest.mark.anyio

MIB = 1024 * 1024


def function_app() -> FastAPI:
    """The function while it is starting: every route is there, and no batch is done."""
    app = FastAPI(openapi_url=None)
    mount(app, settings_with(), Health(), Metrics(), lambda: None)
    return app


REAL = json.dumps(envelope(GOOD)).encode()


def entries_of(count: int, size: int) -> Iterable[bytes]:
    """A batch of large records, piece by piece."""
    yield b'{"topic": "nova.identity.events", "entries": ['
    for number in range(count):
        yield b"," * bool(number) + b'{"entryId": "%d", "metadata": {}, "event": "' % number
        yield from [b"A" * 65536] * (size * 4 // 3 // 65536)
        yield b'AAAA"}'
    yield b"]}"


class Hasty(RequestTimeoutProtocol):
    """A timeout short enough for a test."""

    seconds: ClassVar[float] = 0.5


class LessHasty(Hasty):
    """Long enough for 200 connections to be there at once, also on a busy machine."""

    seconds: ClassVar[float] = 3.0


@contextlib.asynccontextmanager
async def served(app: FastAPI, protocol: type[Hasty] = Hasty) -> AsyncIterator[tuple[uvicorn.Server, int]]:
    """The application on a free port of loopback, as `serve` runs it but for its event loop."""
    listening = socket.create_server(("127.0.0.1", 0))
    options = UVICORN_OPTIONS | {"loop": "none", "http": protocol}
    server = uvicorn.Server(
        uvicorn.Config(app, timeout_graceful_shutdown=1, timeout_keep_alive=1, lifespan="off", **options)
    )
    serving = asyncio.create_task(server.serve(sockets=[listening]))
    try:
        await until(lambda: server.started, "the server")
        yield server, listening.getsockname()[1]
    finally:
        server.should_exit = True
        await serving


async def until(condition: Callable[[], bool], what: str, seconds: float = 20.0) -> None:
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline, f"not within {seconds:.0f} s: {what}"
        await checkpoint()


async def ended(reader: asyncio.StreamReader) -> bytes:
    """What the server said until it closed the connection, gracefully or not."""
    with contextlib.suppress(ConnectionError):
        async with asyncio.timeout(20):
            return await reader.read()
    return b""


async def drip(port: int, said: bytes, more: bytes) -> float:
    """Says something, then a byte now and then, until the connection is ended; how many seconds that took."""
    began = time.monotonic()
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    over = asyncio.create_task(ended(reader))
    writer.write(said)
    while not over.done():
        with contextlib.suppress(ConnectionError):
            writer.write(more)
            await writer.drain()
        await asyncio.wait([over], timeout=0.05)
    await over  # not if that took too long
    writer.close()
    with contextlib.suppress(ConnectionError):
        await writer.wait_closed()
    return time.monotonic() - began


HEAD = b"POST /events/identity HTTP/1.1\r\nhost: a\r\ndapr-api-token: " + APP_TOKEN.encode() + b"\r\n"


@pytest.mark.parametrize(
    ("said", "more"),
    [
        (b"", b""),
        (b"P", b""),
        (b"POST /events/identity HTTP/1.1\r\nx: ", b"a"),
        (HEAD + b"content-length: 1000000\r\n\r\n", b"a"),
        (HEAD + b"transfer-encoding: chunked\r\n\r\n", b"1\r\na\r\n"),
        (b"POST /events/identity HTTP/1.1\r\nhost: a\r\ncontent-length: 1000000\r\n\r\n", b"a"),
        (b"GET /health/live HTTP/1.1\r\nhost: a\r\ncontent-length: 1000000\r\n\r\n", b"a"),
        (b"GET /health/live HTTP/1.1\r\nhost: a\r\ncontent-length: 3\r\n\r\n", b""),
    ],
    ids=["nothing", "a letter", "a header", "a body", "chunks", "a refused body", "a body unasked for", "a late body"],
)
async def test_a_slow_client_is_disconnected(said: bytes, more: bytes) -> None:
    async with served(function_app()) as (_, port):
        assert await drip(port, said, more) < 10


async def test_slow_clients_delay_no_batch_and_are_disconnected() -> None:
    async with world() as w:
        app = FastAPI()
        mount(app, settings_with(), w.health, Metrics(), lambda: w.processor)
        async with (
            served(app, LessHasty) as (server, port),
            httpx.AsyncClient(base_url=f"http://127.0.0.1:{port}") as http,
        ):
            slow = [asyncio.create_task(drip(port, HEAD + b"content-length: 99999\r\n\r\n", b"a")) for _ in range(200)]
            await until(lambda: len(server.server_state.connections) >= 200, "the slow ones are connected")
            answer = await http.post(EVENTS_ROUTE, content=REAL, headers={"dapr-api-token": APP_TOKEN})
            assert (answer.status_code, len(answer.json()["statuses"])) == (200, 1)
            assert not any(task.done() for task in slow)
            assert max(await asyncio.gather(*slow)) < 10
            await until(lambda: len(server.server_state.connections) <= 1, "the server has forgotten them")


@pytest.mark.parametrize("what", ["one header", "headers", "chunk extensions", "trailers", "target"])
async def test_a_head_without_end_is_cut_off(what: str) -> None:
    """uvicorn's fast parser keeps a head of any length."""
    start, block = {
        "one header": (b"GET / HTTP/1.1\r\nx: ", b"a" * 4096),
        "headers": (b"GET / HTTP/1.1\r\n", b"x: y\r\n" * 700),
        "chunk extensions": (HEAD + b"transfer-encoding: chunked\r\n\r\n", b"1;" + b"x" * 4096 + b"\r\na\r\n"),
        "trailers": (HEAD + b"transfer-encoding: chunked\r\n\r\n0\r\n", b"x: y\r\n" * 700),
        "target": (b"GET /", b"a" * 4096),
    }[what]
    async with served(function_app()) as (_, port):
        reader, writer = await asyncio.open_connection("127.0.0.1", port)
        over = asyncio.create_task(ended(reader))
        writer.write(start)
        sent = 0
        while not over.done():
            with contextlib.suppress(ConnectionError):
                writer.write(block)
                await writer.drain()
            await checkpoint()
            sent += len(block)
        await over
        writer.close()
        with contextlib.suppress(ConnectionError):
            await writer.wait_closed()
        assert sent < 64 * HEAD_BYTES  # what the sockets between hold


async def test_a_batch_larger_than_a_head_may_be_arrives() -> None:
    """The limit on heads is none on bodies, however they are cut into chunks."""
    async with served(function_app()) as (_, port), httpx.AsyncClient(base_url=f"http://127.0.0.1:{port}") as http:

        async def pieces() -> AsyncIterator[bytes]:
            for piece in entries_of(4, MIB):
                yield piece

        answer = await http.post(EVENTS_ROUTE, content=pieces(), headers={"dapr-api-token": APP_TOKEN})
        assert [one["status"] for one in answer.json()["statuses"]] == ["RETRY"] * 4


async def test_a_connection_serves_many_requests() -> None:
    """Each with a time limit of its own."""
    async with served(function_app()) as (server, port), httpx.AsyncClient(base_url=f"http://127.0.0.1:{port}") as http:
        began, count = time.monotonic(), 0
        while time.monotonic() - began < 3 * Hasty.seconds:
            assert (await http.get(LIVE_ROUTE)).status_code == 200
            count += 1
        assert count > 10
        assert len(server.server_state.connections) == 1


NOISE: list[Any] = [
    b"\r\n\r\n", b"\x00" * 64, b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03", b"GET\r\n\r\n", b"GET / HTTP/9.9\r\n\r\n",
    b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n", b"GET http://[::1 HTTP/1.1\r\nhost: a\r\n\r\n", b"GET /\xff HTTP/1.1\r\n\r\n",
    b"GET / HTTP/1.1\r\ncontent-length: -1\r\n\r\n", b"GET / HTTP/1.1\r\ncontent-length: 1\r\ncontent-length: 2\r\n\r\n",
    HEAD + b"transfer-encoding: chunked\r\ncontent-length: 3\r\n\r\n0\r\n\r\n",
    HEAD + b"transfer-encoding: chunked\r\n\r\nzz\r\n", HEAD + b"expect: 100-continue\r\ncontent-length: 3\r\n\r\n",
    b"GET /health/live HTTP/1.1\r\nconnection: upgrade\r\nupgrade: websocket\r\nsec-websocket-version: 13\r\n\r\n",
    b"GET /health/live HTTP/1.1\r\nconnection: upgrade\r\nupgrade: h2c\r\n\r\n", b"CONNECT a:1 HTTP/1.1\r\n\r\n",
]  # fmt: skip


@pytest.mark.parametrize("noise", NOISE, ids=lambda noise: repr(noise[-40:]))
async def test_garbage_on_a_connection_disturbs_no_other_client(noise: bytes) -> None:
    async with served(function_app()) as (_, port), httpx.AsyncClient(base_url=f"http://127.0.0.1:{port}") as http:
        reader, writer = await asyncio.open_connection("127.0.0.1", port)
        writer.write(noise)
        said = await ended(reader)
        writer.close()
        with contextlib.suppress(ConnectionError):
            await writer.wait_closed()
        assert b"Internal Server Error" not in said
        assert (await http.get(LIVE_ROUTE)).status_code == 200


async def test_a_client_that_resets_the_connection_disturbs_no_other_client() -> None:
    async with served(function_app()) as (server, port), httpx.AsyncClient(base_url=f"http://127.0.0.1:{port}") as http:
        with socket.create_connection(("127.0.0.1", port)) as rude:
            rude.sendall(HEAD + b"content-length: 99\r\n\r\n{")
            rude.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        assert (await http.get(LIVE_ROUTE)).status_code == 200
        await until(lambda: len(server.server_state.connections) <= 1, "the server has forgotten it")

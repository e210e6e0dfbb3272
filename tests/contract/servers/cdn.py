"""Runs an image host on loopback that speaks real TLS and sends the bytes that a test chooses."""

import asyncio
import contextlib
import socket
import ssl
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass, field

from aiohttp.abc import AbstractResolver, ResolveResult
from anyio.lowlevel import checkpoint

Script = Callable[[asyncio.StreamWriter], Awaitable[None]]


def response(status: int = 200, body: bytes = b"", **headers: str) -> bytes:
    """Returns an answer with its Content-Length, unless the headers set another; underscores in names become dashes."""
    lines = {name.replace("_", "-"): value for name, value in headers.items()}
    if "Transfer-Encoding" not in lines:
        lines.setdefault("Content-Length", str(len(body)))
    head = "".join(f"{name}: {value}\r\n" for name, value in lines.items() if value)
    return f"HTTP/1.1 {status} Said\r\n{head}\r\n".encode() + body


def moved(location: str, status: int = 302) -> bytes:
    return response(status, Location=location)


async def pour(writer: asyncio.StreamWriter, block: bytes) -> int:
    """Sends the block repeatedly until the client disconnects; returns the number of bytes. Yields to the event loop after
    each, because a connection that is being closed accepts every write without making the writer wait."""
    sent = 0
    while not writer.is_closing():
        writer.write(block)
        await writer.drain()
        await checkpoint()
        sent += len(block)
    return sent


@dataclass
class Cdn:
    """A host with answers by path; records each request's headers by lower-case name, with `path` among them."""

    port: int = 0
    answers: dict[str, bytes | Script] = field(default_factory=dict)
    requests: list[dict[str, str]] = field(default_factory=list)
    connections: int = 0

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.connections += 1
        # A client may disconnect at any time.
        with contextlib.suppress(ConnectionError, asyncio.IncompleteReadError, ssl.SSLError):
            first, *lines = (await reader.readuntil(b"\r\n\r\n")).decode().strip().split("\r\n")
            headers = {name.lower(): value for name, _, value in (line.partition(": ") for line in lines)}
            path = first.split(" ")[1]
            self.requests.append(headers | {"path": path})
            answer = self.answers.get(path, response(404))
            if isinstance(answer, bytes):
                writer.write(answer)
                await writer.drain()
            else:
                await answer(writer)
        writer.close()


@asynccontextmanager
async def both(outside: str, inside: str, tls: ssl.SSLContext) -> AsyncIterator[tuple[Cdn, Cdn]]:
    """Runs a host on a public address, and on the same port of an internal address a host that only counts connections."""
    for _ in range(20):
        async with AsyncExitStack() as stack:
            cdn = await stack.enter_async_context(serving(outside, tls=tls))
            try:
                trap = await stack.enter_async_context(serving(inside, cdn.port))
            except OSError:
                continue  # the port is taken there
            yield cdn, trap
            return
    raise AssertionError("no port is free at both addresses")


@asynccontextmanager
async def serving(address: str, port: int = 0, tls: ssl.SSLContext | None = None) -> AsyncIterator[Cdn]:
    """Runs a host on a loopback address; without TLS it only counts connections."""
    cdn, tasks, writers = Cdn(), list[asyncio.Task[None]](), list[asyncio.StreamWriter]()

    def connected(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writers.append(writer)
        tasks.append(asyncio.create_task(cdn.serve(reader, writer)))

    server = await asyncio.start_server(connected, address, port, ssl=tls)
    cdn.port = server.sockets[0].getsockname()[1]
    try:
        yield cdn
    finally:
        server.close()
        for task in tasks:
            task.cancel()
        for writer in writers:
            writer.transport.abort()
        await asyncio.gather(*tasks, return_exceptions=True)
        await server.wait_closed()


class ScriptedResolver(AbstractResolver):
    """Resolves every name to the next of its answers; repeats the last."""

    def __init__(self, *answers: Sequence[str]) -> None:
        self.answers, self.asked = list(answers), list[str]()

    async def resolve(
        self, host: str, port: int = 0, family: socket.AddressFamily = socket.AF_UNSPEC
    ) -> list[ResolveResult]:
        self.asked.append(host)
        addresses = self.answers.pop(0) if len(self.answers) > 1 else self.answers[0]
        return [
            ResolveResult(hostname=host, host=address, port=port, family=family, proto=0, flags=0)
            for address in addresses
        ]

    async def close(self) -> None:
        pass

"""Runs an https host of one image on 127.0.0.2, in its own thread. It answers each request after a time."""

import asyncio
import contextlib
import ssl
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, contextmanager
from pathlib import Path

from dev.servers.https_host import https_host

HOST, ADDRESS = "images.example", "127.0.0.2"  # the program of the tests resolves every name to this address
PNG = b"\x89PNG\r\n\x1a\n\0\0\0\rIHDR\0\0\0\x01\0\0\0\x01\x08\x06\0\0\0\x1f\x15\xc4\x89"
ANSWER = b'HTTP/1.1 200 OK\r\nContent-Type: image/png\r\nETag: "one"\r\nContent-Length: %d\r\n\r\n%s' % (len(PNG), PNG)


@contextmanager
def image_host(folder: Path, seconds: float) -> Iterator[tuple[str, Path]]:
    """Yields the host with its port, and the file of the certificate authority to trust for it."""
    with https_host(folder, HOST, lambda tls: _serving(seconds, tls)) as (port, authority):
        yield f"{HOST}:{port}", authority


@asynccontextmanager
async def _serving(seconds: float, tls: ssl.SSLContext) -> AsyncIterator[int]:
    connections: list[asyncio.Task[None]] = []

    def connected(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        connections.append(asyncio.create_task(_answer(reader, writer, seconds)))

    server = await asyncio.start_server(connected, ADDRESS, 0, ssl=tls)
    try:
        yield server.sockets[0].getsockname()[1]
    finally:
        server.close()
        for connection in connections:
            connection.cancel()
        await asyncio.gather(*connections, return_exceptions=True)


async def _answer(reader: asyncio.StreamReader, writer: asyncio.StreamWriter, seconds: float) -> None:
    """Answers the requests of one connection until the client leaves."""
    try:
        with contextlib.suppress(ConnectionError, asyncio.IncompleteReadError, ssl.SSLError):
            while await reader.readuntil(b"\r\n\r\n"):
                await asyncio.sleep(seconds)  # the host's slowness, which is what is measured
                writer.write(ANSWER)
                await writer.drain()
    finally:
        writer.close()

"""`python -m dev.k8s.webhook_proxy SOCKET TABLE`: the API server's way to its webhooks, which are processes on loopback.

The API server asks for a Service's cluster address with HTTP CONNECT over a unix socket (its egress selector); the table,
a JSON object read anew for each connection, says on which loopback port that Service's process listens. So webhook
configurations stay as the chart has them. Knows nothing of what it carries.
"""

import asyncio
import contextlib
import json
import sys
from pathlib import Path

Stream = tuple[asyncio.StreamReader, asyncio.StreamWriter]


async def _carry(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    with contextlib.suppress(OSError):
        while block := await reader.read(65536):
            writer.write(block)
            await writer.drain()
    writer.close()


async def _connect(client: Stream, table: Path) -> None:
    reader, writer = client
    head = (await reader.readuntil(b"\r\n\r\n")).decode()
    address = head.split()[1]
    port = json.loads(table.read_text()).get(address)  # noqa: ASYNC240 - a small file, and nobody else to serve meanwhile
    print(f"{address} is {port}", flush=True)
    try:
        server = await asyncio.open_connection("127.0.0.1", port) if port else None
    except OSError:
        server = None
    if server is None:
        writer.write(b"HTTP/1.1 503 Service Unavailable\r\nContent-Length: 0\r\n\r\n")
        writer.close()
        return
    writer.write(b"HTTP/1.1 200 OK\r\n\r\n")
    await asyncio.gather(_carry(reader, server[1]), _carry(server[0], writer))


async def serve(socket: Path, table: Path) -> None:
    async def accept(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        with contextlib.suppress(asyncio.IncompleteReadError):
            await _connect((reader, writer), table)

    server = await asyncio.start_unix_server(accept, socket)
    async with server:
        await server.serve_forever()


if __name__ == "__main__":
    asyncio.run(serve(Path(sys.argv[1]), Path(sys.argv[2])))

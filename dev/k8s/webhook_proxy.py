"""Forwards the API server's calls to its webhooks, which are processes on loopback: `python -m dev.k8s.webhook_proxy SOCKET TABLE`.

The API server requests a Service's cluster address with HTTP CONNECT over a unix socket (its egress selector). The table, a
JSON object that is read again for each connection, gives the loopback port of that Service's process. So the chart's
webhook configurations need no change. Does not look into the traffic.
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
    port = json.loads(table.read_text()).get(address)  # noqa: ASYNC240 - a small file
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

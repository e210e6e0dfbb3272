"""Runs an https host of one image on 127.0.0.2, in its own thread. It answers each request after a time."""

import asyncio
import contextlib
import ssl
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import trustme

HOST, ADDRESS = "images.example", "127.0.0.2"  # the program of the tests resolves every name to this address
PNG = b"\x89PNG\r\n\x1a\n\0\0\0\rIHDR\0\0\0\x01\0\0\0\x01\x08\x06\0\0\0\x1f\x15\xc4\x89"
ANSWER = b'HTTP/1.1 200 OK\r\nContent-Type: image/png\r\nETag: "one"\r\nContent-Length: %d\r\n\r\n%s' % (len(PNG), PNG)


@contextmanager
def image_host(folder: Path, seconds: float) -> Iterator[tuple[str, Path]]:
    """Yields the host with its port, and the file of the certificate authority to trust for it."""
    authority, tls = trustme.CA(), ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    authority.issue_cert(HOST).configure_cert(tls)
    authority.cert_pem.write_to_path(folder / "ca.pem")
    loop, ports, up, over = asyncio.new_event_loop(), list[int](), threading.Event(), asyncio.Event()
    connections: list[asyncio.Task[None]] = []

    async def answer(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        with contextlib.suppress(ConnectionError, asyncio.IncompleteReadError, ssl.SSLError):  # the client has left
            while not over.is_set() and await reader.readuntil(b"\r\n\r\n"):
                with contextlib.suppress(TimeoutError):
                    await asyncio.wait_for(over.wait(), seconds)  # the delay is what is measured
                writer.write(ANSWER)
                await writer.drain()
        writer.close()

    async def serve() -> None:
        def connected(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            connections.append(asyncio.ensure_future(answer(reader, writer)))

        server = await asyncio.start_server(connected, ADDRESS, 0, ssl=tls)
        ports.append(server.sockets[0].getsockname()[1])
        up.set()
        await over.wait()
        server.close()
        await asyncio.gather(*connections)

    thread = threading.Thread(target=lambda: loop.run_until_complete(serve()))
    thread.start()
    try:
        assert up.wait(20), "the image host does not listen"
        yield f"{HOST}:{ports[0]}", folder / "ca.pem"
    finally:
        loop.call_soon_threadsafe(over.set)
        thread.join(20)
        loop.close()

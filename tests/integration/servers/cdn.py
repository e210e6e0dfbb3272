"""Runs a real https host of images on 127.0.0.2, in its own thread."""

import asyncio
import ssl
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import trustme

from tests.contract.servers.cdn import Cdn, response, serving
from tests.integration.programs.with_local_cdn import INTERNET

HOST = "cdn.example"


@contextmanager
def https_host(folder: Path) -> Iterator[tuple[Cdn, Path]]:
    """Yields the host, and the file of the certificate authority to trust for it."""
    authority, tls = trustme.CA(), ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    authority.issue_cert(HOST).configure_cert(tls)
    authority.cert_pem.write_to_path(folder / "ca.pem")
    loop, hosts, up, over = asyncio.new_event_loop(), list[Cdn](), threading.Event(), asyncio.Event()

    async def run() -> None:
        async with serving(INTERNET, tls=tls) as cdn:
            hosts.append(cdn)
            up.set()
            await over.wait()

    thread = threading.Thread(target=lambda: loop.run_until_complete(run()))
    thread.start()
    try:
        assert up.wait(20)
        yield hosts[0], folder / "ca.pem"
    finally:
        loop.call_soon_threadsafe(over.set)
        thread.join(20)
        loop.close()


def image(content: bytes, etag: str) -> bytes:
    return response(body=content, Content_Type="image/png", ETag=f'"{etag}"')

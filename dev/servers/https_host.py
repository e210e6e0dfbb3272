"""Runs an https server on loopback in its own thread, with a certificate of an authority that is made for it."""

import asyncio
import ssl
import threading
from collections.abc import Callable, Iterator
from contextlib import AbstractAsyncContextManager, contextmanager
from pathlib import Path
from typing import TypeVar

import trustme

Host = TypeVar("Host")
Serve = Callable[[ssl.SSLContext], AbstractAsyncContextManager[Host]]


@contextmanager
def https_host(folder: Path, name: str, serve: Serve[Host]) -> Iterator[tuple[Host, Path]]:
    """Yields what `serve` yields, and the file of the certificate authority to trust for the host of this name."""
    authority, tls = trustme.CA(), ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    authority.issue_cert(name).configure_cert(tls)
    authority.cert_pem.write_to_path(folder / "ca.pem")
    loop, hosts, up, over = asyncio.new_event_loop(), list[Host](), threading.Event(), asyncio.Event()

    async def run() -> None:
        async with serve(tls) as host:
            hosts.append(host)
            up.set()
            await over.wait()

    thread = threading.Thread(target=lambda: loop.run_until_complete(run()))
    thread.start()
    try:
        assert up.wait(20), f"{name} does not listen"
        yield hosts[0], folder / "ca.pem"
    finally:
        loop.call_soon_threadsafe(over.set)
        thread.join(20)
        loop.close()

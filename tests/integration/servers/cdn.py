"""Runs a real https host of images on 127.0.0.2, in its own thread."""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from dev.servers.https_host import https_host as in_a_thread
from tests.contract.servers.cdn import Cdn, response, serving
from tests.integration.programs.with_local_cdn import INTERNET

HOST = "cdn.example"


@contextmanager
def https_host(folder: Path) -> Iterator[tuple[Cdn, Path]]:
    """Yields the host, and the file of the certificate authority to trust for it."""
    with in_a_thread(folder, HOST, lambda tls: serving(INTERNET, tls=tls)) as host:
        yield host


def image(content: bytes, etag: str) -> bytes:
    return response(body=content, Content_Type="image/png", ETag=f'"{etag}"')

"""An https host of images on loopback, and avatar sources that may reach it.

127.0.0.2 stands for the internet: the one address that may be connected to. 127.0.0.1 stands for everything inside.
"""

import asyncio
import ssl
from contextlib import AsyncExitStack
from dataclasses import dataclass, field
from ipaddress import IPv4Address, IPv6Address
from typing import Any

import pytest
import trustme

from function.avatars.fetch import (
    AvatarSource,
    Image,
    NotModified,
    Validators,
)
from function.outcomes import Reason, Rejected
from tests.contract.servers.cdn import Cdn, ScriptedResolver, pour, response

HOST = "cdn.example"

INTERNET, INSIDE = "127.0.0.2", "127.0.0.1"


def only_the_internet(address: IPv4Address | IPv6Address) -> bool:
    return str(address) == INTERNET


@dataclass
class Net:
    """The host of images, and sources that could reach it and the one inside."""

    cdn: Cdn
    trust: ssl.SSLContext
    stack: AsyncExitStack
    now: float = 0.0
    resolver: ScriptedResolver = field(default_factory=lambda: ScriptedResolver([INTERNET]))

    @property
    def url(self) -> str:
        return f"https://{HOST}:{self.cdn.port}"

    async def source(self, *allowed: str, **changes: Any) -> AvatarSource:
        known: dict[str, Any] = {
            "resolver": self.resolver,
            "permitted": only_the_internet,
            "clock": lambda: self.now,
            "timeout": 30.0,
        }
        entries = frozenset(f"{name}:{self.cdn.port}" for name in (HOST, *allowed))
        return await self.stack.enter_async_context(
            AvatarSource(entries, changes.pop("tls", self.trust), **(known | changes))
        )

    async def fetch(self, path: str = "/a", known: Validators | None = None, **changes: Any) -> Image | NotModified:
        return await (await self.source(**changes)).fetch(self.url + path, known)

    async def refusal(self, path: str = "/a", **changes: Any) -> tuple[Reason, str]:
        return await refusal(await self.source(**changes), self.url + path)


async def refusal(source: AvatarSource, address: str) -> tuple[Reason, str]:
    with pytest.raises(Rejected) as caught:
        await source.fetch(address)
    return caught.value.reason, caught.value.detail


def certified(authority: trustme.CA, *names: str) -> ssl.SSLContext:
    """What a server of these names shows."""
    context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    authority.issue_cert(*names).configure_cert(context)
    return context


def trusting(authority: trustme.CA) -> ssl.SSLContext:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    authority.configure_trust(context)
    return context


async def drip(writer: asyncio.StreamWriter) -> None:
    """Never silent, never done."""
    writer.write(response(Content_Length="1000000"))
    await pour(writer, b"\0")


async def silence(writer: asyncio.StreamWriter) -> None:
    await asyncio.Event().wait()

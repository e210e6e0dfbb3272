"""Names of image hosts are resolved on threads of their own, one for a name."""

import asyncio
import gc
import logging
import socket
import threading
from collections.abc import Sequence

import pytest

from function.avatars.resolver import ThreadPerNameResolver, system_lookup

pytestmark = pytest.mark.anyio
V4 = socket.AF_INET
WAIT = 10.0  # seconds after which a test has failed


class Dns:
    """A DNS server that is silent about some names until the test ends."""

    def __init__(self, *silent: str) -> None:
        self.silent, self.release, self.asked = silent, threading.Event(), list[str]()

    def lookup(self, host: str, _: socket.AddressFamily) -> Sequence[str]:
        self.asked.append(host)
        if host in self.silent:
            self.release.wait(WAIT)
            raise socket.gaierror(socket.EAI_AGAIN, "no answer")
        return ["192.0.2.1", "2001:db8::1"]


async def test_addresses_come_with_port_and_family() -> None:
    found = await ThreadPerNameResolver(Dns().lookup).resolve("cdn.example", 8443)
    assert [(one["hostname"], one["host"], one["port"], one["family"]) for one in found] == [
        ("cdn.example", "192.0.2.1", 8443, socket.AF_INET),
        ("cdn.example", "2001:db8::1", 8443, socket.AF_INET6),
    ]


async def test_names_without_an_answer_hold_neither_other_names_nor_the_event_loop() -> None:
    """More of them than the event loop has threads."""
    silent = [f"{n}.example" for n in range(40)]
    dns = Dns(*silent)
    resolver = ThreadPerNameResolver(dns.lookup)
    waiting = [asyncio.create_task(resolver.resolve(name)) for name in silent]
    async with asyncio.timeout(WAIT):
        assert await resolver.resolve("cdn.example")
        assert await asyncio.get_running_loop().getaddrinfo("127.0.0.1", 443)
    assert not any(task.done() for task in waiting)
    dns.release.set()
    assert all(isinstance(one, socket.gaierror) for one in await asyncio.gather(*waiting, return_exceptions=True))


async def test_a_name_has_one_lookup_at_a_time_even_if_no_caller_waits_any_more() -> None:
    dns = Dns("cdn.example")
    resolver = ThreadPerNameResolver(dns.lookup)
    for _ in range(5):
        with pytest.raises(TimeoutError):
            async with asyncio.timeout(0.01):
                await asyncio.gather(*(resolver.resolve("cdn.example", 443, V4) for _ in range(20)))
    assert dns.asked == ["cdn.example"]
    dns.release.set()
    with pytest.raises(socket.gaierror):
        await resolver.resolve("cdn.example", 443, V4)


async def test_each_lookup_asks_again_once_the_last_one_is_over() -> None:
    dns = Dns()
    resolver = ThreadPerNameResolver(dns.lookup)
    for _ in range(3):
        await resolver.resolve("cdn.example")
    assert dns.asked == ["cdn.example"] * 3


async def test_a_lookup_that_fails_when_no_caller_waits_any_more_is_not_logged(
    caplog: pytest.LogCaptureFixture,
) -> None:
    """asyncio would log the error of a future, with its name."""
    caplog.set_level(logging.DEBUG)
    dns = Dns("cdn.example")
    resolver = ThreadPerNameResolver(dns.lookup)
    with pytest.raises(TimeoutError):
        async with asyncio.timeout(0.01):
            await resolver.resolve("cdn.example")
    dns.release.set()
    with pytest.raises(socket.gaierror):
        await resolver.resolve("cdn.example")
    gc.collect()
    assert "cdn.example" not in caplog.text


async def test_the_systems_resolver_is_asked() -> None:
    assert "127.0.0.1" in system_lookup("localhost", socket.AF_INET)
    assert [one["host"] for one in await ThreadPerNameResolver().resolve("localhost", 1, V4)] == ["127.0.0.1"]

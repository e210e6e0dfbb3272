"""Resolves the names of image hosts on threads that nothing else uses.

The event loop resolves every name on a few threads that all clients share (uvloop: four), Synapse's among them. A lookup
that hangs can't be ended, so an image host with a DNS server that is silent would hold all of them.
"""

import asyncio
import contextlib
import socket
import threading
from collections.abc import Callable, Sequence
from typing import Any

from aiohttp.abc import AbstractResolver, ResolveResult

Lookup = Callable[[str, socket.AddressFamily], Sequence[str]]


def system_lookup(host: str, family: socket.AddressFamily) -> list[str]:
    """Returns the IP addresses of a host from the system's resolver; blocks.

    Raises:
        OSError: there are none.
    """
    infos = socket.getaddrinfo(host, None, family=family, type=socket.SOCK_STREAM, flags=socket.AI_ADDRCONFIG)
    return [str(info[4][0]) for info in infos]


class ThreadPerNameResolver(AbstractResolver):
    """Has one lookup of a name at a time, on a thread of its own; who asks for the same name shares it.

    The threads are daemons: a lookup that hangs delays no exit.
    """

    def __init__(self, lookup: Lookup = system_lookup) -> None:
        self._lookup = lookup
        self._running: dict[tuple[str, socket.AddressFamily], asyncio.Future[Sequence[str]]] = {}

    async def resolve(
        self, host: str, port: int = 0, family: socket.AddressFamily = socket.AF_UNSPEC
    ) -> list[ResolveResult]:
        """Returns the host's addresses.

        Raises:
            OSError: the lookup failed.
        """
        running = self._running.get((host, family)) or self._start(host, family)
        addresses = await asyncio.shield(running)
        return [
            ResolveResult(
                hostname=host,
                host=address,
                port=port,
                family=socket.AF_INET6 if ":" in address else socket.AF_INET,
                proto=socket.IPPROTO_TCP,
                flags=socket.AI_NUMERICHOST | socket.AI_NUMERICSERV,
            )
            for address in addresses
        ]

    async def close(self) -> None:
        """Does nothing: lookups that are running end by themselves."""

    def _start(self, host: str, family: socket.AddressFamily) -> "asyncio.Future[Sequence[str]]":
        loop = asyncio.get_running_loop()
        answer: asyncio.Future[Sequence[str]] = loop.create_future()

        def end(addresses: Sequence[str], error: Exception | None) -> None:
            del self._running[host, family]
            if error:
                answer.set_exception(error)
                answer.exception()  # all who asked may have given up: then asyncio would log it, with the name
            else:
                answer.set_result(addresses)

        def run() -> None:
            outcome: tuple[Any, Exception | None]
            try:
                outcome = self._lookup(host, family), None
            except Exception as error:
                outcome = (), error
            with contextlib.suppress(RuntimeError):  # the loop is closed
                loop.call_soon_threadsafe(end, *outcome)

        threading.Thread(target=run, name="avatar-dns", daemon=True).start()
        self._running[host, family] = answer
        return answer

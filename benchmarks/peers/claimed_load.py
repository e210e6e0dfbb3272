"""Generates the load of `load`, with a claim before a user's calls and a confirmation after them, in the function's state store.

Measures the upper limit of Synapse for a service that announces its calls, as the function does: a group of users is read in bulk,
claimed in one transaction, called 16 at a time, read again for the ETags, and confirmed in one transaction. Without Kafka, events,
decisions or retries. `python -m benchmarks.peers.claimed_load CALLS [GROUP] [GROUPS]`: users in a group, and groups at a time.
"""

import asyncio
import json
import os
import sys
from collections.abc import Iterator, Sequence
from pathlib import Path

import aiohttp
import uvloop

from benchmarks.peers.load import request
from function.dapr.client import open_client
from function.dapr.state_store import StateStore

Calls = list[tuple[str, str, str]]  # of one event: what, user and value of each

IN_FLIGHT = 16
RECORD = b'{"v":1,"claims":1,"status":"active","text":"%s"}' % (b"x" * 320)  # about as large as a user's record


class Caller:
    """Synapse, with a limit of calls in flight for all groups."""

    def __init__(self, http: aiohttp.ClientSession) -> None:
        self._http, self._places = http, asyncio.Semaphore(IN_FLIGHT)

    async def call(self, calls: Calls) -> None:
        """Makes an event's calls, one after the other."""
        for what, user, value in calls:
            method, path, body = request(what, user, value)
            async with self._places, self._http.request(method, path, json=body) as answer:
                await answer.read()


async def work(store: StateStore, caller: Caller, groups: Iterator[Sequence[Calls]]) -> None:
    for group in groups:
        if users := {user for calls in group for _, user, _ in calls}:
            await write(store, users)
            await asyncio.gather(*(caller.call(calls) for calls in group))
            await write(store, users)


async def write(store: StateStore, users: set[str]) -> None:
    """Reads the users' records, and writes all of them over their ETags."""
    found = await store.read_values(users)
    await store.write_values({user: (RECORD, etag) for user, (_, etag) in found.items()})


async def main(wanted: Sequence[Calls], size: int, groups: int) -> None:
    parts = iter([wanted[start : start + size] for start in range(0, len(wanted), size)])
    headers = {"Authorization": f"Bearer {os.environ['TOKEN']}"}
    url, connector = os.environ["MATRIX_HOMESERVER_URL"], aiohttp.TCPConnector(limit=0)
    async with open_client(60) as dapr, aiohttp.ClientSession(url, headers=headers, connector=connector) as http:
        store, caller = StateStore(dapr, "statestore"), Caller(http)
        await asyncio.gather(*(work(store, caller, parts) for _ in range(groups)))


if __name__ == "__main__":
    lines = Path(sys.argv[1]).read_text().splitlines()
    numbers = [int(word) for word in sys.argv[2:]]
    group, at_once = (numbers + [100, 3][len(numbers) :])[:2]
    uvloop.run(main([json.loads(line) for line in lines], group, at_once))

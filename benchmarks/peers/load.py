"""Generates load: makes the fewest calls that a workload needs, 16 in flight, without Kafka, state or retries.

Measures the upper limit of Synapse. `python -m benchmarks.peers.load CALLS [IN_FLIGHT]`: CALLS is a file with a line for each
event, a JSON list of [what, user, value], in the order of the calls.
"""

import asyncio
import json
import os
import sys
from collections.abc import Iterator
from pathlib import Path
from urllib.parse import quote

import aiohttp
import uvloop


def request(what: str, user: str, value: str) -> tuple[str, str, dict[str, object] | None]:
    """Returns method, path and body of a call."""
    mxid = quote(f"@nova-{user}:{os.environ['MATRIX_SERVER_NAME']}")
    if what == "get":
        return "GET", f"/_synapse/admin/v2/users/{mxid}", None
    if what == "deactivate":
        return "POST", f"/_synapse/admin/v1/deactivate/{mxid}", {"erase": value == "erase"}
    return "PUT", f"/_matrix/client/v3/profile/{mxid}/{what}", {what: value}


async def work(http: aiohttp.ClientSession, events: Iterator[list[tuple[str, str, str]]]) -> None:
    for calls in events:
        for what, user, value in calls:
            method, path, body = request(what, user, value)
            async with http.request(method, path, json=body) as answer:
                await answer.read()


async def main(wanted: list[list[tuple[str, str, str]]], in_flight: int) -> None:
    events = iter(wanted)
    headers = {"Authorization": f"Bearer {os.environ['TOKEN']}"}
    connector = aiohttp.TCPConnector(limit=0)
    url = os.environ["MATRIX_HOMESERVER_URL"]
    async with aiohttp.ClientSession(url, headers=headers, connector=connector) as http:
        await asyncio.gather(*(work(http, events) for _ in range(in_flight)))


if __name__ == "__main__":
    lines = Path(sys.argv[1]).read_text().splitlines()
    uvloop.run(main([json.loads(line) for line in lines], int(sys.argv[2]) if len(sys.argv) > 2 else 16))

"""Runs the stub Synapse: `python -m benchmarks.stub_synapse.server PORT CONTROL_PORT`.

Every answer takes 10 ms. The benchmark controls the stub on a second port, which stays open while the first is closed.
"""

import asyncio
import json
import sys
import time
from collections.abc import Callable
from typing import Any, cast

import httptools
import uvloop

from benchmarks.stub_synapse.accounts import Answer, StubAccounts

LATENCY = 0.010  # seconds

Respond = Callable[[str, str, dict[str, Any], float], Answer]


class Stub:
    """The server; `accounts` is replaced for each run."""

    def __init__(self, port: int) -> None:
        self.accounts = StubAccounts()
        self.in_flight = self.most_in_flight = 0
        self.away = False
        self.connections: set[Connection] = set()
        self._port = port
        self._server: asyncio.Server | None = None

    async def open(self) -> None:
        loop = asyncio.get_running_loop()
        self._server = await loop.create_server(lambda: Connection(self), "127.0.0.1", self._port)
        self.away = False

    async def leave(self, seconds: float) -> None:
        """Refuses every connection for a while; requests in flight are executed, but their answers are lost."""
        assert self._server
        self.away = True
        self._server.close()
        for connection in list(self.connections):
            connection.abort()
        await asyncio.sleep(seconds)  # the outage's length, which a run of W5 chooses
        await self.open()

    def order(self, _method: str, target: str, body: dict[str, Any], _arrived: float) -> Answer:
        """Executes a command of the benchmark."""
        match target:
            case "/reset":
                self.accounts = StubAccounts(body["accounts"], body["ends"], body["failing"])
                self.most_in_flight = 0
            case "/expect":
                self.accounts.expect(body["ends"])
            case "/away":
                asyncio.get_running_loop().create_task(self.leave(body["seconds"]))
            case "/state":
                return 200, {
                    "accounts": list(self.accounts.accounts.values()), "corrupted": sorted(self.accounts.corrupted),
                    "log": self.accounts.log,
                }  # fmt: skip
        flight = {"in_flight": self.in_flight, "most_in_flight": self.most_in_flight, "away": self.away}
        return 200, self.accounts.stats() | flight


class Connection(asyncio.Protocol):
    """An HTTP/1.1 connection with keep-alive. Requests are answered after LATENCY, or immediately by `respond` if given."""

    def __init__(self, stub: Stub, respond: Respond | None = None) -> None:
        self._stub, self._respond = stub, respond
        self._transport: asyncio.Transport | None = None
        self._target, self._body = b"", b""
        self._parser = httptools.HttpRequestParser(self)

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast("asyncio.Transport", transport)  # uvloop's class does not inherit from it
        if not self._respond:
            self._stub.connections.add(self)

    def connection_lost(self, _error: Exception | None) -> None:
        self._stub.connections.discard(self)
        self._transport = None

    def data_received(self, data: bytes) -> None:
        try:
            self._parser.feed_data(data)
        except httptools.HttpParserCallbackError as error:
            # A bug of the stub: it must show.
            print("stub:", repr(error.__context__), file=sys.stderr, flush=True)
            self.abort()
        except httptools.HttpParserError:
            self.abort()

    def abort(self) -> None:
        if self._transport:
            self._transport.abort()

    def on_url(self, url: bytes) -> None:
        self._target, self._body = url, b""

    def on_body(self, body: bytes) -> None:
        self._body += body

    def on_message_complete(self) -> None:
        arrived = time.monotonic()
        method, target = self._parser.get_method().decode(), self._target.decode()
        body = json.loads(self._body) if self._body.startswith(b"{") else {}  # an upload's is an image
        if self._respond:
            self._send(*self._respond(method, target, body, arrived))
            return
        self._stub.in_flight += 1
        self._stub.most_in_flight = max(self._stub.most_in_flight, self._stub.in_flight)
        asyncio.get_running_loop().call_later(LATENCY, self._answer, method, target, body, arrived)

    def _answer(self, method: str, target: str, body: dict[str, Any], arrived: float) -> None:
        self._stub.in_flight -= 1
        self._send(*self._stub.accounts.answer(method, target, body, arrived))

    def _send(self, status: int, answer: dict[str, Any]) -> None:
        if self._transport:
            text = json.dumps(answer).encode()
            head = f"HTTP/1.1 {status} -\r\ncontent-type: application/json\r\ncontent-length: {len(text)}\r\n\r\n"
            self._transport.write(head.encode() + text)


async def main(port: int, control: int) -> None:
    stub = Stub(port)
    await stub.open()
    loop = asyncio.get_running_loop()
    server = await loop.create_server(lambda: Connection(stub, stub.order), "127.0.0.1", control)
    await server.serve_forever()


if __name__ == "__main__":
    uvloop.run(main(int(sys.argv[1]), int(sys.argv[2])))

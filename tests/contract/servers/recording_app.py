"""An app that takes bulk deliveries of the real daprd, records them, and answers as a test wants. Decides nothing itself."""

import base64
import json
import threading
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

from dev.processes import wait_until

RETRY, SUCCESS, DROP = "RETRY", "SUCCESS", "DROP"


@dataclass(frozen=True)
class Entry:
    """A record in a batch; `value` holds its bytes with rawPayload, else what daprd made of it."""

    entry_id: str
    value: Any
    metadata: Mapping[str, str]


Answer = tuple[int, object]  # status and body
Handler = Callable[[Sequence[Entry]], Answer]


def each(entries: Sequence[Entry], status: str) -> Answer:
    """Returns the answer that gives each entry the same status."""
    return 200, {"statuses": [{"entryId": entry.entry_id, "status": status} for entry in entries]}


def succeed(entries: Sequence[Entry]) -> Answer:
    return each(entries, SUCCESS)


@dataclass(frozen=True)
class Subscription:
    """A bulk subscription; its route is the component's name."""

    pubsub: str
    topic: str
    raw: bool = True
    dead_letter_topic: str = ""

    def declared(self) -> dict[str, Any]:
        """Returns what daprd is told."""
        metadata = {"rawPayload": "true"} if self.raw else {}
        dead = {"deadLetterTopic": self.dead_letter_topic} if self.dead_letter_topic else {}
        return {
            "pubsubname": self.pubsub, "topic": self.topic, "route": self.pubsub, "metadata": metadata, **dead,
            "bulkSubscribe": {"enabled": True, "maxMessagesCount": 100, "maxAwaitDurationMs": 100},
        }  # fmt: skip


class RecordingApp:
    """The app.

    Args:
        subscriptions: what daprd is told to subscribe to.
    """

    def __init__(self, subscriptions: Sequence[Subscription]) -> None:
        self.subscriptions = subscriptions
        self.handlers: dict[str, Handler] = {}
        self.port = 0
        self._batches: dict[str, list[Sequence[Entry]]] = {one.pubsub: [] for one in subscriptions}
        self._lock = threading.Lock()

    def batches(self, pubsub: str) -> list[Sequence[Entry]]:
        """Returns the batches that a component has delivered so far."""
        with self._lock:
            return list(self._batches[pubsub])

    def entries(self, pubsub: str) -> list[Entry]:
        return [entry for batch in self.batches(pubsub) for entry in batch]

    def wait_for(self, pubsub: str, count: int, seconds: float = 30.0) -> list[Entry]:
        """Returns the entries of a component as soon as there are `count`; fails after the deadline."""
        assert wait_until(lambda: len(self.entries(pubsub)) >= count, seconds), f"{pubsub}: not {count} in {seconds} s"
        return self.entries(pubsub)

    def take(self, route: str, body: Mapping[str, Any]) -> Answer:
        """Records a batch and returns the handler's answer."""
        raw = {one.pubsub: one.raw for one in self.subscriptions}[route]
        entries = [
            Entry(
                one["entryId"], base64.b64decode(one["event"]) if raw else one.get("event"), dict(one.get("metadata") or {})
            )
            for one in body["entries"]
        ]  # fmt: skip
        with self._lock:
            self._batches[route].append(entries)
        return self.handlers.get(route, succeed)(entries)

    @contextmanager
    def serving(self) -> Iterator[None]:
        """Listens on a free port inside the block."""
        server = ThreadingHTTPServer(("127.0.0.1", 0), _handler_of(self))
        server.daemon_threads = True
        self.port = server.server_port
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        try:
            yield
        finally:
            server.shutdown()
            thread.join()
            server.server_close()


def _handler_of(app: RecordingApp) -> type[BaseHTTPRequestHandler]:
    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def do_GET(self) -> None:
            declared = [one.declared() for one in app.subscriptions] if self.path == "/dapr/subscribe" else {}
            self._answer(200, declared)

        def do_POST(self) -> None:
            body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
            self._answer(*app.take(self.path.strip("/"), body))

        def _answer(self, status: int, body: object) -> None:
            content = b"" if body is None else json.dumps(body).encode()
            self.send_response(status)
            self.send_header("Content-Type", "application/json")
            self.send_header("Content-Length", str(len(content)))
            self.end_headers()
            self.wfile.write(content)

        def log_message(self, format: str, *args: object) -> None:  # noqa: A002
            """Stays silent."""

    return Handler

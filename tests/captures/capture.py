"""Captures how a real daprd delivers RECORDS from a real Kafka. Run `python -m tests.captures.capture` after an upgrade of
daprd and read the diff. Not a test."""

import json
import tempfile
import threading
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path
from typing import Any

from confluent_kafka import Producer

from dev.processes import wait_until
from dev.servers.daprd import Sidecar
from dev.servers.kafka import TOPIC
from dev.stack import Stack
from function.routes import EVENTS_ROUTE
from tests.captures.records import RECORDS

CAPTURES = Path(__file__).parent / "captures.json"
SUBSCRIPTION = [{
    "pubsubname": "pubsub", "topic": TOPIC, "route": EVENTS_ROUTE, "metadata": {"rawPayload": "true"},
    "bulkSubscribe": {"enabled": True, "maxMessagesCount": 1, "maxAwaitDurationMs": 10},
}]  # fmt: skip


class Recorder(BaseHTTPRequestHandler):
    """An app that stores every envelope and answers SUCCESS."""

    envelopes: list[dict[str, Any]]

    def do_GET(self) -> None:
        self._answer(SUBSCRIPTION if self.path == "/dapr/subscribe" else {})

    def do_POST(self) -> None:
        envelope = json.loads(self.rfile.read(int(self.headers["content-length"])))
        self.envelopes.append(envelope)
        self._answer({"statuses": [{"entryId": e["entryId"], "status": "SUCCESS"} for e in envelope["entries"]]})

    def log_message(self, *_: object) -> None:  # quiet
        return

    def _answer(self, body: object) -> None:
        text = json.dumps(body).encode()
        self.send_response(200)
        self.send_header("content-length", str(len(text)))
        self.end_headers()
        self.wfile.write(text)


def capture() -> None:
    Recorder.envelopes = []
    with tempfile.TemporaryDirectory() as folder, Stack.on_free_ports(Path(folder), partitions=1) as stack:
        server = HTTPServer(("127.0.0.1", stack.ports.app), Recorder)
        threading.Thread(target=server.serve_forever, daemon=True).start()
        sidecar = Sidecar(stack.env(), Path(folder))
        sidecar.start()
        try:
            producer = Producer({"bootstrap.servers": stack.kafka.brokers})
            for name, wire in RECORDS.items():
                producer.produce(TOPIC, wire.value, b"key", headers={"capture": name.encode(), **wire.headers})
                producer.flush(10)
            assert wait_until(lambda: len(Recorder.envelopes) == len(RECORDS), 60), len(Recorder.envelopes)
        finally:
            sidecar.stop()
            server.shutdown()
    found = {e["entries"][0]["metadata"]["capture"]: e for e in Recorder.envelopes}
    CAPTURES.write_text(json.dumps(found, indent=1, sort_keys=True) + "\n")
    print(f"{len(found)} captures in {CAPTURES.name}")


if __name__ == "__main__":
    capture()

"""Traces: nothing while they are off; when they are on, one trace from the batch to Synapse, of closed sets only."""

import subprocess
import sys
from collections.abc import Sequence
from typing import Any

import httpx
import pytest
from fastapi import FastAPI
from opentelemetry.sdk.trace import ReadableSpan, TracerProvider
from opentelemetry.sdk.trace.export import SimpleSpanProcessor
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter
from opentelemetry.trace import SpanKind, StatusCode

from function.app import TRACES_TO, open_traces
from function.events.types import TYPES
from function.operations import Operation
from function.outcomes import Outcome, Reason
from function.routes import EVENTS_ROUTE, mount
from function.telemetry.metrics import Metrics
from function.telemetry.tracing import OFF, Traces
from tests.support.events import ALICE, BOB, deletion, delivered, profile
from tests.support.fake_synapse import ADMIN_TOKEN
from tests.support.harness import world
from tests.support.http import AUTH, entry, envelope, settings_with

pytestmark = pytest.mark.anyio

TRACE, PARENT = "0af7651916cd43dd8448eb211c80319c", "b7ad6b7169203331"
OTHER_TRACE = "4bf92f3577b34da6a3ce929d0e0e4736"


class Seen:
    """The spans that ended, and what makes them."""

    def __init__(self) -> None:
        self._kept = InMemorySpanExporter()
        provider = TracerProvider(shutdown_on_exit=False)
        provider.add_span_processor(SimpleSpanProcessor(self._kept))
        self.traces = Traces(provider.get_tracer("tests"), provider.force_flush)

    @property
    def spans(self) -> Sequence[ReadableSpan]:
        return self._kept.get_finished_spans()

    def named(self, name: str) -> list[ReadableSpan]:
        return [span for span in self.spans if span.name == name]

    def attributes(self, name: str) -> list[dict[str, Any]]:
        return [dict(span.attributes or {}) for span in self.named(name)]


@pytest.fixture
def seen() -> Seen:
    return Seen()


def parent_of(span: ReadableSpan) -> int:
    assert span.parent
    return span.parent.span_id


# --- off


@pytest.mark.parametrize(
    "environment", [{}, {TRACES_TO: ""}, {TRACES_TO: "http://collector:4318", "OTEL_SDK_DISABLED": "true"}], ids=str
)
def test_off_by_default(environment: dict[str, str]) -> None:
    assert open_traces(environment) is OFF


def run(code: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)


def test_off_it_imports_nothing() -> None:
    """Memory and time of the start."""
    done = run(
        "import sys, function.cli; print([name for name in sys.modules if name.startswith('opentelemetry.sdk')])"
    )
    assert (done.stdout, done.stderr) == ("[]\n", "")


def test_without_the_extra_the_start_says_what_to_install() -> None:
    code = f"""
import os, sys
sys.modules["opentelemetry.sdk"] = None
os.environ |= {{"{TRACES_TO}": "http://127.0.0.1:1", "MATRIX_HOMESERVER_URL": "http://a", "MATRIX_SERVER_NAME": "a",
               "APP_API_TOKEN": "12345678"}}
sys.argv = ["matrix-account-sync", "serve"]
from function.cli import main
main()
"""
    done = run(code)
    assert done.returncode == 2
    assert done.stderr == f"matrix-account-sync: {TRACES_TO}: is set; install matrix-account-sync[traces] as well\n"


# --- on


async def test_batch_users_and_calls_are_one_trace_below_the_sidecars(seen: Seen) -> None:
    """And Synapse is told of it."""
    async with world(ALICE, BOB, traces=seen.traces) as w:
        app = FastAPI()
        mount(app, settings_with(), w.health, Metrics(), lambda: w.processor)
        transport = httpx.ASGITransport(seen.traces.extract_context(app))
        async with httpx.AsyncClient(base_url="http://app.test", transport=transport) as http:
            body = envelope(entry(profile(ALICE, 1), "1"), entry(profile(ALICE, 2), "2"), entry(deletion(BOB), "3"))
            shown = AUTH | {"traceparent": f"00-{TRACE}-{PARENT}-01", "tracestate": "a=secret"}
            assert (await http.post(EVENTS_ROUTE, json=body, headers=shown)).status_code == 200
        assert {f"{span.context.trace_id:032x}" for span in seen.spans if span.context} == {TRACE}
        [batch] = seen.named("batch")
        assert f"{parent_of(batch):016x}" == PARENT
        users = seen.named("user")
        assert batch.context
        assert [parent_of(user) for user in users] == [batch.context.span_id] * 2
        calls = [span for span in seen.spans if span.name.startswith("synapse ")]
        assert {call.name for call in calls} >= {"synapse account", "synapse set_display_name", "synapse deactivate"}
        assert {parent_of(call) for call in calls} == {user.context.span_id for user in users if user.context}
        assert {call.kind for call in calls} == {SpanKind.CLIENT}
        told = {f"00-{TRACE}-{call.context.span_id:016x}-01" for call in calls if call.context}
        assert set(w.homeserver.traceparents) == told


async def test_the_attributes_say_how_many_and_what_became_of_them(seen: Seen) -> None:
    async with world(ALICE, traces=seen.traces) as w:
        await w.process(profile(ALICE, 1), profile(ALICE, 2), deletion(BOB), delivered(b"x", "UserDeletedEvent"))
    assert seen.attributes("batch") == [
        {"records": 4, "outcome.stale": 1, "outcome.applied": 1, "outcome.no_account": 1, "outcome.dead_letter": 1,
         "reasons": ("not_json",)}
    ]  # fmt: skip
    assert seen.attributes("user") == [
        {"types": ("UserDeleted",), "outcome.no_account": 1},
        {"types": ("ProfileUpdated",), "outcome.stale": 1, "outcome.applied": 1},
    ]
    assert seen.attributes("synapse set_display_name") == [
        {"http.request.method": "PUT", "http.response.status_code": 200}
    ]
    assert seen.named("batch")[0].status.status_code is StatusCode.ERROR


async def test_a_records_own_trace_is_linked_once(seen: Seen) -> None:
    """It began at the producer; a broken one is left out."""
    link = f"00-{OTHER_TRACE}-{PARENT}-01"
    async with world(ALICE, traces=seen.traces) as w:
        await w.process(*(
            delivered({"user_id": ALICE, "deleted_at": "2026-01-01T00:00:00Z", "soft_delete": True},
                      "identity.user.deleted", traceparent=shown)
            for shown in (link, link, "nonsense", "", "00-" + "0" * 32 + "-" + "0" * 16 + "-01", "\ufffd")
        ))  # fmt: skip
    [user] = seen.named("user")
    assert [f"{one.context.trace_id:032x}" for one in user.links] == [OTHER_TRACE]


async def test_a_failure_leaves_a_status_and_no_text(seen: Seen) -> None:
    """The text of an httpx error holds the address, and ours hold user ids."""

    async def unreachable(_method: str, path: str) -> None:
        raise httpx.ConnectError(f"no way to {path}")

    async with world(ALICE, traces=seen.traces) as w:
        w.homeserver.before = unreachable
        assert await w.process(deletion(ALICE)) == [Outcome.RETRY]
    calls = [span for span in seen.spans if span.name.startswith("synapse ")]
    assert {call.status.description for call in calls} == {"unreachable"}
    assert [event for span in seen.spans for event in span.events] == []
    assert seen.attributes("user")[0]["reasons"] == ("synapse_unavailable",)


async def test_names_and_attributes_are_of_closed_sets(seen: Seen) -> None:
    """Through every outcome; so no id, name, address or token can be among them."""
    async with world(ALICE, BOB, traces=seen.traces) as w:
        w.homeserver.refused_names.add("Rude Name")
        await w.process(profile(ALICE, 1, display_name="Secret Name", avatar_url="mxc://test.example/face"))
        await w.process(profile(ALICE, 2, display_name="Rude Name"), profile("Wrong Id", 1), deletion(BOB, soft=False))
        w.homeserver.failing_for.add(w.homeserver.mxid(ALICE))
        await w.process(deletion(ALICE, 4))
        w.homeserver.tokens.clear()
        await w.process(deletion(ALICE, 5))
    names = {"batch", "user"} | {f"synapse {operation}" for operation in Operation}
    words = {kind.event.__name__ for kind in TYPES.values()} | set(Reason) | {"GET", "PUT", "POST", "DELETE"}
    keys = {"records", "types", "reasons", "http.request.method", "http.response.status_code"}
    keys |= {f"outcome.{outcome.value}" for outcome in Outcome}
    assert {span.name for span in seen.spans} <= names
    for span in seen.spans:
        for key, value in (span.attributes or {}).items():
            assert key in keys
            values = value if isinstance(value, tuple) else (value,)
            assert all(isinstance(one, int) or one in words for one in values), value
    text = "".join(span.to_json() for span in seen.spans)
    for secret in (ALICE, BOB, "Name", "Wrong Id", "face", "nova-", ADMIN_TOKEN):
        assert secret not in text, secret

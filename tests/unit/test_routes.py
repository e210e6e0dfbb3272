"""What daprd sees over HTTP: the declaration, the answers to batches, the health routes."""

import asyncio
import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import httpx
import pytest
from anyio.lowlevel import checkpoint
from fastapi import FastAPI
from hypothesis import example, given
from hypothesis import strategies as st

from dev.servers.kafka import TOPIC
from function.app import create_app
from function.dapr.subscription import BATCH_MS, BATCH_SIZE
from function.health import Health
from function.kafka.record import KafkaRecord
from function.outcomes import Reason, TryAgain
from function.parts import Parts
from function.routes import EVENTS_ROUTE, LIVE_ROUTE, READY_ROUTE, mount
from function.settings import Settings
from function.telemetry.metrics import Metrics
from tests.support.events import ALICE, BOB, deletion, profile
from tests.support.harness import Harness, world
from tests.support.http import APP_TOKEN, AUTH, GOOD, client, entry, envelope, settings_with

pytestmark = pytest.mark.anyio


@asynccontextmanager
async def serving(
    w: Harness | None, failure: TryAgain | None = None, **changes: Any
) -> AsyncIterator[httpx.AsyncClient]:
    """The routes over a world, or over none as long as the function is starting."""
    app, health = FastAPI(), w.health if w else Health()
    health.failure = failure or health.failure
    mount(app, settings_with(**changes), health, Metrics(), lambda: w.processor if w else None)
    async with client(app) as http:
        yield http


def statuses(response: httpx.Response) -> dict[str, str]:
    assert response.status_code == 200
    return {one["entryId"]: one["status"] for one in response.json()["statuses"]}


# --- the declaration


async def test_both_topics_are_declared_as_bulk_raw_and_with_the_dead_letter_topic() -> None:
    """Without raw payload daprd rewrites numbers; without bulk it loses records while the app is away."""
    async with serving(None) as http:
        declared = (await http.get("/dapr/subscribe")).json()
    assert [(one["pubsubname"], one["topic"]) for one in declared] == [
        (pubsub, topic)
        for pubsub in ("pubsub", *(f"pubsub-{number}" for number in range(2, 4)))
        for topic in ("nova.identity.events", "nova.identity.events.matrix.replay")
    ]
    for one in declared:
        assert one["route"] == EVENTS_ROUTE
        assert one["metadata"] == {"rawPayload": "true"}
        assert one["deadLetterTopic"] == "nova.identity.events.matrix.dead"
        assert one["bulkSubscribe"] == {
            "enabled": True,
            "maxMessagesCount": BATCH_SIZE,
            "maxAwaitDurationMs": BATCH_MS,
        }


async def test_topic_and_component_are_configuration() -> None:
    """The dead-letter and replay topics follow the main one."""
    async with serving(None, kafka_identity_events_topic="dev.events", pubsub_name="bus", pubsub_components=1) as http:
        declared = (await http.get("/dapr/subscribe")).json()
    assert [(one["topic"], one["pubsubname"], one["deadLetterTopic"]) for one in declared] == [
        ("dev.events", "bus", "dev.events.matrix.dead"),
        ("dev.events.matrix.replay", "bus", "dev.events.matrix.dead"),
    ]


@pytest.mark.parametrize("switch", ["kafka_enabled", "matrix_enabled"])
async def test_switched_off_it_subscribes_to_nothing_and_says_so(switch: str) -> None:
    """Offsets stay; a late batch is answered RETRY, since daprd drops records on a 404."""
    async with serving(None, None, **{switch: False}) as http:
        assert (await http.get("/dapr/subscribe")).json() == []
        ready = await http.get(READY_ROUTE)
        assert (ready.status_code, ready.json()["consuming"]) == (200, False)
        assert "switched off" in ready.json()["detail"]
        answer = await http.post(EVENTS_ROUTE, json=envelope(entry(deletion(), "1")), headers=AUTH)
        assert statuses(answer) == {"1": "RETRY"}


# --- who may call


@pytest.mark.parametrize(
    "headers", [{}, {"dapr-api-token": ""}, {"dapr-api-token": "wrong"}, {"dapr-api-token": "tökén"}]
)
async def test_without_the_right_token_nothing_is_taken(headers: dict[str, str]) -> None:
    """Anybody who reaches the port could delete accounts else."""
    async with world(ALICE) as w, serving(w) as http:
        encoded = {name.encode(): text.encode() for name, text in headers.items()}
        answer = await http.post(EVENTS_ROUTE, json=envelope(entry(deletion(), "1")), headers=encoded)
        assert answer.status_code == 401
        assert w.account()["deactivated"] is False
        assert APP_TOKEN not in answer.text


# --- batches


async def test_every_entry_of_a_batch_is_answered() -> None:
    """SUCCESS whatever became of it, but for what has to wait."""
    async with world(ALICE, BOB) as w, serving(w) as http:
        broken = KafkaRecord(b"not json", TOPIC)
        batch = envelope(entry(profile(ALICE), "a"), entry(broken, "b"), entry(deletion(BOB), "c"))
        answer = await http.post(EVENTS_ROUTE, json=batch, headers=AUTH)
        assert statuses(answer) == {"a": "SUCCESS", "b": "SUCCESS", "c": "SUCCESS"}
        assert w.account(ALICE)["displayname"] == "Alice Example"
        assert w.account(BOB)["deactivated"] is True
        assert w.letters.reasons == [Reason.NOT_JSON]
        [letter] = w.letters.letters
        assert letter.record.topic == TOPIC


async def test_a_batch_in_a_broken_world_is_answered_retry() -> None:
    """Never DROP and never an error status: both lose records in daprd 1.18."""
    async with world(ALICE) as w, serving(w) as http:
        w.homeserver.down = True
        answer = await http.post(EVENTS_ROUTE, json=envelope(entry(deletion(), "1")), headers=AUTH)
        assert statuses(answer) == {"1": "RETRY"}


async def test_a_batch_before_the_start_is_done_is_answered_retry() -> None:
    """daprd may deliver as soon as the port answers."""
    async with serving(None) as http:
        answer = await http.post(
            EVENTS_ROUTE, json=envelope(entry(deletion(), "1"), entry(profile(), "2")), headers=AUTH
        )
        assert statuses(answer) == {"1": "RETRY", "2": "RETRY"}


@pytest.mark.parametrize(
    "bad",
    [
        {"entryId": "bad"},
        {"entryId": "bad", "event": None},
        {"entryId": "bad", "event": 5},
        {"entryId": "bad", "event": {"user_id": ALICE}},
        {"entryId": "bad", "event": "%%%"},
        {"entryId": "bad", "event": "é"},
        {"entryId": "bad", "event": "e30"},
        {"entryId": "bad", "event": "e30=", "metadata": [1]},
        {"entryId": "bad", "event": "e30=", "metadata": "text"},
        {"entryId": "bad", "event": "e30=", "metadata": 5},
    ],
    ids=str,
)
async def test_an_entry_that_cannot_be_read_waits_and_the_others_go_on(bad: dict[str, Any]) -> None:
    """It says that rawPayload is off or daprd has changed: a person has to look, and until then nothing is lost."""
    async with world(BOB) as w, serving(w) as http:
        answer = await http.post(EVENTS_ROUTE, json=envelope(bad, GOOD), headers=AUTH)
        assert statuses(answer) == {"bad": "RETRY", "good": "SUCCESS"}
        assert w.account(BOB)["deactivated"] is True
        assert w.letters.letters == []


async def test_other_tasks_run_while_a_batch_of_large_records_is_read() -> None:
    """Records of many small objects, without a header that names their type, take longest."""
    value = b'{"data": [' + b"{}," * 100_000 + b"{}]}"
    batch = envelope(*(entry(KafkaRecord(value, TOPIC), str(place)) for place in range(8)))
    async with serving(None) as http:
        request = asyncio.create_task(http.post(EVENTS_ROUTE, json=batch, headers=AUTH))
        turns = 0
        while not request.done():
            await checkpoint()
            turns += 1
        assert statuses(await request) == {str(place): "RETRY" for place in range(8)}
    assert turns > 100


@pytest.mark.parametrize(
    "body",
    [
        b"",
        b"null",
        b"5",
        b'"text"',
        b"[]",
        b"{}",
        b"{",
        b"\xff\xfe",
        b"[" * 100_000,
        b'{"entries": null}',
        b'{"entries": 5}',
        b'{"entries": "text"}',
        b'{"entries": {"a": 1}}',
        b'{"entries": [5]}',
        b'{"entries": [null]}',
        b'{"entries": [[]]}',
        b'{"entries": [{}]}',
        b'{"entries": [{"event": "e30="}]}',
        b'{"entries": [{"entryId": 5, "event": "e30="}]}',
        b'{"entries": []}',
        b'{"topic": null, "entries": []}',
    ],
    ids=lambda body: repr(body[:40]),
)
async def test_a_body_that_is_no_batch_is_answered_without_statuses(body: bytes) -> None:
    """daprd takes that for RETRY of all."""
    async with world() as w, serving(w) as http:
        answer = await http.post(EVENTS_ROUTE, content=body, headers=AUTH)
        assert statuses(answer) == {}


async def test_an_entry_id_that_is_no_text_for_a_wire_does_not_break_the_answer() -> None:
    """A lone surrogate can be read from JSON but not be written as UTF-8."""
    async with world() as w, serving(w) as http:
        answer = await http.post(
            EVENTS_ROUTE, content=b'{"entries": [{"entryId": "\\ud800", "event": "e30="}]}', headers=AUTH
        )
        assert answer.status_code == 200


@pytest.mark.parametrize(
    "content_type", ["", "text/plain", "application/json", "application/cloudevents+json", "multipart/form-data"]
)
async def test_the_content_type_does_not_matter(content_type: str) -> None:
    """A framework that parses by it would answer 422, which daprd redelivers without end."""
    async with world(BOB) as w, serving(w) as http:
        body = json.dumps(envelope(GOOD)).encode()
        answer = await http.post(EVENTS_ROUTE, content=body, headers=AUTH | {"content-type": content_type})
        assert statuses(answer) == {"good": "SUCCESS"}


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(), inner, max_size=3),
    max_leaves=8,
)
ENTRIES = st.lists(
    st.dictionaries(
        st.sampled_from(["entryId", "event", "metadata", "contentType"]), st.sampled_from(["e30=", "W10=", {}]) | JSON
    )
    | JSON
)


@given(
    st.binary()
    | JSON.map(lambda body: json.dumps(body).encode())
    | st.builds(lambda entries, topic: json.dumps({"entries": entries, "topic": topic}).encode(), ENTRIES, JSON)
)
@example(b'{"entries": [{"entryId": "1", "event": "", "metadata": {"event_type": "identity.user.deleted"}}]}')
async def test_every_body_is_answered_200_with_statuses(body: bytes) -> None:
    """With an error status the batch would be lost or redelivered without end."""
    async with world() as w, serving(w) as http:
        answer = await http.post(EVENTS_ROUTE, content=body, headers=AUTH)
        assert set(statuses(answer).values()) <= {"SUCCESS", "RETRY"}


# --- health


async def test_liveness_asks_nobody() -> None:
    """A restart repairs no dependency."""
    async with world() as w, serving(w) as http:
        w.homeserver.down = True
        w.health.failure = TryAgain(Reason.SYNAPSE_UNAVAILABLE, "probe: 500")
        assert (await http.get(LIVE_ROUTE)).status_code == 200


async def test_readiness_says_why_not() -> None:
    """daprd stops the subscription on it, and a person reads the reason."""
    async with serving(None) as http:
        starting = await http.get(READY_ROUTE)
        assert (starting.status_code, starting.json()["reason"]) == (503, "starting")
    async with serving(None, TryAgain(Reason.TOKEN_REFUSED, "401 M_UNKNOWN_TOKEN")) as http:
        assert (await http.get(READY_ROUTE)).json() == {
            "ready": False,
            "consuming": True,
            "reason": "token_refused",
            "detail": "401 M_UNKNOWN_TOKEN",
        }


async def test_readiness_is_given_when_all_is_well() -> None:
    """And then the backlog flows."""
    async with world() as w, serving(w) as http:
        ready = await http.get(READY_ROUTE)
        assert (ready.status_code, ready.json()) == (200, {"ready": True, "consuming": True})


# --- the whole application, opened and closed


async def answers(http: httpx.AsyncClient, status: int) -> httpx.Response:
    """The readiness once it has that status: startup continues while the server runs."""
    async with asyncio.timeout(5):
        while (ready := await http.get(READY_ROUTE)).status_code != status:
            await checkpoint()
    return ready


async def test_the_application_serves_once_its_parts_are_open_and_probed() -> None:
    """daprd's first question then finds it ready, and the next would come a second later. When it stops it closes what it
    opened."""
    closed: list[bool] = []
    async with world(ALICE) as w:
        probes = [w.state.probe, w.client.probe]

        @asynccontextmanager
        async def parts(_: Settings, health: Health, __: Metrics) -> AsyncIterator[Parts]:
            w.processor._health = health
            yield Parts(w.processor, w.users, w.client, probes, w.updater)
            closed.append(True)

        app = create_app(settings_with(), parts)
        async with client(app) as http:
            assert (await http.get(READY_ROUTE)).json()["reason"] == "starting"
            async with app.router.lifespan_context(app):
                assert (await http.get(READY_ROUTE)).status_code == 200
                answer = await http.post(EVENTS_ROUTE, json=envelope(entry(deletion(), "1")), headers=AUTH)
                assert statuses(answer) == {"1": "SUCCESS"}
            late = await http.post(EVENTS_ROUTE, json=envelope(entry(deletion(), "1")), headers=AUTH)
            assert statuses(late) == {"1": "RETRY"}


async def test_the_application_is_alive_while_a_probe_gets_no_answer(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("function.app.LISTEN_SECONDS", 0.01)
    async with world(ALICE) as w:

        @asynccontextmanager
        async def parts(_: Settings, __: Health, ___: Metrics) -> AsyncIterator[Parts]:
            yield Parts(w.processor, w.users, w.client, [asyncio.Event().wait], w.updater)

        app = create_app(settings_with(), parts)
        async with asyncio.timeout(5), app.router.lifespan_context(app), client(app) as http:
            assert (await http.get(LIVE_ROUTE)).status_code == 200
            assert (await http.get(READY_ROUTE)).json()["reason"] == "starting"


async def test_the_application_is_alive_while_its_sidecar_is_missing() -> None:
    """It waits for the sidecar instead of crashing, and says what it waits for."""

    @asynccontextmanager
    async def parts(_: Settings, __: Health, ___: Metrics) -> AsyncIterator[Parts]:
        raise TryAgain(Reason.STARTING, "no sidecar yet: ConnectError")
        yield

    app = create_app(settings_with(), parts)
    async with app.router.lifespan_context(app), client(app) as http:
        await checkpoint()
        ready = await answers(http, 503)
        assert ready.json()["reason"] == "starting"
        assert (await http.get(LIVE_ROUTE)).status_code == 200

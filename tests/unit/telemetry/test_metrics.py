"""What is measured, that /metrics shows it, and that no label can hold anything from outside."""

import asyncio
import contextlib
import inspect
import socket
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import Any, get_args

import httpx
import pytest
from fastapi import FastAPI
from httpx_aiohttp import AiohttpTransport
from hypothesis import given
from hypothesis import strategies as st
from prometheus_client.parser import text_string_to_metric_families

from function import __version__
from function.dapr.secret_store import AdminToken, Secret
from function.dapr.subscription import BODY_BYTES
from function.events.decode import type_of
from function.events.types import TYPES, Cause
from function.health import Health
from function.homeserver.synapse import Synapse
from function.homeserver.transport import HttpClient
from function.kafka.record import KafkaRecord
from function.operations import Operation
from function.outcomes import Outcome, Reason, TryAgain
from function.routes import EVENTS_ROUTE, METRICS_ROUTE, mount
from function.settings import SECRET_KEY
from function.telemetry.metric import Kind
from function.telemetry.metrics import DEPENDENCIES, METRICS, OUTCOMES, STATUSES, Metrics, Refusal
from function.telemetry.metrics import TYPES as TYPE_VALUES
from tests.support.events import ALICE, BOB, deletion, delivered, profile
from tests.support.fake_dapr import FakeTokens
from tests.support.fake_synapse import ADMIN_TOKEN, FakeSynapse
from tests.support.harness import Harness, world
from tests.support.http import AUTH, client, entry, envelope, settings_with
from tests.support.metrics_page import samples, value

pytestmark = pytest.mark.anyio

NOW = 1_800_000_000.0
STANDARD = {"process"}  # of the library's process collector
anything = st.text(max_size=20) | st.sampled_from([ALICE, "@nova-x:test.example", 'a"b\n', "", "retry", "dead_letter"])


@dataclass
class Scraped:
    """The routes over a world, and their metrics."""

    http: httpx.AsyncClient
    metrics: Metrics

    async def process(self, *records: KafkaRecord) -> None:
        batch = envelope(*(entry(record, str(place)) for place, record in enumerate(records)))
        assert (await self.http.post(EVENTS_ROUTE, json=batch, headers=AUTH)).status_code == 200

    async def scrape(self) -> None:
        response = await self.http.get(METRICS_ROUTE)
        assert response.status_code == 200
        assert response.headers["content-type"] == "text/plain; version=0.0.4; charset=utf-8"
        assert samples(response.content)


@asynccontextmanager
async def serving(w: Harness | None, **changes: Any) -> AsyncIterator[Scraped]:
    app, metrics = FastAPI(), Metrics(lambda: NOW)
    health = w.health if w else Health()
    mount(app, settings_with(**changes), health, metrics, lambda: w.processor if w else None)
    async with client(app) as http:
        yield Scraped(http, metrics)


def written(record: KafkaRecord, seconds_ago: float) -> KafkaRecord:
    timestamp = {"__timestamp": str(int((NOW - seconds_ago) * 1000))}
    return KafkaRecord(record.value, record.topic, {**record.metadata, **timestamp})


# --- events


async def test_each_delivery_counts_by_type_and_outcome() -> None:
    async with world(ALICE) as w, serving(w) as s:
        await s.process(profile(ALICE), profile(BOB), deletion(ALICE, 5), delivered({}, "identity.user.created"))
        kinds = [("profile_updated", "stale"), ("profile_updated", "no_account"), ("deleted", "applied")]
        for kind, outcome in [*kinds, ("created", "dead_letter")]:
            assert value(s.metrics, "events_total", type=f"identity.user.{kind}", outcome=outcome) == 1


async def test_both_spellings_of_a_type_count_as_one_and_a_foreign_type_as_other() -> None:
    async with world() as w, serving(w) as s:
        await s.process(profile(), delivered(b"{}", "UserProfileUpdatedEvent"), delivered(b"{}", "another.service"))
        assert value(s.metrics, "events_total", type="identity.user.profile_updated", outcome="no_account") == 1
        assert value(s.metrics, "events_total", type="identity.user.profile_updated", outcome="dead_letter") == 1
        assert value(s.metrics, "events_total", type="other", outcome="ignored") == 1


async def test_a_dead_letter_counts_by_its_reason() -> None:
    async with world() as w, serving(w) as s:
        await s.process(delivered(b"not json"), delivered(b"not json either"))
        assert value(s.metrics, "dead_letters_total", reason="not_json") == 2
        assert value(s.metrics, "events_total", type="unknown", outcome="dead_letter") == 2
        assert value(s.metrics, "retries_total", reason="not_json") == 0


async def test_an_event_that_waits_counts_by_reason_and_has_no_end() -> None:
    async with world() as w, serving(w) as s:
        w.state.down = True
        await s.process(written(profile(), 60))
        assert value(s.metrics, "retries_total", reason="state_unavailable") == 1
        assert value(s.metrics, "event_age_seconds_count") == 0
        assert value(s.metrics, "last_event_timestamp_seconds") == 0


async def test_what_comes_before_the_start_is_over_waits_and_counts() -> None:
    async with serving(None) as s:
        await s.process(profile())
        assert value(s.metrics, "retries_total", reason="starting") == 1


async def test_the_age_of_the_oldest_event_that_waits_is_shown_until_it_ends() -> None:
    async with world(ALICE) as w, serving(w) as s:
        for down, age in ((True, 900), (True, 900), (False, 0)):
            w.state.down, w.health.failure = down, None
            await s.process(written(profile(ALICE), 900), written(profile(BOB), 60))
            await s.scrape()
            assert value(s.metrics, "oldest_waiting_event_seconds") == age


async def test_an_event_waits_whatever_the_reason() -> None:
    """Not ready, starting, or in processing without an answer."""
    async with world(ALICE) as w, serving(w) as s:
        w.health.failure = TryAgain(Reason.SYNAPSE_UNAVAILABLE)
        await s.process(written(profile(ALICE), 900))
        await s.scrape()
        assert value(s.metrics, "oldest_waiting_event_seconds") == 900
    async with serving(None) as s:
        await s.process(written(profile(ALICE), 700))
        await s.scrape()
        assert value(s.metrics, "oldest_waiting_event_seconds") == 700


async def test_ignored_events_count_by_their_cause() -> None:
    """An unknown cause counts as `other`."""
    metrics = Metrics()
    metrics.ignored(["tombstone", "other_type", "other_type", "a new one"])
    counts = {cause: value(metrics, "ignored_total", cause=cause) for cause in (*Cause, "other")}
    none = {"unused_type": 0, "no_sessions": 0, "no_precreation": 0}
    assert counts == none | {"tombstone": 1, "other_type": 2, "other": 1}


async def test_an_event_is_as_old_at_its_end_as_its_record() -> None:
    async with world() as w, serving(w) as s:
        await s.process(written(profile(), 4000))
        assert value(s.metrics, "event_age_seconds_sum") == 4000
        assert value(s.metrics, "event_age_seconds_bucket", le="3600.0") == 0
        assert value(s.metrics, "event_age_seconds_bucket", le="14400.0") == 1
        assert value(s.metrics, "last_event_timestamp_seconds") == NOW


@pytest.mark.parametrize("timestamp", ["", "-1", "soon", "1" * 5000, "1.5", "٣" * 20])
async def test_a_record_without_a_usable_timestamp_has_no_age(timestamp: str) -> None:
    """A producer's header may stand in its place."""
    record = profile()
    async with world() as w, serving(w) as s:
        await s.process(KafkaRecord(record.value, record.topic, {**record.metadata, "__timestamp": timestamp}))
        assert value(s.metrics, "event_age_seconds_count") == 0
        assert value(s.metrics, "events_total", type="identity.user.profile_updated", outcome="no_account") == 1


async def test_a_record_from_a_clock_that_is_ahead_is_new() -> None:
    async with world() as w, serving(w) as s:
        await s.process(written(profile(), -5))
        assert value(s.metrics, "event_age_seconds_bucket", le="0.1") == 1


async def test_a_batch_counts_with_its_size_and_time() -> None:
    async with world() as w, serving(w) as s:
        await s.process(profile(ALICE), profile(BOB))
        await s.process(profile(ALICE))
        assert value(s.metrics, "batch_records_sum") == 3
        assert value(s.metrics, "batch_records_bucket", le="1.0") == 1
        assert value(s.metrics, "batch_seconds_count") == 2


# --- what is refused unread


def refusals(metrics: Metrics) -> dict[str, float]:
    """How often each kind was counted; without those that were not."""
    counts = {cause: value(metrics, "rejected_requests_total", cause=cause) for cause in get_args(Refusal)}
    return {cause: count for cause, count in counts.items() if count}


@pytest.mark.parametrize(
    ("headers", "body", "cause"),
    [
        ({}, b"{}", "token"),
        ({"dapr-api-token": "wrong"}, b"{}", "token"),
        (AUTH | {"content-length": str(BODY_BYTES + 1)}, b"{}", "too_large"),
        (AUTH, b"not json", "unreadable_batch"),
        (AUTH, b'{"entries": 5}', "unreadable_batch"),
        (AUTH, b'{"entries": [{"entryId": "1", "event": {}}]}', "unreadable_entry"),
    ],
)
async def test_a_delivery_that_is_refused_counts_each_time_that_it_comes(
    headers: dict[str, str], body: bytes, cause: str
) -> None:
    """daprd repeats it without end and readiness does not show it: without a count it would go unnoticed."""
    async with world() as w, serving(w) as s:
        for times in (1, 2):
            await s.http.post(EVENTS_ROUTE, content=body, headers=headers)
            assert refusals(s.metrics) == {cause: times}
        assert value(s.metrics, "events_total", type="unknown", outcome="retry") == 0


async def test_unreadable_entries_count_one_by_one_and_the_others_as_events() -> None:
    async with world(ALICE) as w, serving(w) as s:
        batch = envelope({"entryId": "a", "event": "%"}, entry(deletion(ALICE), "b"), {"entryId": "c"})
        await s.http.post(EVENTS_ROUTE, json=batch, headers=AUTH)
        assert refusals(s.metrics) == {"unreadable_entry": 2}
        assert value(s.metrics, "events_total", type="identity.user.deleted", outcome="applied") == 1


async def test_what_can_be_read_is_no_refusal() -> None:
    """Neither a batch of nothing nor an event that goes to the dead letters."""
    async with world(ALICE) as w, serving(w) as s:
        await s.process()
        await s.process(profile(ALICE), delivered(b"not json"))
        assert refusals(s.metrics) == {}


# --- Synapse and its token


@asynccontextmanager
async def measured(homeserver: FakeSynapse, metrics: Metrics) -> AsyncIterator[Synapse]:
    async with homeserver.client(metrics=metrics) as http:
        yield Synapse(http, FakeTokens(ADMIN_TOKEN), homeserver.server_name)


async def exchange(transport: httpx.AsyncBaseTransport, metrics: Metrics, url: str = "http://synapse.test") -> None:
    async with HttpClient(transport, url, "tests", metrics=metrics) as http:
        await http.request(Operation.ACCOUNT, "GET", "/_matrix", b"", {}, httpx.Timeout(5))


async def test_each_request_to_synapse_counts_under_the_method_that_made_it() -> None:
    homeserver, metrics = FakeSynapse(), Metrics()
    homeserver.add(homeserver.mxid(ALICE))
    async with measured(homeserver, metrics) as synapse:
        await synapse.account(ALICE)
        await synapse.account(BOB)
        await synapse.set_display_name(ALICE, "Ada")
        await synapse.deactivate(ALICE, erase=True)
        await synapse.probe()
    assert value(metrics, "synapse_calls_total", operation="account", status="2xx") == 1
    assert value(metrics, "synapse_calls_total", operation="account", status="4xx") == 1
    assert value(metrics, "synapse_calls_total", operation="set_display_name", status="2xx") == 1
    assert value(metrics, "synapse_calls_total", operation="erase", status="2xx") == 1
    assert value(metrics, "synapse_calls_total", operation="probe", status="2xx") == 3
    assert value(metrics, "synapse_calls_total", operation="probe", status="4xx") == 1  # no MAS
    assert value(metrics, "synapse_call_seconds_count", operation="account") == 2


def test_every_method_that_calls_synapse_has_an_operation_of_its_own() -> None:
    """`deactivate` has two: an erasure can't be undone."""
    methods = {name for name, _ in inspect.getmembers(Synapse, inspect.iscoroutinefunction) if not name.startswith("_")}
    methods.remove("check_owner")  # a part of the probe
    assert methods == {operation for operation in Operation if not operation.on_mas} - {Operation.ERASE}


@pytest.mark.parametrize(
    ("answer", "status"),
    [
        (200, "2xx"), (302, "3xx"), (404, "4xx"), (429, "429"), (503, "5xx"),
        (httpx.ReadTimeout("t"), "timeout"), (httpx.PoolTimeout("t"), "timeout"),
        (httpx.ConnectError("c"), "unreachable"),
        (httpx.ConnectTimeout("c"), "unreachable"), (httpx.RemoteProtocolError("r"), "unreachable"),
        (RuntimeError("bug"), "other"),
    ],
)  # fmt: skip
async def test_an_answer_counts_by_its_class_and_a_failure_by_its_kind(answer: int | Exception, status: str) -> None:
    def respond(_: httpx.Request) -> httpx.Response:
        if isinstance(answer, Exception):
            raise answer
        return httpx.Response(answer)

    metrics = Metrics()
    with contextlib.suppress(httpx.HTTPError, RuntimeError):
        await exchange(httpx.MockTransport(respond), metrics)
    assert value(metrics, "synapse_calls_total", operation="account", status=status) == 1


async def test_a_real_homeserver_that_is_away_is_unreachable() -> None:
    """The transport that is used has words of its own for it."""
    metrics = Metrics()
    with socket.socket() as unused:
        unused.bind(("127.0.0.1", 0))
        url = f"http://127.0.0.1:{unused.getsockname()[1]}"
        with pytest.raises(httpx.TransportError):
            await exchange(AiohttpTransport(), metrics, url)
    assert value(metrics, "synapse_calls_total", operation="account", status="unreachable") == 1


async def test_a_call_that_is_cancelled_for_want_of_time_is_a_timeout() -> None:
    async def never(_: httpx.Request) -> httpx.Response:
        await asyncio.Event().wait()
        raise AssertionError

    metrics = Metrics()
    with pytest.raises(TimeoutError):
        async with asyncio.timeout(0.01):
            await exchange(httpx.MockTransport(never), metrics)
    assert value(metrics, "synapse_calls_total", operation="account", status="timeout") == 1


class _SecretStore:
    """What AdminToken asks of the sidecar: each answer is for one read."""

    def __init__(self, *answers: str) -> None:
        self._answers = list(answers)

    async def get_secret(self, _: str, __: str) -> Any:
        answer = self._answers.pop(0)
        return type("Response", (), {"secret": {SECRET_KEY: answer} if answer else {}})


async def test_each_look_into_the_secret_store_counts_by_what_was_there() -> None:
    metrics, store = Metrics(), _SecretStore("one", "one", "", "two")
    client_: Any = store
    token = AdminToken(Secret(client_, "store", "secret"), metrics)
    assert await token.token() == "one"
    assert await token.renewed("one") == "one"
    with pytest.raises(TryAgain):
        await token.renewed("one")
    assert await token.renewed("one") == "two"
    assert await token.renewed("one") == "two"  # another call has read it already
    counts = {result: value(metrics, "token_reads_total", result=result) for result in ("renewed", "same", "failed")}
    assert counts == {"renewed": 2, "same": 1, "failed": 1}


# --- readiness


@pytest.mark.parametrize(
    ("reason", "dependency"),
    [
        (Reason.STARTING, "sidecar"), (Reason.SECRET_UNAVAILABLE, "secret"), (Reason.TOKEN_REFUSED, "token"),
        (Reason.SYNAPSE_UNAVAILABLE, "synapse"), (Reason.STATE_UNAVAILABLE, "state"), (Reason.UNEXPECTED, "other"),
    ],
)  # fmt: skip
async def test_the_dependency_that_makes_the_function_not_ready_is_shown(reason: Reason, dependency: str) -> None:
    async with world() as w, serving(w) as s:
        w.health.failure = TryAgain(reason)
        await s.scrape()
        assert {name for name in DEPENDENCIES if not value(s.metrics, "ready", dependency=name)} == {dependency}
        w.health.failure = None
        await s.scrape()
        assert all(value(s.metrics, "ready", dependency=name) for name in DEPENDENCIES)


def test_the_reasons_that_make_the_function_not_ready_are_those_whose_end_is_noticed() -> None:
    """By a probe, or by the watchdog. And each is shown as its dependency, not as `other`."""
    ending = {reason for reason in Reason if reason.dependency}
    assert ending == {
        Reason.STARTING, Reason.REJOINING, Reason.SECRET_UNAVAILABLE, Reason.TOKEN_REFUSED, Reason.SERVER_NAME_MISMATCH,
        Reason.SYNAPSE_UNAVAILABLE, Reason.SYNAPSE_UNEXPECTED, Reason.STATE_UNAVAILABLE,
        Reason.ADMIN_SUSPENDED, Reason.ADMIN_LIMITED, Reason.MAS_NOT_CONFIGURED, Reason.MAS_OFF, Reason.MAS_TOKEN_REFUSED,
        Reason.MAS_UNAVAILABLE, Reason.MAS_UNEXPECTED,
    }  # fmt: skip
    for reason in ending:
        metrics = Metrics()
        metrics.readiness(reason, consuming=True)
        assert value(metrics, "ready", dependency="other") == 1, reason


@pytest.mark.parametrize("switch", ["kafka_enabled", "matrix_enabled"])
async def test_switched_off_is_ready_and_seen_to_be_off(switch: str) -> None:
    async with serving(None, **{switch: False}) as s:
        await s.scrape()
        assert value(s.metrics, "consuming") == 0
        assert all(value(s.metrics, "ready", dependency=name) for name in DEPENDENCIES)


async def test_the_deletion_limit_is_shown_while_it_is_reached() -> None:
    async with world(ALICE, BOB, deletions=1) as w, serving(w) as s:
        await s.scrape()
        assert value(s.metrics, "deletion_limit") == 0
        await s.process(deletion(ALICE), deletion(BOB))
        await s.scrape()
        assert value(s.metrics, "deletion_limit") == 1
        assert value(s.metrics, "dead_letters_total", reason="deletion_limit") == 1


def test_the_version_is_shown() -> None:
    metrics = Metrics()
    assert value(metrics, "build_info", version=__version__) == 1


# --- no label holds what came from outside


Call = Callable[[Metrics], None]
calls = st.one_of(
    st.builds(
        lambda delivered, written: lambda m: m.events(delivered, written),
        st.dictionaries(
            st.tuples(anything, anything, st.none() | st.sampled_from(Reason) | anything), st.integers(1, 100), max_size=3
        ),
        st.lists(st.floats(0, 2e9), max_size=3),
    ),
    st.builds(lambda operation, status: lambda m: m.call(operation, status, 0.1), anything, anything),
    st.builds(lambda causes: lambda m: m.ignored(causes), st.lists(anything, max_size=3)),
    st.builds(lambda reason: lambda m: m.readiness(reason, consuming=True), st.sampled_from(Reason)),
)  # fmt: skip


@given(st.lists(calls, max_size=5))
def test_whatever_happens_every_label_has_a_value_of_its_list(happened: list[Call]) -> None:
    metrics = Metrics()
    for call in happened:
        call(metrics)
    lists = {metric.name: metric.labels for metric in METRICS}
    for name, labels in samples(metrics.exposed()):
        if name.partition("_")[0] in STANDARD:
            assert not labels
            continue
        base = name if name in lists else name.rpartition("_")[0]
        for label, shown in labels:
            assert label == "le" or shown in lists[base][label], name


async def test_the_text_holds_nothing_of_an_event() -> None:
    async with world(ALICE) as w, serving(w) as s:
        foreign = delivered({"user_id": ALICE}, f"type-of-{ALICE}")
        await s.process(profile(display_name="Ada Lovelace"), foreign, deletion(BOB), delivered(b"secret words"))
        text = (await s.http.get(METRICS_ROUTE)).text
    for word in (ALICE, BOB, "Lovelace", "secret words", "test.example"):
        assert word not in text


def test_the_lists_are_those_of_the_code_that_counts() -> None:
    assert set(OUTCOMES) == {*Outcome, "other"}
    assert {type_of(b"{}", {"event_type": kind}) for kind in TYPES} <= set(TYPE_VALUES)
    assert {type_of(b"", {}), "other"} <= set(TYPE_VALUES)
    assert len(STATUSES) == len(set(STATUSES))


def test_what_can_be_counted_is_at_zero_from_the_start() -> None:
    """Prometheus sees no increase in a series that appears at 1: the first dead letter would raise no alert."""
    shown = samples(Metrics().exposed())
    for metric in METRICS:
        combinations = 1
        for values in metric.labels.values():
            combinations *= len(values)
        if metric.kind is Kind.COUNTER:
            assert [v for (name, _), v in shown.items() if name == metric.name] == [0] * combinations


def test_there_are_few_series() -> None:
    metrics = Metrics()
    for operation in Operation:
        metrics.call(operation, "2xx", 0.1)
    assert len(samples(metrics.exposed())) < 1000


def test_the_list_is_what_is_exposed() -> None:
    metrics = Metrics()
    families = {
        family.name: family
        for family in text_string_to_metric_families(metrics.exposed().decode())
        if family.name.partition("_")[0] not in STANDARD
    }
    assert set(families) == {metric.name.removesuffix("_total") for metric in METRICS}
    for metric in METRICS:
        family = families[metric.name.removesuffix("_total")]
        assert (family.type, family.documentation) == (metric.kind, metric.means)

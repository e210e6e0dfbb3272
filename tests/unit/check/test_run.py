"""All checks together: their order, and that whatever happens is a row."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import replace
from typing import Any, NoReturn

import pytest

from dev.servers.kafka import TOPIC, TOPICS
from function.check.finding import Finding, Mark, rows
from function.check.run import Dependencies, Outside, findings
from function.dapr.proved import PINNED
from function.dapr.sidecar import Loaded, Publishing
from function.outcomes import Reason, TryAgain
from function.settings import Settings
from tests.support.fake_check import FakeCluster, FakeSidecar, all_loaded, outside
from tests.support.harness import Harness, world
from tests.support.http import settings_with

pytestmark = pytest.mark.anyio
KAFKA = {"kafka_brokers": "kafka:9092", "kafka_consumer_group_id": "group"}


def settings(**changes: Any) -> Settings:
    return settings_with(**(KAFKA | changes))


async def checked(opened: Outside, wanted: Settings | None = None) -> list[Finding]:
    return [row async for row in findings(wanted or settings(), {}, opened)]


@asynccontextmanager
async def healthy() -> AsyncIterator[Harness]:
    async with world() as w:
        w.homeserver.overrides[w.homeserver.service_user] = {"messages_per_second": 0, "burst_count": 0}
        yield w


def wrong(found: list[Finding]) -> list[tuple[Mark, str]]:
    return [(row.mark, row.what) for row in found if row.mark is not Mark.OK]


async def test_all_is_well_in_the_order_in_which_the_function_needs_it() -> None:
    async with healthy() as w:
        found = await checked(outside(w))
        assert wrong(found) == []
        assert [row.what for row in found] == [
            "settings", "Kafka's brokers", f"topic {TOPICS[0]}", f"topic {TOPICS[1]}", f"topic {TOPICS[2]}", "consumer group",
            "sidecar", "daprd's version", "pub/sub components", "subscriptions", "publish dead letters", "publish replays", "state store", "accounts",
            "secret", "token and Synapse", "admin account", "rate limit", "uploads", "deactivations",
        ]  # fmt: skip


async def test_the_results_topic_is_checked_if_it_is_set() -> None:
    async with healthy() as w:
        found = await checked(outside(w), settings(matrix_results_topic=TOPICS[3]))
        assert wrong(found) == []
        assert {f"topic {TOPICS[3]}", "publish evidence"} <= {row.what for row in found}


async def test_the_results_topic_may_have_other_partitions_and_must_not_be_compacted() -> None:
    async with healthy() as w:
        cluster = FakeCluster()
        main = cluster.topics[TOPIC]
        cluster.topics[TOPICS[3]] = replace(main, partitions=1)
        assert wrong(await checked(outside(w, cluster=cluster), settings(matrix_results_topic=TOPICS[3]))) == []
        cluster.topics[TOPICS[3]] = replace(main, config=dict(main.config or {}) | {"cleanup.policy": "compact"})
        found = await checked(outside(w, cluster=cluster), settings(matrix_results_topic=TOPICS[3]))
        assert wrong(found) == [(Mark.FAILED, f"topic {TOPICS[3]}")]


async def test_without_kafkas_address_the_rest_is_checked() -> None:
    async with healthy() as w:
        found = await checked(outside(w), settings(kafka_brokers=""))
        assert wrong(found) == [(Mark.WARNING, "Kafka's brokers")]
        assert found[-1].what == "deactivations"


@pytest.mark.parametrize(
    ("name", "advice"),
    [("TRANSPORT", "Nothing answers"), ("RESOLVE", "host name"), ("AUTHENTICATION", "password"), ("SSL", "TLS")],
)
async def test_kafka_away_is_one_row_and_the_rest_is_checked(name: str, advice: str) -> None:
    async with healthy() as w:
        cluster = FakeCluster(failure=TryAgain(Reason.KAFKA_UNAVAILABLE, name))
        found = await checked(outside(w, cluster=cluster))
        assert wrong(found) == [(Mark.FAILED, "Kafka's brokers")]
        assert advice in found[1].advice
        assert found[2].what == "sidecar"


async def test_the_other_topics_follow_the_main_one() -> None:
    async with healthy() as w:
        cluster = FakeCluster()
        cluster.topics[TOPICS[2]] = replace(cluster.topics[TOPIC], partitions=1)
        del cluster.topics[TOPICS[1]]
        found = await checked(outside(w, cluster=cluster))
        assert wrong(found) == [(Mark.FAILED, f"topic {TOPICS[1]}"), (Mark.FAILED, f"topic {TOPICS[2]}")]
        assert cluster.asked == [("group", [TOPICS[0], TOPICS[2]])]


async def test_a_group_that_kafka_does_not_show_is_a_warning() -> None:
    async with healthy() as w:
        cluster = FakeCluster(group_failure=TryAgain(Reason.KAFKA_UNAVAILABLE, "GROUP_AUTHORIZATION_FAILED"))
        assert wrong(await checked(outside(w, cluster=cluster))) == [(Mark.WARNING, "consumer group")]


def without(name: str) -> Loaded:
    loaded = all_loaded()
    return replace(loaded, components={one: kind for one, kind in loaded.components.items() if one != name})


@pytest.mark.parametrize(
    ("loaded", "what", "said"),
    [
        (without("pubsub-3"), "pub/sub components", "pubsub-3 is not loaded"),
        (replace(all_loaded(), components={**all_loaded().components, "pubsub": "pubsub.redis"}), "pub/sub components",
         "pubsub is a pubsub.redis"),
        (replace(all_loaded(), subscriptions=frozenset()), "subscriptions", "6 of 6 are missing"),
        (replace(all_loaded(), subscriptions=all_loaded().subscriptions | {("pubsub", "other")}), "subscriptions",
         "such as pubsub to other"),
        (replace(all_loaded(), resiliencies=0), "resiliency", "no policy is loaded"),
        (replace(all_loaded(), health_checked=False), "app health check", "is off"),
    ],
)  # fmt: skip
async def test_what_daprd_lacks_is_named(loaded: Loaded, what: str, said: str) -> None:
    async with healthy() as w:
        sidecar = FakeSidecar()
        sidecar.answer = lambda: loaded
        found = await checked(outside(w, sidecar))
        assert wrong(found) == [(Mark.FAILED, what)]
        assert any(said in row.found for row in found)


async def test_the_sidecar_of_a_job_has_no_subscriptions_to_miss() -> None:
    """`helm test` runs the check in a pod of its own."""
    async with healthy() as w:
        sidecar = FakeSidecar()
        sidecar.answer = lambda: replace(all_loaded(), subscriptions=frozenset(), health_checked=False, has_app=False)
        assert wrong(await checked(outside(w, sidecar))) == [(Mark.WARNING, "subscriptions")]


async def test_a_component_that_is_not_used_is_a_warning() -> None:
    async with healthy() as w:
        sidecar = FakeSidecar()
        kept = frozenset(pair for pair in all_loaded().subscriptions if pair[0] != "pubsub-3")
        sidecar.answer = lambda: replace(all_loaded(), subscriptions=kept)
        assert wrong(await checked(outside(w, sidecar), settings(pubsub_components=2))) == [
            (Mark.WARNING, "pub/sub components")
        ]


async def test_a_daprd_on_which_the_tests_did_not_run_is_a_warning_that_names_the_version_to_use() -> None:
    async with healthy() as w:
        sidecar = FakeSidecar()
        sidecar.answer = lambda: replace(all_loaded(), version="1.99.0")
        (row,) = [row for row in await checked(outside(w, sidecar)) if row.mark is not Mark.OK]
        assert (row.mark, row.what) == (Mark.WARNING, "daprd's version")
        assert "1.99.0" in row.found
        assert f"daprd {PINNED}" in row.advice


async def test_a_sidecar_that_may_not_tell_is_a_warning() -> None:
    async with healthy() as w:
        sidecar = FakeSidecar()
        sidecar.answer = lambda: None
        assert wrong(await checked(outside(w, sidecar))) == [(Mark.WARNING, "sidecar")]


@pytest.mark.parametrize("found", [one for one in Publishing if one is not Publishing.ALLOWED])
async def test_no_right_to_publish_has_advice(found: Publishing) -> None:
    async with healthy() as w:
        sidecar = FakeSidecar()
        sidecar.publishing["pubsub", TOPICS[2]] = found
        result = await checked(outside(w, sidecar))
        assert wrong(result) == [(Mark.FAILED, "publish replays")]
        assert all(row.advice for row in result if row.mark is Mark.FAILED)


async def test_no_sidecar_is_one_row() -> None:
    @asynccontextmanager
    async def closed(_: Settings) -> AsyncIterator[Dependencies]:
        raise TryAgain(Reason.STARTING, "no sidecar yet at port 9")
        yield

    async with healthy() as w:
        found = await checked(replace(outside(w), dependencies=closed))
        assert wrong(found) == [(Mark.FAILED, "sidecar")]


async def test_a_bug_in_one_check_is_a_row_and_the_others_still_come() -> None:
    """The error's text stays out: it can hold an address or a name."""

    def broken() -> NoReturn:
        raise TypeError("ada@example.org")

    async with healthy() as w:
        sidecar = FakeSidecar()
        sidecar.answer = broken
        cluster = FakeCluster(group_failure=KeyError("ada@example.org"))
        w.state.down = True
        found = await checked(outside(w, sidecar, cluster))
        assert wrong(found) == [(Mark.FAILED, "consumer group"), (Mark.FAILED, "sidecar"), (Mark.FAILED, "state store")]
        assert [row.found for row in found if "unexpected" in row.found] == [
            "unexpected: KeyError",
            "unexpected: TypeError",
        ]
        assert "ada" not in repr(found)
        assert found[-1].what == "deactivations"


async def test_kafkas_client_that_can_not_be_made_is_a_row() -> None:
    def broken(_: object) -> NoReturn:
        raise RuntimeError

    async with healthy() as w:
        found = await checked(replace(outside(w), cluster=broken))
        assert wrong(found) == [(Mark.FAILED, "Kafka's brokers")]


async def test_a_check_that_hangs_ends_at_its_limit() -> None:
    async def hanging() -> list[Finding]:
        await asyncio.Event().wait()
        return []

    [row] = await rows("hanging", hanging(), seconds=0.01)
    assert (row.mark, row.found) == (Mark.FAILED, "no answer within 0 s")


async def test_a_dry_run_publishes_nothing() -> None:
    async with healthy() as w:
        found = await checked(outside(w), settings(matrix_dry_run=True, kafka_consumer_group_id="test-dry-run"))
        assert [row.found for row in found if row.what.startswith("publish")] == ["not tried: MATRIX_DRY_RUN"] * 2

"""What the lag loop shows and says, and how it has daprd join the group again."""

import asyncio
import logging
from collections.abc import Mapping
from dataclasses import dataclass, field

import pytest

from function.health import Health
from function.kafka.lag import Member, Members, PartitionLag, Place, Refused
from function.kafka.lag_loop import LagLoop, Pace, Readiness
from function.kafka.watchdog import Limits, Watchdog
from function.outcomes import Reason, TryAgain
from function.telemetry.metrics import Metrics
from tests.support.metrics_page import value

pytestmark = pytest.mark.anyio

TOPIC = "nova.identity.events"
OURS = {"m1": Member("pod-a", frozenset({(TOPIC, 0), (TOPIC, 1)}))}
QUICK = Pace(15, 0, 0, 0)
UNAVAILABLE = TryAgain(Reason.KAFKA_UNAVAILABLE, "TRANSPORT")


@dataclass
class FakeGroup:
    """A group of which a test says what Kafka tells. With `leaving`, its members are gone after that number of questions."""

    found: dict[Place, PartitionLag] = field(default_factory=lambda: {(TOPIC, 0): PartitionLag(7, 0, 9)})
    failure: Exception | None = None
    members_failure: Exception | None = None
    record: bool = True
    leaving: int = 1_000_000
    asked: int = 0

    def lag(self) -> Mapping[Place, PartitionLag]:
        if self.failure:
            raise self.failure
        return self.found

    def members(self) -> Members:
        self.asked += 1
        if self.members_failure:
            raise self.members_failure
        return Members(OURS if self.asked < self.leaving else {})

    def has_record(self, place: Place, found: PartitionLag) -> bool:
        assert self.found[place] == found
        return self.record

    def stop(self) -> None:
        pass


class Watched:
    """A loop over a fake group, with a clock that a test moves."""

    def __init__(self, group: FakeGroup, pace: Pace = QUICK) -> None:
        self.now, self.group, self.metrics = 0.0, group, Metrics()
        self.health = Health(lambda: self.now)
        self.health.failure = None
        self.ready_during: list[bool] = []
        self.loop = LagLoop(
            group, {TOPIC: "events"}, Watchdog("pod-a", 6, Limits(window=30, idle=10)),
            Readiness(lambda: self.health.ready_since, self.health.pausing), self.metrics, pace, lambda: self.now,
        )  # fmt: skip

    async def looks(self, number: int) -> None:
        for _ in range(number):
            self.now += 15
            await self.loop.look()

    def rejoined(self) -> float:
        return value(self.metrics, "partitions_rejoined_total")


def events(caplog: pytest.LogCaptureFixture) -> list[str]:
    return [record.message for record in caplog.records if record.name == "function"]


async def test_the_lag_is_shown_by_role_and_partition_and_many_partitions_are_added_up() -> None:
    group = FakeGroup({(TOPIC, number): PartitionLag(5, 0, 7) for number in (0, 255, 256, 300)})
    watched = Watched(group)
    await watched.looks(1)
    shown = [value(watched.metrics, "consumer_lag", topic="events", partition=p) for p in ("0", "255", "other")]
    assert shown == [2, 2, 4]
    assert value(watched.metrics, "lag_known") == 1


@pytest.mark.parametrize("failure", [UNAVAILABLE, Refused("GROUP_AUTHORIZATION_FAILED")])
async def test_where_kafka_does_not_tell_there_is_no_series_and_the_log_says_so_once(
    failure: Exception, caplog: pytest.LogCaptureFixture
) -> None:
    watched = Watched(FakeGroup())
    await watched.looks(1)
    watched.group.failure = failure
    with caplog.at_level(logging.WARNING, "function"):
        await watched.looks(3)
    assert value(watched.metrics, "lag_known") == 0
    assert b"consumer_lag{" not in watched.metrics.exposed()
    assert events(caplog) == ["lag_unknown"]
    watched.group.failure = None
    await watched.looks(1)
    assert value(watched.metrics, "lag_known") == 1


@pytest.mark.parametrize("failure", [UNAVAILABLE, Refused("CLUSTER_AUTHORIZATION_FAILED")])
async def test_the_lag_is_shown_also_while_kafka_does_not_tell_the_members(
    failure: Exception, caplog: pytest.LogCaptureFixture
) -> None:
    watched = Watched(FakeGroup(members_failure=failure))
    with caplog.at_level(logging.WARNING, "function"):
        await watched.looks(10)
    assert value(watched.metrics, "lag_known") == 1
    assert value(watched.metrics, "consumer_lag", topic="events", partition="0") == 2
    assert (events(caplog), watched.rejoined()) == (["watchdog_off"], 0)


async def test_a_dead_partition_makes_the_function_not_ready_until_its_members_have_left() -> None:
    watched = Watched(FakeGroup(leaving=8), Pace(15, 0, 1_000, 0))
    await watched.looks(3)
    asked = watched.group.asked
    assert (watched.rejoined(), asked) == (1, 8)
    assert watched.health.failure is None


async def test_while_it_pauses_a_failed_probe_is_the_reason_that_shows() -> None:
    health = Health()
    health.failure = None
    with health.pausing(TryAgain(Reason.REJOINING)):
        assert health.failure
        assert (health.failure.reason, health.ready_since) == (Reason.REJOINING, None)
        health.report(TryAgain(Reason.SYNAPSE_UNAVAILABLE))
        assert health.failure.reason is Reason.SYNAPSE_UNAVAILABLE
        health.failure = None
        assert health.failure is not None
    assert health.failure is None
    assert health.ready_since is not None


async def test_probes_that_pass_do_not_end_the_pause() -> None:
    health = Health()

    async def passes() -> None:
        pass

    with health.pausing(TryAgain(Reason.REJOINING)):
        watching = asyncio.create_task(health.watch([passes]))
        await asyncio.sleep(0)
        await asyncio.sleep(0)
        assert health.failure
        assert health.failure.reason is Reason.REJOINING
        watching.cancel()
        await asyncio.wait([watching])
    assert health.failure is None


async def test_offsets_without_a_record_are_no_reason_to_leave_the_group() -> None:
    watched = Watched(FakeGroup(record=False))
    await watched.looks(40)
    assert watched.rejoined() == 0


@pytest.mark.parametrize("event", ["not ready", "a failed look", "ready again"])
async def test_the_window_starts_again(event: str) -> None:
    watched = Watched(FakeGroup())
    await watched.looks(2)
    match event:
        case "not ready":
            watched.health.failure = UNAVAILABLE
            await watched.looks(1)
            watched.health.failure = None
        case "a failed look":
            watched.group.failure = UNAVAILABLE
            await watched.looks(1)
            watched.group.failure = None
        case "ready again":
            watched.now += 5
            watched.health.failure = UNAVAILABLE
            watched.health.failure = None
    await watched.looks(2)
    assert watched.rejoined() == 0
    await watched.looks(1)
    assert watched.rejoined() == 1


async def test_a_pod_whose_members_are_not_in_the_group_says_so_once(caplog: pytest.LogCaptureFixture) -> None:
    watched = Watched(FakeGroup(leaving=0))
    with caplog.at_level(logging.WARNING, "function"):
        await watched.looks(10)
    assert events(caplog) == ["watchdog_off"]
    assert watched.rejoined() == 0

"""A partition that daprd stops reading is read again by itself; one whose events merely wait is left alone."""

import os
from collections.abc import Callable
from functools import partial
from pathlib import Path

from dev.identity_events import ProducerRecord, new_user, profile
from tests.integration.stack import StackUnderTest, wait_until
from tests.integration.watched import Waiting, delete_records, watched
from tests.support.metrics_page import shown

Tell = Callable[[str], None]
FLAPPING = "tests.integration.programs.flapping"
PARTITIONS = 12
FLAPS = int(os.environ.get("WATCHDOG_FLAPS", "3"))  # 100 take ten minutes


def rejoined(world: StackUnderTest) -> int:
    """How many partitions the function has had read again."""
    return int(shown(world)[1]["partitions_rejoined_total{}"])


def test_a_partition_whose_waiting_record_kafka_has_deleted_is_read_again(
    world: StackUnderTest, tmp_path: Path, tell: Tell
) -> None:
    with watched(world, tmp_path) as pod:
        waiting, other = Waiting(pod, partition=0), new_user()
        waiting.put(*(profile(other, "Bob") for _ in range(20_000)))
        delete_records(pod, partition=0, but=10)
        waiting.heal()
        wait_until(lambda: "applied" in pod.outcomes([waiting.event])[waiting.event.event_id], "it waits no more")
        users = [new_user() for _ in range(10)]
        pod.create(*users)
        new = [profile(user, "Ada", 2) for user in users]
        waiting.put(*new)
        wait_until(lambda: rejoined(pod) == 1, "the watchdog has seen it")
        pod.settle()
        assert all(outcomes[-1] == "applied" for outcomes in pod.outcomes(new).values())
        assert rejoined(pod) == said(pod, "partition_rejoined") == 1
        tell("20 records behind a deleted offset: read again by itself")


def test_readiness_that_comes_and_goes_with_an_event_waiting_leaves_no_partition_standing(
    world: StackUnderTest, tmp_path: Path, tell: Tell
) -> None:
    begin = tmp_path / "begin"
    with watched(world, tmp_path, FLAPPING, TEST_FLAPS=str(FLAPS), TEST_FLAPS_FROM=str(begin)) as pod:
        waiting, before = Waiting(pod, partition=0), times_ready(pod)
        begin.touch()
        sent = list[ProducerRecord]()
        for flap in range(1, FLAPS + 1):
            wait_until(partial(ready_again, pod, before + flap), "ready again")
            sent += [profile(new_user(), "Ada") for _ in range(PARTITIONS)]
            for partition, record in enumerate(sent[-PARTITIONS:]):
                pod.send(record, partition=partition)
        assert "applied" not in pod.outcomes([waiting.event])[waiting.event.event_id]
        waiting.heal()
        pod.settle()
        assert pod.outcomes([waiting.event])[waiting.event.event_id][-1] == "applied"
        assert rejoined(pod) == 0  # events merely waited
        tell(f"not ready {FLAPS} times with an event waiting: {pod.tally(sent)}")


def test_where_kafka_does_not_answer_this_client_the_log_says_so_once_and_events_are_applied(
    world: StackUnderTest, tmp_path: Path
) -> None:
    properties = tmp_path / "kafka.properties"
    properties.write_text("security.protocol=SSL\n")
    with watched(world, tmp_path, KAFKA_CLIENT_CONFIG=str(properties)) as pod:
        wait_until(lambda: said(pod, "lag_unknown") == 1, "it says that the lag is unknown")
        user = new_user()
        pod.create(user)
        event = profile(user, "Ada")
        pod.in_turn(event)
        assert pod.outcomes([event])[event.event_id] == ["applied"]
        text, samples = shown(pod)
        assert samples["lag_known{}"] == 0
        assert "consumer_lag{" not in text
        assert said(pod, "lag_unknown") == 1
        assert said(pod, "lag_failed") == 0


def said(world: StackUnderTest, event: str) -> int:
    return sum(line["event"] == event for line in world.function.log_lines())


def times_ready(world: StackUnderTest) -> int:
    """How many times daprd has found the function ready."""
    return world.sidecar.server.log.read_text().count("App entered healthy status")


def ready_again(world: StackUnderTest, times: int) -> bool:
    return times_ready(world) >= times

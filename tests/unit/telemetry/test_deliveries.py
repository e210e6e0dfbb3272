"""What is counted of the batches that daprd delivers: for the watchdog."""

import pytest

from function.telemetry.deliveries import RETRIED_SECONDS, DeliveryCount
from function.telemetry.metrics import Metrics
from function.telemetry.waiting import Received, Waiting

P, Q = ("events", "0"), ("events", "1")


class Counted:
    """A DeliveryCount with a clock that a test moves."""

    def __init__(self) -> None:
        self.now = 100.0
        self.count = DeliveryCount(lambda: self.now)


def test_a_batch_runs_until_it_is_answered() -> None:
    counted = Counted()
    counted.count.begin({P})
    assert counted.count.copy().partitions[P].running == 1
    counted.now += 5
    counted.count.end({P}, set())
    one = counted.count.copy().partitions[P]
    assert (one.arrived, one.finished, one.running, one.retried, one.answered) == (1, 1, 0, False, 105)


def test_a_retried_batch_is_not_finished_and_waits_for_some_minutes_at_most() -> None:
    """daprd sends it again within a second, unless the partition has moved or its claim has ended."""
    counted = Counted()
    counted.count.begin({P, Q})
    counted.count.end({P, Q}, {P})
    seen = counted.count.copy().partitions
    assert [(seen[one].finished, seen[one].retried) for one in (P, Q)] == [(0, True), (1, False)]
    counted.now += RETRIED_SECONDS
    assert not counted.count.copy().partitions[P].retried


def test_a_copy_stays_as_it_is() -> None:
    counted = Counted()
    counted.count.begin({P})
    before = counted.count.copy()
    counted.count.end({P}, set())
    assert before.partitions[P].running == 1


def test_a_request_is_unread_until_its_partitions_are_known() -> None:
    counted = Counted()
    with counted.count.reading():
        counted.now += 3
        with counted.count.reading():
            assert counted.count.copy().unread == 3
    assert counted.count.copy().unread == 0


def test_rejected_requests_are_of_unknown_partitions() -> None:
    metrics = Metrics()
    metrics.rejected("token")
    assert metrics.waiting.deliveries.copy().unknown == 1


@pytest.mark.parametrize(("retried", "waits"), [([False, False], False), ([False, True], True)])
def test_what_waits_is_told_to_the_count_too(retried: list[bool], waits: bool) -> None:
    waiting = Waiting()
    records = [Received("events", "0", None)] * 2
    with waiting.holding(records) as batch:
        batch.retried = retried
    assert waiting.deliveries.copy().partitions[P].retried is waits

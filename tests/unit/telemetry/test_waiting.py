"""The age of the oldest event that waits: what counts, what ends it, and what a forged timestamp can do."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from function.telemetry.waiting import MOVED_SECONDS, OLDEST_SECONDS, Received, Waiting

START = 1_800_000_000.0
MINUTE = 60.0


class Time:
    """Unix time that a test sets."""

    def __init__(self) -> None:
        self.now = START

    def __call__(self) -> float:
        return self.now


class World:
    """A Waiting and its clock; `deliver` is one batch that is answered at once."""

    def __init__(self) -> None:
        self.clock = Time()
        self.waiting = Waiting(self.clock)

    def deliver(self, *records: Received, retried: bool | list[bool] = False) -> None:
        with self.waiting.holding(records) as batch:
            batch.retried = [retried] * len(records) if isinstance(retried, bool) else retried

    def oldest(self, *, ready: bool = True) -> float:
        return self.waiting.oldest_seconds(ready=ready)

    def retry_for(self, seconds: float, record: Received) -> None:
        """Delivers the record each second, as daprd does."""
        end = self.clock.now + seconds
        while self.clock.now < end:
            self.deliver(record, retried=True)
            self.clock.now += 1


def record(partition: str = "0", ago: float | None = 10.0, topic: str = "events") -> Received:
    return Received(topic, partition, None if ago is None else START - ago)


def test_nothing_waits_at_first_and_after_all_is_done() -> None:
    w = World()
    assert w.oldest() == 0
    w.deliver(record())
    assert w.oldest() == 0


def test_an_event_in_processing_waits() -> None:
    """A batch that never ends would otherwise be seen by no one."""
    w = World()
    with w.waiting.holding([record(ago=10), record(ago=30)]) as batch:
        w.clock.now += 50
        assert w.oldest() == 80
        batch.retried = [False, False]
    assert w.oldest() == 0


def test_an_event_that_is_retried_waits_from_its_own_time_until_it_ends() -> None:
    w = World()
    w.retry_for(20 * MINUTE, record(ago=10))
    assert w.oldest() == 20 * MINUTE + 10
    w.deliver(record(ago=10))
    assert w.oldest() == 0


def test_of_a_batch_only_those_count_that_are_retried() -> None:
    w = World()
    w.deliver(record(ago=500), record(ago=20), record(ago=5), retried=[False, True, True])
    assert w.oldest() == 20
    w.deliver(record(ago=20), record(ago=5), retried=[False, True])
    assert w.oldest() == 5


def test_each_partition_and_topic_has_its_own() -> None:
    w = World()
    w.deliver(record("0", 100), record("1", 70), retried=True)
    w.deliver(record("0", 50, topic="replay"), retried=True)
    w.deliver(record("0", 100))
    assert w.oldest() == 70
    w.deliver(record("1", 70))
    assert w.oldest() == 50


def test_an_exception_leaves_the_batch_waiting() -> None:
    """daprd has no answer and delivers it again."""
    w = World()
    with pytest.raises(RuntimeError), w.waiting.holding([record(ago=40)]):
        raise RuntimeError
    assert w.oldest() == 40


def test_a_partition_of_which_nothing_comes_has_moved() -> None:
    w = World()
    w.deliver(record("0", 10), retried=True)
    w.clock.now += MOVED_SECONDS - 1
    w.deliver(record("1", 0))
    assert w.oldest() == MOVED_SECONDS + 9
    w.clock.now += 1
    assert w.oldest() == 0


def test_while_the_function_is_not_ready_events_wait_although_none_comes() -> None:
    """daprd delivers nothing then; each scrape asks."""
    w = World()
    w.deliver(record(ago=10), retried=True)
    for _ in range(60):
        w.clock.now += MINUTE
        assert w.oldest(ready=False) == w.clock.now - START + 10
    w.clock.now += MOVED_SECONDS
    assert w.oldest() == 0


def test_a_partition_that_comes_back_brings_no_old_wait_with_it() -> None:
    """Its event was processed by another pod."""
    w = World()
    w.deliver(record(ago=10), retried=True)
    w.clock.now += MINUTE
    w.deliver(Received("events", "0", w.clock.now))
    assert w.oldest() == 0


@pytest.mark.parametrize("ago", [None, START, OLDEST_SECONDS + 1, -1.0, -10_000.0])
def test_without_a_timestamp_that_can_be_true_an_event_waits_since_it_was_first_seen(ago: float | None) -> None:
    """A producer's header may stand in its place: absent, 1970, or ahead of the clock."""
    w = World()
    w.retry_for(20 * MINUTE, record(ago=ago))
    assert w.oldest() == 20 * MINUTE


def test_the_next_event_of_a_partition_without_timestamps_waits_from_its_own_arrival() -> None:
    w = World()
    w.retry_for(20 * MINUTE, record(ago=None))
    w.deliver(record(ago=None))
    w.retry_for(MINUTE, record(ago=None))
    assert w.oldest() == MINUTE


def test_an_event_may_be_as_old_as_a_backlog() -> None:
    w = World()
    w.deliver(record(ago=6 * 86400.0), retried=True)
    assert w.oldest() == 6 * 86400.0


@given(
    st.lists(
        st.tuples(st.sampled_from("01"), st.none() | st.floats(0, 4e9), st.booleans(), st.floats(0, 300)), max_size=20
    )
)
def test_whatever_the_timestamps_are_the_age_is_bounded_and_ends_with_the_answers(
    deliveries: list[tuple[str, float | None, bool, float]],
) -> None:
    w = World()
    for partition, written, retried, pause in deliveries:
        w.deliver(Received("events", partition, written), retried=retried)
        w.clock.now += pause
        assert 0 <= w.oldest() <= OLDEST_SECONDS + w.clock.now - START
    w.deliver(Received("events", "0", 0.0), Received("events", "1", 0.0))
    assert w.oldest() == 0

"""When the watchdog takes a partition to be dead, since daprd has stopped reading it, and above all when it does not."""

import random
from collections.abc import Sequence
from dataclasses import dataclass, field

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from function.kafka.lag import Member, Members, PartitionLag, Place
from function.kafka.watchdog import LIMITS, PAUSE_SECONDS, TURNS, Watchdog
from function.telemetry.deliveries import DeliveryCount

US, OTHERS = "pod-a", "pod-b"
LOOK = 15.0
TOPIC = "events"
P: Place = (TOPIC, 0)


@dataclass
class Pod:
    """A pod whose members of the group own partitions, and a clock that a test moves from look to look."""

    owned: dict[str, Sequence[int]] = field(default_factory=lambda: {"m1": (0, 1), "m2": (2, 3)})
    now: float = 1_000.0
    stable: bool = True
    lag: dict[int, PartitionLag] = field(default_factory=dict)
    others: dict[str, Member] = field(default_factory=dict)

    def __post_init__(self) -> None:
        self.watchdog = Watchdog(US, 6)
        self.seen = DeliveryCount(lambda: self.now)
        self.lag |= dict.fromkeys(range(4), PartitionLag(7, 0, 7)) | {0: PartitionLag(7, 0, 9)}

    def look(self) -> list[Place]:
        """Moves the clock on, and looks."""
        self.now += LOOK
        ours = {name: Member(US, frozenset((TOPIC, n) for n in numbers)) for name, numbers in self.owned.items()}
        lag = {(TOPIC, number): one for number, one in self.lag.items()}
        return self.watchdog.stalled(
            lag,
            Members(ours | self.others, "Stable" if self.stable else "PreparingRebalance"),
            self.seen.copy(),
            self.now,
        )

    def looks(self, number: int) -> list[Place]:
        return [place for _ in range(number) for place in self.look()]

    def first(self, most: int = 40) -> int:
        """Returns with how many looks the partition is reported."""
        return next(number for number in range(1, most) if P in self.look())

    def serve(self, *numbers: int, retried: bool = False) -> None:
        """Delivers a batch of each partition, and answers it."""
        for number in numbers:
            place = {(TOPIC, str(number))}
            self.seen.begin(place)
            self.seen.end(place, place if retried else set())


QUIET = 9  # looks in which an idle member's partition is reported: one to begin with, and the window


def test_a_partition_with_lag_of_an_idle_member_is_reported_after_the_window() -> None:
    assert Pod().first() == QUIET
    assert LIMITS.window <= (QUIET - 1) * LOOK


def test_a_partition_without_lag_is_never_reported() -> None:
    pod = Pod()
    pod.lag[0] = PartitionLag(9, 0, 9)
    assert pod.looks(100) == []


def test_a_partition_is_never_reported_while_its_commits_move() -> None:
    pod = Pod()
    for committed in range(100):
        pod.lag[0] = PartitionLag(committed, 0, 1_000)
        assert pod.look() == []


def test_an_event_that_waits_is_never_reported() -> None:
    pod = Pod()
    for _ in range(100):
        pod.serve(0, retried=True)
        assert pod.look() == []


def test_a_partition_behind_a_neighbour_that_is_retried_without_end_is_never_reported() -> None:
    """The neighbour holds the lock of their member."""
    pod = Pod()
    for _ in range(100):
        pod.serve(1, retried=True)
        assert pod.look() == []


def test_a_partition_behind_a_batch_that_never_ends_is_never_reported() -> None:
    pod = Pod()
    pod.seen.begin({(TOPIC, "1")})
    assert pod.looks(100) == []


def test_events_that_wait_at_another_member_hide_nothing() -> None:
    pod = Pod()
    reported = 0
    for _ in range(20):
        pod.serve(2, retried=True)
        reported += len(pod.look())
    assert reported


def test_a_partition_among_busy_neighbours_is_reported_once_one_of_them_had_many_turns() -> None:
    """The member is never idle, but the lock goes to the partition that has waited longest."""
    pod, neighbour, turns = Pod(), {(TOPIC, "1")}, 0
    pod.seen.begin(neighbour)
    while pod.look() == []:
        pod.seen.end(neighbour, set())
        pod.seen.begin(neighbour)  # at each look a batch is in processing
        turns += 1
    assert turns == TURNS


@given(st.randoms(use_true_random=False))
@settings(max_examples=30, deadline=None)
def test_slow_batches_of_many_neighbours_in_turn_are_waited_for(chance: random.Random) -> None:
    """Twelve partitions of one member; each takes its turn at the lock, for a record or for a batch of a minute."""
    pod = Pod(owned={"m1": range(12)})
    pod.lag |= dict.fromkeys(range(12), PartitionLag(0, 0, 1_000))
    for turn in range(240):
        number = turn % 12
        if chance.random() < 0.5:
            continue  # a record is taken
        pod.seen.begin({(TOPIC, str(number))})
        assert pod.looks(4) == []
        pod.seen.end({(TOPIC, str(number))}, set())
        pod.lag[number] = PartitionLag(pod.lag[number].committed + 1, 0, 1_000)


@pytest.mark.parametrize("event", ["rebalance", "new members", "a look that failed", "rejected", "reading", "arrival"])
def test_the_window_starts_again(event: str) -> None:
    pod = Pod()
    assert pod.looks(QUIET - 1) == []
    match event:
        case "rebalance":
            pod.stable = False
            assert pod.look() == []
            pod.stable = True
        case "new members":
            pod.owned = {"m3": (0, 1), "m2": (2, 3)}
        case "a look that failed":
            pod.watchdog.reset()
        case "rejected":
            pod.seen.rejected()
        case "reading":
            with pod.seen.reading():
                assert pod.look() == []
        case "arrival":
            pod.serve(0)
    assert pod.first() >= QUIET


def test_a_group_that_is_never_stable_is_never_judged() -> None:
    assert Pod(stable=False).looks(100) == []


def test_partitions_of_other_pods_are_not_ours_to_judge() -> None:
    pod = Pod(owned={"m2": (2, 3)}, others={"m1": Member(OTHERS, frozenset({P, (TOPIC, 1)}))})
    assert pod.looks(100) == []
    assert pod.watchdog.sees_members


def test_more_members_than_this_pod_can_have_mean_that_another_process_has_the_same_name() -> None:
    pod = Pod(owned={f"m{number}": (number,) for number in range(7)})
    assert pod.looks(100) == []
    assert not pod.watchdog.sees_members


@pytest.mark.parametrize("partition", ["9", "", "-1", "x", "9" * 5_000])
def test_an_event_here_of_a_partition_that_is_not_ours_leaves_unknown_whom_it_holds_up(partition: str) -> None:
    """A producer's header can name any partition."""
    pod = Pod()
    for _ in range(100):
        pod.seen.begin({(TOPIC, partition)})
        pod.seen.end({(TOPIC, partition)}, {(TOPIC, partition)})
        assert pod.look() == []


def test_offsets_without_a_record_are_no_lag_until_something_follows_them() -> None:
    pod = Pod()
    pod.first()
    pod.watchdog.nothing_to_read(P, 9)
    assert pod.looks(30) == []
    pod.lag[0] = PartitionLag(7, 0, 10)
    assert pod.first() == QUIET


def test_after_a_report_the_same_partition_has_a_pause_that_grows() -> None:
    pod = Pod()
    pod.first()
    pauses = []
    for _ in range(3):
        reported = pod.now
        pod.watchdog.report(P, pod.now)
        pod.first(400)
        pauses.append(pod.now - reported)
    assert pauses == sorted(pauses)
    assert pauses[0] >= PAUSE_SECONDS
    assert pauses[2] >= 4 * PAUSE_SECONDS


@given(st.lists(st.sampled_from(["serve", "retry", "sibling", "unstable", "look", "commit"]), max_size=60))
@settings(max_examples=200, deadline=None)
def test_no_report_without_a_whole_window_in_which_nothing_of_the_partition_happened(steps: list[str]) -> None:
    pod, last = Pod(), 0
    for number, step in enumerate(steps):
        match step:
            case "serve":
                pod.serve(0)
            case "retry":
                pod.serve(0, retried=True)
            case "sibling":
                pod.serve(1)
            case "commit":
                pod.lag[0] = PartitionLag(pod.lag[0].committed + 1, 0, 1_000)
        pod.stable = step != "unstable"
        if step not in {"look", "sibling"}:
            last = number
        if P in pod.look():
            assert (number - last) * LOOK >= LIMITS.window

"""Decides which partitions daprd has stopped reading although it owns them. Pure: is given what Kafka says and what came here.

daprd reads a partition in a claim. When Kafka deletes the offset at which a claim waits, the claim is dead until daprd joins
the group again. Seen from outside: the partition has lag, its member of the group is this pod's, and nothing of it arrives.

Waiting looks alike and is common: all partitions of a member share a lock in daprd, which is held during a batch and for as
long as its events are answered RETRY. Go hands such a lock to the partition that waits longest. So a partition whose member was idle here
did not wait for the lock, and neither did one whose neighbour has got its turn many times.
"""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field

from function.kafka.lag import Members, PartitionLag, Place
from function.telemetry.deliveries import Delivered, Deliveries

WINDOW_SECONDS = 120.0  # of looks without a gap
IDLE_SECONDS = 60.0  # of the window, in which nothing of the member was here
# In about every second turn daprd takes a record or delivers the batch. With 20 turns of a neighbour without one delivery,
# chance is one in a million.
TURNS = 20
READING_SECONDS = 2.0  # a request that is read for longer may hold any partition's records
PAUSE_SECONDS = 600.0  # until the same partition is reported again; doubled each time
LONGEST_PAUSE_SECONDS = 6 * 3600.0
FORGOTTEN_SECONDS = 24 * 3600.0  # without a report, after which the pause is the first again

_NOTHING = Delivered()


@dataclass(frozen=True, slots=True)
class Limits:
    """How long the watchdog waits before it reports a partition, and before it reports the same one again."""

    window: float = WINDOW_SECONDS
    idle: float = IDLE_SECONDS
    turns: int = TURNS
    pause: float = PAUSE_SECONDS


LIMITS = Limits()


@dataclass(slots=True)
class _Suspect:
    """A partition with lag of which nothing came since `since`, and what came of its neighbours until then."""

    since: float
    last: float
    sign: tuple[int, int]  # committed offset, batches that arrived
    finished: Mapping[Place, int]
    idle: float = 0.0


@dataclass(slots=True)
class _Reported:
    times: int
    last: float


@dataclass(slots=True)
class Watchdog:
    """Is given each look, in order.

    Args:
        client_id: of this pod's members of the group: the component's `clientId`.
        members: how many members this pod can have. More with its client id belong to another process.
        limits: how long it waits.

    Attributes:
        sees_members: whether the last look had members of this pod.
    """

    client_id: str
    members: int
    limits: Limits = LIMITS
    sees_members: bool = False
    _suspects: dict[Place, _Suspect] = field(default_factory=dict)
    _reported: dict[Place, _Reported] = field(default_factory=dict)
    _empty: dict[Place, int] = field(default_factory=dict)  # the end up to which there is no record
    _before: object = None

    def reset(self) -> None:
        """Forgets what it suspects, since a look failed or daprd did not read: time without a look counts for nothing."""
        self._suspects.clear()

    def nothing_to_read(self, place: Place, end: int) -> None:
        """Takes note that a partition has no record below `end`, although it has lag: markers of transactions are offsets too."""
        self._empty[place] = end
        self._suspects.pop(place, None)

    def report(self, place: Place, now: float) -> None:
        """Takes note that daprd will read the partition again."""
        before = self._reported.get(place)
        times = before.times + 1 if before and now - before.last < FORGOTTEN_SECONDS else 1
        self._reported[place] = _Reported(times, now)
        self.reset()

    def stalled(
        self, lag: Mapping[Place, PartitionLag], members: Members, seen: Deliveries, now: float
    ) -> list[Place]:  # fmt: skip
        """Returns the partitions that daprd has stopped reading.

        Args:
            lag: of each partition.
            members: of the group.
            seen: what was delivered here until then.
            now: monotonic seconds.
        """
        ours = {name: member.owned for name, member in members.by_id.items() if member.client_id == self.client_id}
        self.sees_members = 0 < len(ours) <= self.members
        delivered = {(topic, _number(text)): one for (topic, text), one in seen.partitions.items()}
        present = (members.by_id, seen.unknown)
        certain = self.sees_members and self._certain(members, ours.values(), seen, delivered)
        if present != self._before or not certain:
            self.reset()
        self._before = present
        if not certain:
            return []
        found = []
        for owned in ours.values():
            found += self._of_member(owned, lag, delivered, now)
        return sorted(found)

    def _certain(
        self, members: Members, ours: Iterable[frozenset[Place]], seen: Deliveries, delivered: Mapping[Place, Delivered]
    ) -> bool:
        """Whether it is known of every event that is here whose member it holds up."""
        known = frozenset[Place]().union(*ours)
        strange = any(_here(one) for place, one in delivered.items() if place not in known)
        return members.stable and seen.unread < READING_SECONDS and not strange

    def _of_member(
        self, owned: frozenset[Place], lags: Mapping[Place, PartitionLag], delivered: Mapping[Place, Delivered], now: float
    ) -> list[Place]:  # fmt: skip
        all_of = {place: delivered.get(place, _NOTHING) for place in owned}
        busy = any(map(_here, all_of.values()))
        idle = 0.0 if busy else now - max((one.answered for one in all_of.values()), default=now)
        found = []
        for place, one in all_of.items():
            lag = lags.get(place)
            if lag is None or not lag.lag or _here(one) or self._empty.get(place) == lag.end:
                self._suspects.pop(place, None)
                continue
            sign = (lag.committed, one.arrived)
            suspect = self._suspects.get(place)
            if suspect is None or suspect.sign != sign:
                finished = {other: two.finished for other, two in all_of.items()}
                self._suspects[place] = _Suspect(now, now, sign, finished)
                continue
            suspect.idle += min(idle, now - suspect.last)
            suspect.last = now
            turns = max(two.finished - suspect.finished[other] for other, two in all_of.items())
            if self._is_dead(suspect, turns, now) and not self._pauses(place, now):
                found.append(place)
        return found

    def _is_dead(self, suspect: _Suspect, turns: int, now: float) -> bool:
        limits = self.limits
        return now - suspect.since >= limits.window and (suspect.idle >= limits.idle or turns >= limits.turns)

    def _pauses(self, place: Place, now: float) -> bool:
        if (reported := self._reported.get(place)) is None:
            return False
        return now - reported.last < min(self.limits.pause * 2.0 ** (reported.times - 1), LONGEST_PAUSE_SECONDS)


def _number(text: str) -> int:
    """Returns the number of a partition as daprd gives it; -1 if it is none, since a producer's header has replaced it."""
    return int(text) if text.isdecimal() and len(text) < 10 else -1


def _here(delivered: Delivered) -> bool:
    """Whether something of the partition is in processing here, or waits for its next delivery."""
    return delivered.running > 0 or delivered.retried

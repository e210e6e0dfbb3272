"""Kafka and daprd: partitions, one batch in flight for each pod, RETRY until SUCCESS, redelivery of what is not committed.

As measured on daprd (docs of the bulk subscription): only the entries that were answered RETRY come again, after a second;
the batch is committed as a whole; after a kill or a rebalance everything that is not committed comes again, perhaps while the
earlier owner still works on it.
"""

import asyncio
import contextlib
from collections.abc import Callable
from dataclasses import dataclass, field

from function.kafka.record import KafkaRecord
from function.outcomes import EventResult, Outcome
from tests.simulation.chance import Chance
from tests.simulation.events import Event
from tests.simulation.loop import VirtualLoop
from tests.simulation.pod import Pod
from tests.simulation.scenario import Scenario

RETRY_SECONDS, COMMIT_SECONDS = 1.0, 1.0
TOPIC_OF_REPLAYS = "identity.events.matrix.replay"


@dataclass(eq=False)
class Entry:
    """One record of the log, and what became of it."""

    number: int
    event: Event
    record: KafkaRecord
    produced: float
    replay_of: "Entry | None" = None
    committed: float | None = None
    results: list[tuple[int, float, EventResult, bool]] = field(
        default_factory=list
    )  # call, when, result, heard by daprd
    begun: list[float] = field(default_factory=list)

    @property
    def final(self) -> float | None:
        """When the first delivery ended that was not answered RETRY; None if there was none."""
        return min(
            (when for _, when, one, heard in self.results if one.outcome is not Outcome.RETRY and heard), default=None
        )


@dataclass(eq=False)
class Partition:
    number: int
    log: list[Entry] = field(default_factory=list)
    committed: int = 0
    marked: int = 0
    owner: "Member | None" = None
    epoch: int = 0


@dataclass(eq=False)
class Member:
    """One pub/sub component of a pod in the consumer group: it has one batch in flight."""

    pod: Pod
    alive: bool = True
    news: asyncio.Event = field(default_factory=asyncio.Event)
    loop: "asyncio.Task[None] | None" = None
    waiting: "asyncio.Future[list[EventResult] | None] | None" = None  # the answer to the batch in flight


@dataclass(frozen=True, slots=True)
class Delivery:
    """One batch that was handed to a pod."""

    call: int
    entries: tuple[Entry, ...]
    begun: float
    slot: int


class Kafka:
    """The topic of events and the topic of replays, and the pods' consumer group."""

    def __init__(self, scenario: Scenario, loop: VirtualLoop, chance: Chance) -> None:
        self.entries: list[Entry] = []
        self.deliveries: list[Delivery] = []
        self.members: list[Member] = []
        self.on_move: Callable[[], None] = lambda: None
        self._scenario, self._loop, self._chance = scenario, loop, chance
        self._partitions = [Partition(number) for number in range(2 * scenario.partitions)]
        self._drained = asyncio.Event()
        self._turn = 0

    def produce(self, event: Event, replay_of: Entry | None = None) -> None:
        """Appends a record to its user's partition, of the topic of replays if it repeats a dead letter."""
        number = event.user % self._scenario.partitions + (self._scenario.partitions if replay_of else 0)
        partition = self._partitions[number]
        record = event.record(number, len(partition.log), TOPIC_OF_REPLAYS if replay_of else "")
        entry = Entry(len(self.entries), event, record, self._loop.time(), replay_of)
        partition.log.append(entry)
        self.entries.append(entry)
        self._drained.clear()
        if partition.owner:
            partition.owner.news.set()

    @property
    def waiting(self) -> int:
        """How many records are not committed."""
        return sum(len(one.log) - one.committed for one in self._partitions)

    async def drained(self) -> None:
        """Waits until everything is committed."""
        while self.waiting:
            self._drained.clear()
            await self._drained.wait()

    def join(self, pod: Pod) -> None:
        """Adds a pod, with a member for each of its components, and shares the partitions out."""
        for _ in range(self._scenario.components):
            member = Member(pod)
            self.members.append(member)
            member.loop = self._loop.create_task(self._consume(member))
        self.rebalance()

    def leave(self, pod: Pod, *, dead: bool) -> None:
        """Takes a pod out of the group; of a dead one, what it marked since its last commit comes again."""
        for member in [one for one in self.members if one.pod is pod]:
            member.alive = False
            self.members.remove(member)
            if member.loop:
                member.loop.cancel()
            if dead:
                for partition in self._partitions:
                    if partition.owner is member:
                        partition.marked = partition.committed
        self.rebalance()

    def rebalance(self, *, moved: bool = False) -> None:
        """Shares the partitions out; with `moved`, each goes to another pod where there is one."""
        self._turn += moved
        for partition in self._partitions:
            place = (partition.number % self._scenario.partitions + self._turn) % max(len(self.members), 1)
            owner = self.members[place] if self.members else None
            if owner is partition.owner:
                continue
            self._commit(partition, partition.epoch)
            if partition.owner and (answer := partition.owner.waiting) and not answer.done():
                answer.set_result(None)  # the session ends; the pod goes on with what it has
            partition.owner, partition.epoch = owner, partition.epoch + 1
            if owner:
                owner.news.set()

    async def _consume(self, member: Member) -> None:
        turn = 0
        while member.alive:
            turn += 1
            ours = [one for one in self._partitions if one.owner is member and one.marked < len(one.log)]
            if not ours:
                member.news.clear()
                await member.news.wait()
                await asyncio.sleep(0.01)  # daprd collects a batch for so long
                continue
            await self._partition(member, ours[turn % len(ours)])

    async def _partition(self, member: Member, partition: Partition) -> None:
        """Delivers one batch of a partition until every entry succeeded, or the partition is taken away."""
        epoch, start = partition.epoch, partition.marked
        most = 1 + int(self._chance.of(51, partition.number, start, epoch) * self._scenario.batch)
        batch = partition.log[start : start + most]
        waiting = list(batch)
        while waiting:
            results = await self._deliver(member, waiting)
            if results is None or partition.epoch != epoch:
                return
            waiting = [one for one, result in zip(waiting, results, strict=True) if result.outcome is Outcome.RETRY]
            if waiting:
                await asyncio.sleep(RETRY_SECONDS)
                if partition.epoch != epoch:
                    return
        partition.marked = start + len(batch)
        delay = COMMIT_SECONDS * self._chance.of(52, partition.number, start, epoch)
        self._loop.call_later(delay, self._commit, partition, epoch)

    async def _deliver(self, member: Member, entries: list[Entry]) -> list[EventResult] | None:
        """Returns the answers; None if the session ended before they came."""
        call, now = len(self.deliveries), self._loop.time()
        self.deliveries.append(Delivery(call, tuple(entries), now, member.pod.process.slot))
        for entry in entries:
            entry.begun.append(now)
        answer: asyncio.Future[list[EventResult] | None] = self._loop.create_future()
        member.waiting = answer

        def ended(task: "asyncio.Task[list[EventResult]]") -> None:
            if task.cancelled():
                return
            heard = not answer.done()
            for entry, result in zip(entries, task.result(), strict=True):
                entry.results.append((call, self._loop.time(), result, heard))
            if heard:
                answer.set_result(task.result())

        member.pod.deliver(call, [entry.record for entry in entries]).add_done_callback(ended)
        return await answer

    def _commit(self, partition: Partition, epoch: int) -> None:
        if partition.epoch != epoch:
            return
        for entry in partition.log[partition.committed : partition.marked]:
            entry.committed = self._loop.time()
        partition.committed = max(partition.committed, partition.marked)
        if not self.waiting:
            self._drained.set()

    async def until_drained(self, seconds: float) -> bool:
        """Waits until everything is committed; returns False after `seconds`."""
        with contextlib.suppress(TimeoutError):
            await asyncio.wait_for(self.drained(), seconds)
        return not self.waiting

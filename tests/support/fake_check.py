"""Fakes what `check` asks: a healthy Kafka and a healthy sidecar, which a test makes ill."""

from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field

from dev.servers.kafka import TOPIC, TOPICS
from function.check.run import Dependencies, Outside
from function.dapr.proved import PINNED
from function.dapr.sidecar import Loaded, Publishing, Sidecar
from function.kafka.cluster import Topic
from function.kafka.lag import Member, Members, PartitionLag, Place
from function.settings import Settings
from tests.support.fake_synapse import ADMIN_TOKEN
from tests.support.harness import Harness
from tests.support.mas_world import FakeSecret

PARTITIONS = 2
RIGHTS = frozenset({"READ", "WRITE"})
CONFIG = {
    "cleanup.policy": "delete", "max.message.bytes": "2097152", "retention.ms": "2592000000", "min.insync.replicas": "2",
}  # fmt: skip
PUBSUBS = ("pubsub", *(f"pubsub-{number}" for number in range(2, 4)))
READ = (TOPIC, TOPICS[2])


PLACES = frozenset((topic, number) for topic in READ for number in range(PARTITIONS))


@dataclass
class FakeCluster:
    """A cluster whose topics and group a test chooses. `failure` is raised by each question."""

    topics: dict[str, Topic] = field(
        default_factory=lambda: {name: Topic(PARTITIONS, 3, 3, 0, CONFIG, RIGHTS) for name in TOPICS}
    )
    members: Members = field(default_factory=lambda: Members({"one": Member("pod", PLACES)}))
    failure: Exception | None = None
    group_failure: Exception | None = None
    asked: list[tuple[str, list[str]]] = field(default_factory=list)

    def brokers(self) -> int:
        if self.failure:
            raise self.failure
        return 3

    def topic(self, name: str) -> Topic | None:
        return self.topics.get(name)

    def group(self, name: str, topics: Sequence[str]) -> tuple[Members, Mapping[Place, PartitionLag]]:
        self.asked.append((name, list(topics)))
        if self.group_failure:
            raise self.group_failure
        return self.members, {place: PartitionLag(10, 0, 10) for place in PLACES if place[0] in topics}


def all_loaded() -> Loaded:
    components = dict.fromkeys(PUBSUBS, "pubsub.kafka") | {"statestore": "state.sqlite"}
    pairs = frozenset((name, topic) for name in PUBSUBS for topic in READ)
    return Loaded("matrix-account-sync", PINNED, components, pairs, 1, True)


class FakeSidecar(Sidecar):
    """A sidecar that has everything loaded and may publish. `answer` replaces what it tells."""

    def __init__(self) -> None:
        self.answer: Callable[[], Loaded | None] = all_loaded
        self.publishing: dict[tuple[str, str], Publishing] = {}

    async def loaded(self) -> Loaded | None:
        return self.answer()

    async def try_publishing(self, pubsub: str, topic: str) -> Publishing:
        return self.publishing.get((pubsub, topic), Publishing.ALLOWED)


def outside(w: Harness, sidecar: FakeSidecar | None = None, cluster: FakeCluster | None = None) -> Outside:
    """Returns what opens the fakes, and the harness's state store and homeserver."""

    @asynccontextmanager
    async def dependencies(_: Settings) -> AsyncIterator[Dependencies]:
        yield Dependencies(sidecar or FakeSidecar(), w.state, FakeSecret(MATRIX_ADMIN_TOKEN=ADMIN_TOKEN), w.client)

    return Outside(dependencies, lambda _: cluster or FakeCluster())

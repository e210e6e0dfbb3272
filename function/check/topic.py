"""Judges one topic. Pure.

The limits are those of docs/deploy.md and of the components: a record that fits the main topic must fit the dead letters.
"""

from collections.abc import Callable, Iterator
from dataclasses import dataclass

from function.check.finding import Finding, Mark, failed, ok, warning
from function.kafka.cluster import Topic

DAY = 86_400_000  # in milliseconds
LEAST_DAYS = {"events": 1, "replay": 1, "dead": 7, "results": 1}
ENOUGH_DAYS = {"events": 3, "replay": 1, "dead": 7, "results": 7}  # an outage over a weekend loses no event


@dataclass(frozen=True, slots=True)
class Wanted:
    """What a topic has to be.

    Attributes:
        name: the topic's.
        role: `events`, `dead`, `replay` or `results`.
        partitions: of the main topic, which the others follow; None if they are not known, or need not be the same.
        record_bytes: what the components can publish at most.
        access: what the function and its tools do there, in Kafka's words.
    """

    name: str
    role: str
    partitions: int | None
    record_bytes: int
    access: frozenset[str]

    @property
    def what(self) -> str:
        return f"topic {self.name}"


def judge(wanted: Wanted, topic: Topic | None) -> list[Finding]:
    """Returns the topic's rows: one for each problem, and a description unless it has failed."""
    if topic is None:
        count = f" with {wanted.partitions} partitions" if wanted.partitions else ""
        return [failed(wanted.what, "does not exist, or Kafka does not show it to this client",
                       f"Create it{count}: docs/deploy.md, Topics; or grant DESCRIBE on it.")]  # fmt: skip
    problems = [problem for judged in _RULES for problem in judged(wanted, topic)]
    if any(problem.mark is Mark.FAILED for problem in problems):
        return problems
    return [ok(wanted.what, _described(topic)), *problems]


def _described(topic: Topic) -> str:
    words = [_counted(topic.partitions, "partition"), _counted(topic.replicas, "replica")]
    if (size := _number(topic, "max.message.bytes")) is not None:
        words.append(f"records of up to {size} bytes")
    if (kept := _number(topic, "retention.ms")) is not None:
        words.append("kept without end" if kept < 0 else f"kept for {_kept(kept)}")
    return ", ".join(words)


def _partitions(wanted: Wanted, topic: Topic) -> Iterator[Finding]:
    if wanted.partitions is not None and topic.partitions != wanted.partitions:
        yield failed(
            wanted.what, f"has {_counted(topic.partitions, 'partition')}, the main topic {wanted.partitions}",
            "Add partitions to the smaller one: a user's events and replays must meet in the same partition.",
        )  # fmt: skip
    if topic.leaderless:
        yield failed(
            wanted.what, f"{_counted(topic.leaderless, 'partition')} without a leader",
            "Bring the brokers back that hold them: their events wait.",
        )  # fmt: skip


def _replicas(wanted: Wanted, topic: Topic) -> Iterator[Finding]:
    least = _number(topic, "min.insync.replicas")
    if least is not None and topic.in_sync < least and "WRITE" in wanted.access:
        yield failed(
            wanted.what, f"{topic.in_sync} replicas in sync, min.insync.replicas is {least}: Kafka refuses to write",
            "Bring the brokers back, or lower min.insync.replicas.",
        )  # fmt: skip
    if topic.replicas == 1:
        yield warning(
            wanted.what, "one replica: with its disk the events are lost", "Raise the replication factor to 3."
        )
    elif least == 1:
        yield warning(
            wanted.what,
            "min.insync.replicas is 1: a record can be lost with one broker",
            "Set min.insync.replicas to 2.",
        )


def _cleanup(wanted: Wanted, topic: Topic) -> Iterator[Finding]:
    if topic.config and "compact" in topic.config.get("cleanup.policy", ""):
        yield failed(
            wanted.what, f"cleanup.policy is {topic.config['cleanup.policy']}: Kafka deletes a user's earlier events",
            "Set cleanup.policy to delete.",
        )  # fmt: skip


def _size(wanted: Wanted, topic: Topic) -> Iterator[Finding]:
    size = _number(topic, "max.message.bytes")
    if size is None:
        return
    if wanted.role == "events" and size > wanted.record_bytes:
        yield failed(
            wanted.what, f"max.message.bytes is {size}: a dead letter of that size can't be published and would block its partition",
            f"Lower max.message.bytes to at most {wanted.record_bytes}, the components' maxMessageBytes.",
        )  # fmt: skip
    if wanted.role in {"dead", "replay"} and size < wanted.record_bytes:
        yield failed(
            wanted.what, f"max.message.bytes is {size}: the largest records with their headers do not fit",
            f"Raise max.message.bytes to {wanted.record_bytes}, the components' maxMessageBytes.",
        )  # fmt: skip


def _retention(wanted: Wanted, topic: Topic) -> Iterator[Finding]:
    kept = _number(topic, "retention.ms")
    if kept is not None and kept < 0 and wanted.role in {"dead", "replay"}:
        yield warning(
            wanted.what,
            "kept without end, and with it personal data",
            "Set retention.ms, for example to 2592000000: 30 days.",
        )
    elif kept is not None and 0 <= kept < ENOUGH_DAYS[wanted.role] * DAY:
        make = failed if kept < LEAST_DAYS[wanted.role] * DAY else warning
        yield make(
            wanted.what, f"kept for {_kept(kept)}: Kafka deletes what waits longer",
            f"Raise retention.ms to at least {ENOUGH_DAYS[wanted.role] * DAY}: {_counted(ENOUGH_DAYS[wanted.role], 'day')}.",
        )  # fmt: skip
    if (size := _number(topic, "retention.bytes")) is not None and size >= 0:
        yield warning(
            wanted.what, f"retention.bytes is {size}: a burst of events deletes earlier ones, however new",
            "Set retention.bytes to -1 and let retention.ms decide.",
        )  # fmt: skip


def _access(wanted: Wanted, topic: Topic) -> Iterator[Finding]:
    if topic.operations is not None and (missing := sorted(wanted.access - topic.operations)):
        yield failed(
            wanted.what, f"Kafka does not grant {' and '.join(missing)} to the user of KAFKA_CLIENT_CONFIG",
            f"Grant {' and '.join(missing)} on the topic, to the component's user too.",
        )  # fmt: skip
    if topic.config is None:
        yield warning(
            wanted.what,
            "its limits and retention can't be read",
            "Grant DESCRIBE_CONFIGS on the topic to have them checked.",
        )


_RULES: tuple[Callable[[Wanted, Topic], Iterator[Finding]], ...] = (
    _partitions, _replicas, _cleanup, _size, _retention, _access,
)  # fmt: skip


def _number(topic: Topic, name: str) -> int | None:
    found = (topic.config or {}).get(name, "")
    return int(found) if found.lstrip("-").isdecimal() else None


def _counted(count: int, noun: str) -> str:
    return f"{count} {noun}{'' if count == 1 else 's'}"


def _kept(milliseconds: int) -> str:
    for noun, length in (("day", DAY), ("hour", 3_600_000)):
        if milliseconds >= length:
            return _counted(milliseconds // length, noun)
    return _counted(milliseconds // 60_000, "minute")

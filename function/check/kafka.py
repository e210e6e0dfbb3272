"""Checks the brokers, the topics and the consumer group, as Kafka's own client sees them."""

import asyncio
import contextlib
from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from concurrent.futures import Future
from threading import Thread
from typing import Protocol, TypeVar, cast

from function.check import group as groups
from function.check import topic as topics
from function.check.finding import Finding, ok, row_of, rows, warning
from function.dapr.subscription import RECORD_BYTES
from function.kafka.cluster import Topic
from function.kafka.lag import Members, PartitionLag, Place
from function.outcomes import TryAgain
from function.settings import Settings

BROKERS = "Kafka's brokers"

_ACCESS = {"events": frozenset({"READ"}), "results": frozenset({"WRITE"})}
_Answer = TypeVar("_Answer")

_ADVICE = {
    "RESOLVE": "A host name in KAFKA_BROKERS is unknown here.",
    "AUTHENTICATION": "Kafka refuses the user or the password in KAFKA_CLIENT_CONFIG.",
    "SASL_AUTHENTICATION_FAILED": "Kafka refuses the user or the password in KAFKA_CLIENT_CONFIG.",
    "SSL": "TLS failed: ssl.ca.location, or the client's certificate and key in KAFKA_CLIENT_CONFIG, are not those of these brokers.",
}
_SILENT = "Nothing answers at KAFKA_BROKERS in the form of security.protocol in KAFKA_CLIENT_CONFIG: wrong address or port, a network policy, or TLS on one side only."


class Cluster(Protocol):
    """What Kafka is asked; see function.kafka.cluster."""

    def brokers(self) -> int: ...

    def topic(self, name: str) -> Topic | None: ...

    def group(self, name: str, topics: Sequence[str]) -> tuple[Members, Mapping[Place, PartitionLag]]: ...


async def kafka_rows(settings: Settings, cluster: Cluster | None, protocol: str) -> AsyncIterator[Finding]:
    """Yields the rows of Kafka; only the first if no broker answers.

    Args:
        settings: the function's.
        cluster: None: KAFKA_BROKERS is empty.
        protocol: how the client connects, such as SASL_SSL.
    """
    if cluster is None:
        yield warning(BROKERS, "not asked: KAFKA_BROKERS is empty", "Set KAFKA_BROKERS as for the component.")
        return
    found = await rows(BROKERS, _brokers(cluster, protocol))
    for row in found:
        yield row
    if any(row.advice for row in found):
        return
    described: dict[str, Topic | None] = {}
    names = (
        settings.kafka_identity_events_topic,
        settings.dead_letter_topic,
        settings.replay_topic,
        settings.matrix_results_topic,
    )
    for name in filter(None, names):
        for row in await rows(f"topic {name}", _topic(settings, cluster, name, described)):
            yield row
    for row in await rows(groups.WHAT, _group(settings, cluster, described)):
        yield row


async def _brokers(cluster: Cluster, protocol: str) -> list[Finding]:
    try:
        count = await _in_thread(cluster.brokers)
    except TryAgain as failure:
        return [row_of(BROKERS, failure, _ADVICE.get(failure.detail, _SILENT))]
    return [ok(BROKERS, f"{count} {'answers' if count == 1 else 'answer'} this client by {protocol}")]


async def _topic(settings: Settings, cluster: Cluster, name: str, described: dict[str, Topic | None]) -> list[Finding]:
    """Describes a topic and keeps the description for the topics after it and for the group."""
    main = described.get(settings.kafka_identity_events_topic)
    found = described[name] = await _in_thread(lambda: cluster.topic(name))
    roles = {
        settings.dead_letter_topic: "dead",
        settings.replay_topic: "replay",
        settings.matrix_results_topic: "results",
    }
    role = roles.get(name, "events")
    access = _ACCESS.get(role, frozenset({"READ", "WRITE"}))
    partitions = main.partitions if main and role != "results" else None
    return topics.judge(topics.Wanted(name, role, partitions, RECORD_BYTES, access), found)


async def _group(settings: Settings, cluster: Cluster, described: Mapping[str, Topic | None]) -> list[Finding]:
    if not settings.kafka_consumer_group_id:
        return [warning(groups.WHAT, "not asked: KAFKA_CONSUMER_GROUP_ID is empty",
                        "Set KAFKA_CONSUMER_GROUP_ID as for the component.")]  # fmt: skip
    read = (settings.kafka_identity_events_topic, settings.replay_topic)
    present = [name for name in read if described.get(name)]
    try:
        members, lag = await _in_thread(lambda: cluster.group(settings.kafka_consumer_group_id, present))
    except TryAgain as failure:
        if failure.detail == "GROUP_AUTHORIZATION_FAILED":
            return [warning(groups.WHAT, "Kafka does not show it to this client",
                            "Grant DESCRIBE on the group to have members and lag checked.")]  # fmt: skip
        raise
    return groups.judge(members, lag, consuming=settings.enabled)


async def _in_thread(question: Callable[[], _Answer]) -> _Answer:
    """Asks in a thread of its own, which does not hold up the end: after Ctrl-C, or at the limit of the check."""
    loop = asyncio.get_running_loop()
    asked = loop.create_future()

    def tell(answer: Future[_Answer]) -> None:
        if asked.done():
            return
        if error := answer.exception():
            asked.set_exception(error)
        else:
            asked.set_result(answer.result())

    def ask() -> None:
        answer = Future[_Answer]()
        try:
            answer.set_result(question())
        except Exception as error:
            answer.set_exception(error)
        with contextlib.suppress(RuntimeError):  # the loop has ended
            loop.call_soon_threadsafe(tell, answer)

    Thread(target=ask, daemon=True).start()
    return cast("_Answer", await asked)

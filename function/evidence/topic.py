"""Publishes changes of accounts to the results topic, through Dapr. Decides neither when nor which."""

from collections.abc import Callable
from typing import Protocol

from function.changes import Change, ChangeType, type_of
from function.dapr.pubsub import Publisher
from function.evidence.message import CONTENT_TYPE, message
from function.kafka.record import KafkaRecord

_HEADERS = {"content-type": CONTENT_TYPE}


class Topic(Protocol):
    """Where changes are published."""

    async def publish(self, user_id: str, change: Change) -> None: ...


class ResultsTopic:
    """The results topic.

    Args:
        publisher: publishes through the pub/sub component.
        topic: the topic's name.
        mxid: returns the Matrix id of a user id.
        count: told the type of each message that Kafka took.
    """

    def __init__(
        self, publisher: Publisher, topic: str, mxid: Callable[[str], str], count: Callable[[ChangeType], None]
    ) -> None:
        self._publisher, self._topic, self._mxid, self._count = publisher, topic, mxid, count

    async def publish(self, user_id: str, change: Change) -> None:
        """Publishes one change, keyed by the user's id. Raises TryAgain: Kafka did not take it, or may have."""
        value = message(user_id, self._mxid(user_id), change)
        record = KafkaRecord(value, self._topic, {"__key": user_id})
        await self._publisher.publish(self._topic, record, _HEADERS, "")
        if not self._publisher.read_only:
            self._count(type_of(change.done))

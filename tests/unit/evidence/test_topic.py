"""The results topic in a dry run; what Kafka gets otherwise is seen on the real servers, in tests/integration."""

import logging

import pytest
from dapr.aio.clients import DaprClient

from function.changes import Change
from function.dapr.pubsub import Publisher
from function.evidence.topic import ResultsTopic
from tests.support.events import ALICE, EPOCH

pytestmark = pytest.mark.anyio


async def test_a_dry_run_logs_the_topic_and_counts_nothing(caplog: pytest.LogCaptureFixture) -> None:
    counted: list[str] = []
    client = DaprClient.__new__(DaprClient)  # is not asked
    topic = ResultsTopic(
        Publisher(client, "pubsub", read_only=True), "results", lambda user: f"@{user}:a", counted.append
    )
    with caplog.at_level(logging.INFO, "function"):
        await topic.publish(ALICE, Change(("deactivated",), EPOCH))
    [line] = caplog.records
    assert (line.getMessage(), counted) == ("dry_run", [])

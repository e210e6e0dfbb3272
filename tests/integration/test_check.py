"""Runs `check` next to a running function, on the real stack: all well, then with one thing wrong after another."""

import json
import os
import subprocess
import sys
from dataclasses import dataclass
from typing import Any

import pytest
from confluent_kafka.admin import AdminClient, NewTopic

from dev.servers.kafka import TOPICS
from tests.integration.consumer_group import Group
from tests.integration.stack import StackUnderTest, wait_until

CONSUMERS = 6  # pub/sub components


@dataclass(frozen=True)
class Checked:
    """What a run said: its rows, and its exit code."""

    rows: list[dict[str, str]]
    code: int

    def wrong(self) -> list[str]:
        """Returns what has failed, each once, in order."""
        return list(dict.fromkeys(row["what"] for row in self.rows if row["mark"] == "failed"))

    def found(self) -> str:
        return "\n".join(row["found"] for row in self.rows)


def run(world: StackUnderTest, *options: str, **changes: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "function", "check", *options]
    environment = os.environ | world.environment | changes
    return subprocess.run(command, env=environment, capture_output=True, text=True, timeout=60, check=False)


def check(world: StackUnderTest, **changes: str) -> Checked:
    """Runs `check --json`; each failed row has advice, and only the rows and the summary are printed."""
    done = run(world, "--json", **changes)
    assert done.stderr == ""
    *lines, summary = (json.loads(line) for line in done.stdout.splitlines())
    rows = [line["check"] for line in lines]
    assert all(row["advice"] for row in rows if row["mark"] != "ok")
    counts: dict[str, Any] = summary["summary"]
    assert counts["failed"] == sum(row["mark"] == "failed" for row in rows)
    assert counts["exit_code"] == done.returncode
    return Checked(rows, done.returncode)


def test_everything_is_in_order_and_no_record_is_left_behind(world: StackUnderTest) -> None:
    """The only warnings: the local broker is the only one."""
    wait_until(lambda: Group(world).owners() == CONSUMERS, "each component is a member of the group")
    before = [len(world.records(topic)) for topic in TOPICS]
    checked = check(world)
    assert (checked.wrong(), checked.code) == ([], 0)
    assert [row["found"][:11] for row in checked.rows if row["mark"] == "warning"] == ["one replica"] * 3
    assert {"Kafka's brokers", "consumer group", "subscriptions", "publish dead letters", "publish replays"} <= {
        row["what"] for row in checked.rows
    }
    assert [len(world.records(topic)) for topic in TOPICS] == before


def test_a_person_reads_it_at_80_columns_on_a_terminal_that_is_not_utf_8(world: StackUnderTest) -> None:
    done = run(world, COLUMNS="80", PYTHONIOENCODING="ascii")
    assert done.returncode == 0, done.stdout + done.stderr
    lines = done.stdout.splitlines()
    assert max(map(len, lines)) <= 80
    assert lines[-1].endswith(" ok, 3 warnings, 0 not ok")


@pytest.mark.parametrize(
    ("changes", "wrong", "said"),
    [
        ({"MATRIX_SERVER_NAME": "other.example", "MATRIX_SERVICE_USER": ""}, ["token and Synapse"], "server_name_mismatch"),
        ({"MATRIX_HOMESERVER_URL": "http://127.0.0.1:9"}, ["token and Synapse"], "synapse_unavailable"),
        ({"SECRET_NAME": "another-secret"}, ["secret"], "secret_unavailable"),
        ({"STATE_STORE_NAME": "no-such-store"}, ["state store"], "state_unavailable"),
        ({"DAPR_HTTP_PORT": "9"}, ["sidecar"], "no sidecar yet"),
        ({"MATRIX_SERVICE_USER": "@another:staging.nova.app"}, ["service user"], "does not own the token"),
        ({"KAFKA_CONSUMER_GROUP_ID": "another"}, ["consumer group"], "has no members"),
        ({"PUBSUB_COMPONENTS": "7"}, ["pub/sub components", "subscriptions"], "pubsub-7 is not loaded"),
        ({"KAFKA_BROKERS": "127.0.0.1:9"}, ["Kafka's brokers"], "kafka_unavailable: TRANSPORT"),
    ],
)  # fmt: skip
def test_what_is_wrong_is_named_and_the_rest_is_checked(
    world: StackUnderTest, changes: dict[str, str], wrong: list[str], said: str
) -> None:
    checked = check(world, **changes)
    assert (checked.wrong(), checked.code) == (wrong, 1)
    assert said in checked.found()


def test_a_token_that_the_sidecar_refuses_is_told_in_each_row(world: StackUnderTest) -> None:
    checked = check(world, DAPR_API_TOKEN="another-token")
    assert checked.wrong() == ["sidecar", "publish dead letters", "publish replays", "state store", "secret"]
    assert "UNAUTHENTICATED" in checked.found()


def test_topics_that_do_not_fit_are_told_with_each_fault(world: StackUnderTest) -> None:
    """The sidecar, which knows the usual topics, neither reads these nor may publish to them; no member of the group does."""
    admin = AdminClient({"bootstrap.servers": world.brokers, "log_level": 0})
    wanted = [
        NewTopic("unfit", 2, 1, config={"cleanup.policy": "compact", "max.message.bytes": "3000000"}),
        NewTopic("unfit.matrix.dead", 1, 1, config={"retention.ms": "60000"}),
    ]
    for future in admin.create_topics(wanted).values():
        future.result(30)
    checked = check(world, KAFKA_IDENTITY_EVENTS_TOPIC="unfit")
    assert checked.wrong() == [
        "topic unfit", "topic unfit.matrix.dead", "topic unfit.matrix.replay", "consumer group", "subscriptions",
        "publish dead letters", "publish replays",
    ]  # fmt: skip
    for said in (
        "cleanup.policy is compact", "max.message.bytes is 3000000", "has 1 partition, the main topic 2",
        "max.message.bytes is 1048588", "kept for 1 minute", "does not exist", "does not allow this app id to publish to unfit",
        "12 of 12 are missing",
    ):  # fmt: skip
        assert said in checked.found()

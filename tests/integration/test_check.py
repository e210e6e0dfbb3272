"""Runs `check` next to a running function, on the real stack: all well, then with one thing wrong after another."""

import pytest
from confluent_kafka.admin import AdminClient, NewTopic

from dev.servers.kafka import TOPICS
from tests.integration.checking import check, run
from tests.integration.consumer_group import Group
from tests.integration.stack import StackUnderTest, wait_until

CONSUMERS = 3  # pub/sub components


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
        ({"MATRIX_MAS_URL": "http://127.0.0.1:9"}, ["accounts"], "mas_off: MATRIX_MAS_URL is set"),
        ({"SECRET_NAME": "another-secret"}, ["secret"], "secret_unavailable"),
        ({"STATE_STORE_NAME": "no-such-store"}, ["state store"], "state_unavailable"),
        ({"DAPR_HTTP_PORT": "9"}, ["sidecar"], "no sidecar yet"),
        ({"MATRIX_SERVICE_USER": "@another:staging.nova.app"}, ["service user"], "does not own the token"),
        ({"KAFKA_CONSUMER_GROUP_ID": "another"}, ["consumer group"], "has no members"),
        ({"PUBSUB_COMPONENTS": "4"}, ["pub/sub components", "subscriptions"], "pubsub-4 is not loaded"),
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
        "6 of 6 are missing",
    ):  # fmt: skip
        assert said in checked.found()

"""A pod is several members of the consumer group, one for each of its pub/sub components."""

from pathlib import Path

from dev.identity_events import new_user, profile
from dev.processes import free_port
from dev.running_stack import REPLAY_TOPIC
from dev.servers.kafka import TOPIC
from tests.integration.consumer_group import Group
from tests.integration.stack import StackUnderTest, wait_until


def test_three_members_share_the_partitions_and_own_the_same_of_both_topics(world: StackUnderTest) -> None:
    """So a user's main and replayed records meet one member."""
    group = Group(world)
    wait_until(lambda: group.owners() == 3, "each of the three owns something")
    members = group.members()
    assert sorted(len(member[TOPIC]) for member in members) == [4] * 3
    assert all(member[TOPIC] == member[REPLAY_TOPIC] for member in members)


def test_a_component_that_daprd_does_not_have_loses_nothing(world: StackUnderTest, tmp_path: Path) -> None:
    """PUBSUB_COMPONENTS larger than what there is: daprd says nothing, and the other members own all partitions."""
    ports = {name: str(free_port()) for name in ("APP_PORT", "DAPR_HTTP_PORT", "DAPR_GRPC_PORT")}
    group, second = Group(world), StackUnderTest(world.stack, tmp_path, {"PUBSUB_COMPONENTS": "5"} | ports)
    try:
        second.start()
        wait_until(lambda: group.owners() == 6, "two pods share the partitions")
        sent = [profile(new_user(), "Ada") for _ in range(60)]
        world.send(*sent)
        world.settle()
        both = [pod.outcomes(sent) for pod in (world, second)]
        assert all(both[0][event.event_id] + both[1][event.event_id] == ["no_account"] for event in sent)
        assert any(both[1].values())
    finally:
        second.stop()

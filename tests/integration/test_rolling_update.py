"""A rolling update: pods of a release before and of this one work on the same users at once. `make update-test FROM=v0.1.0` says
which release; by default it is the last without claims, the farthest from today's."""

import itertools
import os
import subprocess
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path

import pytest

from dev.identity_events import ProducerRecord, deleted, new_user, profile
from dev.processes import free_port
from function.settings import Settings
from tests.integration.consumer_group import Group
from tests.integration.stack import StackUnderTest, wait_until

ROOT = Path(__file__).parents[2]
BEFORE = os.environ.get("UPDATE_FROM") or "09554e800d"  # the last commit without claims
USERS, ROUNDS = 40, 4
MEMBERS = 2 * Settings.model_fields["pubsub_components"].default  # both have the same components


@pytest.fixture
def before(world: StackUnderTest, tmp_path: Path) -> Iterator[StackUnderTest]:
    """A pod of the release before, with a sidecar of its own, in the group of `world`."""
    archive = subprocess.run(["git", "archive", BEFORE, "function"], cwd=ROOT, capture_output=True, check=True).stdout
    folder = tmp_path / "release-before"
    folder.mkdir()
    subprocess.run(["tar", "-x", "-C", str(folder)], input=archive, check=True)
    ports = {name: str(free_port()) for name in ("APP_PORT", "DAPR_HTTP_PORT", "DAPR_GRPC_PORT")}
    program = "tests.integration.programs.release_before"
    pod = StackUnderTest(world.stack, tmp_path / "pod", {"RELEASE_BEFORE": str(folder)} | ports, module=program)
    try:
        pod.start()
        yield pod
    finally:
        pod.stop()


def test_old_and_new_pods_share_the_work_and_any_of_them_may_die(
    world: StackUnderTest, before: StackUnderTest, tell: Callable[[str], None]
) -> None:
    """Each round the users' partitions move while their events are under way; at the end only the new release is left."""
    group = Group(world)
    users = [new_user() for _ in range(USERS)]
    gone = set(users[::5])
    world.create(*users)
    sent: list[ProducerRecord] = []
    minutes = itertools.count(1)
    for number in range(ROUNDS):
        wait_until(lambda: group.owners() == MEMBERS, "both pods own partitions", 90)
        events = [
            profile(user, f"name {minute}", minute) for minute in (next(minutes), next(minutes)) for user in users
        ]
        events += [deleted(user) for user in gone] if number == ROUNDS - 2 else []
        sent += events
        world.send(*events)
        pod = before if number % 2 == 0 else world
        wait_until(partial(_any_ended, (world, before), events), "a first event of the round ended")
        pod.function.stop(kill=True)
        pod.function.start()
    wait_until(lambda: group.owners() == MEMBERS, "both pods own partitions", 90)
    before.stop()
    world.settle(180)
    last = next(minutes) - 1
    for user in users:
        account = world.account(user)
        assert account
        if user in gone:
            assert (account["deactivated"], account["erased"], account["displayname"]) == (True, True, None)
        else:
            assert (account["displayname"], account["deactivated"]) == (f"name {last}", False)
    assert world.letters(event.event_id for event in sent) == []
    by_old = sum(bool(outcomes) for outcomes in before.outcomes(sent).values())
    by_new = sum(bool(outcomes) for outcomes in world.outcomes(sent).values())
    assert by_old
    assert by_new
    tell(f"{len(sent)} events in a rolling update: {by_old} seen by the release before, {by_new} by this one")


def _any_ended(pods: tuple[StackUnderTest, ...], events: list[ProducerRecord]) -> bool:
    outcomes = (outcome for pod in pods for of_event in pod.outcomes(events).values() for outcome in of_event)
    return any(outcome != "retry" for outcome in outcomes)

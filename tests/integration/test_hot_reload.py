"""What daprd's hot reload does to batches in flight. It is on here, as it is by default, and off in the Configuration for
Kubernetes: docs/deploy.md says why."""

import shutil
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path

import pytest
import yaml

from dev.identity_events import ProducerRecord, deleted, new_user, profile
from dev.servers.daprd import COMPONENTS
from dev.stack import Stack
from tests.integration.stack import StackUnderTest, wait_until

USERS, EDITS = 20, 3
NOWHERE = "127.0.0.1:9"  # no broker listens there


@pytest.fixture
def components(tmp_path: Path) -> Path:
    return Path(shutil.copytree(COMPONENTS, tmp_path / "components", ignore=shutil.ignore_patterns("config")))


@pytest.fixture
def pod(stack: Stack, tmp_path: Path, components: Path) -> Iterator[StackUnderTest]:
    started = StackUnderTest(stack, tmp_path / "pod", components=components)
    try:
        started.start()
        yield started
    finally:
        started.stop()


def edit(file: Path, **values: str) -> None:
    """Changes or adds values of a component's metadata."""
    component = yaml.safe_load(file.read_text())
    kept = [item for item in component["spec"]["metadata"] if item["name"] not in values]
    component["spec"]["metadata"] = kept + [{"name": name, "value": value} for name, value in values.items()]
    file.write_text(yaml.safe_dump(component))


def test_an_edited_component_loses_nothing_and_a_broken_one_ends_daprd(
    pod: StackUnderTest, components: Path, tell: Callable[[str], None]
) -> None:
    """Each edit meets batches in flight. A reload closes the consumer, and what it had not committed is delivered again."""
    users, file = [new_user() for _ in range(USERS)], components / "pubsub.yaml"
    whole, sent, gone = file.read_text(), list[ProducerRecord](), set(users[::5])
    pod.create(*users)
    for minute in range(1, EDITS + 1):
        events = [profile(user, f"name {minute}", minute) for user in users]
        events += [deleted(user) for user in gone] if minute == EDITS else []
        sent += events
        pod.send(*events)
        wait_until(partial(any_ended, pod, events), "a first event ended")
        edit(file, maxMessageBytes=str(2_097_152 + minute))
        wait_until(partial(reloaded, pod, minute), "daprd reloaded the component")
    edit(file, brokers=NOWHERE)
    wait_until(
        lambda: not pod.sidecar.server.running(),
        "daprd ended; if it now goes on with the component that works, HotReload can be switched on: k8s/base/dapr/configuration.yaml",
    )
    file.write_text(whole)
    pod.sidecar.stop()
    pod.sidecar.start()
    pod.settle()
    tell(f"hot reload: {pod.tally(sent)}")
    assert pod.letters(event.event_id for event in sent) == []
    accounts = {user: pod.account(user) or {} for user in users}
    assert {user for user, account in accounts.items() if account["erased"]} == gone
    assert {account["displayname"] for user, account in accounts.items() if user not in gone} == {f"name {EDITS}"}


def any_ended(pod: StackUnderTest, events: list[ProducerRecord]) -> bool:
    return any(pod.outcomes(events).values())


def reloaded(pod: StackUnderTest, times: int) -> bool:
    """Returns whether daprd has loaded the component `times` times after its start."""
    return pod.sidecar.server.log.read_text().count("Component loaded: pubsub (pubsub.kafka/v1)") > times

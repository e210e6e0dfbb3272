"""The rollback of the deploy page on the API server: off by the ConfigMap and a restart, events wait, on again."""

from collections.abc import Callable
from typing import Any

from dev.identity_events import new_user, profile
from dev.k8s.pod import Pod
from dev.stack import Stack
from tests.integration.stack import wait_until
from tests.k8s.events import Events
from tests.k8s.namespace import DEPLOYMENT, Namespace, settings_for

REPLICAS = 2  # of staging


def roll(namespace: Namespace, running: Pod) -> Pod:
    """Acts as kubelet during a rolling update: reports each new pod as ready and runs one of them. Stops the old pod only
    after the controllers have deleted its object."""
    wait_until(lambda: bool(namespace.newest()), "a pod of the new version")
    successor = namespace.run(namespace.newest()[0])
    wait_until(lambda: successor.ready().get("ready") is True, "the new pod is ready")

    def rolled() -> bool:
        new = namespace.newest()
        for pod in new:
            namespace.report_ready(pod)
        return len(new) == REPLICAS and names(namespace.pods()) == names(new)

    wait_until(rolled, "every pod is a new one")
    assert running.name not in names(namespace.pods())
    running.stop()
    namespace.cluster.kubectl("rollout", "status", DEPLOYMENT, "-n", namespace.name, "--timeout=60s")
    return successor


def names(pods: list[dict[str, Any]]) -> set[str]:
    return {pod["metadata"]["name"] for pod in pods}


def test_off_and_on_again_loses_nothing(namespace: Namespace, stack: Stack, tell: Callable[[str], None]) -> None:
    events, (first, second) = Events(stack), (new_user(), new_user())
    for user in (first, second):
        stack.create_account(f"nova-{user}", "before")
    namespace.create_secrets(stack.synapse.token, stack.postgres.url("state"))
    namespace.apply("staging", settings_for(stack))
    pods = namespace.wait_for_pods(REPLICAS)
    for manifest in pods:
        namespace.report_ready(manifest)
    running = namespace.run(pods[0])
    events.until_named(profile(first, "applied at once"), "applied at once")

    namespace.switch(enabled=False)
    running = roll(namespace, running)
    assert running.ready() == {
        "ready": True, "consuming": False, "detail": "switched off by KAFKA_ENABLED or MATRIX_ENABLED",
    }  # fmt: skip
    events.send(profile(second, "waited in Kafka"))
    assert events.waiting() == 1
    assert events.name_of(second) == "before"

    namespace.switch(enabled=True)
    running = roll(namespace, running)
    events.wait_named(second, "waited in Kafka")
    wait_until(lambda: events.waiting() == 0, "all offsets committed")
    assert running.ready() == {"ready": True, "consuming": True}
    tell("rollback: off, one event waited in Kafka, on, applied")

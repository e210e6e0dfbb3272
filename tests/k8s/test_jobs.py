"""The Jobs for dead letters on a real API server: the resulting pods, and that a replay runs and completes as a Job."""

import json
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from dev.identity_events import new_user, profile
from dev.k8s.cluster import Cluster
from dev.k8s.control_plane import ControlPlane
from dev.k8s.pod import Pod, daprd_of, flags
from dev.processes import listens
from dev.servers.daprd import TOOLS
from dev.stack import Stack
from tests.integration.stack import StackUnderTest, wait_until
from tests.k8s.namespace import Namespace, Warnings, settings_for
from tests.manifests.rendering import COMMANDS, job


@pytest.fixture(scope="module")
def deployed(
    cluster: Cluster, control_plane: ControlPlane, stack: Stack, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Namespace]:
    """Applies staging with the addresses of the real servers."""
    with Namespace(cluster, control_plane, tmp_path_factory.mktemp("jobs")) as made:
        made.create_secrets(stack.synapse.token, stack.postgres.url("state"))
        made.apply("staging", settings_for(stack))
        yield made


def created(namespace: Namespace, command: str, *options: str) -> Pod:
    """Returns the pod of a new Job, run with further options; it is admitted and has its sidecar."""
    wanted = job(command)
    container = wanted["spec"]["template"]["spec"]["containers"][0]
    container["args"] = [*(word for word in container["args"] if word != "--dry-run"), *options]
    done = namespace.cluster.run("replace", "--force", "--validate=strict", "-f", "-", text=json.dumps(wanted))
    assert done.returncode == 0, done.stderr
    uid = namespace.cluster.get("job", wanted["metadata"]["name"], namespace.name)["metadata"]["uid"]
    selector = f"batch.kubernetes.io/controller-uid={uid}"
    wait_until(lambda: bool(namespace.cluster.listed("pods", namespace.name, selector)), f"a pod of {command}", 60)
    return namespace.prepare(namespace.cluster.listed("pods", namespace.name, selector)[0])


@pytest.mark.parametrize("command", COMMANDS)
def test_the_pod_comes_out_with_a_sidecar_that_can_end(
    command: str, deployed: Namespace, control_plane: ControlPlane
) -> None:
    """In a namespace that admits only restricted pods. A native sidecar would be restarted."""
    warnings = Warnings(control_plane)
    pod = created(deployed, command)
    daprd = daprd_of(pod.manifest)
    assert daprd in pod.manifest["spec"]["containers"]
    found = flags(daprd)
    assert (found["app-id"], found["config"]) == (TOOLS[command], "matrix-account-sync-dead-letters")
    assert "enable-app-health-check" not in found
    assert warnings.new() == []


def test_a_replay_runs_and_ends_its_sidecar(
    deployed: Namespace, stack: Stack, tmp_path: Path, tell: Callable[[str], None]
) -> None:
    """With the pod's own identity, on the real Kafka: the state store's address, the topics and the scopes match."""
    world = StackUnderTest(stack, tmp_path)
    letter = profile(new_user(), "Ada", 1)
    world.send(letter.on("nova.identity.events.matrix.dead"))
    pod = created(deployed, "replay", "--yes", "--quiet=2")
    pod.start_sidecar()
    wait_until(lambda: listens(pod.http_port), "daprd's API")
    done = pod.in_function(*pod.arguments())
    tell(f"replay Job: exit code {done.returncode}: {done.stdout.strip()}")
    assert done.returncode == 0, done.stderr
    assert done.stdout.startswith("1 replayed")
    wait_until(lambda: not pod.sidecar.running(), "the sidecar ended", 30)
    again = {record.headers["event_id"].decode() for record in world.records("nova.identity.events.matrix.replay")}
    assert letter.event_id in again

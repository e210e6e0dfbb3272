"""The namespace that the manifests are applied to, and what a test does in it. Asserts nothing."""

import json
from pathlib import Path
from types import TracebackType
from typing import Any, Self

import yaml

from dev.k8s.cluster import Cluster
from dev.k8s.control_plane import ControlPlane
from dev.k8s.pod import Pod
from dev.processes import wait_until
from dev.stack import Stack
from tests.manifests.deploy_page import scripts
from tests.manifests.rendering import render
from tests.manifests.rules.names import APP, NAMESPACE

DEPLOYMENT = f"deployment/{APP}"
SELECTOR = f"app.kubernetes.io/name={APP}"


def settings_for(stack: Stack) -> dict[str, str]:
    """The values of the ConfigMap that differ from staging's: where the servers are."""
    return {"KAFKA_BROKERS": stack.kafka.brokers, "MATRIX_HOMESERVER_URL": stack.synapse.url}


class Warnings:
    """What the injector complains of from now on: it warns of annotations and volumes that it ignores."""

    def __init__(self, control_plane: ControlPlane) -> None:
        self._log = control_plane.injector.log
        self._seen = len(self._log.read_text())

    def new(self) -> list[str]:
        lines = self._log.read_text()[self._seen :].splitlines()
        return [line for line in lines if "level=warn" in line or "level=error" in line]


class Namespace:
    """`infrastructure` on the cluster, from its creation to its removal.

    Args:
        cluster: with Dapr on it.
        control_plane: that Dapr.
        folder: for the pods' volumes, logs and pid files.
    """

    name = NAMESPACE

    def __init__(self, cluster: Cluster, control_plane: ControlPlane, folder: Path) -> None:
        self.cluster, self._control_plane, self._folder = cluster, control_plane, folder
        self._run: list[Pod] = []

    def apply(self, variant: str, settings: dict[str, str] | None = None) -> str:
        """`kubectl apply -k` with strict validation; `settings` replace values of the ConfigMap, as a person's overlay
        would: what Dapr's components copy from it follows."""
        documents = yaml.safe_dump_all(render(variant, settings).documents)
        done = self.cluster.run("apply", "--validate=strict", "-f", "-", text=documents)
        # A pod that the namespace would not admit is a warning here, and nothing more.
        assert (done.returncode, done.stderr) == (0, "")
        return done.stdout

    def create_secrets(self, admin_token: str = "syt_token", statestore: str = "host=127.0.0.1") -> None:
        """As the deploy page has it; Kafka's credentials are not asked for before a pod runs."""
        self.follow("7. Secrets", 0, TOKEN=admin_token, STATE_STORE=statestore)

    def follow(self, title: str, block: int, folder: Path | None = None, **variables: str) -> None:
        """Runs a shell block of docs/deploy.md, as the administrator, in a folder with the files that it names."""
        self.cluster.script(scripts(title)[block], variables, folder)

    def pods(self) -> list[dict[str, Any]]:
        """The function's pods that nobody has asked to end."""
        pods = self.cluster.listed("pods", self.name, SELECTOR)
        return [pod for pod in pods if "deletionTimestamp" not in pod["metadata"]]

    def newest(self) -> list[dict[str, Any]]:
        """The pods of the Deployment's current version."""
        sets = self.cluster.listed("replicasets", self.name, SELECTOR)
        revision = "deployment.kubernetes.io/revision"
        latest = max(sets, key=lambda replicas: int(replicas["metadata"]["annotations"][revision]))
        wanted = self.cluster.get("deployment", APP, self.name)["metadata"]
        if latest["metadata"]["annotations"][revision] != wanted["annotations"][revision] or self._behind(wanted):
            return []
        owner = latest["metadata"]["uid"]
        return [pod for pod in self.pods() if pod["metadata"]["ownerReferences"][0]["uid"] == owner]

    def _behind(self, deployment: dict[str, Any]) -> bool:
        """Whether the controllers have not yet seen the Deployment as it is now."""
        status = self.cluster.get("deployment", APP, self.name)["status"]
        return bool(status.get("observedGeneration") != deployment["generation"])

    def report_ready(self, manifest: dict[str, Any]) -> None:
        """Tells the controllers what kubelet would: the pod runs and its probes succeed."""
        ready = [{"type": kind, "status": "True"} for kind in ("Ready", "ContainersReady")]
        status = json.dumps({"status": {"phase": "Running", "conditions": ready}})
        scope = ["-n", self.name, "--subresource=status", "--type=merge", "-p", status]
        self.cluster.kubectl("patch", "pod", manifest["metadata"]["name"], *scope)

    def wait_for_pods(self, count: int) -> list[dict[str, Any]]:
        """The pods, once there are as many; fails with the events, where the reason stands when there are none."""
        assert wait_until(lambda: len(self.pods()) == count, 60), self.cluster.kubectl("get", "events", "-n", self.name)
        return self.pods()

    def prepare(self, manifest: dict[str, Any]) -> Pod:
        """A pod whose processes end with the namespace."""
        pod = Pod(self.cluster, self._control_plane, manifest, self._folder)
        self._run.append(pod)
        return pod

    def run(self, manifest: dict[str, Any]) -> Pod:
        """Runs a pod's daprd and function."""
        pod = self.prepare(manifest)
        pod.start()
        return pod

    def switch(self, *, enabled: bool) -> None:
        """The rollback of the deploy page, and the way back."""
        self.follow("Rolling back", int(enabled))

    def __enter__(self) -> Self:
        self.follow("2. Namespace", 0)
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        for pod in self._run:
            pod.stop()
        self.cluster.kubectl("delete", "namespace", self.name, "--timeout=60s")

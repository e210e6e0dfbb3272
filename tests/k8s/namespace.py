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
from tests.manifests.names import APP, CONFIG_MAP, NAMESPACE
from tests.manifests.rendering import render

DEPLOYMENT = f"deployment/{APP}"
RESTRICTED = "pod-security.kubernetes.io/enforce=restricted"
SELECTOR = f"app.kubernetes.io/name={APP}"


def settings_for(stack: Stack) -> dict[str, str]:
    """The values of the ConfigMap that differ from staging's: where the servers are."""
    return {"KAFKA_BROKERS": stack.kafka.brokers, "MATRIX_HOMESERVER_URL": stack.synapse.url}


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
        manifests = render(variant, settings)
        documents = yaml.safe_dump_all(manifests.documents)
        return self.cluster.kubectl("apply", "--validate=strict", "-f", "-", text=documents)

    def create_secret(self, name: str, **values: str) -> None:
        literals = [f"--from-literal={key}={value}" for key, value in values.items()]
        self.cluster.kubectl("create", "secret", "generic", name, "-n", self.name, *literals)

    def create_secrets(self, admin_token: str = "syt_token", statestore: str = "host=127.0.0.1") -> None:
        """What docs/deploy.md has a person create."""
        self.create_secret("realtime-chat-service-secret", MATRIX_ADMIN_TOKEN=admin_token)
        self.create_secret(f"{APP}-app-token", token="app-token-of-a-test")
        self.create_secret(f"{APP}-api-token", token="api-token-of-a-test")
        self.create_secret(f"{APP}-statestore", connectionString=statestore)

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

    def run(self, manifest: dict[str, Any]) -> Pod:
        """Runs a pod's daprd and function; they end with the namespace."""
        pod = Pod(self.cluster, self._control_plane, manifest, self._folder)
        self._run.append(pod)
        pod.start()
        return pod

    def switch(self, *, enabled: bool) -> None:
        """The two commands of the rollback."""
        patch = f'{{"data":{{"KAFKA_ENABLED":"{str(enabled).lower()}"}}}}'
        self.cluster.kubectl("patch", "configmap", CONFIG_MAP, "-n", self.name, "--type=merge", "-p", patch)
        self.cluster.kubectl("rollout", "restart", DEPLOYMENT, "-n", self.name)

    def __enter__(self) -> Self:
        self.cluster.kubectl("create", "namespace", self.name)
        self.cluster.kubectl("label", "namespace", self.name, RESTRICTED)
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        for pod in self._run:
            pod.stop()
        self.cluster.kubectl("delete", "namespace", self.name, "--timeout=60s")

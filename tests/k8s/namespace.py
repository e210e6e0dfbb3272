"""Applies the manifests to a namespace, makes Jobs there and runs the pods."""

import json
import uuid
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
JOB_OPTIONS = '"--yes", "--reason=synapse_error"'  # of the page's replay


def settings_for(stack: Stack) -> dict[str, str]:
    """Returns the values of the ConfigMap that differ from staging's: the addresses of the servers."""
    return {"KAFKA_BROKERS": stack.kafka.brokers, "MATRIX_HOMESERVER_URL": stack.synapse.url}


class Warnings:
    """The injector's warnings from now on: it logs annotations and volumes that it ignores."""

    def __init__(self, control_plane: ControlPlane) -> None:
        self._log = control_plane.injector.log
        self._seen = len(self._log.read_text())

    def new(self) -> list[str]:
        lines = self._log.read_text()[self._seen :].splitlines()
        return [line for line in lines if "level=warn" in line or "level=error" in line]


class Namespace:
    """`infrastructure` on the cluster, from its creation to its removal.

    Args:
        cluster: with Dapr installed.
        control_plane: that cluster's Dapr.
        folder: for the pods' volumes, logs and pid files.
    """

    name = NAMESPACE

    def __init__(self, cluster: Cluster, control_plane: ControlPlane, folder: Path) -> None:
        self.cluster, self._control_plane, self._folder = cluster, control_plane, folder
        self._run: list[Pod] = []

    def apply(self, variant: str, settings: dict[str, str] | None = None) -> str:
        """Runs `kubectl apply -k` with strict validation; `settings` replace values of the ConfigMap, as an overlay
        would, and Dapr's components get their copies."""
        documents = yaml.safe_dump_all(render(variant, settings).documents)
        done = self.cluster.run("apply", "--validate=strict", "-f", "-", text=documents)
        # For a pod that the namespace would not admit, apply only prints a warning.
        assert (done.returncode, done.stderr) == (0, "")
        return done.stdout

    def create_secrets(self, admin_token: str = "syt_token", statestore: str = "host=127.0.0.1") -> None:
        """Creates the Secrets as the deploy page does; Kafka's credentials are not needed until a pod runs."""
        self.follow("7. Secrets", 0, TOKEN=admin_token, STATE_STORE=statestore)

    def follow(self, title: str, block: int, folder: Path | None = None, **variables: str) -> None:
        """Runs a shell block of docs/deploy.md as the administrator, in a folder with the files that it names."""
        self.cluster.script(scripts(title)[block], variables, folder)

    def pods(self) -> list[dict[str, Any]]:
        """Returns the function's pods that are not being deleted."""
        pods = self.cluster.listed("pods", self.name, SELECTOR)
        return [pod for pod in pods if "deletionTimestamp" not in pod["metadata"]]

    def make_job(self, command: str, *options: str, deadline: int = 0) -> str:
        """Makes a Job with the page's command, but with other options, and does not follow its log; returns its name."""
        name = f"{command}-{uuid.uuid4().hex[:8]}"
        (script,) = [block for block in scripts("Jobs") if f"cronjob/{APP}-{command} " in block]
        script = script.partition("\nkubectl logs")[0].replace(f"{command}-$(date +%s)", name)
        script = script.replace(JOB_OPTIONS, ", ".join(map(json.dumps, options)))
        if deadline:
            change = f's/"activeDeadlineSeconds": [0-9]*/"activeDeadlineSeconds": {deadline}/;'
            script = script.replace("sed '", f"sed '{change}")
        self.cluster.script(script, {})
        return name

    def job_pod(self, job: str) -> Pod:
        """Waits for the Job's pod; it is admitted and has its sidecar."""
        assert wait_until(lambda: bool(self.pods_of(job)), 60), self.cluster.kubectl("get", "events", "-n", self.name)
        return self.prepare(self.pods_of(job)[0])

    def pods_of(self, job: str) -> list[dict[str, Any]]:
        return self.cluster.listed("pods", self.name, f"batch.kubernetes.io/job-name={job}")

    def newest(self) -> list[dict[str, Any]]:
        """Returns the pods of the Deployment's current revision."""
        sets = self.cluster.listed("replicasets", self.name, SELECTOR)
        revision = "deployment.kubernetes.io/revision"
        latest = max(sets, key=lambda replicas: int(replicas["metadata"]["annotations"][revision]))
        wanted = self.cluster.get("deployment", APP, self.name)["metadata"]
        if latest["metadata"]["annotations"][revision] != wanted["annotations"][revision] or self._behind(wanted):
            return []
        owner = latest["metadata"]["uid"]
        return [pod for pod in self.pods() if pod["metadata"]["ownerReferences"][0]["uid"] == owner]

    def _behind(self, deployment: dict[str, Any]) -> bool:
        """Whether the controllers have not yet observed the Deployment's current generation."""
        status = self.cluster.get("deployment", APP, self.name)["status"]
        return bool(status.get("observedGeneration") != deployment["generation"])

    def report_ready(self, manifest: dict[str, Any]) -> None:
        """Sets the pod's status as kubelet would: it runs and its probes succeed."""
        ready = [{"type": kind, "status": "True"} for kind in ("Ready", "ContainersReady")]
        status = json.dumps({"status": {"phase": "Running", "conditions": ready}})
        scope = ["-n", self.name, "--subresource=status", "--type=merge", "-p", status]
        self.cluster.kubectl("patch", "pod", manifest["metadata"]["name"], *scope)

    def report_ended(self, manifest: dict[str, Any], code: int) -> None:
        """Sets the pod's status as kubelet would after its function ended with a code, and its sidecar after that."""

        def terminated(name: str, exit_code: int) -> dict[str, Any]:
            state = {"terminated": {"exitCode": exit_code, "reason": "Error" if exit_code else "Completed"}}
            return {"name": name, "image": "", "imageID": "", "ready": False, "restartCount": 0, "state": state}

        status = json.dumps({"status": {
            "phase": "Failed" if code else "Succeeded",
            "containerStatuses": [terminated("function", code)],
            "initContainerStatuses": [terminated("daprd", 0)],
        }})  # fmt: skip
        scope = ["-n", self.name, "--subresource=status", "--type=merge", "-p", status]
        self.cluster.kubectl("patch", "pod", manifest["metadata"]["name"], *scope)

    def wait_for_pods(self, count: int) -> list[dict[str, Any]]:
        """Waits for that number of pods and returns them; fails with the events, which give the reason for missing pods."""
        assert wait_until(lambda: len(self.pods()) == count, 60), self.cluster.kubectl("get", "events", "-n", self.name)
        return self.pods()

    def prepare(self, manifest: dict[str, Any]) -> Pod:
        """Returns a pod whose processes are stopped with the namespace."""
        pod = Pod(self.cluster, self._control_plane, manifest, self._folder)
        self._run.append(pod)
        return pod

    def run(self, manifest: dict[str, Any]) -> Pod:
        """Runs a pod's daprd and function."""
        pod = self.prepare(manifest)
        pod.start()
        return pod

    def switch(self, *, enabled: bool) -> None:
        """Runs the deploy page's commands for rollback, or those that switch the function on again."""
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

"""Runs Dapr's real control plane on a Cluster: applies the unchanged official chart, and starts sentry, operator and
injector as plain processes, each with only the rights of its own service account."""

import os
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import yaml

from dev.k8s import mount_namespace, toolchain
from dev.k8s.cluster import Cluster
from dev.processes import Server, StackError, free_port, wait_until
from dev.steps import Say
from function.dapr.proved import PINNED

NAMESPACE = "dapr-system"
TRUST_DOMAIN = "cluster.local"
SENTRY_ID = f"spiffe://{TRUST_DOMAIN}/ns/{NAMESPACE}/dapr-sentry"
INJECTOR_MARK = "/var/run/secrets/dapr.io/sentrytoken/token"
# As in docs/deploy.md. With the first, creating a pod fails instead of leaving it without a sidecar.
VALUES = {
    "dapr_sidecar_injector.webhookFailurePolicy": "Fail",
    "dapr_sidecar_injector.sidecarDropALLCapabilities": "true",
}


class ControlPlane:
    """Dapr in a cluster.

    Args:
        cluster: must be running.
        folder: for tokens, certificates, logs and pid files.
    """

    def __init__(self, cluster: Cluster, folder: Path, say: Say = print) -> None:
        self.cluster, self.folder, self._say = cluster, folder, say
        self.sentry_port, self.operator_port = free_port(), free_port()
        self._conversion_port, self._injector_port = free_port(), free_port()
        self.sentry, self.operator, self.injector = (
            Server(f"dapr-{name}", folder) for name in ("sentry", "operator", "injector")
        )

    def start(self, values: dict[str, str] | None = None) -> None:
        """Installs the chart and starts the three; `values` are added to the chart values of the deploy page."""
        self.folder.mkdir(parents=True, exist_ok=True)
        webhooks = self._install(VALUES | (values or {}))
        self._start_sentry()
        self._start_operator()
        # The injector needs its webhook configuration when it starts; the API server calls it from now on.
        self.cluster.kubectl("apply", "-f", "-", text=yaml.safe_dump_all(webhooks))
        self._start_injector()

    def stop(self) -> None:
        for server in (self.injector, self.operator, self.sentry):
            server.stop()

    @property
    def authority(self) -> str:
        """The certificate that sidecars trust."""
        bundle = self.cluster.get("configmap", "dapr-trust-bundle", NAMESPACE)
        found: str = bundle["data"]["ca.crt"]
        return found

    def _install(self, values: dict[str, str]) -> list[dict[str, Any]]:
        """Applies the chart without its webhooks, which it returns."""
        self.cluster.kubectl("create", "namespace", NAMESPACE)
        documents = list(self._chart(values))
        definitions = [d for d in documents if d["kind"] == "CustomResourceDefinition"]
        webhooks = [d for d in documents if d["kind"] == "MutatingWebhookConfiguration"]
        rest = [d for d in documents if d not in definitions and d not in webhooks]
        # Not `apply`: definitions of this size do not fit into its annotation.
        self.cluster.kubectl("create", "-f", "-", text=yaml.safe_dump_all(definitions))
        names = [f"crd/{definition['metadata']['name']}" for definition in definitions]
        self.cluster.kubectl("wait", "--for=condition=established", "--timeout=60s", *names)
        self.cluster.kubectl("apply", "-f", "-", text=yaml.safe_dump_all(rest))
        self.cluster.route("dapr-sidecar-injector", NAMESPACE, 443, self._injector_port)
        self.cluster.route("dapr-webhook", NAMESPACE, 443, self._conversion_port)
        return webhooks

    def _chart(self, values: dict[str, str]) -> Iterator[dict[str, Any]]:
        chart = toolchain.dapr_source() / "charts" / "dapr"
        settings = values | {"global.tag": PINNED, "global.mtls.sentryAddress": f"127.0.0.1:{self.sentry_port}"}
        options = [word for name, value in settings.items() for word in ("--set", f"{name}={value}")]
        command = [
            str(toolchain.helm(self._say)),
            "template",
            "dapr",
            str(chart),
            "-n",
            NAMESPACE,
            "--include-crds",
            *options,
        ]
        # Keeps helm's caches out of the home folder.
        environment = os.environ | {
            f"HELM_{what}_HOME": str(self.folder / "helm") for what in ("CACHE", "CONFIG", "DATA")
        }
        done = subprocess.run(command, capture_output=True, text=True, env=environment, check=False)
        if done.returncode:
            raise StackError(f"Dapr's chart can't be rendered: {done.stderr}")
        return (document for document in yaml.load_all(done.stdout, Loader=yaml.CSafeLoader) if document)

    def _token(self, account: str, *options: str) -> str:
        return self.cluster.kubectl("create", "token", account, "-n", NAMESPACE, *options)

    def _identity(self, account: str, app: str) -> tuple[Path, Path]:
        """Returns a kubeconfig of the service account, and the file of a token for sentry, bound to the Deployment's pod
        (which stays pending, since there is no node)."""
        pods: list[dict[str, Any]] = []

        def found() -> bool:
            pods[:] = self.cluster.listed("pods", NAMESPACE, f"app={app}")
            return bool(pods)

        if not wait_until(found, 60):
            raise StackError(f"the controllers made no pod for {app}")
        bound = ["--bound-object-kind=Pod", f"--bound-object-name={pods[0]['metadata']['name']}"]
        file = self.folder / f"{account}.token"
        file.touch(mode=0o600)
        file.write_text(self._token(account, f"--audience={SENTRY_ID}", *bound))
        return self.cluster.kubeconfig(account, self._token(account)), file

    def _start_sentry(self) -> None:
        config, token = self._identity("dapr-sentry", "dapr-sentry")
        health = free_port()
        command = [
            str(toolchain.dapr("sentry", self._say)), "--mode=kubernetes", f"--kubeconfig={config}",
            f"--issuer-credentials={self.folder / 'credentials'}", f"--trust-domain={TRUST_DOMAIN}",
            "--listen-address=127.0.0.1", f"--port={self.sentry_port}", *_common(health),
        ]  # fmt: skip
        (self.folder / "credentials").mkdir(exist_ok=True)
        self.sentry.start(command, env=self._environment(token))
        self.sentry.wait_ready(lambda: _healthy(health), 60)
        (self.folder / "ca.crt").write_text(self.authority)

    def _start_operator(self) -> None:
        config, token = self._identity("dapr-operator", "dapr-operator")
        health = free_port()
        command = [
            str(toolchain.dapr("operator", self._say)), f"--kubeconfig={config}", "--disable-leader-election",
            f"--trust-anchors-file={self.folder / 'ca.crt'}", "--listen-address=127.0.0.1",
            f"--port={self.operator_port}", "--webhook-server-listen-address=127.0.0.1",
            f"--webhook-server-port={self._conversion_port}", *_common(health),
        ]  # fmt: skip
        self.operator.start(command, env=self._environment(token))
        self.operator.wait_ready(lambda: _healthy(health), 60)

    def _start_injector(self) -> None:
        """With the environment that the chart gives it: the sidecar's image and security context are in there."""
        config, token = self._identity("dapr-injector", "dapr-sidecar-injector")
        deployment = self.cluster.get("deployment", "dapr-sidecar-injector", NAMESPACE)
        container = deployment["spec"]["template"]["spec"]["containers"][0]
        chart = {variable["name"]: variable["value"] for variable in container["env"] if "value" in variable}
        own = {"DAPR_TRUST_ANCHORS_FILE": str(self.folder / "ca.crt")}
        health = free_port()
        command = [
            str(toolchain.dapr("injector", self._say)), f"--kubeconfig={config}", f"--port={self._injector_port}",
            "--scheduler-enabled=true", *_common(health),
        ]  # fmt: skip
        # It gives sidecars a token for sentry only when it has one at this very place.
        room = mount_namespace.write_files(self.folder / "injector-room", {INJECTOR_MARK: token.read_text()})
        self.injector.start(mount_namespace.command_in(room, command), env=self._environment(token) | chart | own)
        self.injector.wait_ready(lambda: _healthy(health), 60)

    def _environment(self, token: Path) -> dict[str, str]:
        others = {name: value for name, value in os.environ.items() if name != "KUBECONFIG"}
        return others | {
            "NAMESPACE": NAMESPACE,
            "DAPR_SENTRY_TOKEN_FILE": str(token),
            # Their images run as another user; here they run as the current user.
            "DAPR_UNSAFE_SKIP_CONTAINER_UID_GID_CHECK": "true",
        }


def _common(health: int) -> list[str]:
    return [
        f"--healthz-port={health}", "--healthz-listen-address=127.0.0.1", "--enable-metrics=false", "--log-level=debug"
    ]  # fmt: skip


def _healthy(port: int) -> bool:
    try:
        return httpx.get(f"http://127.0.0.1:{port}/healthz", timeout=2).is_success
    except httpx.HTTPError:
        return False

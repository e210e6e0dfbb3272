"""Runs a cluster without nodes: the real etcd, API server and controller manager as plain processes on loopback.
Admission and controllers work; no pod runs, since there is no kubelet (pod.py stands in for it)."""

import json
import os
import secrets
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import httpx
import yaml

from dev.k8s import toolchain
from dev.processes import Server, StackError, free_port
from dev.steps import Say
from dev.toolchain import DEV


class Cluster:
    """etcd, API server, controllers.

    Args:
        folder: for data, keys, logs and pid files.
    """

    def __init__(self, folder: Path, say: Say = print) -> None:
        self.folder, self._say = folder, say
        self.port = free_port()
        self._keys = folder / "keys"
        # The path of a unix socket must be short; that of a test's folder is not.
        self._sockets = Path(tempfile.mkdtemp(prefix="k8s-"))
        self._table = folder / "services.json"
        self._tokens = {name: secrets.token_hex(16) for name in ("admin", "controllers")}
        self._etcd, self._egress, self._api, self._controllers = (
            Server(name, folder) for name in ("etcd", "egress", "kube-apiserver", "kube-controller-manager")
        )

    @property
    def authority(self) -> Path:
        """The certificate to trust for the API server."""
        return self._keys / "apiserver.crt"

    def start(self) -> None:
        """Starts everything; returns once a namespace gets its default service account."""
        self._keys.mkdir(parents=True)
        self._table.write_text("{}")
        etcd = self._start_etcd()
        self._start_egress()
        self._make_key()
        self._start_api(etcd)
        self._start_controllers()
        self._api.wait_ready(lambda: self.exists("serviceaccount", "default", "default"), 60)

    def stop(self) -> None:
        for server in (self._controllers, self._api, self._egress, self._etcd):
            server.stop()
        shutil.rmtree(self._sockets, ignore_errors=True)

    def route(self, service: str, namespace: str, port: int, process: int) -> None:
        """Routes the API server's calls of a Service to the loopback port `process`."""
        address = self.get("service", service, namespace)["spec"]["clusterIP"]
        table: dict[str, int] = json.loads(self._table.read_text())
        self._table.write_text(json.dumps(table | {f"{address}:{port}": process}))

    def kubeconfig(self, name: str, token: str) -> Path:
        """Writes a kubeconfig for the owner of `token`."""
        path = self.folder / f"{name}.kubeconfig"
        path.touch(mode=0o600)
        path.write_text(yaml.safe_dump({
            "apiVersion": "v1", "kind": "Config", "current-context": "it",
            "clusters": [{"name": "it", "cluster": {
                "server": f"https://127.0.0.1:{self.port}", "certificate-authority": str(self.authority)}}],
            "users": [{"name": "it", "user": {"token": token}}],
            "contexts": [{"name": "it", "context": {"cluster": "it", "user": "it"}}],
        }))  # fmt: skip
        return path

    def run(self, *arguments: str, text: str = "", config: Path | None = None) -> subprocess.CompletedProcess[str]:
        """Runs `kubectl ...` with `text` on its standard input, as the administrator or with another kubeconfig."""
        config = config or self.folder / "admin.kubeconfig"
        command = [str(toolchain.KUBECTL), f"--kubeconfig={config}", f"--cache-dir={self.folder / 'cache'}", *arguments]
        return subprocess.run(command, input=text, capture_output=True, text=True, timeout=120, check=False)

    def kubectl(self, *arguments: str, text: str = "") -> str:
        """Returns the output of kubectl; raises StackError if it fails."""
        done = self.run(*arguments, text=text)
        if done.returncode:
            raise StackError(f"kubectl {' '.join(arguments)} failed: {done.stderr.strip()}")
        return done.stdout

    def script(self, text: str, variables: Mapping[str, str], folder: Path | None = None) -> None:
        """Runs shell commands in a folder; their `kubectl` acts on this cluster as its administrator."""
        path = f"{toolchain.KUBECTL.parent}:{os.environ['PATH']}"
        environment = os.environ | {"PATH": path, "KUBECONFIG": str(self.folder / "admin.kubeconfig")} | dict(variables)
        command = ["sh", "-euc", text]
        done = subprocess.run(command, env=environment, capture_output=True, text=True, cwd=folder, check=False)
        if done.returncode:
            raise StackError(f"a script failed: {done.stderr.strip()}")

    def get(self, kind: str, name: str, namespace: str = "") -> dict[str, Any]:
        scope = ["-n", namespace] if namespace else []
        found: dict[str, Any] = json.loads(self.kubectl("get", kind, name, "-o", "json", *scope))
        return found

    def listed(self, kind: str, namespace: str, labels: str = "") -> list[dict[str, Any]]:
        scope = ["-n", namespace, *(["-l", labels] if labels else [])]
        found: list[dict[str, Any]] = json.loads(self.kubectl("get", kind, "-o", "json", *scope))["items"]
        return found

    def exists(self, kind: str, name: str, namespace: str) -> bool:
        return self.run("get", kind, name, "-n", namespace).returncode == 0

    def _start_etcd(self) -> str:
        client, peer = (f"http://127.0.0.1:{free_port()}" for _ in range(2))
        data = self.folder / "etcd"
        self._etcd.start([
            str(toolchain.etcd(self._say)), f"--data-dir={data}", "--unsafe-no-fsync", "--log-level=warn",
            f"--listen-client-urls={client}", f"--advertise-client-urls={client}", f"--listen-peer-urls={peer}",
            f"--initial-advertise-peer-urls={peer}", f"--initial-cluster=default={peer}",
        ])  # fmt: skip
        self._etcd.wait_ready(lambda: _answers(f"{client}/health"), 30)
        return client

    def _start_egress(self) -> None:
        socket = self._sockets / "egress"
        command = [sys.executable, "-m", "dev.k8s.webhook_proxy", str(socket), str(self._table)]
        self._egress.start(command, cwd=DEV.parent)
        self._egress.wait_ready(socket.exists, 20)

    def _make_key(self) -> None:
        """Makes the key that signs service accounts' tokens."""
        command = ["openssl", "genrsa", "-out", str(self._keys / "accounts.key"), "2048"]
        subprocess.run(command, capture_output=True, check=True)
        public = [
            "openssl",
            "rsa",
            "-pubout",
            "-in",
            str(self._keys / "accounts.key"),
            "-out",
            str(self._keys / "accounts.pub"),
        ]
        subprocess.run(public, capture_output=True, check=True)

    def _start_api(self, etcd: str) -> None:
        tokens = self._keys / "tokens.csv"
        tokens.touch(mode=0o600)
        tokens.write_text(
            f'{self._tokens["admin"]},admin,admin,"system:masters"\n'
            f"{self._tokens['controllers']},system:kube-controller-manager,controllers\n"
        )
        egress = self.folder / "egress.yaml"
        way = {"proxyProtocol": "HTTPConnect", "transport": {"uds": {"udsName": str(self._sockets / "egress")}}}
        egress.write_text(yaml.safe_dump({
            "apiVersion": "apiserver.k8s.io/v1beta1", "kind": "EgressSelectorConfiguration",
            "egressSelections": [{"name": "cluster", "connection": way}],
        }))  # fmt: skip
        self._api.start([
            str(toolchain.kubernetes("kube-apiserver", self._say)), f"--etcd-servers={etcd}", f"--cert-dir={self._keys}",
            "--bind-address=127.0.0.1", "--advertise-address=127.0.0.1", f"--secure-port={self.port}",
            "--authorization-mode=RBAC", f"--token-auth-file={tokens}", "--allow-privileged=true",
            "--service-cluster-ip-range=10.96.0.0/16", "--endpoint-reconciler-type=none",
            f"--egress-selector-config-file={egress}",
            "--service-account-issuer=https://kubernetes.default.svc.cluster.local",
            f"--service-account-key-file={self._keys / 'accounts.pub'}",
            f"--service-account-signing-key-file={self._keys / 'accounts.key'}",
        ])  # fmt: skip
        self.kubeconfig("admin", self._tokens["admin"])
        self._api.wait_ready(lambda: self.authority.exists() and self.run("get", "--raw=/readyz").returncode == 0, 90)

    def _start_controllers(self) -> None:
        """Starts the controllers, each with its own account: Dapr's injector only serves pods that some of them create."""
        self._controllers.start([
            str(toolchain.kubernetes("kube-controller-manager", self._say)),
            f"--kubeconfig={self.kubeconfig('controllers', self._tokens['controllers'])}",
            "--use-service-account-credentials", "--leader-elect=false", "--bind-address=127.0.0.1",
            f"--secure-port={free_port()}", f"--cert-dir={self._keys / 'controllers'}",
            f"--service-account-private-key-file={self._keys / 'accounts.key'}", f"--root-ca-file={self.authority}",
        ])  # fmt: skip


def _answers(url: str) -> bool:
    try:
        return httpx.get(url, timeout=2).is_success
    except httpx.HTTPError:
        return False

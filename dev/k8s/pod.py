"""Stands in for kubelet: runs a pod's daprd and function as plain processes, with the pod's arguments, environment and
projected volumes from the API server. Only addresses and ports differ, since all pods share loopback."""

import base64
import os
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import httpx

from dev.k8s import mount_namespace
from dev.k8s.cluster import Cluster
from dev.k8s.control_plane import ControlPlane
from dev.processes import Server, free_port, listens
from dev.steps import Say
from dev.toolchain import DEV, daprd

Container = dict[str, Any]


def daprd_of(pod: dict[str, Any]) -> Container:
    """Returns the container that the injector added, as a native sidecar (a restartable init container) or a plain one."""
    spec = pod["spec"]
    found: Container
    (found,) = [c for c in (*spec.get("initContainers", []), *spec["containers"]) if c["name"] == "daprd"]
    return found


def flags(container: Container) -> dict[str, str]:
    """Returns daprd's arguments by name; "true" for a flag without a value."""
    words, found = container["args"][1:], {}
    for word, following in zip(words, [*words[1:], "--"], strict=True):
        if word.startswith("--"):
            name, _, value = word[2:].partition("=")
            found[name] = value or (following if not following.startswith("--") else "true")
    return found


class Pod:
    """One pod of the function.

    Args:
        cluster: that has the pod's object.
        control_plane: for the addresses of sentry and operator.
        manifest: the pod as the API server returns it.
        folder: for volumes, logs and pid files.
    """

    def __init__(
        self, cluster: Cluster, control_plane: ControlPlane, manifest: dict[str, Any], folder: Path, say: Say = print
    ) -> None:
        self._cluster, self._control_plane, self.manifest, self._say = cluster, control_plane, manifest, say
        self.name: str = manifest["metadata"]["name"]
        self.namespace: str = manifest["metadata"]["namespace"]
        self._folder = folder / self.name
        self.sidecar, self.function = Server("daprd", self._folder), Server("function", self._folder)
        self.app_port, self.http_port, self.grpc_port = free_port(), free_port(), free_port()

    def start(self) -> None:
        self.start_sidecar()
        self.sidecar.wait_ready(lambda: listens(self.http_port), 60)
        self._start_function()

    def stop(self) -> None:
        """Stops the function first: kubelet stops native sidecars after the other containers."""
        self.function.stop(seconds=35)
        self.sidecar.stop()

    def account_token(self) -> str:
        """Returns a token like that in the pod: of its service account, bound to the pod."""
        return self._token([])

    def environment(self, container: Container) -> dict[str, str]:
        """Returns the variables that kubelet would set."""
        found: dict[str, str] = {}
        for source in container.get("envFrom", []):
            found |= self._cluster.get("configmap", source["configMapRef"]["name"], self.namespace)["data"]
        for variable in container.get("env", []):
            found[variable["name"]] = self._value(variable)
        return found

    def ready(self) -> dict[str, Any]:
        """Returns the body of /health/ready; empty if there is no answer."""
        try:
            found: dict[str, Any] = httpx.get(f"http://127.0.0.1:{self.app_port}/health/ready", timeout=5).json()
        except httpx.HTTPError:
            return {}
        return found

    def in_function(self, *arguments: str) -> subprocess.CompletedProcess[str]:
        """Does what `kubectl exec -c function -- matrix-account-sync ...` would, without a terminal."""
        command, environment = self.function_command(*arguments), self.function_environment()
        return subprocess.run(
            command, env=environment, capture_output=True, text=True, cwd=DEV.parent, timeout=120, check=False,
            stdin=subprocess.DEVNULL,
        )  # fmt: skip

    def arguments(self) -> list[str]:
        """Returns the arguments of the function's container."""
        return list(self._function_container()["args"])

    def _function_container(self) -> Container:
        found: Container
        (found,) = [c for c in self.manifest["spec"]["containers"] if c["name"] == "function"]
        return found

    def function_environment(self) -> dict[str, str]:
        """Returns the environment of the function's process: the container's, with the ports of this machine."""
        ports = {"DAPR_HTTP_PORT": self.http_port, "DAPR_GRPC_PORT": self.grpc_port, "APP_PORT": self.app_port}
        moved = {"APP_HOST": "127.0.0.1"} | {name: str(port) for name, port in ports.items()}
        return _inherited() | self.environment(self._function_container()) | moved

    def function_command(self, *arguments: str) -> list[str]:
        """Returns the command line that runs the function where its container's files are."""
        return self.command_in_container(sys.executable, "-m", "function", *arguments)

    def command_in_container(self, *command: str) -> list[str]:
        """Returns the command line that runs a program where the function's files are."""
        if not (files := self._volumes(self._function_container())):
            return list(command)
        room = mount_namespace.write_files(self._folder / "function-room", files)
        return mount_namespace.command_in(room, command)

    def _start_function(self) -> None:
        command = self.function_command(*self.arguments())
        self.function.start(command, env=self.function_environment(), cwd=DEV.parent)
        self.function.wait_ready(lambda: bool(self.ready()), 60)

    def start_sidecar(self) -> None:
        """Starts daprd and does not wait until it is ready."""
        container = daprd_of(self.manifest)
        loopback = dict.fromkeys(
            ("dapr-listen-addresses", "dapr-internal-grpc-listen-address", "dapr-public-listen-address",
             "metrics-listen-address"), "127.0.0.1",
        )  # fmt: skip
        given = flags(container)
        # A Job's daprd has no app port.
        app = {"app-port": str(self.app_port)} if "app-port" in given else {}
        moved = (
            loopback
            | app
            | {
                "control-plane-address": f"127.0.0.1:{self._control_plane.operator_port}",
                "sentry-address": f"127.0.0.1:{self._control_plane.sentry_port}",
                "dapr-http-port": str(self.http_port),
                "dapr-grpc-port": str(self.grpc_port),
                "dapr-internal-grpc-port": str(free_port()),
                "dapr-public-port": str(free_port()),
                "metrics-port": str(free_port()),
            }
        )
        arguments = [f"--{name}={value}" for name, value in (given | moved).items()]
        # Kubelet sets the first two in every container.
        own = {
            "KUBERNETES_SERVICE_HOST": "127.0.0.1",
            "KUBERNETES_SERVICE_PORT": str(self._cluster.port),
            # Its image runs as another user; here it runs as the current user.
            "DAPR_UNSAFE_SKIP_CONTAINER_UID_GID_CHECK": "true",
        }
        room = mount_namespace.write_files(self._folder / "room", self._volumes(container))
        command = mount_namespace.command_in(room, [str(daprd(self._say)), *arguments])
        self.sidecar.start(command, env=_inherited() | self.environment(container) | own)

    def _volumes(self, container: Container) -> dict[str, str]:
        """Returns the files of the projected volumes that a container mounts, by path."""
        volumes = {volume["name"]: volume["projected"]["sources"] for volume in self.manifest["spec"]["volumes"]}
        files: dict[str, str] = {}
        for mount in container.get("volumeMounts", []):
            for source in volumes[mount["name"]]:
                files |= {f"{mount['mountPath']}/{name}": text for name, text in self._projected(source).items()}
        return files

    def _projected(self, source: Mapping[str, Any]) -> dict[str, str]:
        if token := source.get("serviceAccountToken"):
            audience = [f"--audience={token['audience']}"] if "audience" in token else []
            return {token["path"]: self._token(audience)}
        if secret := source.get("secret"):
            data = self._cluster.get("secret", secret["name"], self.namespace)["data"]
            return {item["path"]: base64.b64decode(data[item["key"]]).decode() for item in secret["items"]}
        if config := source.get("configMap"):
            data = self._cluster.get("configmap", config["name"], self.namespace)["data"]
            return {item["path"]: data[item["key"]] for item in config["items"]}
        return {item["path"]: self.namespace for item in source["downwardAPI"]["items"]}

    def _token(self, audience: list[str]) -> str:
        account = self.manifest["spec"]["serviceAccountName"]
        bound = ["--bound-object-kind=Pod", f"--bound-object-name={self.name}"]
        return self._cluster.kubectl("create", "token", account, "-n", self.namespace, *bound, *audience)

    def _value(self, variable: Mapping[str, Any]) -> str:
        if reference := variable.get("valueFrom", {}).get("secretKeyRef"):
            secret = self._cluster.get("secret", reference["name"], self.namespace)
            return base64.b64decode(secret["data"][reference["key"]]).decode()
        if field := variable.get("valueFrom", {}).get("fieldRef"):
            return {"metadata.name": self.name, "metadata.namespace": self.namespace}[field["fieldPath"]]
        return str(variable.get("value", ""))


def _inherited() -> dict[str, str]:
    """Returns the variables that every process needs, without the developer's own settings."""
    return {name: os.environ[name] for name in ("PATH", "HOME", "LANG") if name in os.environ}

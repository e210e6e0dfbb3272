"""Runs daprd and the function as two processes, with the files of components/. Tests start these, while a developer's
`dapr run` may be up."""

import json
import os
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Self

import httpx

from dev.processes import Server, free_port
from dev.toolchain import DEV, daprd

ROOT = DEV.parent
COMPONENTS = ROOT / "components"
APP_ID = "matrix-account-sync"


class Sidecar:
    """daprd with the flags of dapr.yaml; another app id gets no app health check.

    Args:
        environment: the stack's, with ports and tokens.
        folder: for log and pid file.
        components: folder of the resources to load.
    """

    def __init__(
        self, environment: Mapping[str, str], folder: Path, components: Path = COMPONENTS, app_id: str = APP_ID
    ) -> None:
        self.environment, self._folder, self._components, self._app_id = dict(environment), folder, components, app_id
        self.server = Server("daprd" if app_id == APP_ID else app_id, folder)

    def with_environment(self, changes: Mapping[str, str]) -> Self:
        """Returns the same sidecar with some variables changed."""
        return type(self)(self.environment | dict(changes), self._folder, self._components, self._app_id)

    def start(self) -> None:
        env, function = self.environment, self._app_id == APP_ID
        flags = {
            "app-id": self._app_id,
            "app-port": env["APP_PORT"],
            "dapr-http-port": env["DAPR_HTTP_PORT"],
            "dapr-grpc-port": env["DAPR_GRPC_PORT"],
            "dapr-internal-grpc-port": str(free_port()),
            "metrics-port": str(free_port()),
            "dapr-listen-addresses": "127.0.0.1",
            "dapr-internal-grpc-listen-address": "127.0.0.1",
            "metrics-listen-address": "127.0.0.1",
            "resources-path": str(self._components),
            "config": str(COMPONENTS / "config" / "config.yaml"),
            "placement-host-address": " ",
            "scheduler-host-address": " ",
        }
        health = {
            "app-health-check-path": "/health/ready",
            "app-health-probe-interval": "1",
            "app-health-threshold": "3",
        }
        if function:
            flags |= health
        command = [str(daprd(print)), *(["--enable-app-health-check"] if function else [])]
        command += [word for name, value in flags.items() for word in (f"--{name}", value)]
        self.server.start(command, env=os.environ | env, cwd=ROOT)
        self.server.wait_ready(self._answers, 60)

    def stop(self, *, kill: bool = False) -> None:
        self.server.stop(kill=kill)

    def _answers(self) -> bool:
        url = f"http://127.0.0.1:{self.environment['DAPR_HTTP_PORT']}/v1.0/healthz/outbound"
        try:
            return httpx.get(url, headers={"dapr-api-token": self.environment["DAPR_API_TOKEN"]}).is_success
        except httpx.HTTPError:
            return False


class Tool:
    """A command of `matrix-account-sync`, run as `kubectl exec` would: with the function's environment and its sidecar.

    Args:
        environment: the function's.
        command: such as `dead-letters`.
    """

    def __init__(self, environment: Mapping[str, str], command: str) -> None:
        self._environment = {name: value for name, value in environment.items() if not name.startswith("DEV_")}
        self.words = [str(Path(sys.executable).with_name("matrix-account-sync")), command]

    def run(self, *options: str, capture: bool = True) -> subprocess.CompletedProcess[str]:
        """Runs the tool until it exits. Without `capture` it shares the terminal."""
        process = self.launch(*options, capture=capture)
        output, errors = process.communicate()
        return subprocess.CompletedProcess(process.args, process.returncode, output, errors)

    def launch(self, *options: str, capture: bool = True) -> subprocess.Popen[str]:
        """Starts the tool."""
        pipe = subprocess.PIPE if capture else None
        env = os.environ | self._environment
        return subprocess.Popen([*self.words, *options], env=env, cwd=ROOT, stdout=pipe, stderr=pipe, text=True)


class FunctionProcess:
    """`python -m function serve`.

    Args:
        environment: the stack's.
        folder: for log and pid file.
        module: run instead of the function, with the same command and environment.
    """

    def __init__(self, environment: Mapping[str, str], folder: Path, module: str = "function") -> None:
        self._environment, self._module = dict(environment), module
        self.server = Server("function", folder)

    def start(self) -> None:
        """Starts the function and waits until it listens. It is ready only once its sidecar is up."""
        own = {name: value for name, value in self._environment.items() if not name.startswith("DEV_")}
        self.server.start([sys.executable, "-m", self._module, "serve"], env=os.environ | own, cwd=ROOT)
        self.server.wait_ready(lambda: self.ready() is not None, 60)

    def stop(self, *, kill: bool = False) -> None:
        self.server.stop(kill=kill, seconds=35)

    def ready(self) -> bool | None:
        """Returns the readiness from /health/ready; None if there is no answer."""
        body = self.ready_body()
        return body.get("ready") if body else None

    def ready_body(self) -> dict[str, Any]:
        try:
            found: dict[str, Any] = httpx.get(f"http://127.0.0.1:{self._environment['APP_PORT']}/health/ready").json()
        except httpx.HTTPError:
            return {}
        return found

    def log_lines(self) -> list[dict[str, Any]]:
        """Returns every line that the function has logged so far."""
        lines = self.server.log.read_text().splitlines() if self.server.log.exists() else []
        return [json.loads(line) for line in lines if line.startswith("{")]

"""Runs daprd with the components that a contract test needs, without a function."""

import os
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import httpx
import yaml

from dev.processes import Server, free_port
from dev.toolchain import daprd

APP_ID = "contract"


def component(name: str, kind: str, version: str, metadata: Mapping[str, str]) -> dict[str, Any]:
    """Returns a Component."""
    values = [{"name": key, "value": value} for key, value in metadata.items()]
    return {
        "apiVersion": "dapr.io/v1alpha1", "kind": "Component", "metadata": {"name": name},
        "spec": {"type": kind, "version": version, "metadata": values},
    }  # fmt: skip


@contextmanager
def running(
    folder: Path, components: Sequence[Mapping[str, Any]], config: Path | None = None, app_port: int | None = None
) -> Iterator[tuple[int, int]]:
    """Runs daprd with the components, each in a file of its own in `folder`/components.

    Args:
        folder: for files and log.
        components: the resources.
        config: a file with a Configuration.
        app_port: of the app that daprd asks for subscriptions; without it, there is none.

    Yields:
        its HTTP and its gRPC port.
    """
    resources = folder / "components"
    resources.mkdir()
    for one in components:
        (resources / f"{one['metadata']['name']}.yaml").write_text(yaml.safe_dump(dict(one)))
    http, grpc = free_port(), free_port()
    flags = (
        {
            "app-id": APP_ID,
            "dapr-http-port": str(http),
            "dapr-grpc-port": str(grpc),
            "dapr-internal-grpc-port": str(free_port()),
            "metrics-port": str(free_port()),
            "dapr-listen-addresses": "127.0.0.1",
            "resources-path": str(resources),
            "placement-host-address": " ",
            "scheduler-host-address": " ",
        }
        | ({"config": str(config)} if config else {})
        | ({"app-port": str(app_port)} if app_port else {})
    )
    server = Server("daprd", folder)
    environment = {name: value for name, value in os.environ.items() if not name.startswith("DAPR_")}
    try:
        words = [word for name, value in flags.items() for word in (f"--{name}", value)]
        server.start([str(daprd(print)), *words], env=environment)
        server.wait_ready(lambda: _answers(http), 60)
        yield http, grpc
    finally:
        server.stop()


def _answers(port: int) -> bool:
    try:
        return httpx.get(f"http://127.0.0.1:{port}/v1.0/healthz/outbound").is_success
    except httpx.HTTPError:
        return False

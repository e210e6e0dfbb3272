"""dev/compose.yaml is a valid compose file, and its stack is that of the tests. Docker itself is not here."""

import json
import re
import subprocess
from functools import cache
from pathlib import Path
from typing import Any

import pytest
import yaml

from dev.servers.kafka import TOPICS
from dev.toolchain import compose, daprd
from function.dapr.proved import PINNED
from tests.manifests.rendering import K8S, ROOT

FILE = ROOT / "dev" / "compose.yaml"
# Other places than in dapr.yaml, and the sidecar's own.
PLACES = {
    "KAFKA_BROKERS",
    "MATRIX_HOMESERVER_URL",
    "DAPR_HTTP_PORT",
    "DAPR_GRPC_PORT",
    "DEV_SECRETS_FILE",
    "STATE_STORE",
}


def load(text: str) -> subprocess.CompletedProcess[str]:
    """Runs the loader of `docker compose` where `docker compose -f` would."""
    command = [str(compose(print)), "--format", "json", "/dev/stdin"]
    return subprocess.run(command, input=text, cwd=FILE.parent, capture_output=True, text=True, check=False)


@cache
def loaded() -> dict[str, Any]:
    done = load(FILE.read_text())
    assert done.returncode == 0, done.stderr
    found: dict[str, Any] = json.loads(done.stdout)
    return found


def service(name: str) -> dict[str, Any]:
    found: dict[str, Any] = loaded()["services"][name]
    return found


@pytest.mark.parametrize(
    ("right", "wrong"),
    [("network_mode: service:function", "network_mod: x"), ("condition: service_healthy", "condition: healthy")],
)
def test_the_loader_refuses_a_key_and_a_condition_that_do_not_exist(right: str, wrong: str) -> None:
    text = FILE.read_text()
    assert right in text
    assert load(text.replace(right, wrong)).returncode != 0


def test_services_wait_for_services_and_mount_volumes_that_exist() -> None:
    services = loaded()["services"]
    named = {name for one in services.values() for name in one.get("depends_on", {})}
    named |= {one["network_mode"].removeprefix("service:") for one in services.values() if "network_mode" in one}
    assert named <= set(services)
    mounts = [mount for one in services.values() for mount in one.get("volumes", [])]
    assert {mount["source"] for mount in mounts if mount["type"] == "volume"} == set(loaded()["volumes"])


def test_files_that_are_mounted_or_built_exist() -> None:
    mounts = [
        mount for one in loaded()["services"].values() for mount in one.get("volumes", []) if mount["type"] == "bind"
    ]
    assert {Path(mount["source"]).relative_to(ROOT).as_posix() for mount in mounts} == {
        "components", "dev/compose/statestore.yaml", "dev/compose/admin.py",
    }  # fmt: skip
    assert all(Path(mount["source"]).exists() for mount in mounts)
    assert (Path(service("function")["build"]["context"]) / service("function")["build"]["dockerfile"]).exists()


def test_function_and_daprd_have_the_settings_of_the_local_stack() -> None:
    (app,) = yaml.safe_load((ROOT / "dapr.yaml").read_text())["apps"]
    local = {name: value for name, value in app["env"].items() if not name.startswith("DEV_")}
    for name in ("function", "daprd"):
        given = service(name)["environment"]
        assert {key: value for key, value in given.items() if key not in PLACES} == {
            key: value for key, value in local.items() if key not in PLACES
        }
    flags = dict(flag.removeprefix("--").partition("=")[::2] for flag in service("daprd")["command"])
    ours = service("function")["environment"]
    assert (flags["dapr-http-port"], flags["dapr-grpc-port"]) == (ours["DAPR_HTTP_PORT"], ours["DAPR_GRPC_PORT"])
    assert flags["app-health-check-path"] == app["appHealthCheckPath"]
    assert int(flags["app-health-threshold"]) == app["appHealthThreshold"]


def test_daprd_knows_each_flag() -> None:
    said = subprocess.run([str(daprd(print)), "--help"], capture_output=True, text=True, check=False)
    known = set(re.findall(r"^\s+--?([a-z0-9-]+)", said.stdout + said.stderr, re.MULTILINE))
    assert {flag.removeprefix("--").partition("=")[0] for flag in service("daprd")["command"]} <= known


def test_the_state_store_is_that_of_kubernetes_but_for_its_address() -> None:
    ours, theirs = (
        yaml.safe_load(file.read_text())["spec"]
        for file in (ROOT / "dev" / "compose" / "statestore.yaml", K8S / "base" / "dapr" / "statestore.yaml")
    )
    assert ours["metadata"].pop(0) == {"name": "connectionString", "envRef": "STATE_STORE"}
    assert theirs["metadata"].pop(0)["name"] == "connectionString"
    assert ours == theirs


def test_images_have_the_versions_that_the_tests_run_and_name_no_registry() -> None:
    images = {one["image"] for one in loaded()["services"].values() if "image" in one}
    kafka = re.search(
        r"<artifactId>kafka_.*?<version>(.+?)</version>", (ROOT / "dev" / "kafka" / "pom.xml").read_text(), re.DOTALL
    )
    synapse = re.search(r"matrix-synapse==(\S+)", (ROOT / "dev" / "synapse" / "requirements.in").read_text())
    assert kafka
    assert synapse
    assert images == {
        f"apache/kafka:{kafka[1]}", f"matrixdotorg/synapse:v{synapse[1]}", f"daprio/daprd:{PINNED}", "postgres:17",
    }  # fmt: skip


def test_the_topics_are_those_of_the_local_stack() -> None:
    (script,) = service("topics")["command"]
    made = set(re.findall(r"make (nova[\w.]+)\n", script))
    names = re.search(r"for name in (.+?); do make \"(.+?)\.\$", script)
    assert names
    assert made | {f"{names[2]}.{name}" for name in names[1].split()} == set(TOPICS)

"""Provides one cluster with Dapr's control plane for all of these tests, and the servers that the function needs."""

from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
import yaml

from dev.k8s import toolchain
from dev.k8s.cluster import Cluster
from dev.k8s.control_plane import ControlPlane
from dev.stack import Stack
from tests.k8s.namespace import Namespace


@pytest.fixture(scope="session")
def cluster(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Cluster]:
    started = Cluster(tmp_path_factory.mktemp("cluster"))
    try:
        started.start()
        yield started
    finally:
        started.stop()


@pytest.fixture(scope="session")
def control_plane(cluster: Cluster, tmp_path_factory: pytest.TempPathFactory) -> Iterator[ControlPlane]:
    """Installs Dapr, and the custom resource definitions of the optional components."""
    started = ControlPlane(cluster, tmp_path_factory.mktemp("dapr"))
    try:
        started.start()
        for file in foreign_definitions():
            cluster.kubectl("create", "-f", str(file))
            name = yaml.safe_load(file.read_text())["metadata"]["name"]
            cluster.kubectl("wait", "--for=condition=established", "--timeout=60s", f"crd/{name}")
        yield started
    finally:
        started.stop()


@pytest.fixture
def tell(capsys: pytest.CaptureFixture[str]) -> Callable[[str], None]:
    """Returns a function that prints a line in every run: times, and results that only a person can judge."""

    def say(line: str) -> None:
        with capsys.disabled():
            print(f"\n  {line}")

    return say


@pytest.fixture(scope="session")
def stack(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Stack]:
    """Runs Kafka, Synapse and PostgreSQL."""
    with Stack.on_free_ports(tmp_path_factory.mktemp("stack"), postgres=True) as started:
        yield started


@pytest.fixture
def namespace(cluster: Cluster, control_plane: ControlPlane, tmp_path: Path) -> Iterator[Namespace]:
    """Creates an empty namespace `infrastructure` that admits only restricted pods; removes it afterwards."""
    with Namespace(cluster, control_plane, tmp_path) as made:
        yield made


def foreign_definitions() -> list[Path]:
    keda = toolchain.module_folder("crds", "github.com/kedacore/keda/v2") / "config" / "crd" / "bases"
    vault = (
        toolchain.module_folder("crds", "github.com/external-secrets/external-secrets") / "config" / "crds" / "bases"
    )
    operator = toolchain.module_folder("crds", "github.com/prometheus-operator/prometheus-operator")
    prometheus = operator / "example" / "prometheus-operator-crd"
    return [
        keda / "keda.sh_scaledobjects.yaml",
        keda / "keda.sh_triggerauthentications.yaml",
        vault / "external-secrets.io_externalsecrets.yaml",
        prometheus / "monitoring.coreos.com_podmonitors.yaml",
        prometheus / "monitoring.coreos.com_prometheusrules.yaml",
    ]

"""The assumptions of the manifest rules about Dapr match its source, in the version in use."""

import re
from typing import Any

import pytest
import yaml

from dev.k8s import toolchain
from tests.manifests.rendering import ROOT
from tests.manifests.rules import sidecar

pytestmark = pytest.mark.quick


def field_types() -> dict[str, str]:
    """Returns each annotation that the injector knows, with the Go type of its value."""
    source = (toolchain.dapr_source() / "pkg" / "injector" / "patcher" / "sidecar.go").read_text()
    found = re.findall(r"^\t\w+\s+(\*?\w+)\s+`annotation:\"dapr\.io/([\w-]+)\"", source, re.MULTILINE)
    return {name: kind for kind, name in found}


def metadata_of(kind: str) -> dict[str, Any]:
    """Returns the component's published description of its metadata."""
    contrib = toolchain.module_folder("dapr-control-plane", "github.com/dapr/components-contrib")
    described: dict[str, Any] = yaml.safe_load((contrib / kind / "metadata.yaml").read_text())
    return described


def test_the_injector_knows_every_annotation() -> None:
    assert field_types()
    assert sidecar.ANNOTATIONS.keys() <= field_types().keys()


@pytest.mark.parametrize("name", sidecar.ANNOTATIONS)
def test_the_allowed_values_can_be_read_into_the_annotations_type(name: str) -> None:
    """The injector ignores a malformed number and reads a malformed boolean as false."""
    allowed, kind = sidecar.ANNOTATIONS[name], field_types()[name].lstrip("*")
    if kind.startswith("int"):
        assert re.fullmatch(r"\d+|\\d", allowed)
    if kind == "bool":
        assert allowed in ("true", "false")


def test_kafkas_component_knows_every_metadata_field() -> None:
    described = metadata_of("pubsub/kafka")
    profiles = {item["name"]: item for profile in described["authenticationProfiles"] for item in profile["metadata"]}
    known = {item["name"] for item in described["metadata"]} | profiles.keys()
    # Read by daprd itself, for every pub/sub component.
    daprd = {"allowedTopics", "publishingScopes", "subscriptionScopes"}
    assert daprd <= set(re.findall(r'"(\w+)"', (toolchain.dapr_source() / "pkg" / "scopes" / "scopes.go").read_text()))
    used = set(sidecar._PUBSUB)
    for plain, secret in sidecar.KAFKA_AUTH.values():
        used |= plain.keys() | secret.keys()
    # The component's code reads it, although its published description leaves it out.
    contrib = toolchain.module_folder("dapr-control-plane", "github.com/dapr/components-contrib")
    code = (contrib / "common" / "component" / "kafka" / "metadata.go").read_text()
    undescribed = {"clientId"}
    assert undescribed <= set(re.findall(r'`mapstructure:"(\w+)"', code))
    assert used - daprd - undescribed <= known
    assert sidecar.KAFKA_AUTH.keys() <= {value for p in described["authenticationProfiles"] for item in p["metadata"]
                                         if item["name"] == "authType" for value in item.get("allowedValues", [])}  # fmt: skip


def test_the_state_stores_component_knows_every_metadata_field() -> None:
    described = metadata_of("state/postgresql/v2")
    known = {item["name"] for item in described["metadata"]}
    # Read by daprd itself, for every state store.
    assert set(sidecar._STATE) - {"keyPrefix"} <= known


def test_the_version_is_that_of_the_go_module() -> None:
    pinned = (ROOT / "dev" / "go" / "kubernetes" / "go.mod").read_text()
    assert f"k8s.io/kubernetes v{toolchain.KUBERNETES}" in pinned

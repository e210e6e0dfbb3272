"""Renders k8s/ as kustomize does, once for each choice of the chart's values, with a mark in place of each value."""

import json
import re
import subprocess
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import yaml

from dev.k8s.toolchain import KUBECTL

K8S = Path(__file__).parents[2] / "k8s"
CONFIG = "matrix-account-sync-config"
NAMESPACE = "zznamespacezz"
# Settings that differ between environments, so that the base has none.
OF_THE_OVERLAY = ("KAFKA_BROKERS", "MATRIX_SERVER_NAME")


@dataclass(frozen=True, slots=True)
class Choice:
    """A component of k8s/components, the chart's condition for it, and the components that it changes if they are there."""

    component: str
    condition: str
    changes: Sequence[str] = ()


CHOICES = (
    Choice("kafka-sasl", 'eq $.Values.kafka.authentication "sasl"'),
    Choice("kafka-mtls", 'eq $.Values.kafka.authentication "mtls"'),
    Choice("keda", "$.Values.keda.enabled"),
    Choice("keda-sasl", 'and $.Values.keda.enabled (eq $.Values.kafka.authentication "sasl")', changes=("keda",)),
    Choice("keda-mtls", 'and $.Values.keda.enabled (eq $.Values.kafka.authentication "mtls")', changes=("keda",)),
    Choice("openshift", "$.Values.openshift.enabled"),
    Choice("network-policy", "$.Values.networkPolicy.enabled"),
    Choice("monitoring", "$.Values.monitoring.enabled", changes=("network-policy",)),
    Choice("external-secrets", "$.Values.externalSecrets.enabled"),
    Choice("mas", "$.Values.settings.MATRIX_MAS_URL", changes=("network-policy", "external-secrets")),
    Choice("external-secrets-kafka", "$.Values.externalSecrets.kafka"),
)

Name = tuple[str, str]  # an object's kind and name


@dataclass(frozen=True, slots=True)
class Rendered:
    """The lines of each object without the choice and with it."""

    choice: Choice
    before: Mapping[Name, list[str]]
    after: Mapping[Name, list[str]]


@dataclass(frozen=True, slots=True)
class Everything:
    """All renderings: the base alone, and each choice."""

    base: Mapping[Name, list[str]]
    settings: Mapping[str, str]
    choices: Sequence[Rendered] = field(default_factory=tuple)


def everything() -> Everything:
    """Renders the base and each choice on top of what it changes."""
    base = render(())
    choices = [
        Rendered(choice, render(choice.changes), render((*choice.changes, choice.component))) for choice in CHOICES
    ]
    return Everything(base, settings(), choices)


def settings() -> dict[str, str]:
    """Returns the base's values of the ConfigMap."""
    kustomization = yaml.safe_load((K8S / "base" / "kustomization.yaml").read_text())
    (generator,) = kustomization["configMapGenerator"]
    return dict(literal.split("=", 1) for literal in generator["literals"])


def mark(setting: str) -> str:
    return f"zz{setting}zz"


def render(components: Sequence[str]) -> dict[Name, list[str]]:
    """Renders the base with components; every setting is its mark."""
    marked = [f"{name}={mark(name)}" for name in (*settings(), *OF_THE_OVERLAY)]
    with tempfile.TemporaryDirectory() as made:
        home = Path(made).resolve()
        up = "../" * (len(home.parts) - 1)  # kustomize wants relative paths

        def within(folder: str) -> str:
            return f"{up}{(K8S / folder).relative_to('/')}"

        overlay = {
            "namespace": NAMESPACE,
            "resources": [within("base")],
            "components": [within(f"components/{component}") for component in components],
            "configMapGenerator": [{"name": CONFIG, "behavior": "merge", "literals": marked}],
            "transformers": [within("settings")],
        }
        (home / "kustomization.yaml").write_text(json.dumps(overlay))
        done = subprocess.run([KUBECTL, "kustomize", home], capture_output=True, text=True, check=True)
    return dict(_objects(re.sub(rf"{CONFIG}-[a-z0-9]{{10}}\b", CONFIG, done.stdout)))


def _objects(rendered: str) -> Iterator[tuple[Name, list[str]]]:
    for text in re.split(r"^---\n", rendered, flags=re.MULTILINE):
        found = yaml.safe_load(text)
        yield (found["kind"], found["metadata"]["name"]), text.splitlines()

"""The Helm chart renders what kustomize renders: each example as its overlay, and each overlay with each optional component.
Its templates are made from the kustomize files, and its schema refuses a mistake by name."""

import subprocess
from typing import Any

import pytest
import yaml

from dev.chart.files import CHART, generated
from dev.chart.variants import OF_THE_OVERLAY, settings
from dev.k8s import toolchain
from tests.manifests.own_overlay import EVERYTHING, OVERLAY
from tests.manifests.rendering import COMMANDS, VARIANTS, Document, Manifests, dig, render, render_overlay, unhashed
from tests.manifests.rules.names import NAMESPACE

EXAMPLES = CHART / "examples"
CHECKSUM = "checksum/settings"
# The values that stand for a component.
SWITCHES: dict[str, Document] = {
    "kafka-sasl": {"kafka": {"authentication": "sasl"}},
    "kafka-mtls": {"kafka": {"authentication": "mtls"}},
    "keda": {"keda": {"enabled": True}},
    "keda-sasl": {"keda": {"enabled": True}, "kafka": {"authentication": "sasl"}},
    "keda-mtls": {"keda": {"enabled": True}, "kafka": {"authentication": "mtls"}},
    "mas": {"settings": {"MATRIX_MAS_URL": "http://matrix-authentication-service:8081"}},
    "monitoring": {"monitoring": {"enabled": True}},
    "openshift": {"openshift": {"enabled": True}},
    "network-policy": {"networkPolicy": {"enabled": True}},
    "external-secrets": {"externalSecrets": {"enabled": True}},
    "external-secrets-kafka": {"externalSecrets": {"kafka": True}},
    "members/1": {"settings": {"PUBSUB_COMPONENTS": "1"}},
}
# The chart knows how Kafka is asked, so KEDA gets the credentials too.
BETTER = {"production+keda": "production+keda-sasl"}


def helm(*arguments: str, values: Document | None = None) -> subprocess.CompletedProcess[str]:
    """Runs helm on the chart; `values` come last."""
    # A Kubernetes that the chart is for; helm itself knows none here.
    command = [str(toolchain.helm(print)), *arguments, "--kube-version", toolchain.KUBERNETES, "--values", "-"]
    return subprocess.run(command, input=yaml.safe_dump(values or {}), capture_output=True, text=True, check=False)


def template(example: str, values: Document | None = None, namespace: str = NAMESPACE) -> list[Document]:
    file = EXAMPLES / f"{example}.yaml"
    done = helm("template", "sync", str(CHART), "-n", namespace, "--values", str(file), values=values)
    assert done.returncode == 0, done.stderr
    return [document for document in yaml.safe_load_all(done.stdout) if document]


def objects(documents: list[Document]) -> dict[tuple[str, str], Any]:
    """The objects by kind and name, without what the two tools do differently: kustomize gives the ConfigMap a hash, helm
    gives the pods one."""
    found = {}
    for document in unhashed(documents):
        if "helm.sh/hook" in document["metadata"].get("annotations", {}):
            continue
        if document["kind"] == "Deployment":
            dig(document, "spec", "template", "metadata", "annotations").pop(CHECKSUM, None)
        found[document["kind"], document["metadata"]["name"]] = document
    return found


@pytest.mark.parametrize("variant", VARIANTS)
def test_a_variant_comes_out_as_from_kustomize(variant: str) -> None:
    overlay, *components = variant.split("+")
    values: Document = {}
    for component in components:
        values |= SWITCHES[component]
    made = objects(template(overlay, values))
    assert made == objects(render(BETTER.get(variant, variant)).documents)


def test_the_example_of_ones_own_comes_out_as_the_overlay_of_ten_lines() -> None:
    made = objects(template("own", namespace="chat"))
    assert made == objects(render_overlay(OVERLAY, *EVERYTHING).documents)


def test_every_example_is_compared() -> None:
    assert {file.stem for file in EXAMPLES.iterdir()} == {"own", "production", "staging"}


def test_the_generated_files_are_up_to_date() -> None:
    """`make chart` writes them."""
    made = generated()
    assert {name: (CHART / name).read_text() for name in made} == made
    assert {file.relative_to(CHART).as_posix() for file in (CHART / "templates").rglob("*.yaml")} == {
        name for name in made if name.endswith(".yaml")
    }


def test_the_values_are_those_of_the_base() -> None:
    values = yaml.safe_load((CHART / "values.yaml").read_text())
    assert values["settings"] == settings() | dict.fromkeys(OF_THE_OVERLAY, "")


def test_a_changed_setting_changes_the_pods() -> None:
    before, after = (Manifests(template("staging", values)) for values in ({}, {"settings": {"LOG_LEVEL": "INFO"}}))
    assert before.annotations[CHECKSUM] != after.annotations[CHECKSUM]


def test_helm_test_runs_check_in_a_pod_like_the_audits() -> None:
    made = Manifests(template("production"))
    pod = made.one("Pod")
    assert pod["metadata"]["annotations"]["helm.sh/hook"] == "test"
    audit = dig(made.job("audit"), "spec", "jobTemplate", "spec", "template")
    audit["spec"]["containers"][0]["args"] = ["check"]
    assert pod["spec"] == audit["spec"]
    assert pod["metadata"]["labels"] == audit["metadata"]["labels"]
    assert pod["metadata"]["annotations"].items() >= audit["metadata"]["annotations"].items()


def test_every_pod_gets_what_the_cluster_asks_of_pods() -> None:
    asked = {
        "imagePullSecrets": [{"name": "registry"}], "tolerations": [{"key": "chat", "operator": "Exists"}],
        "nodeSelector": {"pool": "chat"}, "priorityClassName": "high", "affinity": {"nodeAffinity": {}},
    }  # fmt: skip
    made = Manifests(template("production", {"pod": asked}))
    pods = [*(template["spec"] for _, template in made.pods()), made.one("Pod")["spec"]]
    assert len(pods) == 2 + len(COMMANDS)
    assert all(pod.items() >= asked.items() for pod in pods)


@pytest.mark.parametrize(
    ("values", "said"),
    [
        ({"settings": {"KAFKA_BROKER": "kafka:9092"}}, "KAFKA_BROKER"),
        ({"settings": {"KAFKA_BROKERS": "kafka"}}, "KAFKA_BROKERS"),
        ({"settings": {"MATRIX_SERVER_NAME": ""}}, "MATRIX_SERVER_NAME"),
        ({"settings": {"MATRIX_MAX_DELETIONS_PER_HOUR": 1000000}}, "MATRIX_MAX_DELETIONS_PER_HOUR"),
        ({"settings": {"PUBSUB_COMPONENTS": "4"}}, "PUBSUB_COMPONENTS"),
        ({"settings": {"PUBSUB_NAME": "pubsub"}}, "PUBSUB_NAME"),
        ({"settings": {"MATRIX_OIDC_PROVIDER": 'a"b'}}, "MATRIX_OIDC_PROVIDER"),
        ({"settings": {"MATRIX_ADMIN_TOKEN": "syt_token"}}, "MATRIX_ADMIN_TOKEN"),
        ({"image": {"digest": "9f86d081"}}, "digest"),
        ({"kafka": {"authentication": "scram"}}, "authentication"),
        ({"replicaCount": 3}, "replicaCount"),
    ],
)  # fmt: skip
def test_a_wrong_value_is_named(values: Document, said: str) -> None:
    done = helm("template", "sync", str(CHART), "--values", str(EXAMPLES / "staging.yaml"), values=values)
    assert done.returncode == 1
    assert said in done.stderr


def test_without_the_values_that_only_an_environment_knows_nothing_is_rendered() -> None:
    done = helm("template", "sync", str(CHART))
    assert done.returncode == 1
    assert all(name in done.stderr for name in OF_THE_OVERLAY)


def test_helm_has_no_complaint() -> None:
    done = helm("lint", str(CHART), "--strict", "--values", str(EXAMPLES / "production.yaml"))
    assert done.returncode == 0, done.stdout + done.stderr

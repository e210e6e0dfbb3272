"""The pod of staging after injection: restricted, with its secrets, and without tokens that it does not need."""

import json
from collections.abc import Iterator

import pytest

from dev.k8s.cluster import Cluster
from dev.k8s.control_plane import NAMESPACE as DAPR
from dev.k8s.control_plane import VALUES, ControlPlane
from dev.k8s.pod import daprd_of
from tests.k8s.namespace import Namespace, Warnings
from tests.manifests.rendering import dig, render
from tests.manifests.rules.names import APP, NAMESPACE
from tests.manifests.rules.workload import TOKEN_FOLDER

pytestmark = pytest.mark.quick


@pytest.fixture(scope="module")
def staging(
    cluster: Cluster, control_plane: ControlPlane, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Namespace]:
    """Applies staging unchanged and waits for its pods."""
    with Namespace(cluster, control_plane, tmp_path_factory.mktemp("staging")) as made:
        made.create_secrets()
        made.apply("staging")
        made.wait_for_pods(2)
        yield made


def test_the_sidecar_is_confined_and_has_its_secrets(staging: Namespace) -> None:
    daprd = daprd_of(staging.pods()[0])
    assert daprd["securityContext"] == {
        "allowPrivilegeEscalation": False,
        "capabilities": {"drop": ["ALL"]},
        "readOnlyRootFilesystem": True,
        "runAsNonRoot": True,
        "seccompProfile": {"type": "RuntimeDefault"},
    }
    assert daprd["resources"] == {"limits": {"memory": "2Gi"}, "requests": {"cpu": "100m", "memory": "128Mi"}}
    env = {variable["name"]: variable for variable in daprd["env"]}
    assert env["GOMEMLIMIT"]["value"] == "1840MiB"
    for variable, secret in (("APP_API_TOKEN", "app"), ("DAPR_API_TOKEN", "api")):
        reference = {"name": f"{APP}-{secret}-token", "key": "token"}
        assert env[variable]["valueFrom"]["secretKeyRef"] == reference
    mounts = {mount["mountPath"]: mount for mount in daprd["volumeMounts"]}
    assert mounts.keys() == {TOKEN_FOLDER, "/var/run/secrets/dapr.io/sentrytoken"}
    assert all(mount["readOnly"] for mount in mounts.values())


def test_the_scrape_job_finds_the_sidecars_metrics(staging: Namespace) -> None:
    """By the port name that the injector sets."""
    endpoints = render("staging+monitoring").one("PodMonitor")["spec"]["podMetricsEndpoints"]
    ports = {port["name"]: port["containerPort"] for port in daprd_of(staging.pods()[0])["ports"]}
    assert ports[endpoints[1]["port"]] == 9090


@pytest.mark.parametrize(
    ("annotation", "value", "said"),
    [
        ("app-port", "http", "Failed to parse int value from annotation dapr.io/app-port"),
        ("sidecar-cpu-request", "fast", "couldn't set container resource requirements"),
        ("volume-mounts", "no-such:/x", "Volume no-such is not present in pod"),
    ],
)
def test_what_the_injector_ignores_is_a_warning_in_its_log(
    annotation: str, value: str, said: str, staging: Namespace, control_plane: ControlPlane
) -> None:
    """The negative control of the test that expects no warning."""
    template = render("staging").pod
    template["metadata"]["annotations"][f"dapr.io/{annotation}"] = value
    named = template["metadata"] | {"name": "mistyped", "namespace": NAMESPACE}
    pod = {"apiVersion": "v1", "kind": "Pod", "metadata": named, "spec": template["spec"]}
    warnings = Warnings(control_plane)
    staging.cluster.kubectl("create", "--dry-run=server", "-f", "-", text=json.dumps(pod))
    (line,) = warnings.new()
    assert said in line


def test_the_network_policy_lets_daprd_reach_the_control_plane(staging: Namespace) -> None:
    """By the labels and ports that the chart sets on the pods behind the addresses in daprd's arguments."""
    (peer,) = [rule for rule in render("production").one("NetworkPolicy")["spec"]["egress"]
               if dig(rule, "to", 0, "namespaceSelector", "matchLabels", "kubernetes.io/metadata.name") == DAPR]  # fmt: skip
    (allowed,) = peer["to"][0]["podSelector"]["matchExpressions"]
    for service in ("dapr-api", "dapr-sentry"):
        spec = staging.cluster.get("service", service, DAPR)["spec"]
        assert spec["selector"]["app"] in allowed["values"]
        (target,) = {port["targetPort"] for port in spec["ports"] if port["port"] == 443}
        assert {"protocol": "TCP", "port": target} in peer["ports"]


def test_only_the_sidecar_has_a_token_of_the_account(staging: Namespace) -> None:
    (function,) = staging.pods()[0]["spec"]["containers"]
    assert function["name"] == "function"
    assert "volumeMounts" not in function
    added = {variable["name"] for variable in function["env"]}
    own = {"APP_HOST", "KAFKA_CLIENT_ID", "APP_API_TOKEN", "DAPR_API_TOKEN"}
    assert added == own | {"DAPR_HTTP_PORT", "DAPR_GRPC_PORT", "APP_PROTOCOL"}


def test_the_chart_values_of_the_deploy_page_are_needed(staging: Namespace) -> None:
    """Without dropped capabilities no pod would start in a restricted namespace: the API server refuses daprd as the chart's
    defaults configure it."""
    assert VALUES["dapr_sidecar_injector.sidecarDropALLCapabilities"] == "true"
    pod = staging.pods()[0]
    del daprd_of(pod)["securityContext"]["capabilities"]
    bare = {
        "apiVersion": "v1",
        "kind": "Pod",
        "metadata": {"name": "bare", "namespace": NAMESPACE},
        "spec": pod["spec"],
    }
    done = staging.cluster.run("create", "--dry-run=server", "-f", "-", text=json.dumps(bare))
    assert done.returncode == 1
    assert 'unrestricted capabilities (container "daprd"' in done.stderr
    daprd_of(bare)["securityContext"]["capabilities"] = {"drop": ["ALL"]}
    staging.cluster.kubectl("create", "--dry-run=server", "-f", "-", text=json.dumps(bare))

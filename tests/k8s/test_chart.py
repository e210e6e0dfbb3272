"""The Helm chart on a real API server: installed, upgraded and rolled back with helm, and `helm test`, whose pod runs `check`
against the real servers. There is no kubelet: the test reports what it would."""

import subprocess
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import Any

from dev.chart.files import CHART
from dev.k8s import toolchain
from dev.k8s.control_plane import ControlPlane
from dev.processes import listens
from dev.stack import Stack
from tests.integration.stack import wait_until
from tests.k8s.events import members
from tests.k8s.namespace import Namespace, Warnings, settings_for
from tests.manifests.rules.names import APP, CONFIG_MAP

RELEASE = "sync"
CHECK = f"{APP}-check"


def helm(namespace: Namespace, *arguments: str) -> subprocess.CompletedProcess[str]:
    config = namespace.cluster.folder / "admin.kubeconfig"
    command = [str(toolchain.helm(print)), *arguments, "-n", namespace.name, f"--kubeconfig={config}"]
    return subprocess.run(command, capture_output=True, text=True, timeout=180, check=False)


def put(namespace: Namespace, verb: str, settings: dict[str, str]) -> str:
    """Installs or upgrades the release as staging with some other settings; returns what helm says."""
    sets = [word for name, value in settings.items() for word in ("--set-string", f"settings.{name}={value}")]
    done = helm(namespace, verb, RELEASE, str(CHART), "--values", str(CHART / "examples" / "staging.yaml"), *sets)
    assert done.returncode == 0, done.stderr
    return done.stdout


def checksum(pod: dict[str, Any]) -> str:
    return str(pod["metadata"]["annotations"]["checksum/settings"])


def test_an_upgrade_rolls_the_pods_and_a_rollback_returns(
    namespace: Namespace, control_plane: ControlPlane, tell: Callable[[str], None]
) -> None:
    """In a namespace that admits only restricted pods."""
    namespace.create_secrets()
    warnings = Warnings(control_plane)
    said = put(namespace, "install", {})
    assert "helm test sync -n infrastructure" in said
    (first, _) = [checksum(pod) for pod in namespace.wait_for_pods(2)]
    assert warnings.new() == []
    assert namespace.cluster.get("configmap", CONFIG_MAP, namespace.name)["data"]["LOG_LEVEL"] == "DEBUG"

    put(namespace, "upgrade", {"LOG_LEVEL": "WARNING"})
    wait_until(lambda: bool(namespace.newest()), "a pod of the new settings")
    assert checksum(namespace.newest()[0]) != first

    done = helm(namespace, "rollback", RELEASE, "1")
    assert done.returncode == 0, done.stderr
    wait_until(lambda: {checksum(pod) for pod in namespace.newest()} == {first}, "pods of the first settings")
    tell(said)


def test_helm_test_runs_the_check_in_a_pod_of_its_own(
    namespace: Namespace, stack: Stack, tell: Callable[[str], None]
) -> None:
    namespace.create_secrets(stack.synapse.token, stack.postgres.url("state"))
    put(namespace, "install", settings_for(stack))
    function = namespace.run(namespace.wait_for_pods(2)[0])
    wait_until(lambda: members(stack) == [function.name] * 3, "the function's three members")
    with ThreadPoolExecutor() as side:
        tested = side.submit(helm, namespace, "test", RELEASE, "--timeout", "120s")
        wait_until(lambda: namespace.cluster.exists("pod", CHECK, namespace.name), "the pod of the test")
        manifest = namespace.cluster.get("pod", CHECK, namespace.name)
        pod = namespace.prepare(manifest)
        pod.start_sidecar()
        wait_until(lambda: listens(pod.http_port), "daprd's API")
        done = pod.in_function(*pod.arguments())
        namespace.report_ended(manifest, done.returncode)
        assert tested.result().returncode == done.returncode, tested.result().stderr
    tell(done.stdout)
    assert pod.arguments() == ["check"]
    assert done.returncode == 0, done.stdout + done.stderr
    assert "this daprd has no app" in done.stdout


def test_a_failed_check_fails_the_test(namespace: Namespace) -> None:
    """The control of the test above: what the pod ends with is what helm ends with."""
    namespace.create_secrets()
    put(namespace, "install", {})
    with ThreadPoolExecutor() as side:
        tested = side.submit(helm, namespace, "test", RELEASE, "--timeout", "60s")
        wait_until(lambda: namespace.cluster.exists("pod", CHECK, namespace.name), "the pod of the test")
        namespace.report_ended(namespace.cluster.get("pod", CHECK, namespace.name), 1)
        assert tested.result().returncode == 1

"""The API server accepts every variant, and the resulting pods have the intended sidecar."""

import json
import time
from collections.abc import Callable

import pytest
import yaml

from dev.k8s.control_plane import ControlPlane
from dev.k8s.pod import daprd_of, flags
from tests.k8s.namespace import Namespace, Warnings
from tests.manifests.rendering import OVERLAYS, VARIANTS, dig, render
from tests.manifests.rules.names import APP

DAPRD = {
    "mode": "kubernetes",
    "app-id": APP,
    "app-port": "18080",
    "app-protocol": "http",
    "config": APP,
    "enable-mtls": "true",
    "enable-app-health-check": "true",
    "app-health-check-path": "/health/ready",
    "app-health-probe-interval": "1",
    "app-health-probe-timeout": "500",
    "app-health-threshold": "3",
    "dapr-graceful-shutdown-seconds": "5",
    "dapr-listen-addresses": "[::1],127.0.0.1",
    "disable-builtin-k8s-secret-store": "true",
    "log-as-json": "true",
    "log-level": "info",
    "enable-metrics": "true",
    "metrics-port": "9090",
    "scheduler-host-address": "",
}


@pytest.mark.parametrize("variant", VARIANTS)
def test_every_variant_is_applied_as_it_is(variant: str, namespace: Namespace) -> None:
    """With strict validation: an unknown field is an error. Applying again changes nothing."""
    namespace.create_secrets()
    lines = namespace.apply(variant).splitlines()
    assert len(lines) == len(render(variant).documents)
    assert {line.split()[-1] for line in lines} == {"created"}
    manifests = yaml.safe_dump_all(render(variant).documents)
    again = namespace.cluster.run("diff", "-f", "-", text=manifests)
    assert (again.returncode, again.stdout) == (0, "")


def test_a_mistyped_field_is_refused(namespace: Namespace) -> None:
    """The negative control of the test above: strict validation is on."""
    deployment = render("staging").function
    deployment["spec"]["template"]["spec"]["terminationGracePeriod"] = 40
    done = namespace.cluster.run("apply", "--validate=strict", "-f", "-", text=json.dumps(deployment))
    assert done.returncode == 1
    assert 'unknown field "spec.template.spec.terminationGracePeriod"' in done.stderr


@pytest.mark.parametrize("overlay", OVERLAYS)
def test_the_pods_come_out_with_the_sidecar_that_was_meant(
    overlay: str, namespace: Namespace, control_plane: ControlPlane, tell: Callable[[str], None]
) -> None:
    """In a namespace that admits only restricted pods."""
    namespace.create_secrets()
    warnings = Warnings(control_plane)
    began = time.monotonic()
    namespace.apply(overlay)
    pods = namespace.wait_for_pods(render(overlay).function["spec"]["replicas"])
    took = time.monotonic() - began
    for pod in pods:
        daprd = daprd_of(pod)
        assert pod["metadata"]["labels"].items() >= {"dapr.io/sidecar-injected": "true", "dapr.io/app-id": APP}.items()
        found = flags(daprd)
        assert {name: found.get(name) for name in DAPRD} == DAPRD
        assert not found.keys() & {"placement-host-address", "actors-service", "reminders-service"}
        assert daprd in pod["spec"]["initContainers"]
        assert daprd["restartPolicy"] == "Always"
    assert warnings.new() == []
    tell(f"{overlay}: {len(pods)} pods with a sidecar {took:.1f} s after `kubectl apply`")
    if overlay == "production":
        shown = daprd_of(pods[0]) | {"env": _short(daprd_of(pods[0])["env"])}
        tell(yaml.safe_dump(shown, sort_keys=False, width=110, default_flow_style=None))


def _short(env: list[dict[str, object]]) -> list[dict[str, object]]:
    """Returns it without the certificate's text."""
    return [variable if not str(dig(variable, "value")).startswith("-----") else {"name": variable["name"], "value": "..."}
            for variable in env]  # fmt: skip

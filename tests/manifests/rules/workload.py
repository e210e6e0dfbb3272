"""What must hold for every pod and its controller: confinement, resources, probes, updates, shutdown. A rule yields a
sentence for each thing that is wrong; it says nothing about Dapr (sidecar.py) or about names (names.py)."""

import re
from collections.abc import Iterator
from typing import Any

from function.cli.serve import GRACE_SECONDS
from function.routes import LIVE_ROUTE, READY_ROUTE
from tests.manifests.rendering import Document, Manifests, dig

TOKEN_FOLDER = "/var/run/secrets/kubernetes.io/serviceaccount"
_UNITS = {"": 1, "m": 0.001, "k": 1e3, "M": 1e6, "G": 1e9, "Ki": 2**10, "Mi": 2**20, "Gi": 2**30}


def quantity(text: Any) -> float | None:
    """Kubernetes' numbers with a unit; None for what is none."""
    found = re.fullmatch(r"(\d+(?:\.\d+)?)(m|k|M|G|Ki|Mi|Gi)?", str(text))
    return float(found[1]) * _UNITS[found[2] or ""] if found else None


def number(value: Any) -> float:
    """A value that has to be a number; NaN otherwise, which no bound holds."""
    return float(value) if isinstance(value, int) and not isinstance(value, bool) else float("nan")


CONFINED: Document = {"runAsNonRoot": True, "seccompProfile": {"type": "RuntimeDefault"}}
USER = {"runAsUser": 65532, "runAsGroup": 65532}  # except where the namespace has its own


def pods_are_confined(manifests: Manifests) -> Iterator[str]:
    first = dig(manifests.pod, "spec", "securityContext")
    for name, template in manifests.pods():
        spec = template["spec"]
        context = spec.get("securityContext", {})
        if context != first or context not in (CONFINED | USER, CONFINED):
            yield f"{name} securityContext is {context}, not {CONFINED | USER}"
        if spec.get("automountServiceAccountToken") is not False:
            yield f"{name}: every container gets the account's token"
        if spec.get("enableServiceLinks") is not False:
            yield f"{name}: Services of the namespace become environment variables"
        if shared := {"hostNetwork", "hostPID", "hostIPC", "shareProcessNamespace"} & spec.keys():
            yield f"{name}: shares {shared} with the node"
        for container in (*spec.get("containers", []), *spec.get("initContainers", [])):
            yield from _differs(f"{name}/{container.get('name')} securityContext", container.get("securityContext"), {
                "allowPrivilegeEscalation": False, "readOnlyRootFilesystem": True, "capabilities": {"drop": ["ALL"]},
            })  # fmt: skip


def the_accounts_token_is_for_daprd_only(manifests: Manifests) -> Iterator[str]:
    wanted = {
        "name": "kube-api-access",
        "projected": {
            "sources": [
                {"serviceAccountToken": {"path": "token", "expirationSeconds": 3607}},
                {"configMap": {"name": "kube-root-ca.crt", "items": [{"key": "ca.crt", "path": "ca.crt"}]}},
                {"downwardAPI": {"items": [{"path": "namespace", "fieldRef": {"fieldPath": "metadata.namespace"}}]}},
            ],
        },
    }
    for name, template in manifests.pods():
        volumes = template["spec"].get("volumes") or [{}]
        if volumes[0] != wanted:
            yield f"{name}: the first volume is not the projected token"
        # The rules about Kafka's client say what `kafka` holds.
        if others := [volume.get("name") for volume in volumes[1:] if volume.get("name") != "kafka"]:
            yield f"{name}: unknown volumes {others}"
        for container in template["spec"].get("containers", []):
            if any(mount.get("name") != "kafka" for mount in container.get("volumeMounts", [])):
                yield f"{name}/{container.get('name')}: mounts what it has no use for"
        if dig(template, "metadata", "annotations", "dapr.io/volume-mounts") != f"kube-api-access:{TOKEN_FOLDER}":
            yield f"{name}: daprd does not find the account's token where client libraries look for it"


def containers_ask_for_what_they_need(manifests: Manifests) -> Iterator[str]:
    for name, template in manifests.pods():
        for container in template["spec"].get("containers", []):
            resources = container.get("resources", {})
            yield from bounds(f"{name}/{container.get('name')}", resources.get("requests"), resources.get("limits"))
            if [dig(resources, bound, "ephemeral-storage") for bound in ("requests", "limits")] != ["64Mi", "256Mi"]:
                yield f"{name}: a log that grows fills the node's disk"
            image = str(container.get("image"))
            if not re.fullmatch(r"[\w.\-/]+(:\d+\.\d+\.\d+|@sha256:[0-9a-f]{64})", image):
                yield f"{name}: the image {image} has no version"
            if container.get("imagePullPolicy") != "IfNotPresent":
                yield f"{name}: a version is pulled once"


def bounds(name: str, requests: Any, limits: Any) -> Iterator[str]:
    """Requests and a memory limit within reason, and no limit on CPU."""
    cpu, memory, limit = (quantity(dig(*at)) for at in ((requests, "cpu"), (requests, "memory"), (limits, "memory")))
    if cpu is None or not 0.01 <= cpu <= 2:
        yield f"{name}: CPU request {cpu}"
    if memory is None or limit is None or not 64 * 2**20 <= memory <= limit <= 2 * 2**30:
        yield f"{name}: memory request {memory} and limit {limit}"
    if dig(limits, "cpu") is not None:
        yield f"{name}: a throttled consumer misses heartbeats"


def probes_ask_the_right_question(manifests: Manifests) -> Iterator[str]:
    container = manifests.container
    for probe, path in (("startup", LIVE_ROUTE), ("liveness", LIVE_ROUTE), ("readiness", READY_ROUTE)):
        asked = container.get(f"{probe}Probe", {})
        if asked.get("httpGet") != {"path": path, "port": "http"}:
            yield f"the {probe} probe asks {asked.get('httpGet')}"
        period, failures = number(asked.get("periodSeconds")), number(asked.get("failureThreshold"))
        within = {"startup": (30, 120), "liveness": (30, 120), "readiness": (5, 20)}[probe]
        if not (within[0] <= period * failures <= within[1] and 1 <= period <= 10):
            yield f"the {probe} probe gives up after {period} x {failures} s"
        timeout = number(asked.get("timeoutSeconds"))
        if not 1 < timeout <= period:
            yield f"the {probe} probe waits {timeout} s"
    if container.get("ports") != [{"name": "http", "containerPort": 18080}]:
        yield "the probes' port is not the function's"


def an_update_keeps_a_consumer_up(manifests: Manifests) -> Iterator[str]:
    spec = manifests.function.get("spec", {})
    rolling = {"type": "RollingUpdate", "rollingUpdate": {"maxUnavailable": 0, "maxSurge": 1}}
    yield from _differs("strategy", spec.get("strategy"), rolling)
    scaled = dig(manifests.one("ScaledObject"), "spec", "minReplicaCount") if manifests.of("ScaledObject") else None
    replicas = number(spec.get("replicas") if scaled is None else scaled)
    if not 2 <= replicas <= 6:
        yield f"{replicas} replicas"
    if scaled is not None and "replicas" in spec:
        yield "Deployment and scaler both set the replicas"
    if not 120 <= number(spec.get("progressDeadlineSeconds")) <= 900:
        yield "an update that gets nowhere is not noticed in time"
    if not 2 <= number(spec.get("revisionHistoryLimit")) <= 10:
        yield "no earlier version to go back to"


def shutdown_leaves_time_for_a_batch(manifests: Manifests) -> Iterator[str]:
    leaving = str(manifests.annotations.get("dapr.io/graceful-shutdown-seconds"))
    grace = number(dig(manifests.pod, "spec", "terminationGracePeriodSeconds"))
    if not leaving.isdecimal() or not 3 <= int(leaving) <= 10:
        yield f"daprd leaves the group within {leaving} s"
    elif not GRACE_SECONDS + int(leaving) + 5 <= grace <= 60:
        yield f"{grace} s for a batch of {GRACE_SECONDS} s and daprd's {leaving} s"


def pods_are_spread_and_protected(manifests: Manifests) -> Iterator[str]:
    labels = {"app.kubernetes.io/name": "matrix-account-sync"}
    spread = dig(manifests.pod, "spec", "topologySpreadConstraints") or []
    wanted = [
        {"maxSkew": 1, "topologyKey": key, "whenUnsatisfiable": "ScheduleAnyway",
         "labelSelector": {"matchLabels": labels}, "matchLabelKeys": ["pod-template-hash"]}
        for key in ("kubernetes.io/hostname", "topology.kubernetes.io/zone")
    ]  # fmt: skip
    if spread != wanted:
        yield f"spread over nodes and zones: {spread}"
    yield from _differs("disruption budget", dig(manifests.one("PodDisruptionBudget"), "spec"), {
        "maxUnavailable": 1, "unhealthyPodEvictionPolicy": "AlwaysAllow", "selector": {"matchLabels": labels},
    })  # fmt: skip


def _differs(what: str, found: Any, wanted: Document) -> Iterator[str]:
    if found != wanted:
        yield f"{what} is {found}, not {wanted}"


RULES = (
    pods_are_confined, the_accounts_token_is_for_daprd_only, containers_ask_for_what_they_need,
    probes_ask_the_right_question, an_update_keeps_a_consumer_up, shutdown_leaves_time_for_a_batch,
    pods_are_spread_and_protected,
)  # fmt: skip

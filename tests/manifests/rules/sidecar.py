"""What must hold for daprd: its annotations, components, Resiliency and Configuration. Dapr itself says nothing about
most mistakes in these: it ignores the value, or the whole annotation."""

import copy
import functools
import re
from collections.abc import Iterator

import yaml

from function.routes import READY_ROUTE
from function.settings import RESULTS_SUFFIX
from tests.manifests.rendering import ROOT, Document, Manifests, dig, metadata
from tests.manifests.rules.names import APP, settings_of
from tests.manifests.rules.workload import TOKEN_FOLDER, bounds

# Each annotation with the values that it may have, as a regular expression. An annotation that is not here is refused:
# the injector ignores what it does not know.
ANNOTATIONS = {
    "enabled": "true",
    "app-id": APP,
    "app-port": "18080",
    "app-protocol": "http",
    "config": APP,
    "enable-native-sidecar": "true",
    "graceful-shutdown-seconds": r"\d",
    "enable-app-health-check": "true",
    "app-health-check-path": READY_ROUTE,
    "app-health-probe-interval": "1",
    "app-health-probe-timeout": "500",
    "app-health-threshold": "3",
    "app-token-secret": f"{APP}-app-token",
    "api-token-secret": f"{APP}-api-token",
    "disable-builtin-k8s-secret-store": "true",
    "volume-mounts": f"kube-api-access:{TOKEN_FOLDER}",
    "placement-host-address": "",
    "scheduler-host-address": "",
    "log-as-json": "true",
    "log-level": "info",
    "enable-metrics": "true",
    "metrics-port": "9090",
    "sidecar-cpu-request": r"\d+m",
    "sidecar-memory-request": r"\d+Mi",
    "sidecar-memory-limit": r"\d+Mi",
    "env": r"GOMEMLIMIT=\d+MiB",
    "sidecar-seccomp-profile-type": "RuntimeDefault",
}
NAMED = r"[\w.,=-]+"
_PUBSUB = {
    "brokers": r"[\w.-]+:\d+(,[\w.-]+:\d+)*",
    "consumerGroup": r"[\w.-]+",
    "clientId": r"\{podName\}",
    "initialOffset": "oldest",
    "version": "2.8.0",
    "consumerGroupRebalanceStrategy": "range",
    "maxMessageBytes": "2097152",
    "consumeRetryInterval": "200ms",
    "channelBufferSize": "16",
    "allowedTopics": NAMED,
    "publishingScopes": NAMED,
    "subscriptionScopes": NAMED,
}
_STATE = {
    "keyPrefix": "statestore",
    "tablePrefix": "matrix_account_sync_",
    "metadataTableName": "matrix_account_sync_dapr_metadata",
    "timeout": r"([5-9]|[12]\d)s",
    "maxConns": r"[2-9]|1\d",
}
# The ways to show Kafka who we are: plain values, and the keys of the Secret matrix-account-sync-kafka.
KAFKA_AUTH: dict[str, tuple[dict[str, str], dict[str, str]]] = {
    "none": ({}, {}),
    "password": (
        {"saslMechanism": "SHA-512"},
        {"saslUsername": "username", "saslPassword": "password", "caCert": "ca.crt"},
    ),
    "mtls": ({}, {"clientCert": "user.crt", "clientKey": "user.key", "caCert": "ca.crt"}),
}


def annotations_are_known_and_readable(manifests: Manifests) -> Iterator[str]:
    found = {str(name): value for name, value in manifests.annotations.items()}
    for name, value in found.items():
        allowed = ANNOTATIONS.get(name.removeprefix("dapr.io/")) if name.startswith("dapr.io/") else None
        if allowed is None:
            yield f"annotation {name} is not one of Dapr's that this app uses"
        elif not isinstance(value, str) or not re.fullmatch(allowed, value):
            yield f"annotation {name} is {value!r}"
    if missing := {f"dapr.io/{name}" for name in ANNOTATIONS} - found.keys():
        yield f"missing annotations: {sorted(missing)}"


def the_sidecar_has_resources(manifests: Manifests) -> Iterator[str]:
    asked = {
        key: manifests.annotations.get(f"dapr.io/sidecar-{key}")
        for key in ("cpu-request", "memory-request", "memory-limit")
    }
    requests = {"cpu": asked["cpu-request"], "memory": asked["memory-request"]}
    yield from bounds("daprd", requests, {"memory": asked["memory-limit"]})
    soft = re.search(r"(\d+)MiB", str(manifests.annotations.get("dapr.io/env")))
    hard = re.match(r"(\d+)Mi", str(asked["memory-limit"]))
    if not (soft and hard and 0.85 <= int(soft[1]) / int(hard[1]) <= 0.95):
        yield "daprd's garbage collector does not know its memory limit"


def the_sidecar_calls_the_function(manifests: Manifests) -> Iterator[str]:
    settings = settings_of(manifests)
    ports = {dig(port, "containerPort") for port in manifests.container.get("ports", [])}
    if settings and ports != {settings.app_port}:
        yield f"the function listens on {settings.app_port}, the container has {ports}"
    if manifests.annotations.get("dapr.io/app-port") not in {str(port) for port in ports}:
        yield "daprd calls another port"
    if not manifests.one("Configuration", str(manifests.annotations.get("dapr.io/config"))):
        yield "daprd asks for another Configuration"


def resources_are_for_this_app_only(manifests: Manifests) -> Iterator[str]:
    for kind in ("Component", "Resiliency"):
        for document in manifests.of(kind):
            name, own = document["metadata"].get("name"), [manifests.annotations.get("dapr.io/app-id")]
            if document.get("scopes") != own:
                yield f"{kind} {name} is for {document.get('scopes')}"


def components_have_the_names_that_the_function_asks_for(manifests: Manifests) -> Iterator[str]:
    settings = settings_of(manifests)
    if settings is None:
        return
    for block, kind, version, wanted in (
        ("pubsub", "pubsub.kafka", "v1", settings.pubsub_name),
        ("state", "state.postgresql", "v2", settings.state_store_name),
        ("secretstores", "secretstores.kubernetes", "v1", settings.secret_store_name),
    ):
        component = manifests.component(block)
        found = (dig(component, "spec", "type"), dig(component, "spec", "version"), dig(component, "metadata", "name"))
        if found != (kind, version, wanted):
            yield f"{block}: {found}"


def kafka_is_read_as_the_function_expects(manifests: Manifests) -> Iterator[str]:
    values = metadata(manifests.component("pubsub"))
    plain, secret = KAFKA_AUTH.get(str(values.get("authType")), ({}, {"authType": "unknown"}))
    expected = {name: (f"{APP}-kafka", key) for name, key in secret.items()}
    references = {name: value for name, value in values.items() if isinstance(value, tuple)}
    if references != expected:
        yield f"authType {values.get('authType')} with {references}"
    yield from _matches("pubsub", set(values) - set(references) - {"authType"}, values, _PUBSUB | plain)
    settings = settings_of(manifests)
    if settings is None:
        return
    main, dead, replay = settings.kafka_identity_events_topic, settings.dead_letter_topic, settings.replay_topic
    results = settings.matrix_results_topic or main + RESULTS_SUFFIX
    for name, wanted in {
        "brokers": settings.kafka_brokers,
        "consumerGroup": settings.kafka_consumer_group_id,
        "allowedTopics": f"{main},{dead},{replay},{results}",
        "publishingScopes": f"{APP}={dead},{replay},{results}",
        "subscriptionScopes": f"{APP}={main},{replay}",
    }.items():
        if values.get(name) != wanted:
            yield f"pubsub {name} is {values.get(name)}, not {wanted}"


def every_member_of_the_group_is_the_same(manifests: Manifests) -> Iterator[str]:
    settings = settings_of(manifests)
    first = manifests.component("pubsub").get("spec")
    for name in settings.pubsub_names if settings else []:
        member = manifests.one("Component", name)
        if not member:
            yield f"{name} is missing, or there more than once"
        elif member.get("spec") != first:
            yield f"{name} differs from the first of the function's pub/sub components"


def state_is_kept_where_all_pods_see_it(manifests: Manifests) -> Iterator[str]:
    values = metadata(manifests.component("state"))
    if values.pop("connectionString", None) != (f"{APP}-statestore", "connectionString"):
        yield "the state store's address is not in its Secret"
    yield from _matches("statestore", set(values), values, _STATE)
    if metadata(manifests.component("secretstores")):
        yield "the secret store has metadata"


def policies_are_those_of_the_local_stack(manifests: Manifests) -> Iterator[str]:
    """Tried there under every fault. The tests of components/ hold those to their own rules."""
    policies = copy.deepcopy(_local("resiliency.yaml")["spec"])
    policies["targets"]["components"] = {
        f"{APP}-{name}": targets for name, targets in policies["targets"]["components"].items()
    }
    if manifests.one("Resiliency").get("spec") != policies:
        yield "the Resiliency differs from components/resiliency.yaml"
    spec = dict(manifests.one("Configuration", APP).get("spec") or {})
    local = _local("config/config.yaml")["spec"]
    builtin = {"storeName": "kubernetes", "defaultAccess": "deny"}
    own = [scope | {"storeName": f"{APP}-{scope['storeName']}"} for scope in local["secrets"]["scopes"]]
    secrets = {"scopes": [*own, builtin]}
    # Locally, the tests rotate the token in a file, which daprd reads again only when its component changes.
    if spec != local | {"secrets": secrets, "features": [{"name": "HotReload", "enabled": False}]}:
        yield "the Configuration differs from components/config/config.yaml by more than the built-in secret store and HotReload"
    shared = {name: value for name, value in metadata(_local("pubsub.yaml")).items() if value is not None}
    values = metadata(manifests.component("pubsub"))
    if differing := {n for n, v in shared.items() if n != "authType" and values.get(n) != v}:
        yield f"pubsub differs from components/pubsub.yaml in {differing}"


@functools.cache
def _local(name: str) -> Document:
    document: Document = yaml.safe_load((ROOT / "components" / name).read_text())
    return document


def _matches(component: str, names: set[str], values: Document, allowed: dict[str, str]) -> Iterator[str]:
    if names != allowed.keys():
        yield f"{component}: {sorted(names ^ allowed.keys(), key=str)} differ from what is known"
    for name in names & allowed.keys():
        if not isinstance(values[name], str) or not re.fullmatch(allowed[name], values[name]):
            yield f"{component}: {name} is {values[name]!r}"


RULES = (
    annotations_are_known_and_readable, the_sidecar_has_resources, the_sidecar_calls_the_function,
    resources_are_for_this_app_only, components_have_the_names_that_the_function_asks_for,
    kafka_is_read_as_the_function_expects, every_member_of_the_group_is_the_same, state_is_kept_where_all_pods_see_it,
    policies_are_those_of_the_local_stack,
)  # fmt: skip

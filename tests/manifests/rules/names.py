"""Names that have to agree across documents, and with the function's own settings and routes."""

import functools
import json
import re
from collections.abc import Iterator

from pydantic import ValidationError

from function.check.mas import keys
from function.settings import SECRET_KEYS, Settings
from tests.manifests.rendering import COMMANDS, Manifests, dig, leaves

NAMESPACE = "infrastructure"  # of the staging environment that this service was made for
APP = "matrix-account-sync"
CONFIG_MAP = f"{APP}-config"
HASHED = re.compile(rf"{CONFIG_MAP}-[a-z0-9]{{10}}")  # so that a changed value rolls the pods
DASHBOARD = f"{APP}-dashboard"
KAFKA_SECRET = f"{APP}-kafka"
# Settings that only the manifests read: k8s/settings copies these names of Secrets from the ConfigMap.
SECRET_NAMES = {
    "SECRET_NAME": "realtime-chat-service-secret", "K8S_APP_TOKEN_SECRET": f"{APP}-app-token",
    "K8S_API_TOKEN_SECRET": f"{APP}-api-token", "K8S_STATE_STORE_SECRET": f"{APP}-statestore", "K8S_KAFKA_SECRET": KAFKA_SECRET,
}  # fmt: skip
KAFKA_CLIENT = f"{APP}-kafka-client"  # the ConfigMap with the properties of Kafka's own client, with kafka-mtls
LABELS = {"app.kubernetes.io/name": APP, "app.kubernetes.io/part-of": "matrix"}
JOB_LABELS = LABELS | {"app.kubernetes.io/name": f"{APP}-job"}
SEED = {
    "KAFKA_ENABLED", "KAFKA_BROKERS", "KAFKA_IDENTITY_EVENTS_TOPIC", "KAFKA_CONSUMER_GROUP_ID", "MATRIX_ENABLED",
    "MATRIX_HOMESERVER_URL", "MATRIX_SERVER_NAME", "MATRIX_SERVICE_USER",
}  # fmt: skip
# Every kind that is rendered, and in which API: what is not here has no rules, so it is refused.
KINDS = {
    "ServiceAccount": "v1", "ConfigMap": "v1", "Deployment": "apps/v1", "CronJob": "batch/v1", "PodDisruptionBudget": "policy/v1",
    "Role": "rbac.authorization.k8s.io/v1", "RoleBinding": "rbac.authorization.k8s.io/v1",
    "Component": "dapr.io/v1alpha1", "Configuration": "dapr.io/v1alpha1", "Resiliency": "dapr.io/v1alpha1",
    "NetworkPolicy": "networking.k8s.io/v1", "ScaledObject": "keda.sh/v1alpha1", "TriggerAuthentication": "keda.sh/v1alpha1",
    "ExternalSecret": "external-secrets.io/v1",
    "PodMonitor": "monitoring.coreos.com/v1", "PrometheusRule": "monitoring.coreos.com/v1",
}  # fmt: skip
OPTIONAL = {"NetworkPolicy", "ScaledObject", "TriggerAuthentication", "ExternalSecret", "PodMonitor", "PrometheusRule"}


def settings_of(manifests: Manifests) -> Settings | None:
    """The function's settings in the pod; None when it would not start."""
    environment: dict[str, object] = dict(manifests.settings)
    for variable in manifests.container.get("env", []):
        environment[variable.get("name")] = variable.get("value", "from a Secret")
    return _validated(json.dumps({str(name).lower(): value for name, value in environment.items()}))


@functools.cache
def _validated(environment: str) -> Settings | None:
    """Validates the environment, given as JSON. Most changes of a manifest leave it the same, and it costs 6 ms."""
    try:
        return Settings.model_validate(json.loads(environment))
    except ValidationError:
        return None


def secrets_of(manifests: Manifests) -> set[tuple[str, str]]:
    """Every Secret and key that something refers to; the tokens of annotations are their key `token`."""
    settings = settings_of(manifests)
    found = {(settings.secret_name, key) for key in keys(settings)} if settings else set()
    for variable in manifests.container.get("env", []):
        if reference := dig(variable, "valueFrom", "secretKeyRef"):
            found.add((str(reference.get("name")), str(reference.get("key"))))
    for component in manifests.of("Component"):
        for item in dig(component, "spec", "metadata") or []:
            if reference := item.get("secretKeyRef"):
                found.add((str(reference.get("name")), str(reference.get("key"))))
    for volume in dig(manifests.pod, "spec", "volumes") or []:
        for source in dig(volume, "projected", "sources") or []:
            items = dig(source, "secret", "items") or []
            found |= {(str(source["secret"].get("name")), str(item.get("key"))) for item in items}
    tokens = {manifests.annotations.get(f"dapr.io/{side}-token-secret") for side in ("app", "api")}
    return found | {(str(name), "token") for name in tokens}


def every_document_is_known_and_in_its_place(manifests: Manifests) -> Iterator[str]:
    for document in manifests.documents:
        kind, meta = document.get("kind"), document.get("metadata", {})
        if KINDS.get(str(kind)) != document.get("apiVersion"):
            yield f"{kind} of {document.get('apiVersion')} has no rules"
        if meta.get("namespace") != NAMESPACE:
            yield f"{kind} {meta.get('name')} is in {meta.get('namespace')}"
        if not LABELS.items() <= meta.get("labels", {}).items():
            yield f"{kind} {meta.get('name')} lacks the common labels"
    missing = KINDS.keys() - OPTIONAL - {document.get("kind") for document in manifests.documents}
    if missing:
        yield f"missing: {sorted(missing)}"
    settings = settings_of(manifests)
    pubsubs = settings.pubsub_names if settings else []
    for kind, wanted in (
        ("Component", {*pubsubs, f"{APP}-statestore", f"{APP}-secretstore"}), ("Configuration", {APP}),
        ("Resiliency", {APP}), ("CronJob", {f"{APP}-{command}" for command in COMMANDS}),
    ):  # fmt: skip
        found = manifests.names(kind)
        if found != wanted:
            yield f"{kind}: missing {sorted(wanted - found)}, unknown {sorted(found - wanted)}"
    for kind in ("ServiceAccount", "Role", "RoleBinding", "Deployment", "PodDisruptionBudget",
                 "NetworkPolicy", "ScaledObject", "TriggerAuthentication", "PodMonitor", "PrometheusRule"):  # fmt: skip
        if manifests.of(kind) and manifests.names(kind) != {APP}:
            yield f"{kind}: {sorted(manifests.names(kind))}"


def a_changed_setting_rolls_the_pods(manifests: Manifests) -> Iterator[str]:
    configs = manifests.names("ConfigMap") - {DASHBOARD, KAFKA_CLIENT}
    if [bool(HASHED.fullmatch(name)) for name in configs] != [True]:
        yield f"the names {sorted(configs)} are not one with a hash of the settings"


def the_controller_finds_its_pods(manifests: Manifests) -> Iterator[str]:
    if dig(manifests.pod, "metadata", "labels") != LABELS:
        yield "the pods lack the common labels"
    selected = {"matchLabels": {"app.kubernetes.io/name": APP}}
    if dig(manifests.function, "spec", "selector") != selected:
        yield "the Deployment selects other pods"
    # Neither it nor the disruption budget nor `kubectl exec deployment/...` may take a Job's pod for one of the function.
    both = {"key": "app.kubernetes.io/name", "operator": "In", "values": [APP, f"{APP}-job"]}
    for policy in manifests.of("NetworkPolicy"):
        if dig(policy, "spec", "podSelector") != {"matchExpressions": [both]}:
            yield "the NetworkPolicy selects other pods than the function's and the Jobs'"


def the_account_may_read_one_secret(manifests: Manifests) -> Iterator[str]:
    settings = settings_of(manifests)
    rule = {"apiGroups": [""], "resources": ["secrets"], "verbs": ["get"]}
    if settings and manifests.one("Role").get("rules") != [rule | {"resourceNames": [settings.secret_name]}]:
        yield "the Role allows something else than to get the one Secret"
    binding = manifests.one("RoleBinding")
    if binding.get("roleRef") != {"apiGroup": "rbac.authorization.k8s.io", "kind": "Role", "name": APP}:
        yield "the RoleBinding binds another Role"
    if binding.get("subjects") != [{"kind": "ServiceAccount", "name": APP, "namespace": NAMESPACE}]:
        yield "the RoleBinding is for another account"
    if manifests.one("ServiceAccount").get("automountServiceAccountToken") is not False:
        yield "the account's token is mounted although it is not needed"
    if dig(manifests.pod, "spec", "serviceAccountName") != APP:
        yield "the pod runs with another account"


def the_function_starts_with_these_settings(manifests: Manifests) -> Iterator[str]:
    values = manifests.settings
    if not values.keys() >= SEED | {"LOG_LEVEL", "PUBSUB_COMPONENTS"}:
        yield f"the ConfigMap lacks {sorted((SEED | {'LOG_LEVEL', 'PUBSUB_COMPONENTS'}) - values.keys())}"
    if unknown := [
        n for n in values.keys() - SECRET_NAMES if n.lower() not in Settings.model_fields or n in SECRET_KEYS
    ]:
        yield f"the ConfigMap holds {unknown}"
    if not all(isinstance(value, str) and value for value in values.values()):
        yield "a value of the ConfigMap is no text"
    settings = settings_of(manifests)
    if settings is None:
        yield "the function refuses these settings"
    elif not settings.enabled:
        yield "switched off"


def the_settings_lead_to_the_right_servers(manifests: Manifests) -> Iterator[str]:
    settings, values = settings_of(manifests), manifests.settings
    if settings is None:
        return
    if not re.fullmatch(r"https?://[\w.-]+(:\d+)?/?", str(settings.matrix_homeserver_url)):
        yield f"Synapse at {settings.matrix_homeserver_url}"
    if settings.matrix_mas_url and not re.fullmatch(r"https?://[\w.-]+(:\d+)?/?", str(settings.matrix_mas_url)):
        yield f"MAS at {settings.matrix_mas_url}"
    if not re.fullmatch(r"[\w.-]+:\d+(,[\w.-]+:\d+)*", settings.kafka_brokers):
        yield f"Kafka at {settings.kafka_brokers}"
    # Group and topic are what the old consumer had: with others, nothing is taken over.
    if (settings.kafka_consumer_group_id, settings.kafka_identity_events_topic) != (
        "realtime-chat-service", "nova.identity.events",
    ):  # fmt: skip
        yield "another group or topic than the old consumer's"
    if {name: values.get(name) for name in SECRET_NAMES} != SECRET_NAMES:
        yield "the names of the Secrets are others than the page's"
    if settings.matrix_server_name not in ("nova.app", "staging.nova.app"):
        yield f"the server is {settings.matrix_server_name}"
    if settings.matrix_service_user != f"@nova-service:{settings.matrix_server_name}":
        yield f"the admin account is {settings.matrix_service_user}"
    if settings.log_level not in ("DEBUG", "INFO"):
        yield "changes would not be logged"


def the_container_serves_with_the_settings_and_tokens(manifests: Manifests) -> Iterator[str]:
    if manifests.container.get("args") != ["serve"] or manifests.container.get("name") != "function":
        yield "the container does not serve"
    configs = sorted(manifests.names("ConfigMap") - {DASHBOARD, KAFKA_CLIENT})
    if manifests.container.get("envFrom") != [{"configMapRef": {"name": name}} for name in configs]:
        yield "the settings are not those of the ConfigMap"
    tokens = [
        {"name": f"{side}_API_TOKEN", "valueFrom": {"secretKeyRef": {
            "name": manifests.annotations.get(f"dapr.io/{word}-token-secret"), "key": "token"}}}
        for side, word in (("APP", "app"), ("DAPR", "api"))
    ]  # fmt: skip
    # 0.0.0.0: kubelet's probes come from outside the pod.
    # The pod's name is the clientId of its members of the group.
    pod = {"name": "KAFKA_CLIENT_ID", "valueFrom": {"fieldRef": {"fieldPath": "metadata.name"}}}
    wanted = [{"name": "APP_HOST", "value": "0.0.0.0"}, pod, *tokens]
    env = [variable for variable in manifests.container.get("env", []) if variable.get("name") != "KAFKA_CLIENT_CONFIG"]
    if env != wanted:
        yield "the function and daprd do not read the same tokens, or kubelet can't reach the function"


def secrets_are_only_the_known_ones(manifests: Manifests) -> Iterator[str]:
    settings = settings_of(manifests)
    known = {
        *(("realtime-chat-service-secret", key) for key in (keys(settings) if settings else ())), (f"{APP}-app-token", "token"), (f"{APP}-api-token", "token"),
        (f"{APP}-statestore", "connectionString"),
    }  # fmt: skip
    kafka = {name: key for name, key in secrets_of(manifests) - known if name == KAFKA_SECRET}
    if unknown := {(name, key) for name, key in secrets_of(manifests) - known if name not in kafka}:
        yield f"unknown Secrets: {sorted(unknown)}"
    if absent := known - secrets_of(manifests):
        yield f"no manifest reads {sorted(absent)}"
    if manifests.of("Secret"):
        yield "a Secret in the manifests ends up in git"


def nothing_is_left_to_be_set(manifests: Manifests) -> Iterator[str]:
    """In the files, `set by ...` stands where kustomize puts a value. Where it finds no target, it says nothing."""
    for path, value in leaves(manifests.documents):
        if "set by k8s/settings" in str(value):
            yield f"{'/'.join(map(str, path))} still says `{value}`"


RULES = (
    every_document_is_known_and_in_its_place, a_changed_setting_rolls_the_pods, the_controller_finds_its_pods, the_account_may_read_one_secret,
    the_function_starts_with_these_settings, the_settings_lead_to_the_right_servers,
    the_container_serves_with_the_settings_and_tokens, secrets_are_only_the_known_ones,
    nothing_is_left_to_be_set,
)  # fmt: skip

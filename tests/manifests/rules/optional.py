"""What must hold for the optional parts, where they are rendered: network policy, scaler, external secrets."""

import ipaddress
from collections.abc import Iterator
from typing import Any
from urllib.parse import urlsplit

from function.settings import MAS_CLIENT_ID_KEY, MAS_CLIENT_SECRET_KEY, SECRET_KEY
from tests.manifests.rendering import Document, Manifests, dig, metadata
from tests.manifests.rules.names import APP, KAFKA_SECRET, secrets_of, settings_of

CHAT_SECRET = "realtime-chat-service-secret"
# Each Secret and key that the vault fills, with the property of its entry.
PROPERTIES = {
    (CHAT_SECRET, SECRET_KEY): "admin-token",
    (CHAT_SECRET, MAS_CLIENT_ID_KEY): "mas-client-id",
    (CHAT_SECRET, MAS_CLIENT_SECRET_KEY): "mas-client-secret",
    (f"{APP}-app-token", "token"): "app-token",
    (f"{APP}-api-token", "token"): "api-token",
    (f"{APP}-statestore", "connectionString"): "statestore",
    (KAFKA_SECRET, "username"): "kafka-username",
    (KAFKA_SECRET, "password"): "kafka-password",
    (KAFKA_SECRET, "ca.crt"): "kafka-ca",
}
SASL = """\
security.protocol=SASL_SSL
sasl.mechanism=SCRAM-SHA-512
sasl.username={{ .username }}
sasl.password={{ .password }}
ssl.ca.location=/var/run/secrets/kafka/ca.crt
"""
KAFKA_TEMPLATE = {"mergePolicy": "Merge", "data": {"client.properties": SASL}}
PRIVATE, PRIVATE_6, GLOBAL_6 = {"10.0.0.0/8", "172.16.0.0/12", "192.168.0.0/16"}, "fc00::/7", "2000::/3"
NODE_DNS = "169.254.20.10/32"  # of NodeLocal DNSCache


def _namespace(name: str, pods: Document | None = None) -> Document:
    selector: Document = {"namespaceSelector": {"matchLabels": {"kubernetes.io/metadata.name": name}}}
    return selector | ({"podSelector": pods} if pods else {})


def _named(name: str) -> Document:
    return {"namespaceSelector": {}, "podSelector": {"matchLabels": {"app.kubernetes.io/name": name}}}


def _block(cidr: str) -> Document:
    return {"ipBlock": {"cidr": cidr}}


def _rule(direction: str, peers: list[Document], *ports: int, udp: bool = False) -> Document:
    allowed = [{"protocol": "UDP", "port": port} for port in ports if udp]
    return {direction: peers, "ports": allowed + [{"protocol": "TCP", "port": port} for port in ports]}


def the_pod_reaches_what_it_needs_and_no_more(manifests: Manifests) -> Iterator[str]:
    for policy in manifests.of("NetworkPolicy"):
        spec = policy.get("spec", {})
        if spec.get("policyTypes") != ["Ingress", "Egress"]:
            yield "the NetworkPolicy leaves a direction open"
        # The component `monitoring` also lets Prometheus reach the function.
        ports = [9090, *([18080] if manifests.of("PodMonitor") else [])]
        if spec.get("ingress") != [_rule("from", [_namespace("monitoring")], *ports)]:
            yield "more than Prometheus gets in, or Prometheus does not"
        if (settings := settings_of(manifests)) is None:
            continue
        synapse = urlsplit(str(settings.matrix_homeserver_url))
        control = {"matchExpressions": [{"key": "app", "operator": "In", "values": ["dapr-operator", "dapr-sentry"]}]}
        internet = {"cidr": "0.0.0.0/0", "except": sorted(PRIVATE | {"100.64.0.0/10", "127.0.0.0/8", "169.254.0.0/16"})}
        wanted = [
            _rule(
                "to",
                [_namespace("kube-system", {"matchLabels": {"k8s-app": "kube-dns"}}), _block(NODE_DNS)],
                53,
                udp=True,
            ),
            _rule("to", [_namespace("dapr-system", control)], 6500, 50001),
            _rule("to", [_named("kafka")], 9092, 9093),
            _rule("to", [_named("matrix-synapse")], synapse.port or 80),
            _rule("to", [_named("postgresql")], 5432),
            _rule("to", [_block(cidr) for cidr in [*sorted(PRIVATE), PRIVATE_6]], 443, 6443),
            _rule("to", [{"ipBlock": internet}, _block(GLOBAL_6)], 443),
        ]
        if settings.matrix_mas_url:
            wanted.append(_rule("to", [_named("matrix-authentication-service")], settings.matrix_mas_url.port or 80))
        if spec.get("egress") != wanted:
            yield f"egress is {spec.get('egress')}"
        brokers = {broker.rpartition(":")[2] for broker in settings.kafka_brokers.split(",")}
        if not brokers <= {"9092", "9093"}:
            yield f"Kafka's ports {brokers} are not let through"


def address_blocks_are_networks(manifests: Manifests) -> Iterator[str]:
    def blocks(document: Any) -> Iterator[str]:
        if isinstance(document, dict):
            yield from [document["cidr"], *document.get("except", [])] if "cidr" in document else []
            for value in document.values():
                yield from blocks(value)
        elif isinstance(document, list):
            for value in document:
                yield from blocks(value)

    for policy in manifests.of("NetworkPolicy"):
        for block in blocks(policy):
            try:
                ipaddress.ip_network(block)
            except ValueError:
                yield f"{block} is no network"


def the_scaler_watches_the_lag_of_this_group(manifests: Manifests) -> Iterator[str]:
    for scaler in manifests.of("ScaledObject"):
        settings = settings_of(manifests)
        if settings is None:
            continue
        secured, reference = _secured(manifests)
        wanted = {
            "scaleTargetRef": {"name": APP},
            "minReplicaCount": 2, "maxReplicaCount": 4, "pollingInterval": 30, "cooldownPeriod": 600,
            "advanced": {"horizontalPodAutoscalerConfig": {"behavior": {
                "scaleDown": {"stabilizationWindowSeconds": 600}}}},
            "triggers": [{"type": "kafka", "metadata": {
                "bootstrapServers": settings.kafka_brokers,
                "consumerGroup": settings.kafka_consumer_group_id,
                "topic": topic,
                "lagThreshold": "1000", "offsetResetPolicy": "earliest", "allowIdleConsumers": "false",
                "excludePersistentLag": "true", **secured,
            }, **reference} for topic in (settings.kafka_identity_events_topic, settings.replay_topic)],
        }  # fmt: skip
        if not all(".svc:" in broker for broker in settings.kafka_brokers.split(",")):
            yield "KEDA asks from its own namespace and needs the brokers' full names"
        if scaler.get("spec") != wanted:
            yield f"the scaler is {scaler.get('spec')}"


# How KEDA authenticates, by the parameters that its Kafka trigger takes from the Secret, with the keys there.
KEDA_SASL = {"username": "username", "password": "password", "ca": "ca.crt"}
KEDA_MTLS = {"cert": "user.crt", "key": "user.key", "ca": "ca.crt"}


def _secured(manifests: Manifests) -> tuple[Document, Document]:
    """The words of a trigger's metadata, and its reference, where KEDA has Kafka's credentials."""
    if not (found := manifests.of("TriggerAuthentication")):
        return {}, {}
    asked = {parameter.get("parameter") for parameter in dig(found[0], "spec", "secretTargetRef") or []}
    sasl = {"sasl": "scram_sha512"} if "password" in asked else {}
    return {"tls": "enable", **sasl}, {"authenticationRef": {"name": APP}}


def keda_has_the_credentials_of_the_function(manifests: Manifests) -> Iterator[str]:
    for found in manifests.of("TriggerAuthentication"):
        way = metadata(manifests.component("pubsub")).get("authType")
        keys = {"password": KEDA_SASL, "mtls": KEDA_MTLS}.get(str(way), {})
        wanted = [{"parameter": name, "name": KAFKA_SECRET, "key": key} for name, key in keys.items()]
        if found.get("spec") != {"secretTargetRef": wanted}:
            yield f"KEDA authenticates with {found.get('spec')}, the function by {way}"


def the_vault_fills_every_secret(manifests: Manifests) -> Iterator[str]:
    found = set()
    for external in manifests.of("ExternalSecret"):
        spec = external.get("spec", {})
        name = external["metadata"].get("name")
        template = {"template": KAFKA_TEMPLATE} if name == KAFKA_SECRET else {}
        if spec.get("target") != {"name": name, **template} or spec.get("refreshInterval") != "1m":
            yield f"{name} fills {spec.get('target')}"
        if spec.get("secretStoreRef") != {"kind": "ClusterSecretStore", "name": "vault"}:
            yield f"{name} is not from the vault"
        for item in spec.get("data", []):
            found.add((name, item.get("secretKey")))
            if item.get("remoteRef") != {"key": APP, "property": PROPERTIES.get((name, item.get("secretKey")))}:
                yield f"{name} asks the vault for {item.get('remoteRef')}"
    # Which keys the function's own Secret has depends on who owns the accounts.
    names, read = {name for name, _ in found}, secrets_of(manifests)
    wanted = {(name, key) for name, key in PROPERTIES if name in names and (name != CHAT_SECRET or (name, key) in read)}
    if found != wanted:
        yield f"{sorted(found ^ wanted, key=str)} are not both filled and used"
    # Kafka's credentials come from a component of their own, or from its operators.
    read = {(name, key) for name, key in read if name != KAFKA_SECRET}
    others = {(name, key) for name, key in found if name != KAFKA_SECRET}
    if others and others != read:
        yield f"{sorted(others ^ read, key=str)} are not both filled and read"


RULES = (
    the_pod_reaches_what_it_needs_and_no_more, address_blocks_are_networks, the_scaler_watches_the_lag_of_this_group,
    keda_has_the_credentials_of_the_function,
    the_vault_fills_every_secret,
)  # fmt: skip

"""What must hold for Kafka's own client in function and tools: it shows the brokers the same credentials as daprd."""

from collections.abc import Iterator

from tests.manifests.rendering import Document, Manifests, dig, metadata
from tests.manifests.rules.names import KAFKA_CLIENT, KAFKA_SECRET

FOLDER = "/var/run/secrets/kafka"
PROPERTIES = "client.properties"
MTLS = f"""\
security.protocol=SSL
ssl.ca.location={FOLDER}/ca.crt
ssl.certificate.location={FOLDER}/user.crt
ssl.key.location={FOLDER}/user.key
"""


def _source(kind: str, name: str, *keys: str) -> Document:
    return {kind: {"name": name, "items": [{"key": key, "path": key} for key in keys]}}


# By the component's authType: where the files in FOLDER come from.
SOURCES: dict[str, list[Document]] = {
    "password": [_source("secret", KAFKA_SECRET, PROPERTIES, "ca.crt")],
    "mtls": [
        _source("secret", KAFKA_SECRET, "ca.crt", "user.crt", "user.key"),
        _source("configMap", KAFKA_CLIENT, PROPERTIES),
    ],
}


def every_container_has_the_credentials_of_the_component(manifests: Manifests) -> Iterator[str]:
    sources = SOURCES.get(str(metadata(manifests.component("pubsub")).get("authType")))
    volumes = [{"name": "kafka", "projected": {"sources": sources}}] if sources else []
    mounts = [{"name": "kafka", "mountPath": FOLDER, "readOnly": True}] if sources else []
    variables = [{"name": "KAFKA_CLIENT_CONFIG", "value": f"{FOLDER}/{PROPERTIES}"}] if sources else []
    for name, template in manifests.pods():
        container = dig(template, "spec", "containers", 0) or {}
        if [volume for volume in dig(template, "spec", "volumes") or [] if volume.get("name") == "kafka"] != volumes:
            yield f"{name}: the volume `kafka` does not hold the component's credentials"
        if container.get("volumeMounts", []) != mounts:
            yield f"{name}: mounts {container.get('volumeMounts')}"
        if [one for one in container.get("env", []) if one.get("name") == "KAFKA_CLIENT_CONFIG"] != variables:
            yield f"{name}: KAFKA_CLIENT_CONFIG does not name the file"


def the_properties_name_the_files_of_the_certificate(manifests: Manifests) -> Iterator[str]:
    found = manifests.one("ConfigMap", KAFKA_CLIENT)
    mtls = metadata(manifests.component("pubsub")).get("authType") == "mtls"
    if found.get("data") != ({PROPERTIES: MTLS} if mtls else None):
        yield f"{KAFKA_CLIENT} holds {found.get('data')}"


RULES = (
    every_container_has_the_credentials_of_the_component,
    the_properties_name_the_files_of_the_certificate,
)

"""Makes the chart's values.schema.json: the settings are the function's own, with their meanings."""

from collections.abc import Mapping
from typing import Any

from dev.chart.variants import OF_THE_OVERLAY
from function.settings import Settings

# Set by the manifests in each container, so that they are not values.
_OF_THE_POD = {"APP_HOST", "APP_PORT", "APP_API_TOKEN", "KAFKA_CLIENT_ID", "KAFKA_CLIENT_CONFIG"}
# The names of Dapr's components are written in the manifests.
_FIXED = ("PUBSUB_NAME", "STATE_STORE_NAME", "SECRET_STORE_NAME")
_PATTERNS = {
    "KAFKA_IDENTITY_EVENTS_TOPIC": r"^[A-Za-z0-9._-]{1,234}$",
    "KAFKA_CONSUMER_GROUP_ID": r"^[A-Za-z0-9._-]+$",
    "KAFKA_BROKERS": r"^[A-Za-z0-9.-]+:[0-9]+(,[A-Za-z0-9.-]+:[0-9]+)*$",
    "MATRIX_SERVER_NAME": r"^[A-Za-z0-9.:\[\]-]+$",
    "PUBSUB_COMPONENTS": r"^[1-3]$",
}
_SECRET_NAME = r"^[a-z0-9]([a-z0-9.-]{0,251}[a-z0-9])?$"
_SWITCH = {"type": "boolean"}


def schema(settings: Mapping[str, str]) -> dict[str, Any]:
    """Returns the schema; `settings` are the base's."""
    enabled = _object({"enabled": _SWITCH})
    return {
        "$schema": "https://json-schema.org/draft/2020-12/schema",
        "title": "matrix-account-sync",
        **_object({
            "image": _object({
                "repository": {"type": "string", "minLength": 1},
                "tag": {"type": "string", "pattern": r"^[\w.-]*$"},
                "digest": {"type": "string", "pattern": "^(sha256:[0-9a-f]{64})?$"},
            }),
            "replicas": {"type": "integer", "minimum": 0},
            "settings": _settings(settings),
            "kafka": _object({"authentication": {"enum": ["none", "sasl", "mtls"]}}),
            "networkPolicy": enabled,
            "keda": enabled,
            "monitoring": enabled,
            "openshift": enabled,
            "pod": _object({
                "imagePullSecrets": {"type": "array"},
                "tolerations": {"type": "array"},
                "nodeSelector": {"type": "object"},
                "affinity": {"type": "object"},
                "priorityClassName": {"type": "string"},
            }),
            "externalSecrets": _object({"enabled": _SWITCH, "kafka": _SWITCH}),
            "global": {"type": "object"},
        }),
    }  # fmt: skip


def _object(properties: Mapping[str, Any]) -> dict[str, Any]:
    return {"type": "object", "additionalProperties": False, "properties": dict(properties)}


def _settings(base: Mapping[str, str]) -> dict[str, Any]:
    found = {name.upper(): field.description or "" for name, field in Settings.model_fields.items()}
    properties = {name: _setting(name, meaning) for name, meaning in found.items() if name not in _OF_THE_POD}
    of_manifests = {
        name: _setting(name, "the name of a Secret, read by the manifests only") for name in base.keys() - found
    }
    for name in _FIXED:
        properties[name] = {"const": base[name]}
    # Kustomize's `literals` are text; a number would be written in Go's way, as 1e+06.
    return _object(properties | dict(sorted(of_manifests.items()))) | {"required": [*base, *OF_THE_OVERLAY]}


def _setting(name: str, meaning: str) -> dict[str, Any]:
    pattern = (
        _SECRET_NAME if name.startswith("K8S_") or name == "SECRET_NAME" else _PATTERNS.get(name, r'^[^"\\\r\n]*$')
    )
    return {"type": ["string", "boolean"], "pattern": pattern, "description": meaning}

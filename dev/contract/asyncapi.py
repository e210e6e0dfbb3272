"""Makes the AsyncAPI document of the topic: what this service receives, so what a producer sends."""

from dev.contract.payloads import Json, name_of, payload_schema
from dev.contract.wire import USER_KEY, Format, Shape, shapes
from function.events.types import EventType
from function.settings import Settings

# The contract's own version, not the program's: it rises when what a producer may send changes.
CONTRACT = "0.1.0"
TOPIC = str(Settings.model_fields["kafka_identity_events_topic"].default)
_ABOUT = (
    "The events of the identity service that matrix-account-sync carries over to Matrix accounts. New producers send the "
    "format `bare`; the other formats are accepted too. Names of other types may share the topic: they are ignored."
)


def document() -> Json:
    """Returns the document."""
    found = shapes("#/components/schemas/")
    return {
        "asyncapi": "3.0.0",
        "info": {
            "title": "Identity events", "version": CONTRACT, "description": _ABOUT,
            "license": {"name": "Apache-2.0"},
        },
        "defaultContentType": "application/json",
        "channels": {
            "identityEvents": {
                "address": TOPIC,
                "description": "A Kafka topic. The key of a record is the user's id.",
                "messages": {_name(shape): {"$ref": f"#/components/messages/{_name(shape)}"} for shape in found},
            }
        },
        "operations": {
            "receiveIdentityEvents": {
                "action": "receive",
                "channel": {"$ref": "#/channels/identityEvents"},
                "summary": "Brings the user's Matrix account to the state that the event describes.",
            }
        },
        "components": {
            "messages": {_name(shape): _message(shape) for shape in found},
            "schemas": {name_of(kind): payload_schema(kind) for kind in EventType},
        },
    }  # fmt: skip


def _name(shape: Shape) -> str:
    name = name_of(shape.kind)
    return name if shape.format is Format.BARE else f"{name}.{shape.format}"


def _message(shape: Shape) -> Json:
    headers = {"headers": shape.example_headers} if shape.example_headers else {}
    effects = "; ".join(f"{case}: {effect}" if case else effect for case, effect in shape.kind.effects.items())
    return {
        "name": shape.kind.value,
        "title": f"{shape.kind.value}, {shape.format}",
        "summary": shape.format.means,
        "description": f"In Synapse: {effects}.",
        "contentType": "application/cloudevents+json" if shape.format is Format.CLOUDEVENT else "application/json",
        "headers": shape.headers,
        "payload": shape.value,
        "bindings": {"kafka": {"key": USER_KEY, "bindingVersion": "0.5.0"}},
        "examples": [{"name": "example", **headers, "payload": shape.example_value}],
    }

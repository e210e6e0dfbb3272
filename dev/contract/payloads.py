"""Makes the JSON schema of each event's payload from its model."""

from typing import Any

from function.events.payloads import PAYLOADS
from function.events.types import EventType

Json = dict[str, Any]

# The order in which a person reads a schema; other words follow by name.
_FIRST = {name: place for place, name in enumerate(("type", "description", "required", "properties"))}


def name_of(kind: EventType) -> str:
    """Returns the name of an event in the contract, for example `user-deleted`."""
    return kind.value.removeprefix("identity.").replace(".", "-").replace("_", "-")


def payload_schema(kind: EventType) -> Json:
    """Returns the schema of the payload: the words of JSON Schema that draft 7, and with it AsyncAPI, understands too."""
    schema: Json = _plain(PAYLOADS[kind].model_json_schema())
    return schema


def example_payload(kind: EventType) -> Json:
    """Returns a payload of the fields' own examples."""
    fields = payload_schema(kind)["properties"]
    return {name: field["examples"][0] for name, field in fields.items()}


def _plain(schema: Any) -> Any:
    """Returns the schema without pydantic's titles, and without defaults, which say what a model has and not what to send."""
    if isinstance(schema, list):
        return [_plain(one) for one in schema]
    if not isinstance(schema, dict):
        return schema
    names = sorted(schema.keys() - {"title", "default"}, key=lambda name: (_FIRST.get(name, len(_FIRST)), name))
    return {name: _inner(name, schema[name]) for name in names}


def _inner(word: str, inner: Any) -> Any:
    if word == "properties":  # in the order of the model
        return {name: _plain(field) for name, field in inner.items()}
    return inner if word == "examples" else _plain(inner)

"""Makes the files of JSON schemas: one for each event's payload, one for the records of each wire format."""

from dev.contract.payloads import Json, name_of, payload_schema
from dev.contract.wire import USER_KEY, Format, Shape, shapes
from function.events.types import EventType

DIALECT = "https://json-schema.org/draft/2020-12/schema"


def schema_files() -> dict[str, Json]:
    """Returns each file's name and schema. No file refers to another."""
    payloads = {name_of(kind): payload_schema(kind) for kind in EventType}
    files = {f"{name}.schema.json": {"$schema": DIALECT, "title": name, **schema} for name, schema in payloads.items()}
    found = shapes("#/$defs/")
    for format_ in Format:
        of_format = [shape for shape in found if shape.format is format_]
        used = {name_of(shape.kind): payloads[name_of(shape.kind)] for shape in of_format}
        files[f"record.{format_}.schema.json"] = {
            "$schema": DIALECT, "title": f"record, {format_}", "description": format_.means, "type": "object",
            "required": ["key", "payload"],
            "properties": {"key": USER_KEY},
            "anyOf": [_record(shape) for shape in of_format],
            "$defs": used,
        }  # fmt: skip
    return files


def _record(shape: Shape) -> Json:
    """Returns the schema of a record in the form that `matrix-account-sync validate` reads."""
    schema: Json = {"properties": {"headers": shape.headers, "payload": shape.value}}
    return {"required": ["headers"], **schema} if shape.needs_headers else schema

"""Judges records by the contract for producers: by the messages of the AsyncAPI document, and by the files of schemas."""

import json
import re
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import yaml
from jsonschema import Draft202012Validator
from jsonschema.exceptions import ValidationError
from jsonschema.validators import extend

CONTRACT = Path(__file__).parents[2] / "docs" / "contract"
DOCUMENT: dict[str, Any] = yaml.safe_load((CONTRACT / "asyncapi.yaml").read_text())
MESSAGES: dict[str, Any] = DOCUMENT["components"]["messages"]
NOT_JSON = object()  # no schema accepts it


def _pattern(_: object, pattern: str, instance: object, __: object) -> Iterator[ValidationError]:
    """Matches as ECMA-262 does: Python's `$` also matches before a line feed at the end."""
    if isinstance(instance, str) and not re.search(pattern.replace("$", r"\Z"), instance):
        yield ValidationError("does not match the pattern")


Validator: Any = extend(Draft202012Validator, {"pattern": _pattern})


def parsed(value: bytes | None) -> object:
    """The value as a producer's own JSON parser has it; NOT_JSON if it is none."""
    try:
        return NOT_JSON if value is None else json.loads(value.decode())
    except (ValueError, RecursionError):
        return NOT_JSON


def _within(schema: dict[str, Any]) -> Any:
    """A validator for a schema of the document, whose references lead to its components."""
    return Validator(schema | {"components": DOCUMENT["components"]})


VALIDATORS = {name: (_within(one["headers"]), _within(one["payload"])) for name, one in MESSAGES.items()}
FILES = {path.name: json.loads(path.read_text()) for path in sorted(CONTRACT.glob("*.json"))}
RECORDS = [Validator(schema) for name, schema in FILES.items() if name.startswith("record.")]


def conforming(value: object, headers: Mapping[str, str]) -> list[str]:
    """The names of the messages that the record is."""
    if value is NOT_JSON:
        return []
    return [name for name, (head, body) in VALIDATORS.items() if head.is_valid(headers) and body.is_valid(value)]


def conforms_to_a_file(value: object, headers: Mapping[str, str], key: str) -> bool:
    """Whether a schema of records accepts the record."""
    if value is NOT_JSON:
        return False
    record = {"key": key, "payload": value, "headers": dict(headers)}
    return any(one.is_valid(record) for one in RECORDS)

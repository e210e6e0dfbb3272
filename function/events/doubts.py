"""Finds what speaks against ignoring a record, or against the type that it names. Pure.

A record is ignored only if its type is certainly not one of ours: the type is well-formed, and neither a header nor
the value says otherwise. A deletion that is ignored leaves the account active, and no one would ever know.
"""

import base64
import json
import re
from collections.abc import Iterable, Iterator, Mapping
from typing import Any

from function.events.type_names import is_well_formed, letters, names_deletion, resembles_ours
from function.events.types import EventType

_TYPE_HEADERS = ("event_type", "ce_type")
# Fields that say what happened. `type` itself counts with any word in front, as in `event_type`.
_TYPE_FIELD = re.compile(r".*(?<!content)type|event|eventname|action|operation")
_DELETION_FIELD = re.compile(
    r"(is|was|user|account)?(soft|hard)?(delet|eras)(e|ed|ion|ure)(reason|type|mode)?"
    r"|.*(delet|eras)(e|ed|ion|ure)(at|on|by|date|time)"
)
_DELETION_KIND = ("softdelete", "harddelete")  # their `false` says as much as their `true`
_UNSET = (None, False, 0, "", "0", "false", "null")
_DELETION_TEXT = re.compile(rb"delet|erase", re.IGNORECASE)  # in a value that can't be parsed
_DELETION_WORDS = re.compile(r"soft_?delete|deleted_?at", re.IGNORECASE)  # in text of another format, for example XML
_DELETED = [("deleted", True)]


def doubt(kind: str, value: bytes, headers: Mapping[str, str]) -> str:
    """Returns why a record of an unknown type can't be ignored, without any text of it; "" if it can.

    Args:
        kind: the type that the record names, which is not a handled type.
        value: the record's value; it need not be JSON.
        headers: the record's headers as they were delivered, by lower-case name.
    """
    if resembles_ours(kind):
        return "the type resembles a handled type"
    if not is_well_formed(kind):
        return "the type is not well-formed"
    return header_doubt(headers) or _value_doubt(value)


def header_doubt(headers: Mapping[str, str]) -> str:
    """Returns why the headers do not allow to ignore the record; "" if they do."""
    if any("\ufffd" in headers.get(name, "") for name in _TYPE_HEADERS):
        return "a type header is not UTF-8"
    if any(resembles_ours(text) for text in header_types(headers)):
        return "a header has a handled type, or a similar type"
    return ""


def header_types(headers: Mapping[str, str]) -> Iterator[str]:
    """Yields the text of each header that has a type: `event_type`, `ce_type`, `eventType`, `type`."""
    for name, text in headers.items():
        if name.endswith("type") and "content" not in name:
            yield text


def contradicts(kind: EventType, claims: Iterable[object], data: Mapping[str, Any]) -> bool:
    """Returns whether a record that counts as another of the handled types may be a deletion.

    A deletion that other types contradict is carried out: its payload has to confirm it.

    Args:
        kind: the type that counts.
        claims: the other types that the record names.
        data: the payload.
    """
    return kind is not EventType.DELETED and (any(map(names_deletion, claims)) or _is_deletion(data))


def _is_deletion(data: Mapping[str, Any]) -> bool:
    return "soft_delete" in data and data.get("deleted_at") is not None


def _value_doubt(value: bytes) -> str:
    for name, inner in _fields(_parsed(value)):
        plain = letters(name)
        if plain.endswith(_DELETION_KIND) or (_DELETION_FIELD.fullmatch(plain) and inner not in _UNSET):
            return "the value speaks of a deletion"
        if _TYPE_FIELD.fullmatch(plain) and resembles_ours(inner):
            return "the value has a handled type, or a similar type"
    return ""


class _Pairs(list[tuple[str, Any]]):
    """An object's fields; unlike a dict it keeps those whose names repeat."""


def _fields(body: object) -> Iterator[tuple[str, Any]]:
    """Yields every field of every object in a JSON value, also within text that is JSON or base64 of JSON."""
    waiting = [body]
    while waiting:
        match waiting.pop():
            case _Pairs() as pairs:
                yield from pairs
                waiting += [_unpacked(inner) if name == "data_base64" else inner for name, inner in pairs]
            case list() as items:
                waiting += items
            case str() as text if text.lstrip()[:1] in {"{", "[", '"'}:
                waiting.append(_parsed(text))
            case str() as text if _DELETION_WORDS.search(text):
                yield from _DELETED


def _parsed(text: str | bytes) -> object:
    """Returns parsed JSON. What can't be parsed, but mentions a deletion, counts as an object that has been deleted."""
    try:
        return json.loads(text, object_pairs_hook=_Pairs)
    except (ValueError, RecursionError):
        raw = text.encode("utf-8", "replace") if isinstance(text, str) else text
        mentions = _DELETION_TEXT.search(raw.replace(b"\0", b""))  # without the zero bytes of UTF-16
        return _Pairs(_DELETED) if mentions else None


def _unpacked(encoded: object) -> object:
    try:
        return _parsed(base64.b64decode(encoded)) if isinstance(encoded, str) else encoded
    except ValueError:
        return None

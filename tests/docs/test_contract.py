"""The contract for producers: it is up to date, its schemas are portable, and what conforms to it is no dead letter."""

import json
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from jsonschema import Draft7Validator, Draft202012Validator

from dev import identity_events
from dev.contract.__main__ import stale, write
from dev.contract.wire import Format, Shape, shapes
from dev.demo import script
from function.events.decode import decode
from function.events.types import Cause, EventType, Ignored, ProfileUpdated
from function.outcomes import Reason, Rejected
from tests.captures.records import RECORDS as CAPTURED
from tests.docs.contract import (
    CONTRACT,
    DOCUMENT,
    FILES,
    MESSAGES,
    conforming,
    conforms_to_a_file,
    parsed,
)
from tests.support.decoding import decoded_headers

USER = "00000000-0000-4000-8000-000000000001"
SHAPES = shapes("#/$defs/")
# Captures that are decoded, and yet no one is asked to send.
ONLY_READ = {"header type that is not UTF-8", "forged headers of daprd"}
# Captures of dead letters that a schema can't tell: JSON Schema's patterns do not see a lone surrogate alike everywhere.
NOT_TOLD = {"lone surrogate"}


def test_the_contract_is_up_to_date() -> None:
    """`make docs` writes it."""
    assert stale(CONTRACT) == []


def test_a_file_that_is_missing_changed_or_left_over_is_not_up_to_date(tmp_path: Path) -> None:
    write(tmp_path)
    assert stale(tmp_path) == []
    (tmp_path / "asyncapi.yaml").unlink()
    (tmp_path / "user-deleted.schema.json").write_text("{}")
    (tmp_path / "user-renamed.schema.json").write_text("{}")
    assert stale(tmp_path) == ["asyncapi.yaml", "user-deleted.schema.json", "user-renamed.schema.json"]
    write(tmp_path)
    assert stale(tmp_path) == []


@pytest.mark.parametrize("name", FILES)
def test_a_file_is_a_json_schema(name: str) -> None:
    Draft202012Validator.check_schema(FILES[name])


@pytest.mark.parametrize("name", MESSAGES)
def test_a_message_has_schemas_that_asyncapi_reads(name: str) -> None:
    """AsyncAPI's own schemas are those of draft 7."""
    for schema in (MESSAGES[name]["headers"], MESSAGES[name]["payload"], MESSAGES[name]["bindings"]["kafka"]["key"]):
        Draft7Validator.check_schema(schema)
    for schema in DOCUMENT["components"]["schemas"].values():
        Draft7Validator.check_schema(schema)


def members(node: object) -> Iterator[tuple[str, Any]]:
    """Every member of every object."""
    if isinstance(node, dict):
        for name, inner in node.items():
            yield name, inner
            yield from members(inner)
    elif isinstance(node, list):
        for one in node:
            yield from members(one)


def test_every_reference_leads_somewhere() -> None:
    found = [text for name, text in members(DOCUMENT) if name == "$ref"]
    assert len(found) > len(MESSAGES)
    for text in found:
        target: Any = DOCUMENT
        for step in text.removeprefix("#/").split("/"):
            target = target[step]


def test_every_pattern_means_the_same_in_every_engine() -> None:
    """No lookaround, no classes that are wider in some engines, no repetition that RE2 refuses."""
    patterns = {text for schema in (*FILES.values(), DOCUMENT) for name, text in members(schema) if name == "pattern"}
    assert len(patterns) > 8
    for pattern in patterns:
        assert not re.search(r"\(\?|\\[dwsbDWSBpuZzA]|\\[1-9]", pattern), pattern
        assert all(int(count) <= 1000 for count in re.findall(r"\{(\d+)", pattern)), pattern


def test_every_event_has_a_message_in_every_format_and_the_channel_has_them_all() -> None:
    assert {(shape.kind, shape.format) for shape in SHAPES if shape.format is not Format.UNTYPED} == {
        (kind, format_) for kind in EventType for format_ in Format if format_ is not Format.UNTYPED
    }
    assert set(DOCUMENT["channels"]["identityEvents"]["messages"]) == set(MESSAGES)
    assert len(MESSAGES) == len(SHAPES)


@pytest.mark.parametrize("shape", SHAPES, ids=lambda shape: f"{shape.kind}, {shape.format}")
def test_the_example_of_a_message_conforms_to_it_alone_and_is_decoded(shape: Shape) -> None:
    value, headers = shape.example_value, shape.example_headers
    [name] = conforming(value, headers)
    assert MESSAGES[name]["title"] == f"{shape.kind}, {shape.format}"
    assert conforms_to_a_file(value, headers, USER)
    assert isinstance(decode(json.dumps(value).encode(), headers), shape.kind.event)


@pytest.mark.parametrize("name", CAPTURED)
def test_a_captured_record_conforms_if_it_is_decoded(name: str) -> None:
    """In bytes that a real daprd delivered; tests/unit/events decodes the same ones."""
    wire = CAPTURED[name]
    value, headers = parsed(wire.value), decoded_headers(wire.headers)
    if wire.expected == "Ignored":
        expected = False  # the contract has the handled types only
    else:
        expected = (wire.expected not in set(Reason) and name not in ONLY_READ) or name in NOT_TOLD
    assert bool(conforming(value, headers)) is expected
    assert conforms_to_a_file(value, headers, USER) is expected


@pytest.mark.parametrize("step", list(script.steps()), ids=lambda step: f"{step.who}: {step.what}")
def test_an_event_of_the_demo_conforms_if_it_is_decoded(step: script.Step) -> None:
    """A host that is not allowed is a matter of settings."""
    value, headers = parsed(step.value), decoded_headers(step.headers)
    refused = step.expected.startswith("dead_letter") and not step.expected.endswith("avatar_host_not_allowed")
    assert bool(conforming(value, headers)) is not (refused or step.expected == "ignored")


@pytest.mark.parametrize(
    "record",
    [
        identity_events.profile(USER, "Ada"), identity_events.deleted(USER), identity_events.created(USER),
        identity_events.password_changed(USER),
    ],
    ids=lambda record: record.headers["event_type"].decode(),
)  # fmt: skip
def test_what_the_identity_service_sends_today_conforms_and_is_keyed_so(
    record: identity_events.ProducerRecord,
) -> None:
    value, headers = parsed(record.value), decoded_headers(record.headers)
    assert len(conforming(value, headers)) == 1
    assert conforms_to_a_file(value, headers, record.user_id)
    assert not conforms_to_a_file(value, headers, "ada")


# --- soundness: what conforms is decoded

TIMES = [
    "2026-01-01T09:30:00Z",
    "2026-01-01 09:30 +02",
    "2026-01-01T09:30:00",
    "2026-13-01T00:00:00Z",
    "",
    1762000000,
    None,
]
NAMES = ["Ada", "", " ", "\u200b", "x" * 256, "x" * 257, " " * 300, "a\0b", "Ünï 🦊", None, 5, ["Ada"]]
FLAGS = [True, False, "true", "FALSE", "yes", 0, 1, 1.0, None]
TYPE_NAMES = [*(name for kind in EventType for name in (kind.value, kind.old)), "identity.user.locked", "", 5]
IDS = ["e-1", "", " ", 5, None]
AVATARS = [
    None, "", "mxc://a.example/b", "mxc://a.example/b/c", "mxc://a.example/" + "b" * 990, "https://a.example/b?c=d#e", "https://",
    "https://a.example:0/", "https://a.example/\\", "https://ü.example/", "https://a.example/" + "b" * 8200, "ftp://a.example", 5,
]  # fmt: skip
POOLS: dict[str, list[Any]] = {
    "user_id": [USER, USER.upper(), USER.replace("-", ""), f"urn:uuid:{USER}", f"{{{USER}}}", f"{{{USER}", USER + "\n", "ada", 5, None],
    "username": NAMES, "display_name": NAMES, "avatar_url": AVATARS,
    "soft_delete": FLAGS, "invalidate_all_sessions": FLAGS,
    "deleted_at": TIMES, "updated_at": TIMES, "created_at": TIMES, "changed_at": TIMES, "timestamp": TIMES, "time": TIMES, "ce_time": TIMES,
    "event_type": TYPE_NAMES, "type": TYPE_NAMES, "ce_type": TYPE_NAMES,
    "event_id": IDS, "id": IDS, "ce_id": IDS, "source": IDS, "ce_source": IDS,
    "specversion": ["1.0", "0.3", 1.0], "ce_specversion": ["1.0", "0.3"],
    "content-type": ["application/json", "application/cloudevents+json", "text/plain"],
}  # fmt: skip
OTHERS = [
    "bio",
    "soft_delete",
    "deleted_at",
    "event_type",
    "content-type",
    "created_at",
]  # fields and headers that a record may have too


@st.composite
def changed(draw: st.DrawFn, original: dict[str, Any]) -> dict[str, Any]:
    """Some fields take another value of their pool, some are missing, some are new."""
    result = dict(original)
    for name in draw(st.lists(st.sampled_from([*original, *OTHERS]), max_size=3, unique=True)):
        if name in result and draw(st.integers(0, 3)) == 0:
            del result[name]
        elif name == "data":
            result[name] = draw(changed(original[name]))
        else:
            result[name] = draw(st.sampled_from(POOLS.get(name, ["words"])))
    return result


@given(st.sampled_from(SHAPES), st.data())
@settings(max_examples=800, deadline=None)
def test_what_conforms_is_decoded_as_the_event_that_it_is(shape: Shape, data: st.DataObject) -> None:
    """The other direction is not asked: more is read than producers are asked to send."""
    value = data.draw(changed(shape.example_value))
    headers = {name: str(text) for name, text in data.draw(changed(shape.example_headers)).items()}
    names = conforming(value, headers)
    decoded = decode(json.dumps(value).encode(), headers)
    if not names:
        return
    assert not isinstance(decoded, Rejected), (names, decoded.reason, decoded.detail)
    if isinstance(decoded, Ignored):
        assert decoded.cause is Cause.NO_SESSIONS
        return
    assert not (isinstance(decoded, ProfileUpdated) and isinstance(decoded.avatar, Rejected))
    assert {MESSAGES[name]["name"] for name in names} == {
        kind.value for kind in EventType if kind.event is type(decoded)
    }

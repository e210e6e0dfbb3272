"""Fuzzes the decoder for some minutes, mostly with mutated real records: `make fuzz`.

Exits with 1 and the input (the smallest, if Hypothesis found it) if a rule is broken: for any bytes `decode` returns an
event, `Ignored` or a rejection, and never raises; an event can be applied; the detail of a rejection contains no value of
the input; a record that a person would call a deletion is never ignored; a record that a header calls a deletion is no
other event.
"""

import json
import logging
import random
import re
import time
from collections import Counter
from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any
from uuid import UUID

import hypothesis
import typer
from hypothesis import strategies as st

from dev.identity_events import (
    DELETED,
    PROFILE_UPDATED,
    binary_headers,
    created_payload,
    deleted_payload,
    encode,
    envelope,
    headers,
    password_changed_payload,
    profile_payload,
    structured,
)
from function.avatars.image_url import MAX_URL_BYTES
from function.dapr.bulk_envelope import Body, answer, read_batch, read_entry
from function.events.decode import decode, type_of, user_of
from function.events.names import MAX_NAME
from function.events.payloads import MAX_AVATAR
from function.events.types import TYPES, Ignored, ProfileUpdated, UserCreated, UserDeleted
from function.outcomes import Rejected
from tests.support import mutations
from tests.support.deletion_oracle import header_says_deletion, looks_like_a_deletion

CAPTURES = json.loads((Path(__file__).parent / "captures" / "captures.json").read_text())
NEEDLE = "s3cr3t"
USER = "0b5e1f9c-7d43-4c52-9f0e-2a6d1c8b7e10"
MUTANTS = 10_000  # quickly mutated records for each 2,000 of Hypothesis
Headers = dict[str, str]

SPECIAL = [
    b"null", b"NaN", b"1e999", b"-0", b"\xff", b"\x00", b"\xed\xa0\x80", b'"\\ud800"', b'"\\u0000"', b"[" * 2000, b"{}",
    b'{"a":1,"a":1}', b"9" * 5000, b"\xef\xbb\xbf", b"2026-02-30T00:00:00Z", b"9999-12-31T23:59:59-23:59",
    b"0001-01-01T00:00:00+23:59", b"urn:uuid:", b"https://", b"mxc://a/b", b"com.dapr.event.sent",
]  # fmt: skip


def _seeds() -> list[tuple[bytes, Headers]]:
    """Returns real records as daprd delivered them, and a payload of each type in each wire format."""
    entries = [entry for envelope in CAPTURES.values() for entry in envelope["entries"]]
    records = [record for entry in entries if (record := read_entry(entry | {"topic": "t"}))]
    found = [(record.value, dict(record.headers)) for record in records]
    payloads: dict[str, dict[str, Any]] = {
        DELETED: deleted_payload(USER),
        PROFILE_UPDATED: profile_payload(USER, NEEDLE, avatar=f"mxc://{NEEDLE}.x/a"),
        "UserCreatedEvent": created_payload(USER, NEEDLE),
        "PasswordChangedEvent": password_changed_payload(USER),
    }
    for kind, payload in payloads.items():
        found += [
            (encode(payload), _text(headers(kind, "1"))),
            (encode(envelope(payload, kind, event_id="1")), {}),
            (encode(structured(payload, kind, "1", time="2026-01-01T00:00:00Z")), {}),
            (encode(structured(json.dumps(payload), "com.dapr.event.sent", "1")), {}),
            (encode(payload), _text(binary_headers(kind, "1"))),
        ]
        for other in ("identity.user.two_fa_enabled", "order.created"):
            found += [
                (encode(payload), _text(headers(other, "1"))),
                (encode(envelope({"user_id": USER}, kind, event_id="1")), _text(headers(other, "1"))),
                (encode(structured({"user_id": USER}, kind, "1")), _text(headers(other, "1"))),
                (encode(structured(json.dumps(payload), other, "1")), {}),
                (encode({"user_id": USER}), _text(binary_headers(other, "1"))),
            ]
    return [*found, (b"null", _text(headers(DELETED, "1"))), (b"null", {})]


def _text(headers: Mapping[str, bytes]) -> Headers:
    """Returns the headers as daprd hands them over."""
    return {name: value.decode() for name, value in headers.items()}


SEEDS = _seeds()
JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text() | st.just(NEEDLE),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(), inner, max_size=4),
    max_leaves=10,
)
NAMES = st.sampled_from(
    ["user_id", "deleted_at", "soft_delete", "username", "display_name", "avatar_url", "updated_at", "created_at",
     "changed_at", "invalidate_all_sessions", "data", "data_base64", "datacontenttype", "dataschema", "subject", "time",
     "type", "id", "source", "specversion", "event_id", "event_type", "timestamp", "deletedAt", "softDelete", "is_deleted",
     "userId", "eventType", "action"]
)  # fmt: skip
TYPE_TEXTS = st.builds(
    lambda text, written, case: written.format(case(text)),
    st.sampled_from(mutations.TYPE_TEXTS),
    st.sampled_from(mutations.WRITTEN),
    st.sampled_from(mutations.CASES),
)
VALUES = JSON | TYPE_TEXTS | st.sampled_from(
    ["0b5e1f9c-7d43-4c52-9f0e-2a6d1c8b7e10", "2026-01-01T00:00:00Z", "1.0", "com.dapr.event.sent", "application/json",
     "e30=", NEEDLE * 50, f"https://{NEEDLE}/x", True, *TYPES]
)  # fmt: skip
HEADER_NAMES = st.sampled_from(
    ["event_type", "event_type", "type", "eventtype", "event_id", "created_at", "content-type", "ce_id", "ce_specversion", "ce_type", "ce_source",
     "ce_time", "ce_datacontenttype", "ce_dataschema", "ce_", "traceparent"]
) | st.text(max_size=6)  # fmt: skip
HEADER_VALUES = (
    st.text(max_size=30)
    | TYPE_TEXTS
    | TYPE_TEXTS
    | st.sampled_from(
        [*TYPES, "1.0", "2026-01-01T00:00:00Z", "application/cloudevents+json", "application/json", "\ufffd", NEEDLE]
    )
)


@st.composite
def mutated(draw: st.DrawFn) -> tuple[bytes, Headers]:
    """Generates a real record with some bytes and headers changed."""
    value, headers = draw(st.sampled_from(SEEDS))
    body = bytearray(value)
    for _ in range(draw(st.integers(1, 6))):
        at = draw(st.integers(0, len(body)))
        till = min(len(body), at + draw(st.sampled_from([0, 1, 1, 2, 8, 40])))
        other, _ = draw(st.sampled_from(SEEDS))
        body[at:till] = draw(st.binary(max_size=4) | st.sampled_from(SPECIAL) | st.just(other[at : at + 20]))
    return bytes(body), headers | draw(st.dictionaries(HEADER_NAMES, HEADER_VALUES, max_size=2))


@st.composite
def rebuilt(draw: st.DrawFn) -> tuple[bytes, Headers]:
    """Generates a real record with some fields changed; it stays JSON, so that it gets further."""
    value, headers = draw(st.sampled_from(SEEDS))
    try:
        body = json.loads(value)
    except (ValueError, RecursionError):
        body = {}
    body = body if isinstance(body, dict) else {}
    inner = body["data"] if isinstance(body.get("data"), dict) and draw(st.booleans()) else body
    inner |= draw(st.dictionaries(NAMES, VALUES | st.just(value.decode("utf-8", "replace")), max_size=3))
    for name in draw(st.lists(NAMES, max_size=2)):
        inner.pop(name, None)
    return encode(body), headers | draw(st.dictionaries(HEADER_NAMES, HEADER_VALUES, max_size=2))


RECORDS = mutated() | rebuilt() | st.tuples(st.binary(), st.dictionaries(HEADER_NAMES, HEADER_VALUES, max_size=4))
BATCHES = st.dictionaries(st.sampled_from(["topic", "entries", "id"]), JSON, max_size=3) | st.builds(
    lambda entries: {"topic": "t", "entries": entries},
    st.lists(st.dictionaries(st.sampled_from(["entryId", "event", "metadata"]), VALUES | st.just({"a": NEEDLE}))),
)


def judge(value: bytes, headers: Headers) -> str:
    """Decodes one record, asserts the rules, and returns the name of the result."""
    found = decode(value, headers)
    assert isinstance(type_of(value, headers), str)
    user = user_of(value, headers)
    if header_says_deletion(headers):
        assert isinstance(found, UserDeleted | Rejected), found
    if isinstance(found, Rejected):
        assert NEEDLE not in found.detail, found.detail
        assert len(found.detail) < 2000, found.detail
        return found.reason.value
    if isinstance(found, Ignored):
        assert not looks_like_a_deletion(value, headers), found
        return f"ignored, {found.cause}"
    assert found.user_id == str(UUID(found.user_id)) == user
    assert found.at.utcoffset() is not None
    if isinstance(found, ProfileUpdated | UserCreated):
        name = found.username if isinstance(found, UserCreated) else found.display_name
        assert len(name) <= MAX_NAME
        name.encode()  # no lone surrogate
        assert "\0" not in name
    if isinstance(found, ProfileUpdated) and isinstance(found.avatar, str):
        assert len(found.avatar) <= (MAX_URL_BYTES if found.avatar.startswith("https") else MAX_AVATAR)
        assert re.match(r"(https|mxc)://", found.avatar) or not found.avatar
    return type(found).__name__


def judge_batch(envelope: object) -> None:
    entries = read_batch(Body([json.dumps(envelope).encode()]))
    answered = json.loads(answer(entries, {entry_id for entry_id, record in entries if record is None}))
    assert {one["entryId"] for one in answered["statuses"]} == {entry_id for entry_id, _ in entries}


def main(minutes: Annotated[float, typer.Option(min=0.01, help="Duration in minutes.")] = 10.0) -> None:
    """Fuzz until the time is up."""
    end, tally, seed = time.monotonic() + minutes * 60, Counter[str](), 0

    def record(pair: tuple[bytes, Headers]) -> None:
        tally[judge(*pair)] += 1

    def batch(envelope: object) -> None:
        judge_batch(envelope)
        tally["batches"] += 1

    rules = hypothesis.settings(
        max_examples=2000, deadline=None, database=None, suppress_health_check=list(hypothesis.HealthCheck)
    )
    while time.monotonic() < end:
        seed += 1
        hypothesis.seed(seed)(rules(hypothesis.given(RECORDS)(record)))()
        mutator = mutations.Mutator(SEEDS, SPECIAL, random.Random(seed))
        for mutant in (mutator.record() for _ in range(MUTANTS)):
            try:
                record(mutant)
            except Exception:
                print(f"broken by {mutant!r}")
                raise
        if seed % 5 == 0:
            hypothesis.seed(seed)(rules(hypothesis.given(BATCHES)(batch)))()
            print(f"  {tally.total():>9} inputs, {end - time.monotonic():.0f} s left", flush=True)
    print(f"{tally.total()} inputs, nothing broken")
    for what, count in tally.most_common():
        print(f"  {count:>9} {what}")


if __name__ == "__main__":
    logging.disable(logging.CRITICAL)
    cli = typer.Typer(add_completion=False, pretty_exceptions_enable=False, help=__doc__)
    cli.command()(main)
    cli()

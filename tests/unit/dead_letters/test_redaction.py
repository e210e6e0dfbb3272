"""What `dead-letters --show` prints of a letter."""

import json

from function.dead_letters.publish import IDS
from function.dead_letters.redaction import content
from tests.support.dead_letters import letter
from tests.support.events import ALICE, profile_payload


def test_personal_data_of_a_body_is_redacted() -> None:
    """Unless --raw is given."""
    body = profile_payload(display_name="Ada Lovelace", bio=["likes", {"pet": "fox"}], is_verified=True)
    one = letter({"aggregate_id": ALICE, "correlation-id": "who-knows"}, value=json.dumps(body).encode())
    redacted = json.dumps(content(one, raw=False))
    for personal in (ALICE, "Ada Lovelace", "likes", "fox", "who-knows"):
        assert personal not in redacted
    assert '"display_name": "<12 characters>"' in redacted
    assert '"is_verified": true' in redacted
    assert "synapse_error" in redacted
    raw = json.dumps(content(one, raw=True))
    assert all(personal in raw for personal in (ALICE, "Ada Lovelace", "fox", "who-knows"))


def test_a_value_that_does_not_look_like_an_id_or_a_time_is_redacted() -> None:
    """The producer can put any text there; and the function puts Matrix ids into one of its own headers."""
    body = {"id": "Ada Lovelace", "type": "x", "source": "ada@mail.example", "updated_at": "2026-01-01T09:30:00+01:00"}
    headers = {"event_id": "Ada Lovelace", "ce_source": "ada@mail.example", IDS: "@nova-1:a @nova-2:a", "ce_id": "e-1"}
    shown = content(letter(headers, value=json.dumps(body).encode()), raw=False)
    assert shown["body"] == body | {"id": "<12 characters>", "source": "<16 characters>"}
    assert shown["headers"].items() >= {
        "event_id": "<12 characters>", "ce_source": "<16 characters>", IDS: "<19 characters>", "ce_id": "e-1",
    }.items()  # fmt: skip


def test_a_body_that_is_not_json_is_shown_by_its_size() -> None:
    assert content(letter(value=b"\xff{ada"), raw=False)["body"] == "<5 bytes, not JSON>"
    assert "ada" in content(letter(value=b"\xff{ada"), raw=True)["body"]

"""The message about a change: its schema, its id, and what it does not hold."""

import json
from dataclasses import replace
from itertools import combinations

import pytest
from jsonschema import Draft202012Validator

from dev.contract.__main__ import EVIDENCE, FOLDER, contents
from function.changes import Change, ChangeType, Done, id_of, type_of
from function.evidence.message import message, schema
from tests.support.events import ALICE, BOB, EPOCH

MXID = f"@nova-{ALICE}:test.example"
DELETED = Change(("deactivated", "erased"), EPOCH, "event-1", "identity.user.deleted")
REPAIR = Change(("display_name_set",), EPOCH)


def validator() -> Draft202012Validator:
    return Draft202012Validator(schema(), format_checker=Draft202012Validator.FORMAT_CHECKER)


def test_the_schema_in_the_documentation_is_current() -> None:
    assert (FOLDER / EVIDENCE).read_text() == contents()[EVIDENCE], "run: make docs"
    Draft202012Validator.check_schema(schema())


@pytest.mark.parametrize("change", [DELETED, REPAIR, replace(DELETED, found=True), replace(DELETED, event_id=None)])
def test_a_message_fits_its_schema(change: Change) -> None:
    validator().validate(json.loads(message(ALICE, MXID, change)))


def test_the_schema_refuses_what_is_no_message() -> None:
    body = json.loads(message(ALICE, MXID, DELETED))
    for wrong in (
        body | {"type": "matrix.account.renamed"}, body | {"id": "1"}, {name: body[name] for name in body if name != "data"},
        body | {"data": body["data"] | {"done": []}}, body | {"data": body["data"] | {"user_id": "alice"}},
    ):  # fmt: skip
        assert not validator().is_valid(wrong)


def test_a_message_says_this_and_no_more() -> None:
    body = json.loads(message(ALICE, MXID, DELETED))
    assert body == {
        "specversion": "1.0", "id": id_of(ALICE, DELETED), "source": "matrix-account-sync", "type": "matrix.account.erased",
        "subject": ALICE, "time": "2025-11-01T12:00:00Z", "datacontenttype": "application/json",
        "data": {
            "user_id": ALICE, "matrix_user_id": MXID, "event_id": "event-1", "event_type": "identity.user.deleted",
            "done": ["deactivated", "erased"], "confirmed_by": "answer", "at": "2025-11-01T12:00:00Z",
        },
    }  # fmt: skip


def test_the_id_is_that_of_the_change() -> None:
    others = [
        replace(DELETED, event_id="event-2"), replace(DELETED, done=("deactivated",)), replace(DELETED, at=EPOCH.replace(minute=1)),
        replace(DELETED, event_type=None),
    ]  # fmt: skip
    ids = {id_of(ALICE, DELETED), id_of(BOB, DELETED), *(id_of(ALICE, other) for other in others)}
    assert len(ids) == len(others) + 2
    assert id_of(ALICE, DELETED) == id_of(ALICE, replace(DELETED))


def test_each_word_has_a_type_and_an_end_weighs_most() -> None:
    assert {type_of([word]) for word in Done} == set(ChangeType)
    assert all(type_of([*pair, "erased"]) is ChangeType.ERASED for pair in combinations(Done, 2))


def test_a_word_of_a_later_release_is_left_out() -> None:
    body = json.loads(message(ALICE, MXID, replace(DELETED, done=("deactivated", "frozen"))))
    assert body["data"]["done"] == ["deactivated"]

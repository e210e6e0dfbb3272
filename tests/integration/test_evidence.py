"""Evidence of changes on the real servers: what a consumer of the results topic reads, also after the function or daprd died."""

import json
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from jsonschema import Draft202012Validator

from dev.identity_events import deleted, new_user, profile
from dev.running_stack import mxid
from dev.servers.kafka import TOPICS
from function.evidence.message import CONTENT_TYPE, schema
from tests.integration.stack import Letter, StackUnderTest, wait_until
from tests.support.metrics_page import shown

RESULTS_TOPIC = TOPICS[3]
FORBIDDEN = "tests.results"  # no component lets the function publish there
ERASED = "matrix.account.erased"
Tell = Callable[[str], None]


@pytest.fixture
def telling(world: StackUnderTest, tmp_path: Path) -> Iterator[StackUnderTest]:
    """The function with a results topic, not started. The other one rests: they are of one group."""
    world.settle()
    world.stop()
    other = StackUnderTest(world.stack, tmp_path, {"MATRIX_RESULTS_TOPIC": RESULTS_TOPIC})
    try:
        yield other
    finally:
        other.stop()
        world.start()


def told(world: StackUnderTest, *users: str) -> list[tuple[Letter, dict[str, Any]]]:
    """Returns the records about the users, in their order, each with the message in it."""
    found = [(record, json.loads(record.value)) for record in world.records(RESULTS_TOPIC)]
    return [(record, message) for record, message in found if message["subject"] in users]


def test_a_consumer_reads_each_change_in_order_and_it_fits_the_schema(telling: StackUnderTest) -> None:
    ada = new_user()
    telling.create(ada)
    telling.start()
    events = [profile(ada, "Ada", 1), profile(ada, "Ada", 2), deleted(ada)]
    telling.in_turn(*events)
    records = told(telling, ada)
    assert [(one["type"], one["data"]["event_id"], one["data"]["done"]) for _, one in records] == [
        ("matrix.account.profile_updated", events[0].event_id, ["display_name_set"]),
        ("matrix.account.erased", events[2].event_id, ["deactivated", "erased"]),
    ]
    validator = Draft202012Validator(schema(), format_checker=Draft202012Validator.FORMAT_CHECKER)
    for record, message in records:
        validator.validate(message)
        assert message["data"]["matrix_user_id"] == mxid(ada)
        assert (record.key, record.headers["content-type"]) == (ada.encode(), CONTENT_TYPE.encode())
        assert b"Ada" not in record.value
    assert len({record.partition for record, _ in records}) == 1
    counted = shown(telling)[1]
    assert counted["published_results_total{type=matrix.account.erased}"] == 1
    assert counted["published_results_total{type=matrix.account.profile_updated}"] == 1


def test_a_change_whose_function_was_killed_before_it_was_published_is_told_by_the_next_one(
    telling: StackUnderTest, tmp_path: Path
) -> None:
    """The first function may not publish to its topic, so it dies with the change confirmed and not published."""
    ada = new_user()
    telling.create(ada)
    first = StackUnderTest(telling.stack, tmp_path / "first", {"MATRIX_RESULTS_TOPIC": FORBIDDEN})
    event = deleted(ada)
    first.start()
    try:
        first.send(event)
        wait_until(lambda: "retry" in first.outcomes([event])[event.event_id], "a retry")
        reasons = {line.get("reason") for line in first.function.log_lines() if line.get("event_id") == event.event_id}
        assert reasons == {"publish_failed"}
        first.function.stop(kill=True)
    finally:
        first.stop()
    assert first.account(ada)["erased"]  # type: ignore[index]
    assert told(telling, ada) == []
    telling.start()
    telling.settle()
    [(_, message)] = told(telling, ada)
    assert (message["data"]["event_id"], message["data"]["done"]) == (event.event_id, ["deactivated", "erased"])


def test_no_deletion_is_untold_while_function_and_sidecar_are_killed(telling: StackUnderTest, tell: Tell) -> None:
    users = [new_user() for _ in range(40)]
    telling.create(*users)
    telling.start()
    profiles, deletions = [profile(user, "Ada", 1) for user in users], [deleted(user) for user in users]
    telling.send(*profiles)
    wait_until(lambda: bool(told(telling, *users)), "a first message")
    telling.sidecar.stop(kill=True)
    telling.send(*deletions[:20])
    telling.sidecar.start()
    wait_until(lambda: any(one["type"] == ERASED for _, one in told(telling, *users)), "a first deletion")
    telling.function.stop(kill=True)
    telling.send(*deletions[20:])
    telling.function.start()
    telling.settle(180)
    messages = [message for _, message in told(telling, *users)]
    ids = {message["id"] for message in messages}
    tell(f"{2 * len(users)} events, {len(messages)} messages, {len(ids)} of them different")
    assert {one["subject"] for one in messages if one["type"] == ERASED} == set(users)
    for user in users:
        first = list(dict.fromkeys(one["id"] for one in messages if one["subject"] == user))
        ends = {one["id"] for one in messages if one["subject"] == user and one["type"] == ERASED}
        assert first[-1] in ends  # no name is set after the end
